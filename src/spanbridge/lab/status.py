# SPDX-License-Identifier: Apache-2.0
"""
What of a planned lab is in the kernel: read, never remembered.

Absence is a fact here, not an error: status is for a lab in which something broke.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from spanbridge.base.errors import SpanbridgeError
from spanbridge.base.names import IfName
from spanbridge.lab.agents import Ask, agent_daemon
from spanbridge.lab.build import find_netns
from spanbridge.lab.daemons import find_daemon
from spanbridge.lab.dhcp import Dnsmasq
from spanbridge.lab.faults.records import read_entries
from spanbridge.lab.parallel import on_each
from spanbridge.lab.place import Place
from spanbridge.lab.runtime import Runtime
from spanbridge.lab.standin.observing import StandinStatus, observe_standins
from spanbridge.lab.topology import (
    DHCP_NETNS,
    FABRIC_NETNS,
    POD_INTERFACE,
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
class KeptLease:
    """
    A lease, as the agent that keeps it tells.

    Attributes:
        address: With prefix length; empty while there is none.
        server: Who gave it.
        state: Of the client.
        renew_s: Seconds until it is renewed; None for never.
        expiry_s: Seconds until it ends; None for never.
    """

    address: str
    server: str
    state: str
    renew_s: float | None
    expiry_s: float | None


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """
    The agent of a node.

    Attributes:
        pid: Its process id; None when it does not run.
        socket: Where it listens.
        leases: What it keeps.
        trouble: Why it cannot be asked; empty when it can.
    """

    pid: int | None
    socket: str
    leases: tuple[KeptLease, ...] = ()
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class GivenLease:
    """What the DHCP server has given: to whom, what, and for how many seconds more."""

    mac: str
    address: str
    left_s: int


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """
    The DHCP server.

    Attributes:
        pid: Its process id; None when it does not run.
        netns: Where it runs.
        address: Its own.
        first: First address that it gives.
        last: Last one.
        leases: What it has given.
    """

    pid: int | None
    netns: str
    address: str
    first: str
    last: str
    leases: tuple[GivenLease, ...]


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
        agent: Its agent; None in a lab without agents.
    """

    name: str
    cluster: str
    netns: str
    bridge: str
    vlan_filtering: bool
    uplink: PortStatus | None
    trunk: PortStatus | None
    handler: PodStatus
    agent: AgentStatus | None = None

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
            (self.agent is None or self.agent.pid is not None, "its agent does not run"),
            (self.agent is None or not self.agent.trouble, "its agent does not answer"),
        )
        return next((text for good, text in checks if not good), "")


@dataclass(frozen=True, slots=True)
class LabStatus:
    """
    The lab, node by node.

    Attributes:
        vlan: Of the migration network.
        nodes: Cluster by cluster.
        server: The DHCP server, if it was built with one.
        injected: Faults that it was given on purpose, each with its place.
        standins: Of KubeVirt's programs, where they were started.
    """

    vlan: int
    nodes: tuple[NodeStatus, ...]
    server: ServerStatus | None = None
    injected: tuple[str, ...] = ()
    standins: tuple[StandinStatus, ...] = ()

    @property
    def faults(self) -> tuple[str, ...]:
        """Name the first thing on each node that is not as built, then the others' faults."""
        found = [(node.name, node.fault(self.vlan)) for node in self.nodes]
        if self.server is not None and self.server.pid is None:
            found.append((self.server.netns, "the DHCP server does not run"))
        found += [(each.netns, each.fault) for each in self.standins]
        return tuple(f"{name}: {text}" for name, text in found if text)

    @property
    def up(self) -> bool:
        """Whether nothing is missing."""
        return not self.faults


def carries(port: PortStatus | None, vlan: int) -> bool:
    """Tell whether a port forwards and has ``vlan`` among its VLANs."""
    if port is None or not port.forwarding:
        return False
    return any(each.first <= vlan <= each.last for each in port.vlans)


def observe_lab(runtime: Runtime, *, ask: Ask) -> LabStatus:
    """Read everything; agents are asked for their leases."""
    lab, place = runtime.lab, runtime.place
    there = frozenset(find_netns())
    trunks = _ports(FABRIC_NETNS) if FABRIC_NETNS in there else {}
    nodes = tuple(_observe_node(node, there, trunks.get(node.name)) for node in lab.nodes)
    if runtime.has_agents:
        agents = on_each(lambda node: _observe_agent(place, node, ask), lab.nodes)
        nodes = tuple(replace(node, agent=agent) for node, agent in zip(nodes, agents, strict=True))
    injected = tuple(each.label for each in read_entries(place))
    server, standins = _observe_server(lab, place), observe_standins(lab, place)
    return LabStatus(lab.vlan, nodes, server, injected, standins)


def _observe_agent(place: Place, node: Node, ask: Ask) -> AgentStatus:
    path, pid = place.agent_socket(node), find_daemon(agent_daemon(place, node))
    if pid is None:
        return AgentStatus(None, str(path))
    try:
        answer = ask(path, "leases")
    except SpanbridgeError as error:
        return AgentStatus(pid, str(path), trouble=str(error))
    leases = answer if isinstance(answer, list) else []
    return AgentStatus(pid, str(path), tuple(map(parse_kept, leases)))


def parse_kept(lease: Mapping[str, Any]) -> KeptLease:
    """Read one object of an agent's answer to ``leases``."""
    return KeptLease(
        address=lease["address"],
        server=lease["server"],
        state=lease["state"],
        renew_s=lease["renewInSeconds"],
        expiry_s=lease["expiresInSeconds"],
    )


def _observe_server(lab: Lab, place: Place) -> ServerStatus | None:
    if lab.dhcp is None:
        return None
    server, now = Dnsmasq(place), time.time()
    leases = (
        GivenLease(lease.mac, lease.address, max(0, round(lease.expires - now)))
        for lease in server.leases()
    )
    return ServerStatus(
        pid=find_daemon(server.daemon),
        netns=DHCP_NETNS,
        address=str(lab.dhcp.address),
        first=str(lab.dhcp.pool.first),
        last=str(lab.dhcp.pool.last),
        leases=tuple(leases),
    )


def render_status(status: LabStatus) -> dict[str, object]:
    """Make the JSON document of `lab status`."""
    nodes = [asdict(node) | {"fault": node.fault(status.vlan) or None} for node in status.nodes]
    server = asdict(status.server) if status.server is not None else None
    injected = list(status.injected)
    standins = [asdict(each) | {"fault": each.fault or None} for each in status.standins]
    return {
        "up": status.up,
        "vlan": status.vlan,
        "nodes": nodes,
        "dhcp": server,
        "injected": injected,
        "standins": standins,
    }


def _observe_node(node: Node, there: frozenset[str], trunk: PortStatus | None) -> NodeStatus:
    ports: dict[str, PortStatus] = {}
    bridge: Link | None = None
    by_index: dict[int, str] = {}
    if node.netns in there:
        ports = _ports(node.netns)
        with NetNs.open(node.netns) as netns, Rtnl.open(netns) as rtnl:
            bridge = rtnl.link(IfName(node.wiring.bridge))
            by_index = {link.index: link.name for link in rtnl.links()}
    return NodeStatus(
        name=node.name,
        cluster=node.cluster,
        netns=node.netns,
        bridge=bridge.name if bridge is not None and bridge.bridge is not None else "",
        vlan_filtering=bool(bridge and bridge.bridge and bridge.bridge.vlan_filtering),
        uplink=ports.get(node.wiring.uplink),
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
