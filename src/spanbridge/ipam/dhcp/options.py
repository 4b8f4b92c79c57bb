# SPDX-License-Identifier: Apache-2.0
"""
What a server grants, read from its options; and our messages with theirs. Pure.

Rule for what a server sends: what the address stands on (yiaddr, options 1, 51, 54) and
the classless routes (121, else 249) are right, or the whole message is refused. Of every
other list the whole and usable entries count; any other malformed value counts as not
sent, and times that are out of order are replaced by their defaults.

Source: RFC 2132; RFC 3442 (121); RFC 3397 (119).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from spanbridge.ipam.dhcp.packet import (
    BOOTREQUEST,
    CLIENT_ID,
    MESSAGE_TYPE,
    SERVER_ID,
    Message,
    MessageType,
    PacketError,
    pack_ipv4,
)
from spanbridge.model.addresses import Cidr, Ip, edge_fault

SUBNET_MASK: Final = 1
ROUTERS: Final = 3
DNS_SERVERS: Final = 6
HOST_NAME: Final = 12
DOMAIN: Final = 15
MTU: Final = 26
STATIC_ROUTES: Final = 33
NTP_SERVERS: Final = 42
REQUESTED_IP: Final = 50
LEASE_TIME: Final = 51
PARAMETERS: Final = 55
TEXT: Final = 56
MAX_SIZE: Final = 57
T1: Final = 58
T2: Final = 59
VENDOR_CLASS: Final = 60
USER_CLASS: Final = 77
SEARCH: Final = 119
CLASSLESS_ROUTES: Final = 121
CLASSLESS_ROUTES_MICROSOFT: Final = 249
"""Same layout as 121, from before RFC 3442; read where 121 is missing."""


_LEASE_DEFAULT_S: Final = 3600
"""Where option 51 is missing. Source: CNI plugins 1.9.1, dhcp; observed behaviour."""

_FOREVER: Final = 0xFFFFFFFF
"""Source: RFC 2131 section 3.3."""

_MTU_MIN_BYTES: Final = 68
"""Source: RFC 2132 section 5.1."""

_NAME_MAX_CHARS: Final = 253
_SEARCH_MAX: Final = 64
"""Names of option 119 that count: by compression two bytes can stand for 253."""

_LABEL: Final = re.compile(rb"[A-Za-z0-9_-]{1,63}")
_DOMAIN: Final = re.compile(rb"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")


@dataclass(frozen=True, slots=True)
class ClasslessRoute:
    """
    One route.

    Attributes:
        dst: Network with prefix length, host bits cleared.
        gw: Next hop; empty means on the link.
    """

    dst: str
    gw: str


@dataclass(frozen=True, slots=True)
class Granted:
    """
    What an OFFER or ACK gives.

    Attributes:
        address: Ours, a dotted quad.
        prefix_length: 1 to 32.
        server_id: Option 54.
        routers: Option 3 as sent, also where 121 wins.
        routes: All of them, in the order in which they can be installed: those of 121,
            on-link ones first, or those of 33 and the default route of 3.
        dns: Name servers.
        domain: Option 15; empty where not sent.
        search: Option 119.
        ntp: Time servers.
        mtu: Bytes; None where not sent.
        lease_s: None is for ever.
        t1_s: When to renew; None when the lease is for ever.
        t2_s: When to rebind; later than ``t1_s``, before ``lease_s``.
        text: Option 56, what the server wants a human to read.
    """

    address: str
    prefix_length: int
    server_id: str
    routers: tuple[str, ...] = ()
    routes: tuple[ClasslessRoute, ...] = ()
    dns: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    ntp: tuple[str, ...] = ()
    mtu: int | None = None
    lease_s: int | None = None
    t1_s: float | None = None
    t2_s: float | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """
    What is the same in every message of one client.

    Attributes:
        chaddr: Ethernet address, 6 bytes.
        client_id: Option 61, in every message.
        parameters: Option 55, in every DISCOVER and REQUEST.
        provided: Other options by code, in every DISCOVER and REQUEST.
        broadcast: Ask for broadcast answers while there is no address yet.
        max_size_bytes: Option 57: largest answer with IP and UDP headers, at least 576.
    """

    chaddr: bytes
    client_id: bytes
    parameters: tuple[int, ...] = ()
    provided: Mapping[int, bytes] = field(default_factory=dict)
    broadcast: bool = False
    max_size_bytes: int = 1500


def _is_host(ip: Ip) -> bool:
    """Tell whether a host can have it: not of 0/8, 127/8, multicast or reserved."""
    first = ip.number >> 24
    return 0 < first < 224 and first != 127


def _ip(value: bytes) -> Ip:
    return Ip(4, int.from_bytes(value, "big"))


def _hosts(options: Mapping[int, bytes], code: int) -> tuple[str, ...]:
    """Read a list of addresses, each once; a partial one at the end does not count."""
    value = options.get(code, b"")
    found = (_ip(value[at : at + 4]) for at in range(0, len(value) & ~3, 4))
    return tuple(dict.fromkeys(str(ip) for ip in found if _is_host(ip)))


def _seconds(options: Mapping[int, bytes], code: int) -> int:
    """Read an unsigned 32-bit number; 0 where missing or malformed."""
    value = options.get(code, b"")
    return int.from_bytes(value, "big") if len(value) == 4 else 0


def _interface(message: Message) -> Cidr:
    ip = _ip(pack_ipv4(message.yiaddr))
    if not _is_host(ip):
        raise PacketError(f"cannot use address {ip}: no host can have it")
    value = message.options.get(SUBNET_MASK)
    if value is None:
        raise PacketError(
            f"cannot use address {ip}: the server sent no subnet mask",
            hint="let the server send option 1",
        )
    hosts = ~int.from_bytes(value, "big") & 0xFFFFFFFF
    if len(value) != 4 or hosts & (hosts + 1) or hosts == 0xFFFFFFFF:
        raise PacketError(f"cannot use address {ip}: subnet mask {value[:8].hex()} is none")
    found = Cidr(ip, 32 - hosts.bit_length())
    fault = edge_fault(found, ip)
    if fault:
        raise PacketError(f"cannot use address {found}: {fault}")
    return found


def _lease_s(options: Mapping[int, bytes]) -> int | None:
    if LEASE_TIME not in options:
        return _LEASE_DEFAULT_S
    seconds = _seconds(options, LEASE_TIME)
    if seconds == 0:
        raise PacketError("cannot use the lease: its time is 0 or no 32-bit number")
    return None if seconds == _FOREVER else seconds


def _timers(options: Mapping[int, bytes], lease_s: int | None) -> tuple[float | None, float | None]:
    """Bring T1 and T2 in order. Source: RFC 2131 section 4.4.5, defaults and order."""
    if lease_s is None:
        return None, None
    t1: float = _seconds(options, T1)
    t2: float = _seconds(options, T2)
    if not 0 < t2 < lease_s:
        t2 = lease_s * 0.875
    if not 0 < t1 < t2:
        t1 = min(lease_s * 0.5, t2 * 4 / 7)
    return t1, t2


def _classless(value: bytes) -> Iterator[ClasslessRoute]:
    """Read u8 prefix length, as many octets of the network as it needs, u32 router; repeated."""
    at = 0
    while at < len(value):
        length = value[at]
        router = at + 1 + (length + 7) // 8
        if length > 32 or router + 4 > len(value):
            raise PacketError("cannot use the classless routes: the last one is cut short")
        number = int.from_bytes(value[at + 1 : router].ljust(4, b"\0"), "big")
        gw = _ip(value[router : router + 4])
        if gw.number and not _is_host(gw):
            raise PacketError(f"cannot use the classless routes: no router can be {gw}")
        yield ClasslessRoute(str(Cidr(Ip(4, number), length).network), str(gw) if gw.number else "")
        at = router + 4


def _classful(value: bytes) -> Iterator[ClasslessRoute]:
    """
    Read pairs of destination and router; the mask follows from the destination's class.

    A default route is not allowed here. Source: RFC 2132 section 5.8.
    """
    for at in range(0, len(value) & ~7, 8):
        dst, gw = _ip(value[at : at + 4]), _ip(value[at + 4 : at + 8])
        if _is_host(dst) and _is_host(gw):
            length = 8 if value[at] < 128 else 16 if value[at] < 192 else 24
            yield ClasslessRoute(str(Cidr(dst, length).network), str(gw))


def _routes(options: Mapping[int, bytes], routers: tuple[str, ...]) -> tuple[ClasslessRoute, ...]:
    """
    Choose between 121, 249 and the older pair.

    Source: RFC 3442: 121 makes 3 and 33 void; RFC 2132 section 3.5: the first router is
    the preferred one.
    """
    value = options.get(CLASSLESS_ROUTES) or options.get(CLASSLESS_ROUTES_MICROSOFT)
    if value:
        # Stable: a route through a router may need the on-link route to it.
        return tuple(sorted(dict.fromkeys(_classless(value)), key=lambda route: bool(route.gw)))
    default = [ClasslessRoute("0.0.0.0/0", routers[0])] if routers else []
    return tuple(dict.fromkeys([*_classful(options.get(STATIC_ROUTES, b"")), *default]))


def _name(data: bytes, start: int) -> tuple[str, int] | None:
    """
    Read one domain name and where the next begins; None where it is malformed.

    Source: RFC 1035 section 4.1.4; RFC 3397 section 2: offsets count from the option's
    first byte. A pointer must lead to before where it was reached from: no loops.
    """
    labels: list[str] = []
    at = floor = start
    after = 0
    while at < len(data) and data[at]:
        if data[at] >= 0xC0:
            target = int.from_bytes(data[at : at + 2], "big") & 0x3FFF
            if at + 2 > len(data) or target >= floor:
                return None
            after = after or at + 2
            at = floor = target
            continue
        label = data[at + 1 : at + 1 + data[at]]
        if len(label) != data[at] or not _LABEL.fullmatch(label):
            return None
        labels.append(label.decode())
        at += 1 + len(label)
        if sum(map(len, labels)) + len(labels) - 1 > _NAME_MAX_CHARS:
            return None
    return (".".join(labels), after or at + 1) if labels and at < len(data) else None


def _search(value: bytes) -> tuple[str, ...]:
    names: dict[str, None] = {}
    at = 0
    while at < len(value) and len(names) < _SEARCH_MAX:
        found = _name(value, at)
        if found is None:
            return ()
        names[found[0]] = None
        at = found[1]
    return tuple(names)


def _domain(value: bytes) -> str:
    text = value.rstrip(b"\0")
    fits = len(text) <= _NAME_MAX_CHARS + 1 and _DOMAIN.fullmatch(text)
    return text.decode() if fits else ""


def _mtu(value: bytes) -> int | None:
    number = int.from_bytes(value, "big") if len(value) == 2 else 0
    return number if number >= _MTU_MIN_BYTES else None


def server_text(message: Message) -> str:
    """Read option 56, for example why a NAK came; printable characters only."""
    text = message.options.get(TEXT, b"").decode(errors="replace")
    return "".join(char for char in text if char.isprintable()).strip()


def parse_granted(message: Message) -> Granted:
    """
    Read an OFFER or ACK.

    Raises:
        PacketError: It grants nothing that can be used; no other exception.
    """
    if message.type not in {MessageType.OFFER, MessageType.ACK}:
        raise PacketError("cannot use the DHCP message: it is neither OFFER nor ACK")
    options = message.options
    address = _interface(message)
    server_id = message.server_id
    if server_id is None or not _is_host(_ip(options[SERVER_ID])):
        raise PacketError("cannot use the DHCP message: it names no server (option 54)")
    lease_s = _lease_s(options)
    t1_s, t2_s = _timers(options, lease_s)
    routers = _hosts(options, ROUTERS)
    return Granted(
        address=str(address.ip),
        prefix_length=address.prefix_length,
        server_id=server_id,
        routers=routers,
        routes=_routes(options, routers),
        dns=_hosts(options, DNS_SERVERS),
        domain=_domain(options.get(DOMAIN, b"")),
        search=_search(options.get(SEARCH, b"")),
        ntp=_hosts(options, NTP_SERVERS),
        mtu=_mtu(options.get(MTU, b"")),
        lease_s=lease_s,
        t1_s=t1_s,
        t2_s=t2_s,
        text=server_text(message),
    )


def _message(
    who: Identity, kind: MessageType, options: Mapping[int, bytes], *, xid: int
) -> Message:
    """Make a message with what all of them carry; an empty option is left out."""
    first = {MESSAGE_TYPE: bytes((kind,)), CLIENT_ID: who.client_id}
    given = {code: value for code, value in (first | dict(options)).items() if value}
    return Message(op=BOOTREQUEST, xid=xid, chaddr=who.chaddr, options=given)


def _asking(who: Identity) -> dict[int, bytes]:
    """Make the options of every DISCOVER and REQUEST."""
    size = who.max_size_bytes.to_bytes(2, "big")
    return {MAX_SIZE: size, PARAMETERS: bytes(who.parameters), **who.provided}


def discover(who: Identity, *, xid: int, secs: int = 0, address: str = "") -> Message:
    """Ask any server, by broadcast; ``address`` is the one we would like again."""
    wish = {REQUESTED_IP: pack_ipv4(address)} if address else {}
    made = _message(who, MessageType.DISCOVER, wish | _asking(who), xid=xid)
    return replace(made, secs=_fit(secs), broadcast=who.broadcast)


def request_selecting(
    who: Identity, *, xid: int, secs: int = 0, address: str, server_id: str
) -> Message:
    """Take an offer, by broadcast; ``xid`` and ``secs`` are those of the DISCOVER."""
    chosen = {REQUESTED_IP: pack_ipv4(address), SERVER_ID: pack_ipv4(server_id)}
    made = _message(who, MessageType.REQUEST, chosen | _asking(who), xid=xid)
    return replace(made, secs=_fit(secs), broadcast=who.broadcast)


def request_reboot(who: Identity, *, xid: int, secs: int = 0, address: str) -> Message:
    """Confirm a remembered address (INIT-REBOOT), by broadcast."""
    wish = {REQUESTED_IP: pack_ipv4(address)}
    made = _message(who, MessageType.REQUEST, wish | _asking(who), xid=xid)
    return replace(made, secs=_fit(secs), broadcast=who.broadcast)


def request_renew(who: Identity, *, xid: int, secs: int = 0, address: str) -> Message:
    """
    Extend the lease at its server, by unicast from ``address``.

    The broadcast flag stays clear: with an address of its own a client receives unicast.
    """
    made = _message(who, MessageType.REQUEST, _asking(who), xid=xid)
    return replace(made, secs=_fit(secs), ciaddr=address)


def request_rebind(who: Identity, *, xid: int, secs: int = 0, address: str) -> Message:
    """Extend the lease at any server, by broadcast from ``address``: a renewal's very fields."""
    return request_renew(who, xid=xid, secs=secs, address=address)


def release(who: Identity, *, xid: int, address: str, server_id: str, text: str = "") -> Message:
    """Give the address back, by unicast to the server from ``address``."""
    options = {SERVER_ID: pack_ipv4(server_id), TEXT: text.encode()}
    return replace(_message(who, MessageType.RELEASE, options, xid=xid), ciaddr=address)


def decline(who: Identity, *, xid: int, address: str, server_id: str, text: str = "") -> Message:
    """Refuse an address that somebody else uses, by broadcast."""
    chosen = {REQUESTED_IP: pack_ipv4(address), SERVER_ID: pack_ipv4(server_id)}
    return _message(who, MessageType.DECLINE, chosen | {TEXT: text.encode()}, xid=xid)


def _fit(secs: int) -> int:
    """Keep ``secs`` within its 16 bits."""
    return min(max(secs, 0), 0xFFFF)
