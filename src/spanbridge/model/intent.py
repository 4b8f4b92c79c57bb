# SPDX-License-Identifier: Apache-2.0
"""
The intent: one file that says what the migration network of all clusters shall be.

``docs/reference/intent.md`` explains every field; ``docs/reference/intent.schema.json``
is the same for editors.
"""

import enum
from dataclasses import dataclass
from typing import Final

from spanbridge.base.names import IfName
from spanbridge.model.addresses import Cidr, Ip
from spanbridge.model.spans import Span

API_VERSION: Final = "spanbridge.io/v1alpha1"
KIND: Final = "MigrationNetwork"

NODES_MAX: Final = 5000
"""Nodes of one pool. Source: Kubernetes 1.34, considerations for large clusters."""


class IpamType(enum.StrEnum):
    """Who hands out the addresses; the names are those of the CNI plugins."""

    WHEREABOUTS = "whereabouts"
    """Each cluster from its own range, kept in its API server."""
    HOST_LOCAL = "host-local"
    """Each node from its own range, kept on its disk."""
    STATIC = "static"
    """One address a node, written in its configuration."""
    DHCP = "dhcp"
    """One DHCP server on the VLAN, for all clusters."""


class Flavor(enum.StrEnum):
    """What a cluster runs."""

    OPENSHIFT = "openshift"
    KUBEVIRT = "kubevirt"


class HyperConvergedApi(enum.StrEnum):
    """Version of the HyperConverged API to write; NONE is KubeVirt without it."""

    V1BETA1 = "v1beta1"
    V1 = "v1"
    NONE = "none"


class PluginKind(enum.StrEnum):
    """Which program ``bridge`` is on the nodes."""

    REFERENCE = "reference"
    SPANBRIDGE = "spanbridge"


@dataclass(frozen=True, slots=True)
class NodePool:
    """
    Nodes that are wired alike.

    Attributes:
        name: Unique in its cluster.
        nodes: Their names; empty where only ``count`` is known.
        count: How many there are.
        bridge: The bridge that pods are attached to.
        uplink: The device that leads out of the node.
        nmstate: Kubernetes NMState configures these nodes.
        node_selector: Labels of these nodes; empty where names or all nodes are meant.
        control_plane: These are control-plane nodes, where the synchronization
            controllers run; None where the intent does not say.
        schedulable: A virt-handler runs on these nodes.
        pointer: JSON pointer to the pool.
    """

    name: str
    nodes: tuple[str, ...]
    count: int
    bridge: IfName
    uplink: IfName
    nmstate: bool
    node_selector: tuple[tuple[str, str], ...]
    control_plane: bool | None
    schedulable: bool
    pointer: str


@dataclass(frozen=True, slots=True)
class Cluster:
    """
    One cluster.

    Attributes:
        name: Unique; names its directory too.
        context: Context of the kubeconfig file.
        namespace: Where KubeVirt is installed, and so where Multus looks the network up.
        flavor: What it runs.
        hyperconverged: The HyperConverged API to write.
        plugin: Which program ``bridge`` is on its nodes.
        pools: Its nodes.
        pointer: JSON pointer to the cluster.
    """

    name: str
    context: str
    namespace: str
    flavor: Flavor
    hyperconverged: HyperConvergedApi
    plugin: PluginKind
    pools: tuple[NodePool, ...]
    pointer: str

    @property
    def node_count(self) -> int:
        """Nodes that may run a virt-handler."""
        return sum(pool.count for pool in self.pools if pool.schedulable)


@dataclass(frozen=True, slots=True)
class IntentIpam:
    """
    Address management.

    Attributes:
        type: Who hands out addresses.
        server: Address of the DHCP server; None takes the last one of the subnet.
        lease_s: Seconds that the DHCP server grants.
        growth_percent: Room kept for nodes to come, in percent of today's.
    """

    type: IpamType
    server: Ip | None
    lease_s: int
    growth_percent: int


@dataclass(frozen=True, slots=True)
class Intent:
    """
    A migration network that stretches over clusters.

    Attributes:
        name: Name of the network, and of its NetworkAttachmentDefinition.
        vlan: VLAN that it has on the uplinks; 0 means untagged.
        mtu: In bytes, the same on every uplink, bridge and pod.
        subnets: At most one of each family, without host bits.
        gateways: Routers on the network: their addresses are never handed out.
        reserved: Other addresses that are never handed out.
        ipam: Address management.
        clusters: In the order of the file.
    """

    name: str
    vlan: int
    mtu: int
    subnets: tuple[Cidr, ...]
    gateways: tuple[Ip, ...]
    reserved: tuple[Span, ...]
    ipam: IntentIpam
    clusters: tuple[Cluster, ...]
