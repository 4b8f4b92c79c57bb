# SPDX-License-Identifier: Apache-2.0
"""
Telling the link who has an address now: gratuitous ARP and unsolicited advertisements.

The kernel's own announcement (arp_notify) is sent when the sandbox end goes up, which
may be before the port forwards. A neighbour that kept the address's former MAC would
talk into the void until its entry expires.
"""

import contextlib
import socket
import struct
from typing import Final

from spanbridge.bridge.link import Attached
from spanbridge.bridge.site import Site
from spanbridge.model.addresses import Ip
from spanbridge.model.desired import SandboxState

ETH_P_ARP: Final = 0x0806
ETH_P_IPV6: Final = 0x86DD
_BROADCAST: Final = b"\xff" * 6
_ALL_NODES: Final = bytes.fromhex("ff020000000000000000000000000001")
_ALL_NODES_MAC: Final = bytes.fromhex("333300000001")


def arp_announcement(mac: bytes, ip: Ip) -> bytes:
    """
    Build an ARP announcement: a request for one's own address.

    Source: RFC 5227 section 3; layout RFC 826: hardware type, protocol, lengths,
    operation 1, sender MAC and address, target MAC (zero) and address.
    """
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + ip.packed + b"\0" * 6 + ip.packed
    return _BROADCAST + mac + struct.pack("!H", ETH_P_ARP) + body


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def neighbour_advertisement(mac: bytes, ip: Ip) -> bytes:
    """
    Build an unsolicited neighbour advertisement with the override flag.

    Source: RFC 4861 sections 4.4 and 7.2.6; checksum with the pseudo-header of RFC
    8200 section 8.1.
    """
    option = struct.pack("!BB", 2, 1) + mac
    body = struct.pack("!BBHI", 136, 0, 0, 0x20000000) + ip.packed + option
    pseudo = ip.packed + _ALL_NODES + struct.pack("!I3xB", len(body), 58)
    body = body[:2] + struct.pack("!H", _checksum(pseudo + body)) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + ip.packed + _ALL_NODES
    return _ALL_NODES_MAC + mac + struct.pack("!H", ETH_P_IPV6) + header + body


def announce(site: Site, want: SandboxState, attached: Attached) -> None:
    """
    Announce every address of the sandbox once.

    Best effort: a sandbox that may not send raw frames still has its interface.
    """
    if not want.up or not want.addresses:
        return
    mac = bytes.fromhex(attached.sandbox.mac.replace(":", ""))
    frames = [
        arp_announcement(mac, address.ip)
        if address.version == 4
        else neighbour_advertisement(mac, address.ip)
        for address in want.addresses
    ]

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as raw:
            raw.bind((want.ifname, 0))
            for frame in frames:
                raw.send(frame)

    with contextlib.suppress(OSError):
        site.entered.run(send)
