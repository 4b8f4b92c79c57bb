# SPDX-License-Identifier: Apache-2.0
"""
What of a planned lab is in the kernel: read, never remembered.

Absence is a fact here, not an error: status is for a lab in which something broke.
"""

from dataclasses import asdict, dataclass
from typing import Final

from spanbridge.base.names import IfName
from spanbridge.lab.build import find_netns
from spanbridge.lab.topology import (
    FABRIC_NETNS,
    NODE_BRIDGE,
    POD_INTERFACE,
    UPLINK,
    Lab,
    Node,
    Pod,
)
from spanbridge.rtnl import Link, NetNs, Rtnl

_AF_INET: Final = 2


@dataclass(frozen=True, slots=True)
class VlanEntry:
    """Consecutive VLANs of a bridge port that share their flags."""

    first: int
    last: int
    pvid: bool
    untagged: bool

    def __str__(self) -> str:
        span = str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        marks = " ".join(["pvid"] * self.pvid + ["untagged"] * self.untagged) or "tagged"
        return f"{span} {marks}"


@dataclass(frozen=True, slots=True)
class PortStatus:
    """A bridge port: its name, whether it forwards, and its VLANs."""

    name: str
    forwarding: bool
    vlans: tuple[VlanEntry, ...]


@dataclass(frozen=True, slots=True)
class PodStatus:
    """
    A virt-handler.

    Attributes:
        name: As Kubernetes names it.
        netns: Name of its network namespace.
        interface: Always ``migration0``.
        up: Whether the interface is there and up.
        mac: Empty when there is no interface.
        mtu: 0 when there is no interface.
        addresses: IPv4, with prefix length.
        port: The other end, on the node's bridge; None when there is none.
    """

    name: str
    netns: str
    interface: str
    up: bool
    mac: str
    mtu: int
    addresses: tuple[str, ...]
    port: PortStatus | None


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """
    A node.

    Attributes:
        name: Cluster and number.
        cluster: Name of its cluster.
        netns: Name of its network namespace.
        bridge: Name of the bridge; empty when it is missing.
        vlan_filtering: Whether the bridge filters VLANs.
        uplink: The port towards the fabric; None when it is missing.
        trunk: The fabric's port to this node; None when it is missing.
        handler: Its virt-handler.
    """

    name: str
    cluster: str
    netns: str
    bridge: str
    vlan_filtering: bool
    uplink: PortStatus | None
    trunk: PortStatus | None
    handler: PodStatus

    def fault(self, vlan: int) -> str:
        """Name the first thing that is not as built; empty where all is."""
        checks = (
            (bool(self.bridge), "no bridge"),
            (self.vlan_filtering, "bridge without VLAN filtering"),
            (carries(self.uplink, vlan), f"uplink does not carry VLAN {vlan}"),
            (carries(self.trunk, vlan), f"fabric does not carry VLAN {vlan}"),
            (self.handler.port is not None, "virt-handler not attached"),
            (carries(self.handler.port, vlan), f"virt-handler not in VLAN {vlan}"),
            (self.handler.up, f"{POD_INTERFACE} is down"),
            (bool(self.handler.addresses), f"{POD_INTERFACE} has no address"),
        )
        return next((text for good, text in checks if not good), "")


@dataclass(frozen=True, slots=True)
class LabStatus:
    """The lab, node by node; ``up`` is whether all is as built."""

    vlan: int
    nodes: tuple[NodeStatus, ...]

    @property
    def up(self) -> bool:
        """Whether nothing is missing."""
        return not any(node.fault(self.vlan) for node in self.nodes)


def carries(port: PortStatus | None, vlan: int) -> bool:
    """Tell whether a port forwards and has ``vlan`` among its VLANs."""
    if port is None or not port.forwarding:
        return False
    return any(each.first <= vlan <= each.last for each in port.vlans)


def observe_lab(lab: Lab) -> LabStatus:
    """Read everything."""
    there = frozenset(find_netns())
    trunks = _ports(FABRIC_NETNS) if FABRIC_NETNS in there else {}
    nodes = tuple(_observe_node(node, there, trunks.get(node.name)) for node in lab.nodes)
    return LabStatus(lab.vlan, nodes)


def render_status(status: LabStatus) -> dict[str, object]:
    """Make the JSON document of `lab status`."""
    nodes = [asdict(node) | {"fault": node.fault(status.vlan) or None} for node in status.nodes]
    return {"up": status.up, "vlan": status.vlan, "nodes": nodes}


def _observe_node(node: Node, there: frozenset[str], trunk: PortStatus | None) -> NodeStatus:
    ports: dict[str, PortStatus] = {}
    bridge: Link | None = None
    by_index: dict[int, str] = {}
    if node.netns in there:
        ports = _ports(node.netns)
        with NetNs.open(node.netns) as netns, Rtnl.open(netns) as rtnl:
            bridge = rtnl.link(NODE_BRIDGE)
            by_index = {link.index: link.name for link in rtnl.links()}
    return NodeStatus(
        name=node.name,
        cluster=node.cluster,
        netns=node.netns,
        bridge=bridge.name if bridge is not None and bridge.bridge is not None else "",
        vlan_filtering=bool(bridge and bridge.bridge and bridge.bridge.vlan_filtering),
        uplink=ports.get(UPLINK),
        trunk=trunk,
        handler=_observe_pod(node.handler, there, ports, by_index),
    )


def _observe_pod(
    pod: Pod, there: frozenset[str], ports: dict[str, PortStatus], by_index: dict[int, str]
) -> PodStatus:
    link, addresses = _interface(pod.netns, POD_INTERFACE) if pod.netns in there else (None, ())
    return PodStatus(
        name=pod.name,
        netns=pod.netns,
        interface=POD_INTERFACE,
        up=link is not None and link.up,
        mac=link.mac if link is not None else "",
        mtu=link.mtu if link is not None else 0,
        addresses=addresses,
        port=ports.get(by_index.get(link.link, "")) if link is not None else None,
    )


def _interface(netns_name: str, name: IfName) -> tuple[Link | None, tuple[str, ...]]:
    with NetNs.open(netns_name) as netns, Rtnl.open(netns) as rtnl:
        link = rtnl.link(name)
        if link is None:
            return None, ()
        found = rtnl.addresses(link.index, family=_AF_INET)
    return link, tuple(f"{each.address}/{each.prefix_length}" for each in found)


def _ports(netns_name: str) -> dict[str, PortStatus]:
    """Read the bridge ports of a namespace, by name."""
    with NetNs.open(netns_name) as netns, Rtnl.open(netns) as rtnl:
        return {
            link.name: PortStatus(link.name, link.port.forwarding, _vlans(rtnl, link))
            for link in rtnl.links()
            if link.port is not None
        }


def _vlans(rtnl: Rtnl, link: Link) -> tuple[VlanEntry, ...]:
    return tuple(
        VlanEntry(each.vid, each.vid_end, pvid=each.pvid, untagged=each.untagged)
        for each in rtnl.port_vlans(link.index)
    )
