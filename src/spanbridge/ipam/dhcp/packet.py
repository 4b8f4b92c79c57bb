# SPDX-License-Identifier: Apache-2.0
"""
DHCPv4 messages, pure: bytes to ``Message`` and back.

Layout of a message: u8 op, htype, hlen, hops; u32 xid; u16 secs, flags; four IPv4
addresses; 16 bytes chaddr; 64 bytes sname; 128 bytes file; u32 magic cookie; options.
An option is u8 code, u8 length and that many bytes; code 0 pads, code 255 ends.

Source: RFC 2131 section 2; RFC 2132 section 2.
"""

import enum
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from spanbridge.base.errors import Code, NodeError

BOOTREQUEST: Final = 1
BOOTREPLY: Final = 2

OVERLOAD: Final = 52
MESSAGE_TYPE: Final = 53
SERVER_ID: Final = 54
CLIENT_ID: Final = 61
"""The options that the codec itself looks at; the rest are named in ``options``."""

NO_ADDRESS: Final = "0.0.0.0"  # noqa: S104 - nothing is bound to it

_FIXED: Final = struct.Struct("!BBBBIHH4s4s4s4s6s10x64s128sI")
_COOKIE: Final = 0x63825363
_ETHERNET: Final = 1
_MAC_BYTES: Final = 6
_BROADCAST: Final = 0x8000
_PAD: Final = 0
_END: Final = 255
MESSAGE_MIN_BYTES: Final = 300
"""Shorter ones are dropped by old relays. Source: RFC 1542 section 2.1 (BOOTP's size)."""

MESSAGE_MAX_BYTES: Final = 1472
"""What one Ethernet frame of 1500 bytes carries; we neither send nor join fragments."""


class PacketError(NodeError):
    """Bytes or fields that make no valid DHCP message."""

    code = Code.ADDRESS_UNAVAILABLE


class MessageType(enum.IntEnum):
    """Values of option 53. Source: RFC 2132 section 9.6."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


@dataclass(frozen=True, slots=True)
class Message:
    """
    One DHCP message.

    Attributes:
        op: ``BOOTREQUEST`` or ``BOOTREPLY``.
        xid: Transaction id, 32 bits.
        chaddr: The client's Ethernet address, 6 bytes.
        secs: Seconds since the client began, 16 bits.
        broadcast: The client cannot receive unicast yet.
        ciaddr: The client's address in use, a dotted quad like the next three.
        yiaddr: The address that the server gives.
        siaddr: Next server of a boot; not used.
        giaddr: Relay.
        options: Code to value in order of appearance; parts joined, overload resolved.
    """

    op: int
    xid: int
    chaddr: bytes
    secs: int = 0
    broadcast: bool = False
    ciaddr: str = NO_ADDRESS
    yiaddr: str = NO_ADDRESS
    siaddr: str = NO_ADDRESS
    giaddr: str = NO_ADDRESS
    options: Mapping[int, bytes] = field(default_factory=dict)

    @property
    def type(self) -> MessageType | None:
        """Option 53; None when missing, malformed or unknown."""
        value = self.options.get(MESSAGE_TYPE, b"")
        return MessageType(value[0]) if len(value) == 1 and 1 <= value[0] <= 8 else None

    @property
    def server_id(self) -> str | None:
        """Option 54 as a dotted quad; None when missing or malformed."""
        value = self.options.get(SERVER_ID, b"")
        return socket.inet_ntoa(value) if len(value) == 4 else None


def is_reply_for(message: Message, xid: int, chaddr: bytes, *, client_id: bytes = b"") -> bool:
    """
    Tell whether a server's reply answers our transaction.

    Args:
        message: What came.
        xid: Of our request.
        chaddr: Ours.
        client_id: Our option 61; a reply that echoes another one is not for us.

    Source: RFC 2131 sections 2 and 4.1; RFC 6842 section 3 (the echo).
    """
    return (
        message.op == BOOTREPLY
        and message.xid == xid
        and message.chaddr == chaddr
        and message.type in {MessageType.OFFER, MessageType.ACK, MessageType.NAK}
        and (not client_id or message.options.get(CLIENT_ID, client_id) == client_id)
    )


def _pieces(options: Mapping[int, bytes]) -> Iterator[bytes]:
    """Encode the options, type first; values over 255 bytes in parts (RFC 3396 section 5)."""
    for code in sorted(options, key=lambda code: code != MESSAGE_TYPE):
        value = options[code]
        if not _PAD < code < _END:
            raise PacketError(f"cannot encode option {code}: codes are 1 to 254")
        for start in range(0, len(value) or 1, 255):
            part = value[start : start + 255]
            yield bytes((code, len(part))) + part


def pack_ipv4(address: str) -> bytes:
    """
    Encode a dotted quad.

    Raises:
        PacketError: It is none.
    """
    try:
        return socket.inet_pton(socket.AF_INET, address)
    except (OSError, ValueError) as exc:
        raise PacketError(f"cannot encode address {address!r}: it is no IPv4 address") from exc


def render_message(message: Message) -> bytes:
    """
    Encode, with the message type first and zeros up to ``MESSAGE_MIN_BYTES``.

    Raises:
        PacketError: A field is out of range, or the whole does not fit into a frame.
    """
    if len(message.chaddr) != _MAC_BYTES:
        raise PacketError(f"cannot encode chaddr {message.chaddr.hex()}: it is not 6 bytes")
    addresses = (message.ciaddr, message.yiaddr, message.siaddr, message.giaddr)
    flags = _BROADCAST if message.broadcast else 0
    head = (message.op, _ETHERNET, _MAC_BYTES, 0, message.xid, message.secs, flags)
    try:
        fixed = _FIXED.pack(*head, *map(pack_ipv4, addresses), message.chaddr, b"", b"", _COOKIE)
    except struct.error as exc:
        raise PacketError(f"cannot encode the message: {exc}") from exc
    data = fixed + b"".join(_pieces(message.options)) + bytes((_END,))
    if len(data) > MESSAGE_MAX_BYTES:
        raise PacketError(
            f"cannot encode the message: {len(data)} bytes are more than {MESSAGE_MAX_BYTES}",
            hint="provide fewer or shorter options",
        )
    return data.ljust(MESSAGE_MIN_BYTES, b"\0")


def _split(data: bytes, where: str) -> Iterator[tuple[int, bytes]]:
    """Walk over one field of options up to its end code, or to its last byte."""
    at, end = 0, len(data)
    while at < end and data[at] != _END:
        code = data[at]
        if code == _PAD:
            at += 1
            continue
        if at + 2 > end or at + 2 + data[at + 1] > end:
            raise PacketError(f"cannot decode option {code} in {where}: it is cut short")
        yield code, data[at + 2 : at + 2 + data[at + 1]]
        at += 2 + data[at + 1]


def _overloaded(value: bytes | None, sname: bytes, file: bytes) -> Iterator[tuple[int, bytes]]:
    """
    Walk over the options that option 52 puts into ``file`` (bit 0) and ``sname`` (bit 1).

    Source: RFC 2132 section 9.3; the order is that of RFC 3396 section 5.
    """
    if value is None:
        return
    if value not in {b"\1", b"\2", b"\3"}:
        raise PacketError(f"cannot decode option 52: {value[:8].hex() or 'nothing'} is not 1 to 3")
    if value[0] & 1:
        yield from _split(file, "file")
    if value[0] & 2:
        yield from _split(sname, "sname")


def parse_message(data: bytes) -> Message:
    """
    Decode.

    Raises:
        PacketError: Anything malformed; no other exception, whatever the bytes.
    """
    if len(data) < _FIXED.size:
        raise PacketError(f"cannot decode a DHCP message: {len(data)} bytes are too short")
    op, htype, hlen, _, xid, secs, flags, *rest = _FIXED.unpack_from(data)
    ciaddr, yiaddr, siaddr, giaddr, chaddr, sname, file, cookie = rest
    if op not in {BOOTREQUEST, BOOTREPLY}:
        raise PacketError(f"cannot decode a DHCP message: op is {op}, not 1 or 2")
    if (htype, hlen) != (_ETHERNET, _MAC_BYTES):
        raise PacketError(f"cannot decode a DHCP message: htype {htype}, hlen {hlen}, not Ethernet")
    if cookie != _COOKIE:
        raise PacketError(f"cannot decode a DHCP message: magic cookie is {cookie:08x}")
    parts: dict[int, list[bytes]] = {}
    for code, value in _split(data[_FIXED.size :], "options"):
        parts.setdefault(code, []).append(value)
    overload = b"".join(parts.pop(OVERLOAD)) if OVERLOAD in parts else None
    for code, value in _overloaded(overload, sname, file):
        parts.setdefault(code, []).append(value)
    parts.pop(OVERLOAD, None)  # inside of sname or file it means nothing
    return Message(
        op=op,
        xid=xid,
        chaddr=chaddr,
        secs=secs,
        broadcast=bool(flags & _BROADCAST),
        ciaddr=socket.inet_ntoa(ciaddr),
        yiaddr=socket.inet_ntoa(yiaddr),
        siaddr=socket.inet_ntoa(siaddr),
        giaddr=socket.inet_ntoa(giaddr),
        options={code: b"".join(values) for code, values in parts.items()},
    )
