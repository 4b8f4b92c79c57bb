# SPDX-License-Identifier: Apache-2.0
"""What agents are asked, and what becomes of those that do not answer."""

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import pytest

from spanbridge.base.errors import NodeError
from spanbridge.kube.saved import ClusterObjects, sort_objects
from spanbridge.kube.source import parse_source
from spanbridge.model.intent import Intent
from spanbridge.model.observations import Expectations, Observations
from spanbridge.stretch.api_prober import ApiProber, Asked, ReachedCluster
from spanbridge.stretch.intent_file import find_intent, load_intent
from spanbridge.stretch.observing import observe_mesh
from spanbridge.testing.cluster_objects import Object, changed, make_objects

NOW = time.time() + 3600
POOLS = """
apiVersion: spanbridge.io/v1alpha1
kind: MigrationNetwork
metadata: {name: migration-net}
spec:
  vlan: 2
  subnets: [10.88.0.0/24]
  clusters:
  - name: east
    plugin: spanbridge
    nodePools:
    - {name: one, nodes: [east-1], uplink: eth1}
    - {name: two, count: 1, uplink: bond0, bridge: br-two, nodeSelector: {rack: b}}
"""


class Twin:
    """An agent in memory: it sees what the objects say, and answers every pair."""

    def __init__(self, *, protocol: int = 1, deaf: bool = False) -> None:
        self.hello: Future[dict[str, Any]] = Future()
        self.hello.set_result({"protocol": protocol})
        self.deaf = deaf
        self.asked: list[Mapping[str, Any]] = []
        self.closed = 0

    def ask(self, request: Mapping[str, object]) -> "Future[dict[str, Any]]":
        self.asked.append(request)
        future: Future[dict[str, Any]] = Future()
        if self.deaf:
            future.set_exception(NodeError("cannot go on: it burns"))
            return future
        future.set_result(self._answer(request))
        return future

    def _answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        match request["do"]:
            case "look":
                seen = [{**each["endpoint"], "mtu": 1500} for each in request["pods"]]
                return {"node": {"cluster": "east", "node": request["node"]}, "endpoints": seen}
            case "probe":
                return {"probe": {"source": request["source"], "target": request["target"]["name"],
                                  "echo": {"sent": 1, "rtt_us": [90]}}}  # fmt: skip
            case "claims":
                return {"claims": []}
        return {}

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def intent() -> Intent:
    return load_intent(find_intent(parse_source(POOLS, "network.yaml"), "network.yaml"))


@pytest.fixture
def objects() -> list[Object]:
    items = make_objects("east", first=10, seen_at=NOW)
    return changed(items, "Node", "east-2", lambda one: one["metadata"]["labels"].update(rack="b"))


def _observe(intent: Intent, items: list[Object], agents: dict[str, Twin]) -> Observations:
    objects = ClusterObjects("east", "openshift-cnv", "east", NOW, sort_objects(items))

    def starter(agent: Twin) -> Asked:
        return agent

    starts = {node: (lambda agent=agent: starter(agent)) for node, agent in agents.items()}
    reached = [ReachedCluster(intent.clusters[0], objects, starts)]
    prober = ApiProber(intent, Expectations(vlan=2), reached)
    return asyncio.run(observe_mesh(prober, Expectations(vlan=2), taken_at="now"))


def test_each_agent_is_told_bridge_and_uplink_of_its_own_pool(
    intent: Intent, objects: list[Object]
) -> None:
    agents = {"east-1": Twin(), "east-2": Twin()}
    seen = _observe(intent, objects, agents)
    looks = [agents[node].asked[0] for node in ("east-1", "east-2")]
    assert [(each["bridge"], each["uplink"]) for each in looks] == [
        ("br-mig", "eth1"), ("br-two", "bond0"),
    ]  # fmt: skip
    assert {each.mtu for each in seen.endpoints} == {1500}
    assert looks[0]["agent"] is True


def test_an_agent_is_told_the_containers_and_whom_the_cluster_trusts(
    intent: Intent, objects: list[Object]
) -> None:
    agents = {"east-1": Twin(), "east-2": Twin()}
    _observe(intent, objects, agents)
    look = agents["east-1"].asked[0]
    assert look["pods"][0]["containers"] == ["cri-o://virt-handler-e1"]
    assert look["pods"][0]["namespace"] == "openshift-cnv"
    assert look["trusted"].count("BEGIN CERTIFICATE") == 2


def test_all_sessions_are_closed_once(intent: Intent, objects: list[Object]) -> None:
    agents = {"east-1": Twin(), "east-2": Twin()}
    _observe(intent, objects, agents)
    assert [each.closed for each in agents.values()] == [1, 1]


@pytest.mark.parametrize(
    ("agent", "why"),
    [
        (None, "no agent runs there"),
        (Twin(deaf=True), "it burns"),
        (Twin(protocol=2), "its agent speaks protocol 2"),
    ],
    ids=["none", "deaf", "of another release"],
)
def test_a_node_that_cannot_be_asked_is_not_measured_and_its_agent_is_down(
    intent: Intent, objects: list[Object], agent: Twin | None, why: str
) -> None:
    agents = {"east-1": Twin()} | ({"east-2": agent} if agent else {})
    seen = _observe(intent, objects, agents)
    errors = {each.source: each.error for each in seen.probes if each.error}
    assert set(errors) == {"east/virt-handler-e2"}
    assert why in errors["east/virt-handler-e2"]
    assert {each.node: each.agent for each in seen.nodes}["east-2"] is False
    assert [each.source for each in seen.probes if each.echo] == ["east/virt-handler-e1"]
