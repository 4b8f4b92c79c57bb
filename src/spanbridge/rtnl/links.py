# SPDX-License-Identifier: Apache-2.0
"""
Links as the kernel reports them.

Attribute types not listed here are skipped; ``Attributes.raw`` has them.

Source: linux/if_link.h and linux/if.h, Linux 6.1.
"""

import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

from spanbridge.base.names import IfIndex
from spanbridge.rtnl.messages import IFINFO
from spanbridge.rtnl.vlans import PortVlan, parse_af_spec
from spanbridge.rtnl.wire import Attributes, unpack_struct

IFLA_ADDRESS: Final = 1
IFLA_IFNAME: Final = 3
IFLA_MTU: Final = 4
IFLA_LINK: Final = 5
IFLA_QDISC: Final = 6
IFLA_MASTER: Final = 10
IFLA_TXQLEN: Final = 13
IFLA_OPERSTATE: Final = 16
IFLA_LINKINFO: Final = 18
IFLA_IFALIAS: Final = 20
IFLA_AF_SPEC: Final = 26
IFLA_GROUP: Final = 27
IFLA_NET_NS_FD: Final = 28
IFLA_EXT_MASK: Final = 29
IFLA_PROMISCUITY: Final = 30
IFLA_NUM_TX_QUEUES: Final = 31
IFLA_NUM_RX_QUEUES: Final = 32
IFLA_CARRIER: Final = 33
IFLA_LINK_NETNSID: Final = 37

IFLA_INFO_KIND: Final = 1
IFLA_INFO_DATA: Final = 2
IFLA_INFO_SLAVE_KIND: Final = 4
IFLA_INFO_SLAVE_DATA: Final = 5

IFLA_BR_FORWARD_DELAY: Final = 1
IFLA_BR_AGEING_TIME: Final = 4
IFLA_BR_STP_STATE: Final = 5
IFLA_BR_VLAN_FILTERING: Final = 7
IFLA_BR_VLAN_PROTOCOL: Final = 8
IFLA_BR_MCAST_SNOOPING: Final = 23
IFLA_BR_VLAN_DEFAULT_PVID: Final = 39
IFLA_BR_MULTI_BOOLOPT: Final = 46

BR_BOOLOPT_NO_LL_LEARN: Final = 1
BOOLOPT: Final = struct.Struct("=II")
"""
br_boolopt_multi: u32 values, u32 mask of those meant; and the one of its bits that we use.

Source: linux/if_bridge.h, Linux 6.1.
"""

IFLA_BRPORT_STATE: Final = 1
IFLA_BRPORT_MODE: Final = 4
IFLA_BRPORT_GUARD: Final = 5
IFLA_BRPORT_PROTECT: Final = 6
IFLA_BRPORT_LEARNING: Final = 8
IFLA_BRPORT_UNICAST_FLOOD: Final = 9
IFLA_BRPORT_MCAST_FLOOD: Final = 27
IFLA_BRPORT_BCAST_FLOOD: Final = 30
IFLA_BRPORT_NEIGH_SUPPRESS: Final = 32
IFLA_BRPORT_ISOLATED: Final = 33

IFLA_INET_CONF: Final = 1
IPV4_DEVCONF_ARP_NOTIFY: Final = 22
"""
A sysctl of a link by its number.

Source: linux/ip.h, Linux 6.1.
"""

IFLA_INET6_ADDR_GEN_MODE: Final = 8
IN6_ADDR_GEN_MODE_EUI64: Final = 0
IN6_ADDR_GEN_MODE_NONE: Final = 1

IFLA_VLAN_ID: Final = 1
VETH_INFO_PEER: Final = 1

IFF_UP: Final = 0x1
IFF_LOOPBACK: Final = 0x8
IFF_PROMISC: Final = 0x100

_AF_BRIDGE: Final = 7

OPERSTATES: Final = (
    "unknown",
    "notpresent",
    "down",
    "lowerlayerdown",
    "testing",
    "dormant",
    "up",
)
"""
By number.

Source: linux/if.h, IF_OPER_…; RFC 2863.
"""

PORT_STATES: Final = ("disabled", "listening", "learning", "forwarding", "blocking")
"""
By number.

Source: linux/if_bridge.h, BR_STATE_….
"""


@dataclass(frozen=True, slots=True)
class BridgeInfo:
    """
    What only a bridge has.

    Attributes:
        vlan_filtering: Frames are separated by VLAN.
        default_pvid: VLAN that a new port gets untagged; 0 for none, and on a kernel
            that cannot filter.
        vlan_protocol: EtherType of the tags, 0x8100 or 0x88a8; 0 where unknown.
        stp_state: Spanning tree: 0 off, 1 the kernel's, 2 a daemon's.
        forward_delay_s: Seconds in each of listening and learning, with spanning tree.
        ageing_time_s: Seconds until a learnt MAC is forgotten.
        mcast_snooping: Multicast goes only to who asked.
        linklocal_learning: MACs are learnt from frames to link-local groups
            (01:80:c2:00:00:0x) too.
    """

    vlan_filtering: bool
    default_pvid: int
    vlan_protocol: int
    stp_state: int
    forward_delay_s: float
    ageing_time_s: float
    mcast_snooping: bool
    linklocal_learning: bool


@dataclass(frozen=True, slots=True)
class PortInfo:
    """
    What only a bridge port has.

    Attributes:
        state: One of ``PORT_STATES``, or the number of one we do not know.
        hairpin: Frames may leave by the port they came from.
        isolated: No frames to or from other isolated ports.
        learning: MACs are learnt.
        guard: The port goes down on a spanning-tree frame.
        root_block: The port never leads to the root.
        unicast_flood: Frames to unknown MACs go out here.
        mcast_flood: Multicast without a known receiver goes out here.
        bcast_flood: Broadcasts go out here.
        neigh_suppress: The bridge answers ARP and neighbour solicitations itself.
    """

    state: str
    hairpin: bool
    isolated: bool
    learning: bool
    guard: bool
    root_block: bool
    unicast_flood: bool
    mcast_flood: bool
    bcast_flood: bool
    neigh_suppress: bool

    @property
    def forwarding(self) -> bool:
        """Whether frames pass."""
        return self.state == "forwarding"


class Link(NamedTuple):
    """
    A network interface; a tuple, since every call reads several and this is built fastest.

    What belongs to its kind is decoded when it is asked for: of the time to read a port
    of a bridge that is half, and most who look at one ask for something else.

    Attributes:
        index: Unique in its namespace.
        name: At most 15 bytes.
        kind: ``bridge``, ``veth``, ``vlan``, …; empty for hardware and loopback.
        mac: Hex octets joined by colons; empty where it has none.
        mtu: Bytes.
        flags: IFF_….
        operstate: One of ``OPERSTATES``, or the number of one we do not know.
        carrier: The cable is in.
        master: The bridge (or bond, …) it is a port of; 0 for none.
        link: The lower device of a VLAN, the peer of a veth; 0 for none.
        link_netnsid: Which namespace ``link`` is in, as numbered by the namespace
            that was asked; None for the same one.
        group: 0 is the default group.
        alias: Free text; empty for none.
        txqlen: Frames.
        promiscuity: How many users want promiscuous mode; a bridge is one for its ports.
        vlans: Of a bridge or its port, by VLAN; empty unless asked for.
        master_kind: Of ``master``; empty for none.
        qdisc: Name of its queueing discipline.
        own_data: What belongs to its kind, as the kernel sent it.
        port_data: What belongs to the kind of ``master``, likewise.
    """

    index: IfIndex  # type: ignore[assignment]  # hides the method of tuples
    name: str
    kind: str
    mac: str
    mtu: int
    flags: int
    operstate: str
    carrier: bool
    master: IfIndex
    link: IfIndex
    link_netnsid: int | None
    group: int
    alias: str
    txqlen: int
    promiscuity: int
    vlans: tuple[PortVlan, ...] = ()
    master_kind: str = ""
    qdisc: str = ""
    own_data: bytes = b""
    port_data: bytes = b""

    @property
    def up(self) -> bool:
        """Whether it is set up; ``operstate`` says whether it works."""
        return bool(self.flags & IFF_UP)

    @property
    def promisc(self) -> bool:
        """Whether promiscuous mode was set from outside (IFF_PROMISC)."""
        return bool(self.flags & IFF_PROMISC)

    @property
    def loopback(self) -> bool:
        """Whether it is ``lo``."""
        return bool(self.flags & IFF_LOOPBACK)

    @property
    def vlan_id(self) -> int:
        """Of a link of kind ``vlan``; 0 otherwise."""
        return Attributes(self.own_data).u16(IFLA_VLAN_ID) or 0 if self.kind == "vlan" else 0

    @property
    def bridge(self) -> BridgeInfo | None:
        """Of a bridge; raises ``WireError`` where an attribute has a wrong size."""
        return _parse_bridge(Attributes(self.own_data)) if self.kind == "bridge" else None

    @property
    def forwards(self) -> bool:
        """Whether it works, and as a bridge port passes frames."""
        if self.operstate != "up" or self.master_kind != "bridge":
            return self.operstate == "up"
        state = Attributes(self.port_data).u8(IFLA_BRPORT_STATE)
        return state == PORT_STATES.index("forwarding")

    @property
    def port(self) -> PortInfo | None:
        """Of a bridge port; raises ``WireError`` where an attribute has a wrong size."""
        return _parse_port(Attributes(self.port_data)) if self.master_kind == "bridge" else None


def parse_index(body: bytes) -> IfIndex:
    """
    Decode the index alone, cheaply.

    Raises:
        WireError: The body is cut short.
    """
    return IfIndex(unpack_struct(IFINFO, body)[2])


def parse_link(body: bytes) -> Link:
    """
    Decode the body of RTM_NEWLINK.

    Raises:
        WireError: It is cut short, or an attribute has a wrong size.
    """
    family, _, index, flags, _ = unpack_struct(IFINFO, body)
    found = Attributes(body, IFINFO.size)
    info = found.nest(IFLA_LINKINFO)
    return Link(
        index=IfIndex(index),
        name=found.text(IFLA_IFNAME),
        kind=info.text(IFLA_INFO_KIND),
        mac=found.mac(IFLA_ADDRESS),
        mtu=found.u32(IFLA_MTU) or 0,
        flags=flags,
        operstate=_named(OPERSTATES, found.u8(IFLA_OPERSTATE)),
        carrier=found.flag(IFLA_CARRIER),
        master=IfIndex(found.u32(IFLA_MASTER) or 0),
        link=IfIndex(found.u32(IFLA_LINK) or 0),
        link_netnsid=found.i32(IFLA_LINK_NETNSID),
        group=found.u32(IFLA_GROUP) or 0,
        alias=found.text(IFLA_IFALIAS),
        txqlen=found.u32(IFLA_TXQLEN) or 0,
        promiscuity=found.u32(IFLA_PROMISCUITY) or 0,
        # Other families put nests of their own shape under the same number.
        vlans=parse_af_spec(found.raw.get(IFLA_AF_SPEC, b"")) if family == _AF_BRIDGE else (),
        master_kind=info.text(IFLA_INFO_SLAVE_KIND),
        qdisc=found.text(IFLA_QDISC),
        own_data=info.raw.get(IFLA_INFO_DATA, b""),
        port_data=info.raw.get(IFLA_INFO_SLAVE_DATA, b""),
    )


def _named(names: tuple[str, ...], number: int | None) -> str:
    number = number or 0
    return names[number] if number < len(names) else str(number)


def _parse_bridge(data: Attributes) -> BridgeInfo:
    options = data.raw.get(IFLA_BR_MULTI_BOOLOPT)
    values = 0 if options is None else unpack_struct(BOOLOPT, options)[0]
    protocol = data.raw.get(IFLA_BR_VLAN_PROTOCOL, b"")
    return BridgeInfo(
        vlan_filtering=data.flag(IFLA_BR_VLAN_FILTERING),
        default_pvid=data.u16(IFLA_BR_VLAN_DEFAULT_PVID) or 0,
        # The only attribute of a bridge in network byte order.
        vlan_protocol=int.from_bytes(protocol, "big"),
        stp_state=data.u32(IFLA_BR_STP_STATE) or 0,
        # The kernel counts hundredths of a second here, whatever its own tick.
        forward_delay_s=(data.u32(IFLA_BR_FORWARD_DELAY) or 0) / 100,
        ageing_time_s=(data.u32(IFLA_BR_AGEING_TIME) or 0) / 100,
        mcast_snooping=data.flag(IFLA_BR_MCAST_SNOOPING),
        linklocal_learning=not values & BR_BOOLOPT_NO_LL_LEARN,
    )


def _parse_port(data: Attributes) -> PortInfo:
    return PortInfo(
        state=_named(PORT_STATES, data.u8(IFLA_BRPORT_STATE)),
        hairpin=data.flag(IFLA_BRPORT_MODE),
        isolated=data.flag(IFLA_BRPORT_ISOLATED),
        learning=data.flag(IFLA_BRPORT_LEARNING),
        guard=data.flag(IFLA_BRPORT_GUARD),
        root_block=data.flag(IFLA_BRPORT_PROTECT),
        unicast_flood=data.flag(IFLA_BRPORT_UNICAST_FLOOD),
        mcast_flood=data.flag(IFLA_BRPORT_MCAST_FLOOD),
        bcast_flood=data.flag(IFLA_BRPORT_BCAST_FLOOD),
        neigh_suppress=data.flag(IFLA_BRPORT_NEIGH_SUPPRESS),
    )
