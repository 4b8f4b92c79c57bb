# SPDX-License-Identifier: Apache-2.0
"""
Kubernetes objects of a migration network, as data.

Source: Network Custom Resource Definition De-facto Standard 1.3, section 3;
kubernetes-nmstate 0.85, api/shared; HyperConverged Cluster Operator 1.18, api/v1 and
api/v1beta1; KubeVirt 1.8, kubevirt.io/api/core/v1/types.go.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from spanbridge.kube.manifest import Manifest
from spanbridge.model.intent import HyperConvergedApi

GATE: Final = "DecentralizedLiveMigration"
HCO_GATE: Final = "decentralizedLiveMigration"
HCO_GROUP: Final = "hco.kubevirt.io"
HCO_NAME: Final = "kubevirt-hyperconverged"
KUBEVIRT_NAME: Final = "kubevirt"
NETWORKS_ANNOTATION: Final = "k8s.v1.cni.cncf.io/networks"
STATUS_ANNOTATION: Final = "k8s.v1.cni.cncf.io/network-status"
MIGRATION_INTERFACE: Final = "migration0"


def network_attachment(name: str, namespace: str, config: str) -> Manifest:
    """Make a NetworkAttachmentDefinition; without ``config`` it refers to the nodes' files."""
    found = {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": name, "namespace": namespace},
    }
    return {**found, "spec": {"config": config} if config else {}}


@dataclass(frozen=True, slots=True)
class BridgePolicy:
    """
    A bridge with its uplink, as NMState shall keep it.

    Attributes:
        name: Name of the policy.
        selector: Labels of the nodes.
        bridge: The bridge.
        uplink: The device below it.
        vlan: VLAN that the uplink carries; 0 is untagged.
        mtu: In bytes, of both.
    """

    name: str
    selector: Mapping[str, str]
    bridge: str
    uplink: str
    vlan: int
    mtu: int


def node_network_policy(policy: BridgePolicy) -> Manifest:
    """
    Make a NodeNetworkConfigurationPolicy.

    Exactly the VLAN is allowed on the uplink: without tags kubernetes-nmstate allows 2 to
    4094, and an empty ``vlan`` leaves the bridge without VLAN filtering.
    """
    trunk = {"mode": "trunk", "trunk-tags": [{"id": policy.vlan}]} if policy.vlan else {}
    uplink = {
        "name": policy.uplink,
        "type": "bond" if policy.uplink.startswith("bond") else "ethernet",
        "state": "up",
        "mtu": policy.mtu,
    }
    bridge = {
        "name": policy.bridge,
        "type": "linux-bridge",
        "state": "up",
        "mtu": policy.mtu,
        "ipv4": {"enabled": False},
        "ipv6": {"enabled": False},
        "bridge": {
            "options": {"stp": {"enabled": False}},
            "port": [{"name": policy.uplink, "vlan": trunk}],
        },
    }
    return {
        "apiVersion": "nmstate.io/v1",
        "kind": "NodeNetworkConfigurationPolicy",
        "metadata": {"name": policy.name},
        "spec": {
            "nodeSelector": dict(policy.selector),
            "desiredState": {"interfaces": [uplink, bridge]},
        },
    }


def hyperconverged(api: HyperConvergedApi, namespace: str, network: str) -> Manifest:
    """
    Make the merge patch of HyperConverged that names the migration network.

    In v1beta1 feature gates are a map, so the gate is in the patch; in v1 they are a list,
    which a merge patch would replace: see ``gate_patch``.
    """
    head = {
        "apiVersion": f"{HCO_GROUP}/{api}",
        "kind": "HyperConverged",
        "metadata": {"name": HCO_NAME, "namespace": namespace},
    }
    migration = {"liveMigrationConfig": {"network": network}}
    if api is HyperConvergedApi.V1:
        return {**head, "spec": {"virtualization": migration}}
    return {**head, "spec": {"featureGates": {HCO_GATE: True}, **migration}}


def kubevirt(namespace: str, network: str) -> Manifest:
    """Make the merge patch of KubeVirt that names the migration network; see ``gate_patch``."""
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "KubeVirt",
        "metadata": {"name": KUBEVIRT_NAME, "namespace": namespace},
        "spec": {"configuration": {"migrations": {"network": network}}},
    }


def gate_value(api: HyperConvergedApi) -> object:
    """Give the element that a list of feature gates must have."""
    return {"name": HCO_GATE, "state": "Enabled"} if api is HyperConvergedApi.V1 else GATE


def gates_path(api: HyperConvergedApi) -> str:
    """Point to the list of feature gates, as a JSON patch does."""
    if api is HyperConvergedApi.V1:
        return "/spec/featureGates"
    return "/spec/configuration/developerConfiguration/featureGates"


def gate_patch(api: HyperConvergedApi) -> str:
    """Make the JSON patch that appends the feature gate to a list that is there."""
    change = {"op": "add", "path": f"{gates_path(api)}/-", "value": gate_value(api)}
    return json.dumps([change])
