# SPDX-License-Identifier: Apache-2.0
"""
`spanbridge verify INTENT.yaml` from end to end: API servers, exec, agents, real namespaces.

The API server runs `spanbridge agent probe` as a process of its own, as a kubelet would.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from spanbridge.agent.journal import Attachment, render_attachment
from spanbridge.cli.program import main
from spanbridge.model.observations import Observations, Role
from spanbridge.model.owner import Owner
from spanbridge.model.recording import parse_observations
from spanbridge.model.verdict import PairState
from spanbridge.stretch.verify import verify
from spanbridge.testing.api_server import Served, serving, write_kubeconfig
from spanbridge.testing.cluster_objects import (
    NAMESPACE,
    Object,
    changed,
    make_lease,
    make_node,
    make_objects,
    make_pod,
)
from spanbridge.testing.fleet import Fleet

pytestmark = pytest.mark.timeout(180)

INTENT = """
apiVersion: spanbridge.io/v1alpha1
kind: MigrationNetwork
metadata: {name: migration-net}
spec:
  vlan: 0
  mtu: 9000
  subnets: [10.88.0.0/16]
  clusters:
  - {name: east, nodePools: [{uplink: eth1, count: 2}]}
  - {name: west, nodePools: [{uplink: eth1, count: 2}]}
"""


def _agent_pod(node: str) -> Object:
    pod = make_pod(f"spanbridge-agent-{node}", "none", node=node, address="10.88.0.1")
    pod["metadata"] |= {"namespace": "spanbridge", "annotations": {}}
    pod["metadata"]["labels"] = {"app.kubernetes.io/name": "spanbridge-agent"}
    return pod


def _objects(fleet: Fleet, cluster: str) -> list[Object]:
    """Say of a cluster of the fleet what its API server would."""
    pods = [each for each in fleet.look().survey.endpoints if each.cluster == cluster]
    leader = next(each for each in pods if each.role is Role.LEADER)
    items = [each for each in make_objects(cluster, first=10, seen_at=time.time())
             if each["kind"] not in {"Pod", "Node", "Lease"}]  # fmt: skip
    conf = json.dumps({"type": "bridge", "bridge": "br-mig", "mtu": 9000, "ipam": {"type": "dhcp"}})
    items = changed(items, "NetworkAttachmentDefinition", "migration-net",
                    lambda one: one["spec"].update(config=conf))  # fmt: skip
    trust = {"ca-bundle": fleet.bundles[cluster]}
    items = changed(items, "ConfigMap", "kubevirt-ca", lambda one: one["data"].update(trust))
    told = [f"{leader.addresses[0]}:9185"]
    items = changed(items, "KubeVirt", "kubevirt",
                    lambda one: one["status"].update(synchronizationAddresses=told))  # fmt: skip
    kinds = {Role.HANDLER: "virt-handler", Role.LEADER: "virt-synchronization-controller"}
    made = [
        make_pod(
            each.pod, kinds[each.role], node=each.node, address=each.addresses[0], mac=each.mac
        )
        for each in pods
    ]
    nodes = sorted({each.node for each in pods})
    return [*items, make_lease(leader.pod, time.time()), *made, *map(make_node, nodes),
            *map(_agent_pod, nodes)]  # fmt: skip


def _write_attachments(fleet: Fleet, cluster: str, directory: Path) -> None:
    """Write down what the agents of the nodes would have, had they attached the pods."""
    directory.mkdir(parents=True)
    pods = [each for each in fleet.pods.values() if each.endpoint.cluster == cluster]
    for number, pod in enumerate(pods):
        owner = Owner.of("migration-net", f"sandbox{number}", "migration0")
        attachment = Attachment(
            owner=owner,
            program="bridge",
            netns=f"/run/netns/{pod.netns.name}",
            sandbox=(0, 0),
            visible=True,
            host=(0, 0),
            boot_id="boot",
            attached_s=time.time(),
            args=f"IgnoreUnknown=1;K8S_POD_NAMESPACE={NAMESPACE};K8S_POD_NAME={pod.endpoint.pod}",
            path="/opt/cni/bin",
            config=b"{}",
            result={"cniVersion": "1.0.0"},
        )
        (directory / f"{owner.tag}.json").write_bytes(render_attachment(attachment))


@dataclass(frozen=True, slots=True)
class Reached:
    """Two clusters that can be verified from afar."""

    fleet: Fleet
    served: dict[str, Served]
    place: Path

    def verify(self) -> tuple[int, Observations]:
        """Run the command; its exit code and what it saved."""
        seen = self.place / "seen.json"
        words = ["verify", str(self.place / "network.yaml"), "--save", str(seen),
                 "--kubeconfig", str(self.place / "config"), "--format", "json"]  # fmt: skip
        code = main(words)
        return code, parse_observations(seen.read_bytes(), "seen.json")


@pytest.fixture
def reached(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reached]:
    (tmp_path / "network.yaml").write_text(INTENT)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    served = {}
    for name in ("east", "west"):
        _write_attachments(fleet, name, tmp_path / name / "attachments")
        environ = {"SPANBRIDGE_STATE": str(tmp_path / name)}
        served[name] = Served(_objects(fleet, name), environ=environ)
    with ExitStack() as stack:
        urls = [(name, stack.enter_context(serving(each))) for name, each in served.items()]
        write_kubeconfig(tmp_path / "config", urls)
        yield Reached(fleet, served, tmp_path)


def _codes(observations: Observations) -> list[str]:
    return [each.code for each in verify(observations).diagnoses]


def test_all_pairs_of_two_clusters_are_measured_by_their_agents(reached: Reached) -> None:
    code, seen = reached.verify()
    verdict = verify(seen)
    assert (code, _codes(seen)) == (0, [])
    assert len(verdict.pairs) == 4 * 3 + 2
    assert {each.state for each in verdict.pairs} == {PairState.GOOD}
    assert {each.mtu for each in seen.endpoints} == {9000}
    tls = {(dial.port, dial.tls is not None and dial.tls.trusted)
           for each in seen.probes for dial in each.dials}  # fmt: skip
    assert tls == {(8443, True), (9185, False)}
    assert seen.measured


def test_what_is_broken_in_a_pod_is_named(reached: Reached) -> None:
    reached.fleet.pods["west/virt-handler-2"].ip("link", "set", "migration0", "mtu", "1500")
    code, seen = reached.verify()
    assert (code, _codes(seen)[0]) == (1, "SBV40")


def test_a_node_without_an_agent_is_named_and_the_others_are_measured(reached: Reached) -> None:
    objects = reached.served["east"].objects
    objects.remove(next(each for each in objects
                        if each["metadata"]["name"] == "spanbridge-agent-east-2"))  # fmt: skip
    code, seen = reached.verify()
    assert (code, _codes(seen)) == (1, ["SBV71"])
    failed = {each.source for each in seen.probes if each.error}
    assert failed == {"east/virt-handler-2"}
