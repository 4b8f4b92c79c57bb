# SPDX-License-Identifier: Apache-2.0
"""
ICMP echo, as bytes, for IPv4 and IPv6.

Source: RFC 792, "Echo or Echo Reply Message"; RFC 4443 section 4 for IPv6; RFC 1071 for
the checksum; RFC 791 section 3.1 for the IPv4 header that a raw socket puts before it.
An IPv6 socket gets the bare message, and its checksum is the kernel's business: RFC 3542
section 3.1.
"""

import struct
from dataclasses import dataclass
from typing import Final

_ECHO_REPLY: Final = 0
_ECHO_REQUEST: Final = 8
_ECHO_REQUEST6: Final = 128
_ECHO_REPLY6: Final = 129
# Offset 0 type, 1 code, 2 checksum, 4 identifier, 6 sequence number; big-endian.
_HEADER: Final = struct.Struct("!BBHHH")
_IPV4_HEADER_MIN: Final = 20
_IPV6_HEADER: Final = 40

TOKEN_BYTES: Final = 8
"""Beginning of a payload by which a program knows its own echoes."""


@dataclass(frozen=True, slots=True)
class Echo:
    """An echo request or its reply; ``ident`` and ``sequence`` have 16 bits."""

    ident: int
    sequence: int
    payload: bytes = b""


def checksum(data: bytes) -> int:
    """Compute the ones' complement of the ones' complement sum of 16-bit words."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total > 0xFFFF:  # carries fold back until 16 bits are left
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def render_request(echo: Echo) -> bytes:
    """Make the ICMP message that asks for ``echo``."""
    blank = _HEADER.pack(_ECHO_REQUEST, 0, 0, echo.ident, echo.sequence) + echo.payload
    return blank[:2] + struct.pack("!H", checksum(blank)) + blank[4:]


def parse_reply(packet: bytes) -> Echo | None:
    """Read an echo reply from an IPv4 packet; None when it is anything else, or cut short."""
    if len(packet) < _IPV4_HEADER_MIN:
        return None
    message = packet[(packet[0] & 0x0F) * 4 :]
    if len(message) < _HEADER.size or checksum(message) != 0:
        return None
    kind, code, _, ident, sequence = _HEADER.unpack_from(message)
    if (kind, code) != (_ECHO_REPLY, 0):
        return None
    return Echo(ident, sequence, message[_HEADER.size :])


def render_request6(echo: Echo) -> bytes:
    """Make the ICMPv6 message that asks for ``echo``, without a checksum."""
    return _HEADER.pack(_ECHO_REQUEST6, 0, 0, echo.ident, echo.sequence) + echo.payload


def parse_reply6(message: bytes) -> Echo | None:
    """Read an echo reply from an ICMPv6 message; None when it is anything else."""
    return _parse6(message, _ECHO_REPLY6)


def parse_request(packet: bytes) -> Echo | None:
    """
    Read an echo request from the beginning of an IPv4 or IPv6 packet, as a link carried it.

    Its checksum is not looked at: the packet may have been cut short.
    """
    if packet[:1] and packet[0] >> 4 == 6:
        return _parse6(packet[_IPV6_HEADER:], _ECHO_REQUEST6)
    if len(packet) < _IPV4_HEADER_MIN:
        return None
    message = packet[(packet[0] & 0x0F) * 4 :]
    if len(message) < _HEADER.size or message[0] != _ECHO_REQUEST:
        return None
    _, _, _, ident, sequence = _HEADER.unpack_from(message)
    return Echo(ident, sequence, message[_HEADER.size :])


def _parse6(message: bytes, wanted: int) -> Echo | None:
    if len(message) < _HEADER.size:
        return None
    kind, code, _, ident, sequence = _HEADER.unpack_from(message)
    return Echo(ident, sequence, message[_HEADER.size :]) if (kind, code) == (wanted, 0) else None
