# SPDX-License-Identifier: Apache-2.0
"""Intents of six kinds, and the files that a plan of one makes."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from spanbridge.kube.directory import PlannedFile, apply_changes, compare
from spanbridge.kube.source import parse_source
from spanbridge.model.intent import Intent
from spanbridge.stretch.files import render_files
from spanbridge.stretch.intent_file import find_intent, load_intent
from spanbridge.stretch.lock import LOCK_FILE
from spanbridge.stretch.planner import plan_network
from spanbridge.testing.clusters import SavedClusters, save_openshift

HEAD = """\
apiVersion: spanbridge.io/v1alpha1
kind: MigrationNetwork
metadata: {name: migration-net}
spec:
"""

INTENTS: Mapping[str, str] = {
    "ten lines": """\
  vlan: 2
  subnets: [10.88.0.0/24]
  clusters:
  - {name: east, nodePools: [{uplink: eth1, count: 3}]}
  - {name: west, nodePools: [{uplink: eth1, count: 3}]}
""",
    "dual stack, HyperConverged v1": """\
  vlan: 7
  mtu: 9000
  subnets: [10.88.0.0/22, "fd00:88::/64"]
  gateway: 10.88.0.1
  reserved: [10.88.0.2-10.88.0.9, 10.88.0.20]
  defaults: {hyperconverged: v1, uplink: bond0}
  clusters:
  - name: east
    nodePools:
    - {name: workers, count: 40}
    - {name: masters, count: 3, controlPlane: true, uplink: ens3}
  - name: west
    nodePools:
    - {name: gpu, count: 9, nodeSelector: {gpu: "yes"}}
    - {name: rest, count: 9, nodeSelector: {gpu: "no"}}
""",
    "DHCP on OpenShift": """\
  vlan: 2
  subnets: [10.88.0.0/24]
  gateway: 10.88.0.1
  ipam: {type: dhcp, server: 10.88.0.2, leaseSeconds: 3600}
  clusters:
  - {name: east, nodePools: [{uplink: eth1, count: 5}]}
  - {name: west, nodePools: [{uplink: eth1, count: 5}]}
""",
    "host-local on KubeVirt without NMState": """\
  vlan: 100
  subnets: [10.88.0.0/24, "fd00:88::/64"]
  gateway: ["10.88.0.254", "fd00:88::1"]
  ipam: {type: host-local}
  defaults: {flavor: kubevirt}
  clusters:
  - {name: east, nodePools: [{uplink: eth1, nodes: [e1, e2, e3]}]}
  - {name: west, context: admin@west, nodePools: [{uplink: eth2, bridge: br0, nodes: [w1, w2]}]}
""",
    "our plugin with pools that differ": """\
  vlan: 2
  subnets: [10.88.0.0/24]
  defaults: {flavor: kubevirt, plugin: spanbridge}
  clusters:
  - name: east
    nodePools:
    - {name: new, uplink: ens1, nodes: [n1, n2]}
    - {name: old, uplink: eth0, nodes: [o1]}
  - {name: west, nodePools: [{uplink: eth1, count: 3}]}
""",
    "static, named nodes under NMState": """\
  vlan: 0
  subnets: [10.88.0.0/24]
  ipam: {type: static}
  clusters:
  - name: east
    nodePools:
    - {name: workers, uplink: eth1, nodes: [a, b], controlPlane: false}
    - {name: masters, uplink: eth1, nodes: [m], controlPlane: true}
""",
}


def read_intent(spec: str) -> Intent:
    document = find_intent(parse_source(HEAD + spec, "network.yaml"), "network.yaml")
    return load_intent(document)


@pytest.fixture(params=list(INTENTS))
def planned(request: pytest.FixtureRequest) -> Mapping[str, PlannedFile]:
    """The files of each of six intents."""
    return render_files(plan_network(read_intent(INTENTS[request.param])))


@pytest.fixture
def intent_of() -> Callable[[str], Intent]:
    """Read an intent: the name of one of the six, or the text of a spec."""
    return lambda text: read_intent(INTENTS.get(text, text))


@pytest.fixture
def clusters(tmp_path: Path) -> SavedClusters:
    """Two saved clusters, east and west, as OpenShift Virtualization leaves them."""
    made = SavedClusters(tmp_path)
    for context in ("east", "west"):
        save_openshift(made, context)
    return made


@pytest.fixture
def plan_into(
    clusters: SavedClusters, intent_of: Callable[[str], Intent]
) -> Callable[[str], SavedClusters]:
    """Plan an intent, by name or text, into the directory beside the saved clusters."""

    def plan(text: str) -> SavedClusters:
        files = render_files(plan_network(intent_of(text)))
        changes = compare(clusters.plan, files, {})
        apply_changes(clusters.plan, changes, first=LOCK_FILE)
        return clusters

    return plan
