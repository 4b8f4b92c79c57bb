# SPDX-License-Identifier: Apache-2.0
"""
ICMP echo, as bytes.

Source: RFC 792, "Echo or Echo Reply Message"; RFC 1071 for the checksum; RFC 791
section 3.1 for the IPv4 header that a raw socket puts before it.
"""

import struct
from dataclasses import dataclass
from typing import Final

_ECHO_REPLY: Final = 0
_ECHO_REQUEST: Final = 8
# Offset 0 type, 1 code, 2 checksum, 4 identifier, 6 sequence number; big-endian.
_HEADER: Final = struct.Struct("!BBHHH")
_IPV4_HEADER_MIN: Final = 20


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
