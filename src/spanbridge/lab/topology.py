# SPDX-License-Identifier: Apache-2.0
"""
What a lab is made of, as data, and the pure function that plans it.

Everything a lab makes can be found again by name: its network namespaces begin
with ``NETNS_PREFIX``, every link lives in one of them, every file in the state
directory. So cleaning up needs no record of what was done.
"""

import enum
import hashlib
import ipaddress
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from spanbridge.base.errors import InputError
from spanbridge.base.names import VLAN_MAX, IfName, VlanId

NETNS_PREFIX: Final = "sb-lab-"
FABRIC_NETNS: Final = f"{NETNS_PREFIX}fabric"
FABRIC_BRIDGE: Final = IfName("fabric")
NODE_BRIDGE: Final = IfName("br-mig")
UPLINK: Final = IfName("eth1")
DHCP_NETNS: Final = f"{NETNS_PREFIX}dhcp"
DHCP_PORT: Final = IfName("dhcp")
DHCP_LINK: Final = IfName("eth0")
POD_INTERFACE: Final = IfName("migration0")
"""Name that KubeVirt gives to the interface. Source: KubeVirt 1.7, apimachinery types.go."""

MTU_DEFAULT: Final = 1500
MTU_MIN: Final = 576
MTU_MAX: Final = 65535
NODES_MIN: Final = 2
NODES_MAX: Final = 32
"""Nodes of all clusters together: every ordered pair is pinged."""

_KEPT_FREE: Final = 4
"""The network's own address, the gateway's, the DHCP server's, the broadcast address."""

_CLUSTER_NAME: Final = re.compile(r"[a-z]([a-z0-9-]{0,9}[a-z0-9])?")
# Letters and digits of generated pod names; vowels are left out there too.
# Source: Kubernetes 1.34, apimachinery/pkg/util/rand.
_SUFFIX_LETTERS: Final = "bcdfghjklmnpqrstvwxz2456789"


class IpamKind(enum.StrEnum):
    """Who hands out the addresses of the migration network."""

    DHCP = "dhcp"
    """A DHCP server on the VLAN, for all clusters."""
    HOST_LOCAL = "host-local"
    """Every node by itself, from its own part of the subnet."""


@dataclass(frozen=True, slots=True)
class AddressRange:
    """Consecutive IPv4 addresses, both ends included."""

    first: ipaddress.IPv4Address
    last: ipaddress.IPv4Address

    def __contains__(self, address: ipaddress.IPv4Address) -> bool:
        """Tell whether ``address`` lies in the range."""
        return self.first <= address <= self.last

    def __str__(self) -> str:
        return f"{self.first} to {self.last}"


@dataclass(frozen=True, slots=True)
class Wiring:
    """
    How a node's bridge comes to its uplink.

    Attributes:
        bridge: Name of the bridge.
        uplink: Name of the device that leads to the fabric.
        mtu: Of both, in bytes; 0 is the lab's.
        vlans: What the uplink carries, as an administrator or NMState sets it; empty where
            a command or the plugin does.
        command: Words after ``spanbridge`` that prepare the node; empty without them.
    """

    bridge: str = NODE_BRIDGE
    uplink: str = UPLINK
    mtu: int = 0
    vlans: tuple[int, ...] = ()
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlannedNode:
    """
    A node as the files of a plan have it.

    Attributes:
        cluster: Its cluster.
        config: Network configuration for its pods, JSON.
        wiring: How it is prepared.
    """

    cluster: str
    config: str
    wiring: Wiring


@dataclass(frozen=True, slots=True)
class PlannedLab:
    """
    What the files of a plan say.

    Attributes:
        nodes: Cluster by cluster.
        outsider: An address that they give to nobody, for the negative proof.
        dnsmasq: Configuration of the DHCP server; empty without one.
        server: Its address.
        pool: First and last address that it hands out.
    """

    nodes: tuple[PlannedNode, ...]
    outsider: str
    dnsmasq: str = ""
    server: str = ""
    pool: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class Pod:
    """
    A pod on a node, attached to one network.

    Attributes:
        name: As Kubernetes would name it.
        netns: Name of its network namespace.
        container_id: What the runtime tells the CNI program.
        network: Name of the network.
        vlan: VLAN in the network's configuration; None leaves the key out.
        addresses: What the network hands out on this node, to nobody else.
        bridge: The bridge that it is attached to.
        config: Network configuration from a plan, JSON; empty where the lab makes one.
    """

    name: str
    netns: str
    container_id: str
    network: str
    vlan: VlanId | None
    addresses: AddressRange
    bridge: str = NODE_BRIDGE
    config: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """
    A node: a network namespace with a bridge whose uplink leads to the fabric.

    Attributes:
        name: Cluster and number, for example east-1; also the fabric's port to it.
        cluster: Name of its cluster.
        netns: Name of its network namespace.
        handler: Its virt-handler.
        wiring: How its bridge comes to its uplink.
    """

    name: str
    cluster: str
    netns: str
    handler: Pod
    wiring: Wiring = Wiring()


@dataclass(frozen=True, slots=True)
class SyncPod:
    """
    A pod of a cluster's virt-synchronization-controller; attached on demand.

    Attributes:
        pod: The pod, on the network of the node's virt-handler.
        node: Where it runs.
        number: 0 or 1 in its cluster.
    """

    pod: Pod
    node: Node
    number: int

    @property
    def cluster(self) -> str:
        """Name of its cluster."""
        return self.node.cluster

    @property
    def leader(self) -> bool:
        """Whether it holds the lease; the other one stands by."""
        return self.number == 0


@dataclass(frozen=True, slots=True)
class DhcpServer:
    """
    The DHCP server on the migration network.

    Attributes:
        address: Its own.
        pool: What it hands out.
        router: What it tells clients the gateway is.
    """

    address: ipaddress.IPv4Address
    pool: AddressRange
    router: ipaddress.IPv4Address


@dataclass(frozen=True, slots=True)
class Cluster:
    """Nodes that belong together."""

    name: str
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class LabParameters:
    """
    What a user chooses; a plan follows from it alone.

    Attributes:
        clusters: Names, in the order shown.
        nodes: Nodes in each cluster.
        vlan: VLAN of the migration network.
        subnet: Subnet of the migration network, IPv4.
        mtu: MTU of fabric, bridges and pods, in bytes.
        ipam: Who hands out addresses.
        planned: What `spanbridge plan` wrote, where the lab is built from that.
    """

    clusters: tuple[str, ...] = ("east", "west")
    nodes: int = 2
    vlan: int = 2
    subnet: str = "10.88.0.0/24"
    mtu: int = MTU_DEFAULT
    ipam: IpamKind = IpamKind.DHCP
    planned: PlannedLab | None = None


@dataclass(frozen=True, slots=True)
class Lab:
    """
    The whole plan.

    Attributes:
        parameters: What it was planned from.
        clusters: Clusters in the order shown.
        vlan: VLAN of the migration network.
        subnet: Its subnet.
        gateway: First host address: the router's, and with ``isGateway`` every node's.
        mtu: In bytes.
        dhcp: The DHCP server; None when the nodes hand out addresses.
        outsider: Pod for the negative proof, on ``outsider_node``: no VLAN in its network.
    """

    parameters: LabParameters
    clusters: tuple[Cluster, ...]
    vlan: VlanId
    subnet: ipaddress.IPv4Network
    gateway: ipaddress.IPv4Address
    mtu: int
    dhcp: DhcpServer | None
    outsider: Pod

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Every node, cluster by cluster."""
        return tuple(node for cluster in self.clusters for node in cluster.nodes)

    @property
    def has_gateway(self) -> bool:
        """Whether every node has the gateway's address: a plan has it on none."""
        return self.dhcp is not None and self.parameters.planned is None

    @property
    def outsider_node(self) -> Node:
        """Where the pod of the negative proof runs: beside a virt-handler, on its bridge."""
        return self.nodes[0]

    def attachments(self) -> Iterator[tuple[Node, Pod]]:
        """Every virt-handler with its node; the outsider is attached by verify alone."""
        return ((node, node.handler) for node in self.nodes)


def plan_lab(parameters: LabParameters) -> Lab:
    """
    Plan clusters, nodes, pods and their addresses.

    Raises:
        InputError: A parameter cannot be used; the message says what to give instead.
    """
    if parameters.planned is not None:
        return _plan_planned(parameters, parameters.planned)
    _check_clusters(parameters.clusters)
    _check_number("--nodes", parameters.nodes, 1, NODES_MAX // len(parameters.clusters))
    _check_number("--vlan", parameters.vlan, 2, VLAN_MAX)
    _check_number("--mtu", parameters.mtu, MTU_MIN, MTU_MAX)
    subnet = _parse_subnet(parameters.subnet)
    vlan = VlanId(parameters.vlan)
    names = [
        (cluster, f"{cluster}-{number}")
        for cluster in parameters.clusters
        for number in range(1, parameters.nodes + 1)
    ]
    if len(names) < NODES_MIN:
        raise InputError(
            "cannot plan a lab of one node: nobody would be there to answer",
            hint="give two --clusters or two --nodes",
        )
    *slices, last = cut_addresses(subnet, len(names) + 1)
    nodes = [
        Node(name, cluster, f"{NETNS_PREFIX}{name}", _handler(name, vlan, addresses))
        for (cluster, name), addresses in zip(names, slices, strict=True)
    ]
    return Lab(
        parameters=parameters,
        clusters=tuple(
            Cluster(name, tuple(node for node in nodes if node.cluster == name))
            for name in parameters.clusters
        ),
        vlan=vlan,
        subnet=subnet,
        gateway=subnet[1],
        mtu=parameters.mtu,
        dhcp=_plan_dhcp(subnet, slices) if parameters.ipam is IpamKind.DHCP else None,
        outsider=_outsider(nodes[0].name, last),
    )


def _plan_planned(parameters: LabParameters, planned: PlannedLab) -> Lab:
    """Plan the lab that the files of a plan describe."""
    _check_clusters(parameters.clusters)
    _check_number("VLAN", parameters.vlan, 2, VLAN_MAX)
    _check_number("MTU", parameters.mtu, MTU_MIN, MTU_MAX)
    _check_number("the number of nodes", len(planned.nodes), NODES_MIN, NODES_MAX)
    subnet, outsider = _parse_subnet(parameters.subnet), ipaddress.IPv4Address(planned.outsider)
    nodes: list[Node] = []
    for each in planned.nodes:
        number = 1 + sum(node.cluster == each.cluster for node in nodes)
        nodes.append(_planned_node(each, f"{each.cluster}-{number}", parameters.vlan, subnet))
    return Lab(
        parameters=parameters,
        clusters=tuple(
            Cluster(name, tuple(node for node in nodes if node.cluster == name))
            for name in parameters.clusters
        ),
        vlan=VlanId(parameters.vlan),
        subnet=subnet,
        gateway=subnet[1],
        mtu=parameters.mtu,
        dhcp=_planned_server(planned, subnet) if planned.dnsmasq else None,
        outsider=_planned_outsider(parameters, nodes[0], outsider, subnet),
    )


def _planned_node(
    planned: PlannedNode, name: str, vlan: int, subnet: ipaddress.IPv4Network
) -> Node:
    handler = replace(
        _handler(name, VlanId(vlan), AddressRange(subnet[1], subnet[-2])),
        network=json.loads(planned.config)["name"],
        bridge=planned.wiring.bridge,
        config=planned.config,
    )
    return Node(name, planned.cluster, f"{NETNS_PREFIX}{name}", handler, planned.wiring)


def _planned_outsider(
    parameters: LabParameters,
    node: Node,
    address: ipaddress.IPv4Address,
    subnet: ipaddress.IPv4Network,
) -> Pod:
    """Make the pod without the VLAN; its one address may be the router's, so it is static."""
    network = {
        "cniVersion": "1.0.0",
        "name": "no-vlan-net",
        "type": "bridge",
        "bridge": node.wiring.bridge,
        "mtu": parameters.mtu,
        "ipam": {"type": "static", "addresses": [{"address": f"{address}/{subnet.prefixlen}"}]},
    }
    pod = _outsider(node.name, AddressRange(address, address))
    return replace(pod, bridge=node.wiring.bridge, config=json.dumps(network))


def _planned_server(planned: PlannedLab, subnet: ipaddress.IPv4Network) -> DhcpServer:
    first, last = (ipaddress.IPv4Address(each) for each in planned.pool)
    return DhcpServer(ipaddress.IPv4Address(planned.server), AddressRange(first, last), subnet[1])


def sync_pods(lab: Lab) -> tuple[SyncPod, ...]:
    """
    Name the two sync controllers of every cluster, leader and standby, cluster by cluster.

    On two nodes where there are two. Each takes an address of its node's virt-handler's range.
    """
    return tuple(
        SyncPod(_sync_pod(node, number), node, number)
        for cluster in lab.clusters
        for number, node in enumerate((cluster.nodes[0], cluster.nodes[:2][-1]))
    )


def _sync_pod(node: Node, number: int) -> Pod:
    return replace(
        node.handler,
        name=f"virt-synchronization-controller-{_suffix(f'{node.name}-sync{number}')}",
        netns=f"{node.netns}.sync{number}",
        container_id=f"{node.netns}-sync{number}",
    )


def cut_addresses(subnet: ipaddress.IPv4Network, parts: int) -> tuple[AddressRange, ...]:
    """
    Cut the host addresses of ``subnet`` into equal ranges that share no address.

    The first host address is left out, it is the gateway's, and the last, where a DHCP
    server is.

    Raises:
        InputError: There are fewer addresses than parts.
    """
    free = subnet.num_addresses - _KEPT_FREE
    size = free // parts
    if size < 1:
        raise InputError(
            f"cannot cut {subnet} into {parts} ranges: it has {max(free, 0)} free addresses",
            hint="give a larger --subnet or fewer --nodes",
        )
    starts = (2 + part * size for part in range(parts))
    return tuple(AddressRange(subnet[start], subnet[start + size - 1]) for start in starts)


def _plan_dhcp(subnet: ipaddress.IPv4Network, slices: list[AddressRange]) -> DhcpServer:
    """Have one server hand out what the nodes would have: all but the outsider's range."""
    pool = AddressRange(slices[0].first, slices[-1].last)
    return DhcpServer(address=subnet[-2], pool=pool, router=subnet[1])


def _handler(node: str, vlan: VlanId, addresses: AddressRange) -> Pod:
    return Pod(
        name=f"virt-handler-{_suffix(node)}",
        netns=f"{NETNS_PREFIX}{node}.virt-handler",
        container_id=f"{NETNS_PREFIX}{node}-virt-handler",
        network="bridge-net",
        vlan=vlan,
        addresses=addresses,
    )


def _outsider(node: str, addresses: AddressRange) -> Pod:
    return Pod(
        name="outsider",
        netns=f"{NETNS_PREFIX}{node}.outsider",
        container_id=f"{NETNS_PREFIX}{node}-outsider",
        network="no-vlan-net",
        vlan=None,
        addresses=addresses,
    )


def _suffix(node: str) -> str:
    digest = hashlib.sha256(node.encode()).digest()
    return "".join(_SUFFIX_LETTERS[byte % len(_SUFFIX_LETTERS)] for byte in digest[:5])


def _check_clusters(names: tuple[str, ...]) -> None:
    hint = "give different names of at most 11 lower-case letters, digits and dashes"
    if not names or len(set(names)) != len(names):
        raise InputError(
            f"cannot use --clusters {','.join(names)!r}: names missing or repeated", hint=hint
        )
    for name in names:
        if _CLUSTER_NAME.fullmatch(name) is None:
            raise InputError(f"cannot use --clusters: {name!r} is no cluster name", hint=hint)
    if len(names) > NODES_MAX:
        raise InputError(f"cannot use --clusters: more than {NODES_MAX}", hint=hint)


def _check_number(option: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InputError(f"cannot use {option} {value}", hint=f"give {least} to {most}")


def _parse_subnet(text: str) -> ipaddress.IPv4Network:
    try:
        return ipaddress.IPv4Network(text)
    except ValueError as error:
        raise InputError(
            f"cannot use --subnet {text!r}: {error}", hint="give an IPv4 network, like 10.88.0.0/24"
        ) from error
