# SPDX-License-Identifier: Apache-2.0
"""Objects of two clusters against their intent: ranges, trust, and what a verdict makes of it."""

import json
import time

import pytest

from spanbridge.kube.saved import ClusterObjects, sort_objects
from spanbridge.kube.source import parse_source
from spanbridge.model.intent import Intent
from spanbridge.model.observations import AddressRange, Expectations
from spanbridge.model.verdict import Verdict
from spanbridge.stretch.clusters import (
    expect_ranges,
    hyperconverged_version,
    read_ranges,
    survey_clusters,
)
from spanbridge.stretch.intent_file import find_intent, load_intent
from spanbridge.stretch.observing import observe_objects
from spanbridge.stretch.verify import verify
from spanbridge.testing.cluster_objects import (
    NETWORK,
    Object,
    changed,
    make_objects,
    make_pod,
    without,
)

NOW = time.time() + 3600
INTENT = """
apiVersion: spanbridge.io/v1alpha1
kind: MigrationNetwork
metadata: {name: migration-net}
spec:
  vlan: 2
  subnets: [10.88.0.0/24]
  clusters:
  - {name: east, nodePools: [{uplink: eth1, count: 2}]}
  - {name: west, flavor: kubevirt, namespace: openshift-cnv,
     nodePools: [{uplink: eth1, count: 2}]}
"""


@pytest.fixture
def intent() -> Intent:
    return load_intent(find_intent(parse_source(INTENT, "network.yaml"), "network.yaml"))


@pytest.fixture
def east() -> list[Object]:
    return make_objects("east", first=10, seen_at=NOW)


@pytest.fixture
def west() -> list[Object]:
    return make_objects("west", first=110, seen_at=NOW)


def _objects(**clusters: list[Object]) -> list[ClusterObjects]:
    return [
        ClusterObjects(name, "openshift-cnv", name, NOW, sort_objects(items))
        for name, items in clusters.items()
    ]


def _judge(intent: Intent, objects: list[ClusterObjects]) -> Verdict:
    expected = expect_ranges(Expectations(vlan=2, subnets=("10.88.0.0/24",)), intent, objects)
    survey = survey_clusters(intent, objects)
    return verify(observe_objects(survey, expected, taken_at="2026-11-29T16:00:00Z"))


def _codes(verdict: Verdict) -> list[str]:
    return [each.code for each in verdict.diagnoses]


def test_two_clusters_as_planned_give_a_verdict_without_a_cause(
    intent: Intent, east: list[Object], west: list[Object]
) -> None:
    verdict = _judge(intent, _objects(east=east, west=west))
    assert _codes(verdict) == []
    assert verdict.observations.sampled_from == 4 * 3 + 2


def test_the_ranges_are_those_of_the_clusters_own_networks(
    intent: Intent, east: list[Object], west: list[Object]
) -> None:
    found = expect_ranges(Expectations(), intent, _objects(east=east, west=west)).ranges
    assert found == (
        AddressRange("east", "10.88.0.10", "10.88.0.99"),
        AddressRange("west", "10.88.0.110", "10.88.0.199"),
    )


def _with_ipam(objects: list[Object], **ipam: object) -> list[Object]:
    def change(network: Object) -> None:
        conf = json.loads(network["spec"]["config"])
        conf["ipam"] = ipam
        network["spec"]["config"] = json.dumps(conf)

    return changed(objects, "NetworkAttachmentDefinition", NETWORK, change)


def test_what_is_excluded_is_not_handed_out(intent: Intent, east: list[Object]) -> None:
    holed = _with_ipam(east, type="whereabouts", range="10.88.0.0/29", exclude=["10.88.0.2/31"])
    spans = read_ranges(intent, _objects(east=holed))["east"]
    assert [str(each) for each in spans] == ["10.88.0.1", "10.88.0.4-10.88.0.6"]


@pytest.mark.parametrize("ipam", [{"type": "dhcp"}, {"type": "whereabouts"}, {}])
def test_where_no_range_can_be_told_none_is_expected(
    intent: Intent, east: list[Object], ipam: dict[str, object]
) -> None:
    assert read_ranges(intent, _objects(east=_with_ipam(east, **ipam))) == {}


def test_a_range_that_two_clusters_hand_out_is_found_before_any_pod_has_it(
    intent: Intent, east: list[Object], west: list[Object]
) -> None:
    pasted = _with_ipam(west, type="whereabouts", range="10.88.0.0/24",
                        range_start="10.88.0.90", range_end="10.88.0.199")  # fmt: skip
    (found,) = _judge(intent, _objects(east=east, west=pasted)).diagnoses
    assert found.code == "SBV74"
    assert "it hands out 10.88.0.90-10.88.0.99, and so does cluster east" in found.message


def test_a_pod_out_of_its_clusters_range_is_found(
    intent: Intent, east: list[Object], west: list[Object]
) -> None:
    stranger = make_pod("virt-handler-e3", "virt-handler", node="east-3", address="10.88.0.150")
    verdict = _judge(intent, _objects(east=[*east, stranger], west=west))
    assert _codes(verdict) == ["SBV22"]
    assert verdict.passed


def test_an_authority_that_was_not_exchanged_is_found(intent: Intent, east: list[Object]) -> None:
    west = make_objects("west", first=110, seen_at=NOW, trusted=("west",))
    verdict = _judge(intent, _objects(east=east, west=west))
    assert _codes(verdict) == ["SBV60"]
    assert "cluster west does not trust" in verdict.diagnoses[0].message


def test_a_cluster_without_the_network_is_told_why(
    intent: Intent, east: list[Object], west: list[Object]
) -> None:
    items = sort_objects(without(west, "NetworkAttachmentDefinition"))
    bare = ClusterObjects("west", "openshift-cnv", "west", NOW,
                          items | {"NetworkAttachmentDefinition": ()})  # fmt: skip
    (found,) = _judge(intent, [*_objects(east=east), bare]).diagnoses
    assert found.message == (
        "NetworkAttachmentDefinition openshift-cnv/migration-net of cluster west: there is none"
    )


def test_only_clusters_under_hyperconverged_are_asked_for_it(intent: Intent) -> None:
    assert [hyperconverged_version(each) for each in intent.clusters] == ["v1beta1", ""]
