# SPDX-License-Identifier: Apache-2.0
"""
Routes.

Source: linux/rtnetlink.h, Linux 6.1.
"""

import socket
import struct
from dataclasses import dataclass
from typing import Final

from spanbridge.base.errors import InputError
from spanbridge.base.names import IfIndex
from spanbridge.rtnl.messages import (
    RTM_DELROUTE,
    RTM_NEWROUTE,
    SCOPE_HOST,
    SCOPE_LINK,
    SCOPE_UNIVERSE,
    Message,
)
from spanbridge.rtnl.wire import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Attributes,
    WireError,
    attribute,
    attribute_u32,
    family_of,
    pack_address,
    unpack_address,
    unpack_struct,
)

RTMSG: Final = struct.Struct("=BBBBBBBBI")
"""
rtmsg: u8 family, destination bits, source bits, tos, table, protocol, scope, type;
u32 flags.
"""

_NEXTHOP: Final = struct.Struct("=HBBi")
"""rtnexthop: u16 length with attributes, u8 flags, u8 weight minus 1, s32 index."""

_FAMILY: Final = struct.Struct("=H")

RTA_DST: Final = 1
RTA_SRC: Final = 2
RTA_OIF: Final = 4
_RTA_GATEWAY: Final = 5
_RTA_PRIORITY: Final = 6
_RTA_PREFSRC: Final = 7
_RTA_METRICS: Final = 8
_RTA_MULTIPATH: Final = 9
RTA_TABLE: Final = 15
_RTA_VIA: Final = 18
_RTAX_MTU: Final = 2
_RTAX_ADVMSS: Final = 8

_ONLINK: Final = 4
_TABLE_COMPAT: Final = 252
"""In the u8 field when the table's number does not fit: RTA_TABLE has it."""

_SCOPE_NOWHERE: Final = 255

TABLE_MAIN: Final = 254
TABLE_LOCAL: Final = 255

_BITS: Final = {socket.AF_INET: 32, socket.AF_INET6: 128}

PROTOCOLS: Final = {
    "unspec": 0,
    "redirect": 1,
    "kernel": 2,
    "boot": 3,
    "static": 4,
    "ra": 9,
    "dhcp": 16,
}
"""
Who made a route, as ``ip`` spells it.

Source: linux/rtnetlink.h, RTPROT_….
"""

_PROTOCOL_NAMES: Final = {number: name for name, number in PROTOCOLS.items()}

TYPES: Final = (
    "unspec",
    "unicast",
    "local",
    "broadcast",
    "anycast",
    "multicast",
    "blackhole",
    "unreachable",
    "prohibit",
    "throw",
)
"""
By number.

Source: linux/rtnetlink.h, RTN_….
"""


@dataclass(frozen=True, slots=True)
class NextHop:
    """
    One way of a route with several.

    Attributes:
        gateway: Empty for a route on the link.
        oif: Outgoing link.
        weight: Its share, from 1.
    """

    gateway: str
    oif: IfIndex
    weight: int


@dataclass(frozen=True, slots=True)
class Route:
    """
    A route.

    Attributes:
        family: AF_INET or AF_INET6.
        destination: ``10.0.0.0/8``; ``default`` for everything.
        gateway: Empty for a route on the link; may be IPv6 in an IPv4 route. Of a route
            with several ways, the first one's.
        oif: Outgoing link; 0 for none. Of a route with several ways, the first one's.
        table: 254 is the main one.
        priority: The metric; less is better.
        scope: SCOPE_….
        protocol: One of ``PROTOCOLS``, or the number of another.
        type: One of ``TYPES``, or the number of another.
        mtu: Bytes; 0 for the link's.
        advmss: Bytes; 0 for what the MTU gives.
        prefsrc: Source address for packets of this host; empty for the kernel's choice.
        on_link: The gateway counts as reachable, whatever other routes say.
        nexthops: All ways of a route with several, else empty.
    """

    family: int
    destination: str
    gateway: str
    oif: IfIndex
    table: int
    priority: int
    scope: int
    protocol: str
    type: str
    mtu: int
    advmss: int
    prefsrc: str
    on_link: bool
    nexthops: tuple[NextHop, ...] = ()


def parse_route_type(body: bytes) -> str:
    """
    Decode what becomes of a packet that takes a route, one of ``TYPES``; cheaply.

    Raises:
        WireError: The body is cut short.
    """
    kind = unpack_struct(RTMSG, body)[7]
    return TYPES[kind] if kind < len(TYPES) else str(kind)


def parse_route(body: bytes) -> Route:
    """
    Decode the body of RTM_NEWROUTE.

    Raises:
        WireError: It is cut short, or an attribute has a wrong size.
    """
    header = unpack_struct(RTMSG, body)
    family, bits, _, _, table, protocol, scope, _, flags = header
    found = Attributes(body, RTMSG.size)
    metrics = found.nest(_RTA_METRICS)
    nexthops = _parse_nexthops(family, found.raw.get(_RTA_MULTIPATH, b""))
    first = nexthops[0] if nexthops else NextHop("", IfIndex(0), 1)
    named_table = found.u32(RTA_TABLE)
    prefsrc = found.raw.get(_RTA_PREFSRC)
    return Route(
        family=family,
        destination=_parse_destination(family, bits, found.raw.get(RTA_DST)),
        gateway=_parse_gateway(family, found) or first.gateway,
        oif=IfIndex(found.u32(RTA_OIF) or first.oif),
        table=table if named_table is None else named_table,
        priority=found.u32(_RTA_PRIORITY) or 0,
        scope=scope,
        protocol=_PROTOCOL_NAMES.get(protocol, str(protocol)),
        type=parse_route_type(body),
        mtu=metrics.u32(_RTAX_MTU) or 0,
        advmss=metrics.u32(_RTAX_ADVMSS) or 0,
        prefsrc="" if prefsrc is None else unpack_address(family, prefsrc),
        on_link=bool(flags & _ONLINK),
        nexthops=nexthops,
    )


def _parse_destination(family: int, bits: int, data: bytes | None) -> str:
    if data is None:
        return "default"
    return f"{unpack_address(family, data)}/{bits}"


def _parse_gateway(family: int, found: Attributes) -> str:
    gateway = found.raw.get(_RTA_GATEWAY)
    if gateway is not None:
        return unpack_address(family, gateway)
    via = found.raw.get(_RTA_VIA)
    if via is None:
        return ""
    return unpack_address(unpack_struct(_FAMILY, via)[0], via[_FAMILY.size :])


def _parse_nexthops(family: int, data: bytes) -> tuple[NextHop, ...]:
    found: list[NextHop] = []
    at = 0
    while at < len(data):
        length, _, weight, oif = unpack_struct(_NEXTHOP, data[at:])
        if length < _NEXTHOP.size or at + length > len(data):
            raise WireError(f"cannot decode a next hop: its length {length} is wrong")
        inner = Attributes(data[at : at + length], _NEXTHOP.size)
        found.append(NextHop(_parse_gateway(family, inner), IfIndex(oif), weight + 1))
        at += (length + 3) & ~3
    return tuple(found)


def _split(destination: str, gateway: str | None) -> tuple[int, int, bytes]:
    """Family, prefix length and bytes of a destination as it is written in a request."""
    if destination == "default":
        family = socket.AF_INET if gateway is None else family_of(gateway)
        return family, 0, b""
    text, slash, bits = destination.partition("/")
    packed = pack_address(text)
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    length = int(bits) if bits.isdecimal() else -1 if slash else _BITS[family]
    if not 0 <= length <= _BITS[family]:
        raise InputError(f"cannot use destination {destination}: its prefix length is wrong")
    return family, length, packed if length else b""


def _gateway_attribute(family: int, gateway: str) -> bytes:
    if family_of(gateway) == family:
        return attribute(_RTA_GATEWAY, pack_address(gateway))
    via = _FAMILY.pack(family_of(gateway)) + pack_address(gateway)
    return attribute(_RTA_VIA, via)


def _metrics(mtu: int | None, advmss: int | None) -> bytes:
    inside = attribute_u32(_RTAX_MTU, mtu) if mtu else b""
    inside += attribute_u32(_RTAX_ADVMSS, advmss) if advmss else b""
    return attribute(_RTA_METRICS, inside) if inside else b""


def _default_scope(family: int, kind: str, gateway: str | None) -> int:
    """
    Choose the scope as ``ip route`` does; IPv6 knows none.

    Source: iproute2 6.1, ip/iproute.c, iproute_modify().
    """
    if family == socket.AF_INET6:
        return SCOPE_UNIVERSE
    if kind == "local":
        return SCOPE_HOST
    return SCOPE_LINK if gateway is None and kind == "unicast" else SCOPE_UNIVERSE


def new_route(  # noqa: PLR0913  # one keyword per attribute
    destination: str,
    *,
    gateway: str | None = None,
    oif: int | None = None,
    table: int | None = None,
    priority: int | None = None,
    scope: int | None = None,
    mtu: int | None = None,
    advmss: int | None = None,
    prefsrc: str | None = None,
    on_link: bool = False,
    append: bool = False,
    replace: bool = False,
    protocol: str = "boot",
    kind: str = "unicast",
) -> Message:
    """
    Add a route; EEXIST when there is one, unless ``append`` or ``replace``.

    Args:
        destination: ``10.0.0.0/8``, ``default`` or an address; ``default`` has the family
            of ``gateway``, IPv4 without one: then write ``::/0`` for IPv6.
        gateway: Next hop; None or empty for a route on the link.
        oif: Outgoing link; None only for types without one, such as ``blackhole``.
        table: None for the main one.
        priority: The metric; None for the family's default (IPv4 0, IPv6 1024).
        scope: SCOPE_…; None for what ``ip route`` would choose.
        mtu: Bytes; None for the link's.
        advmss: Bytes.
        prefsrc: Source address for packets of this host.
        on_link: Take the gateway as reachable, whatever other routes say.
        append: Add behind a route to the same destination.
        replace: Put in the place of a route to the same destination.
        protocol: One of ``PROTOCOLS``.
        kind: One of ``TYPES``.
    """
    gateway = gateway or None
    family, length, packed = _split(destination, gateway)
    if scope is None:
        scope = _default_scope(family, kind, gateway)
    mode = NLM_F_CREATE
    mode |= NLM_F_APPEND if append else NLM_F_REPLACE if replace else NLM_F_EXCL
    body = RTMSG.pack(
        *(family, length, 0, 0, _table_byte(table), PROTOCOLS[protocol], scope),
        TYPES.index(kind),
        _ONLINK if on_link else 0,
    )
    body += _where(packed, table=table, priority=priority, oif=oif)
    if gateway is not None:
        body += _gateway_attribute(family, gateway)
    if prefsrc is not None:
        body += attribute(_RTA_PREFSRC, pack_address(prefsrc))
    body += _metrics(mtu, advmss)
    return Message(RTM_NEWROUTE, mode, body, f"add route {_spell(destination, gateway)}")


def del_route(
    destination: str,
    *,
    gateway: str | None = None,
    oif: int | None = None,
    table: int | None = None,
    priority: int | None = None,
) -> Message:
    """
    Delete the first route that matches; ESRCH when none does.

    None stands for any, except that it means the main ``table``.
    """
    gateway = gateway or None
    family, length, packed = _split(destination, gateway)
    # Nowhere as scope, 0 as protocol and as type match every route.
    body = RTMSG.pack(family, length, 0, 0, _table_byte(table), 0, _SCOPE_NOWHERE, 0, 0)
    body += _where(packed, table=table, priority=priority, oif=oif)
    if gateway is not None:
        body += _gateway_attribute(family, gateway)
    return Message(RTM_DELROUTE, 0, body, f"delete route {_spell(destination, gateway)}")


def _spell(destination: str, gateway: str | None) -> str:
    return f"{destination} via {gateway}" if gateway else destination


def _table_byte(table: int | None) -> int:
    number = TABLE_MAIN if table is None else table
    return number if number <= TABLE_LOCAL else _TABLE_COMPAT


def _where(packed: bytes, *, table: int | None, priority: int | None, oif: int | None) -> bytes:
    body = attribute(RTA_DST, packed) if packed else b""
    if table is not None:
        body += attribute_u32(RTA_TABLE, table)
    if priority is not None:
        body += attribute_u32(_RTA_PRIORITY, priority)
    if oif is not None:
        body += attribute_u32(RTA_OIF, oif)
    return body
