# SPDX-License-Identifier: Apache-2.0
"""What rules are told about a cluster."""

import json

import pytest

from spanbridge.kube.source import parse_source
from spanbridge.model.netconf import VlanRange
from spanbridge.model.reader import Node
from spanbridge.stretch.lint import lint
from spanbridge.stretch.lint.cluster import Cluster, read_cluster
from spanbridge.stretch.lint.examples import as_clusters
from spanbridge.stretch.lint.policies import as_bridge, interfaces_of, may_reach_control_plane
from spanbridge.stretch.lint.pools import free_of, read_ipam
from spanbridge.stretch.lint.registry import HYPERCONVERGED, nad
from spanbridge.stretch.lint.views import items_of

CONFIG = """\
{"cniVersion": "1.0.0", "type": "bridge", "bridge": "br-mig",
 "ipam": {"type": "whereabouts", "range": "10.88.0.0/24"}}
"""
MANIFEST = nad(CONFIG)["nad.yaml"]


def cluster(**files: str) -> Cluster:
    return read_cluster(as_clusters({f"{name}.yaml": text for name, text in files.items()})[0])


def codes(**files: str) -> list[str]:
    clusters = as_clusters({f"{name}.yaml": text for name, text in files.items()})
    return [each.code for each in lint(clusters).findings]


def free(ipam: dict[str, object]) -> list[str]:
    facts = read_ipam(Node({"ipam": ipam}))
    assert facts.faults == ()
    return [str(span) for pool in facts.pools for span in free_of(pool)]


@pytest.mark.parametrize(
    ("ipam", "spans"),
    [
        ({"type": "whereabouts", "range": "10.88.0.0/24"}, ["10.88.0.1-10.88.0.254"]),
        ({"type": "whereabouts", "range": "10.88.0.5-10.88.0.9/24"}, ["10.88.0.5-10.88.0.9"]),
        (
            {"type": "whereabouts", "range": "10.88.0.0/29", "exclude": ["10.88.0.2/31"]},
            ["10.88.0.1", "10.88.0.4-10.88.0.6"],
        ),
        (
            {"type": "whereabouts",
             "ipRanges": [{"range": "10.88.0.0/30"}, {"range": "fd00::/126"}]},
            ["10.88.0.1-10.88.0.2", "fd00::1-fd00::3"],
        ),
        ({"type": "host-local", "subnet": "10.9.0.0/29"}, ["10.9.0.2-10.9.0.6"]),
        (
            {"type": "host-local",
             "ranges": [[{"subnet": "10.9.0.0/29", "rangeStart": "10.9.0.4"}]]},
            ["10.9.0.4-10.9.0.6"],
        ),
        ({"type": "static", "addresses": [{"address": "10.9.0.4/29"}]}, ["10.9.0.4"]),
        ({"type": "dhcp"}, []),
    ],
)  # fmt: skip
def test_addresses_of_every_kind_of_management_are_known(
    ipam: dict[str, object], spans: list[str]
) -> None:
    assert free(ipam) == spans


@pytest.mark.parametrize(
    ("ipam", "pointer"),
    [
        ({"type": "whereabouts"}, "/ipam/range"),
        ({"type": "whereabouts", "range": "10.88.0.0"}, "/ipam/range"),
        (
            {"type": "whereabouts", "range": "10.88.0.0/24", "range_end": "10.89.0.1"},
            "/ipam/range_end",
        ),
        (
            {"type": "whereabouts", "range": "10.88.0.0/24", "exclude": ["x"]},
            "/ipam/exclude/0",
        ),
    ],
)
def test_what_whereabouts_would_refuse_or_ignore_is_a_fault(
    ipam: dict[str, object], pointer: str
) -> None:
    assert [each.pointer for each in read_ipam(Node({"ipam": ipam})).faults] == [pointer]


@pytest.mark.parametrize("written", ["migration-net", "openshift-cnv/migration-net"])
def test_the_migration_network_is_found_by_name_and_namespace(written: str) -> None:
    hyper = HYPERCONVERGED.replace("network: migration-net", f"network: {written}")
    found = cluster(hyper=hyper, nad=MANIFEST)

    assert [each.migration for each in found.networks] == [True]


def test_a_network_of_that_name_elsewhere_is_another_one() -> None:
    other = MANIFEST.replace("openshift-cnv", "default")

    assert [each.migration for each in cluster(hyper=HYPERCONVERGED, nad=other).networks] == [False]


def test_hyperconverged_decides_where_kubevirt_says_otherwise() -> None:
    kubevirt = """\
apiVersion: kubevirt.io/v1
kind: KubeVirt
metadata: {name: kubevirt, namespace: openshift-cnv}
spec: {configuration: {migrations: {network: other}}}
"""
    choice = cluster(a=kubevirt, hyper=HYPERCONVERGED).migration

    assert choice is not None
    assert choice.network == "migration-net"


def test_lists_are_opened_and_places_stay_right() -> None:
    item = "- " + MANIFEST.replace("\n", "\n  ").rstrip()
    text = f"apiVersion: v1\nkind: List\nitems:\n{item}\n".replace(
        '"br-mig"', '"br-mig", "vlan": 0'
    )
    found = cluster(all=text.replace('"type": "bridge"', '"type": "bridge", "mtu": 3'))
    position = found.networks[0].plugins[0].spot("mtu").position

    assert found.networks[0].name == "migration-net"
    assert text.split("\n")[position.line - 1].lstrip().startswith('{"cniVersion"')


def test_files_of_nodes_are_the_migration_network_where_the_manifest_is_empty() -> None:
    empty = MANIFEST.partition("spec:")[0]
    conf = json.dumps({"cniVersion": "1.0.0", "name": "migration-net", "type": "bridge"})
    files = {"hyper.yaml": HYPERCONVERGED, "nad.yaml": empty, "nodes-a.conf": conf}
    found = read_cluster(as_clusters(files)[0])

    assert [each.migration for each in found.networks] == [True]


POLICY = """\
apiVersion: nmstate.io/v1
kind: NodeNetworkConfigurationPolicy
metadata: {name: p}
spec:
  nodeSelector: {%s}
  desiredState:
    interfaces:
    - {name: br, type: linux-bridge, state: up, bridge: {port: [{name: eth1%s}]}}
"""


@pytest.mark.parametrize(
    ("vlan", "filtering", "tagged"),
    [
        ("", True, ["2-4094"]),
        (", vlan: {}", False, []),
        (", vlan: {mode: trunk, trunk-tags: [{id: 5}, {id-range: {min: 7, max: 9}}]}", True,
         ["5", "7-9"]),
        (", vlan: {mode: access, tag: 5}", True, []),
    ],
    ids=["default", "opted out", "trunk", "access"],
)  # fmt: skip
def test_ports_of_policies_carry_what_nmstate_makes_of_them(
    vlan: str, filtering: bool, tagged: list[str]  # noqa: FBT001  # a parameter of the test
) -> None:  # fmt: skip
    policy = next(items_of(parse_source(POLICY % ("", vlan), "p.yaml")[0]))
    bridge = as_bridge(next(interfaces_of(policy)))

    assert bridge is not None
    assert bridge.filtering is filtering
    assert [str(VlanRange(each.first, each.last)) for each in bridge.ports[0].tagged] == tagged


@pytest.mark.parametrize(
    ("labels", "reaches"),
    [
        ("", True),
        ("rack: a", True),
        ('node-role.kubernetes.io/worker: ""', False),
        ('node-role.kubernetes.io/control-plane: ""', True),
        ('node-role.kubernetes.io/worker: "", kubernetes.io/hostname: n1', True),
    ],
)
def test_selectors_tell_whether_control_plane_nodes_may_be_meant(
    labels: str, reaches: bool  # noqa: FBT001  # a parameter of the test
) -> None:  # fmt: skip
    policy = next(items_of(parse_source(POLICY % (labels, ""), "p.yaml")[0]))

    assert may_reach_control_plane(policy) is reaches


def test_the_room_is_checked_against_the_nodes_that_are_listed() -> None:
    small = MANIFEST.replace("10.88.0.0/24", "10.88.0.0/28")
    nodes = "\n---\n".join(
        f"apiVersion: v1\nkind: Node\nmetadata: {{name: n{number}}}" for number in range(12)
    )

    assert "SB057" not in codes(hyper=HYPERCONVERGED, nad=small)
    assert "SB057" in codes(hyper=HYPERCONVERGED, nad=small, nodes=nodes)


def test_controllers_that_are_placed_by_hand_may_be_on_workers() -> None:
    policy = POLICY.replace("br,", "br-mig,") % ('node-role.kubernetes.io/worker: ""', "")
    placed = HYPERCONVERGED + "  infra: {nodePlacement: {}}\n"

    assert "SB094" in codes(hyper=HYPERCONVERGED, nad=MANIFEST, policy=policy)
    assert "SB094" not in codes(hyper=placed, nad=MANIFEST, policy=policy)


@pytest.mark.parametrize(
    ("gates", "severity"),
    [
        ("[{name: decentralizedLiveMigration, state: Enabled}]", None),
        ("[{name: decentralizedLiveMigration, state: Disabled}]", "error"),
        ("[]", None),
    ],
)
def test_the_gate_of_the_newer_api_is_open_unless_it_is_closed(
    gates: str, severity: str | None
) -> None:
    text = f"""\
apiVersion: hco.kubevirt.io/v1
kind: HyperConverged
metadata: {{name: kubevirt-hyperconverged, namespace: openshift-cnv}}
spec:
  featureGates: {gates}
  virtualization: {{liveMigrationConfig: {{network: migration-net}}}}
"""
    findings = lint(as_clusters({"hyper.yaml": text, "nad.yaml": MANIFEST})).findings

    assert [each.severity.value for each in findings] == ([severity] if severity else [])
