# SPDX-License-Identifier: Apache-2.0
"""
Questions for neighbours and what a link carries of them, as frames: ARP and NDP, pure.

Source: RFC 5227 section 2.1.1 for ARP probes, which claim nothing; RFC 4861 sections 4.3
and 4.4 for IPv6; RFC 4291 section 2.7.1 for the multicast address of a solicitation.
"""

import socket
import struct
from dataclasses import dataclass
from typing import Final

from spanbridge.model.arp import (
    ARP_REPLY,
    ETHERNET,
    parse_arp,
    render_arp_request,
    strip_ethernet,
)
from spanbridge.probing.icmp import Echo, checksum, parse_request

_ETH_P_IP: Final = 0x0800
_ETH_P_IPV6: Final = 0x86DD
_IPV6: Final = struct.Struct("!IHBB16s16s")
"""u32 version, class and flow; u16 payload length; u8 next header, hop limit; addresses."""

_ND: Final = struct.Struct("!BBHI16s")
"""u8 type, code; u16 checksum; u32 flags; target."""

_SOLICITATION: Final = 135
_ADVERTISEMENT: Final = 136
_SOURCE_OPTION: Final = 1
_TARGET_OPTION: Final = 2
_HOPS: Final = 255
_NOBODY4: Final = bytes(4)
_NOBODY6: Final = bytes(16)


@dataclass(frozen=True, slots=True)
class Question:
    """Somebody with ``mac`` asks who has ``address``."""

    mac: str
    address: str


@dataclass(frozen=True, slots=True)
class Answer:
    """``mac`` says that it has ``address``."""

    mac: str
    address: str


def render_question(mac: bytes, target: str, source: str = "") -> bytes:
    """
    Make the frame that asks who has ``target``.

    Args:
        mac: Of the asking interface.
        target: IPv4 or IPv6.
        source: Own IPv6 address; without one the answer goes to everybody. An ARP probe
            has none.
    """
    if ":" not in target:
        return render_arp_request(mac, _NOBODY4, socket.inet_aton(target))
    asked = socket.inet_pton(socket.AF_INET6, target)
    sender = socket.inet_pton(socket.AF_INET6, source) if source else _NOBODY6
    group = socket.inet_pton(socket.AF_INET6, "ff02::1:ff00:0")[:13] + asked[13:]
    option = bytes([_SOURCE_OPTION, 1]) + mac if source else b""
    body = _ND.pack(_SOLICITATION, 0, 0, 0, asked) + option
    pseudo = sender + group + struct.pack("!II", len(body), socket.IPPROTO_ICMPV6)
    body = _ND.pack(_SOLICITATION, 0, checksum(pseudo + body), 0, asked) + option
    header = _IPV6.pack(6 << 28, len(body), socket.IPPROTO_ICMPV6, _HOPS, sender, group)
    return ETHERNET.pack(b"\x33\x33" + group[12:], mac, _ETH_P_IPV6) + header + body


def parse_frame(frame: bytes) -> Question | Answer | Echo | None:
    """Read a question, an answer or an echo request; None for whatever else it is."""
    arp = parse_arp(frame)
    if arp is not None:
        mac = arp.sender_mac.hex(":")
        return Answer(mac, arp.sender_ip) if arp.op == ARP_REPLY else Question(mac, arp.target_ip)
    if (outer := strip_ethernet(frame, _ETH_P_IP)) is not None:
        return parse_request(outer[2])
    if (outer := strip_ethernet(frame, _ETH_P_IPV6)) is not None:
        return _parse_nd(outer[1], outer[2]) or parse_request(outer[2])
    return None


def _parse_nd(sender: bytes, packet: bytes) -> Question | Answer | None:
    if len(packet) < _IPV6.size + _ND.size or packet[6] != socket.IPPROTO_ICMPV6:
        return None
    kind, _, _, _, target = _ND.unpack_from(packet, _IPV6.size)
    address = socket.inet_ntop(socket.AF_INET6, target)
    if kind == _SOLICITATION:
        return Question(sender.hex(":"), address)
    if kind != _ADVERTISEMENT:
        return None
    option = packet[_IPV6.size + _ND.size :]
    told = len(option) >= 8 and option[0] == _TARGET_OPTION  # 8: type, length and the address
    return Answer((option[2:8] if told else sender).hex(":"), address)
