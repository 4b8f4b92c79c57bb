# SPDX-License-Identifier: Apache-2.0
"""
Ethernet frames, pure: UDP over IPv4, and ARP; for an interface without an address yet.

Ethernet addresses are 6 bytes here, IPv4 addresses dotted quads.
"""

import socket
import struct
from dataclasses import dataclass
from typing import Final

from spanbridge.ipam.dhcp.packet import NO_ADDRESS, PacketError, pack_ipv4
from spanbridge.model.arp import ARP_REQUEST, ETHERNET, Arp, render_arp_request, strip_ethernet

CLIENT_PORT: Final = 68
SERVER_PORT: Final = 67
BROADCAST_IP: Final = "255.255.255.255"

_ETH_P_IP: Final = 0x0800
_IPPROTO_UDP: Final = 17
_TTL: Final = 64

_IPV4: Final = struct.Struct("!BBHHHBBH4s4s")
"""u8 version and header words, TOS; u16 total length, id, fragment; u8 TTL, protocol; u16 sum."""

_UDP: Final = struct.Struct("!HHHH")
"""u16 source port, destination port, length with header, checksum."""

_PSEUDO: Final = struct.Struct("!4s4sxBH")
"""Source: RFC 768, the header that the checksum covers as well."""

_MORE_OR_OFFSET: Final = 0x3FFF
"""More fragments, and the fragment's offset. Source: RFC 791 section 3.1."""


@dataclass(frozen=True, slots=True)
class UdpFrame:
    """One Ethernet frame with one whole UDP datagram over IPv4."""

    src_mac: bytes
    dst_mac: bytes
    src_ip: str
    dst_ip: str
    payload: bytes
    sport: int = CLIENT_PORT
    dport: int = SERVER_PORT


def _checksum(data: bytes) -> int:
    """Add up 16-bit words in ones' complement. Source: RFC 1071."""
    padded = data + b"\0" * (len(data) & 1)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def render_udp_frame(frame: UdpFrame) -> bytes:
    """
    Encode with both checksums.

    Raises:
        PacketError: An address or a port is none, or the payload does not fit.
    """
    src, dst = pack_ipv4(frame.src_ip), pack_ipv4(frame.dst_ip)
    length = _UDP.size + len(frame.payload)
    try:
        pseudo = _PSEUDO.pack(src, dst, _IPPROTO_UDP, length)
        bare = _UDP.pack(frame.sport, frame.dport, length, 0)
        # 0 would say that there is no checksum. Source: RFC 768.
        checksum = _checksum(pseudo + bare + frame.payload) or 0xFFFF
        udp = _UDP.pack(frame.sport, frame.dport, length, checksum)
        head = (0x45, 0, _IPV4.size + length, 0, 0, _TTL, _IPPROTO_UDP)
        ip = _IPV4.pack(*head, _checksum(_IPV4.pack(*head, 0, src, dst)), src, dst)
        ethernet = ETHERNET.pack(frame.dst_mac, frame.src_mac, _ETH_P_IP)
    except struct.error as exc:
        raise PacketError(f"cannot encode a UDP frame: {exc}") from exc
    return ethernet + ip + udp + frame.payload


def _ipv4_udp(packet: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Check the IPv4 header: source, destination, payload without the frame's padding."""
    if len(packet) < _IPV4.size:
        return None
    first, _, total, _, fragment, _, protocol, _, src, dst = _IPV4.unpack_from(packet)
    header = (first & 0xF) * 4
    whole = _IPV4.size <= header and header + _UDP.size <= total <= len(packet)
    if first >> 4 != 4 or not whole or fragment & _MORE_OR_OFFSET or protocol != _IPPROTO_UDP:
        return None
    return (src, dst, packet[header:total]) if _checksum(packet[:header]) == 0 else None


def parse_udp_frame(data: bytes, *, checksum_ready: bool = True) -> UdpFrame | None:
    """
    Decode, or None for whatever is not one whole, right UDP datagram over IPv4.

    Args:
        data: From the Ethernet header on; padding behind the IPv4 packet is ignored.
        checksum_ready: False when the kernel says that the UDP checksum was left to
            a device, as between two ends of a veth pair (TP_STATUS_CSUMNOTREADY).
    """
    outer = strip_ethernet(data, _ETH_P_IP)
    inner = _ipv4_udp(outer[2]) if outer else None
    if outer is None or inner is None:
        return None
    src, dst, datagram = inner
    sport, dport, length, checksum = _UDP.unpack_from(datagram)
    if not _UDP.size <= length <= len(datagram):
        return None
    datagram = datagram[:length]
    pseudo = _PSEUDO.pack(src, dst, _IPPROTO_UDP, length)
    if checksum and checksum_ready and _checksum(pseudo + datagram):
        return None
    return UdpFrame(
        src_mac=outer[1],
        dst_mac=outer[0],
        src_ip=socket.inet_ntoa(src),
        dst_ip=socket.inet_ntoa(dst),
        payload=datagram[_UDP.size :],
        sport=sport,
        dport=dport,
    )


def arp_probe(mac: bytes, ip: str) -> bytes:
    """Ask who has ``ip``, without claiming it. Source: RFC 5227 section 2.1.1."""
    return render_arp_request(mac, pack_ipv4(NO_ADDRESS), pack_ipv4(ip))


def arp_announcement(mac: bytes, ip: str) -> bytes:
    """Claim ``ip``: a request for one's own address. Source: RFC 5227 section 2.3."""
    return render_arp_request(mac, pack_ipv4(ip), pack_ipv4(ip))


def is_conflict(arp: Arp, *, mac: bytes, ip: str) -> bool:
    """
    Tell whether somebody else uses, or is about to use, the address we probe for.

    Source: RFC 5227 section 2.1.1: its sender has the address, or probes for it too.
    """
    if arp.sender_mac == mac:
        return False
    probing = arp.op == ARP_REQUEST and arp.sender_ip == NO_ADDRESS and arp.target_ip == ip
    return arp.sender_ip == ip or probing
