# SPDX-License-Identifier: Apache-2.0
"""
ARP packets in Ethernet frames, pure.

Ethernet addresses are 6 bytes here, IPv4 addresses dotted quads.
"""

import socket
import struct
from dataclasses import dataclass
from typing import Final

BROADCAST_MAC: Final = b"\xff" * 6
ARP_REQUEST: Final = 1
ARP_REPLY: Final = 2
ETH_P_ARP: Final = 0x0806

ETHERNET: Final = struct.Struct("!6s6sH")
"""Destination, source, type."""

_ETH_P_8021Q: Final = 0x8100
_ARP: Final = struct.Struct("!HHBBH6s4s6s4s")
"""u16 hardware, protocol; u8 their lengths; u16 operation; sender, target. Source: RFC 826."""

_ETH_P_IP: Final = 0x0800


@dataclass(frozen=True, slots=True)
class Arp:
    """One ARP packet; ``op`` is ``ARP_REQUEST`` or ``ARP_REPLY``."""

    op: int
    sender_mac: bytes
    sender_ip: str
    target_mac: bytes
    target_ip: str


def strip_ethernet(data: bytes, wanted: int) -> tuple[bytes, bytes, bytes] | None:
    """Cut off the Ethernet header and one 802.1Q tag: destination, source, payload."""
    if len(data) < ETHERNET.size:
        return None
    dst, src, kind = ETHERNET.unpack_from(data)
    start = ETHERNET.size
    if kind == _ETH_P_8021Q and len(data) >= start + 4:
        kind = int.from_bytes(data[start + 2 : start + 4], "big")
        start += 4
    return (dst, src, data[start:]) if kind == wanted else None


def render_arp_request(mac: bytes, sender: bytes, target: bytes) -> bytes:
    """Ask everybody who has ``target``; both addresses are packed."""
    body = _ARP.pack(1, _ETH_P_IP, 6, 4, ARP_REQUEST, mac, sender, b"", target)
    return ETHERNET.pack(BROADCAST_MAC, mac, ETH_P_ARP) + body


def parse_arp(data: bytes) -> Arp | None:
    """Decode, or None for whatever is not a whole ARP request or reply for IPv4."""
    outer = strip_ethernet(data, ETH_P_ARP)
    if outer is None or len(outer[2]) < _ARP.size:
        return None
    hardware, protocol, hlen, plen, op, *pairs = _ARP.unpack_from(outer[2])
    known = (hardware, protocol, hlen, plen) == (1, _ETH_P_IP, 6, 4)
    if not known or op not in {ARP_REQUEST, ARP_REPLY}:
        return None
    sender_mac, sender, target_mac, target = pairs
    return Arp(op, sender_mac, socket.inet_ntoa(sender), target_mac, socket.inet_ntoa(target))
