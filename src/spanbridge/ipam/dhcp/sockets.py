# SPDX-License-Identifier: Apache-2.0
"""
The sockets of one interface in one namespace: opened there, used from anywhere.

A socket stays in the namespace in which it was made; the namespace itself is let go
before these functions return, so that nothing here keeps a dead sandbox alive.
"""

import array
import contextlib
import errno
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from spanbridge.base import log
from spanbridge.base.errors import NodeError
from spanbridge.ipam.dhcp.ether import CLIENT_PORT
from spanbridge.ipam.dhcp.packet import pack_ipv4
from spanbridge.rtnl import Link, NetNs, Rtnl, set_link

ETH_P_IP: Final = 0x0800
ETH_P_ARP: Final = 0x0806

IP_PKTINFO: Final = 8
"""Absent in Python's socket module. Source: linux/in.h."""

SOL_PACKET: Final = 263
PACKET_AUXDATA: Final = 8
TP_STATUS_CSUMNOTREADY: Final = 1 << 3
TP_STATUS_VLAN_VALID: Final = 1 << 4
AUXDATA: Final = struct.Struct("@IIIHHHH")
"""u32 status, length, captured; u16 MAC and network offset, VLAN tag, its EtherType; native."""

_SO_ATTACH_FILTER: Final = 26
"""Absent in Python's socket module. Source: asm-generic/socket.h; linux/if_packet.h above."""

_FILTER: Final = struct.Struct("@HBBI")
"""u16 code, u8 jump if true, u8 jump if false, u32 operand. Source: linux/filter.h."""

_PROGRAM: Final = struct.Struct("@HP")
CARRIER_S: Final = 0.5
"""How long a link that was set up may take to work; after that the first message is sent anyway."""

_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ESRCH})

Instruction = tuple[int, int, int, int]
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE, _LOAD_HALF_AT_X = 0x20, 0x28, 0x30, 0x48
_X_IS_HEADER_BYTES, _IF_EQUAL, _IF_BITS, _TAKE = 0xB1, 0x15, 0x45, 0x06
_ALL: Final = 0xFFFF

DHCP_FILTER: Final[Sequence[Instruction]] = (
    (_LOAD_HALF, 0, 0, 12),  # EtherType
    (_IF_EQUAL, 0, 8, ETH_P_IP),
    (_LOAD_BYTE, 0, 0, 23),  # protocol
    (_IF_EQUAL, 0, 6, socket.IPPROTO_UDP),
    (_LOAD_HALF, 0, 0, 20),  # more fragments, fragment offset
    (_IF_BITS, 4, 0, 0x3FFF),
    (_X_IS_HEADER_BYTES, 0, 0, 14),
    (_LOAD_HALF_AT_X, 0, 0, 16),  # destination port
    (_IF_EQUAL, 0, 1, CLIENT_PORT),
    (_TAKE, 0, 0, _ALL),
    (_TAKE, 0, 0, 0),
)
"""Frames for UDP port 68; every other one would be copied here for nothing."""

NOTHING_FILTER: Final[Sequence[Instruction]] = ((_TAKE, 0, 0, 0),)


def arp_filter(address: str) -> Sequence[Instruction]:
    """Make a filter for ARP that is sent by, or asks for, an address."""
    number = int.from_bytes(pack_ipv4(address), "big")
    return (
        (_LOAD_HALF, 0, 0, 12),
        (_IF_EQUAL, 0, 5, ETH_P_ARP),
        (_LOAD_WORD, 0, 0, 28),  # sender's address
        (_IF_EQUAL, 2, 0, number),
        (_LOAD_WORD, 0, 0, 38),  # target's address
        (_IF_EQUAL, 0, 1, number),
        (_TAKE, 0, 0, _ALL),
        (_TAKE, 0, 0, 0),
    )


def attach_filter(sock: socket.socket, program: Sequence[Instruction]) -> None:
    """
    Let a packet socket take only what a program takes.

    Source: linux/filter.h, struct sock_fprog: u16 count, pointer to the instructions.
    """
    code = array.array("B", b"".join(_FILTER.pack(*each) for each in program))
    # The kernel copies the program, so the array has to live for this call only.
    described = _PROGRAM.pack(len(program), code.buffer_info()[0])
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)


class LinkGoneError(NodeError):
    """The sandbox or the interface of a lease is not there any more."""


@dataclass(frozen=True, slots=True)
class Place:
    """
    Where an interface is.

    Attributes:
        netns_path: Of its sandbox.
        netns_identity: Device and inode of the sandbox: another one may take the path.
        ifname: Its name.
        mac: Its Ethernet address: another interface may take the name.
    """

    netns_path: str
    netns_identity: tuple[int, int]
    ifname: str
    mac: str


@dataclass(slots=True)
class Sockets:
    """
    Open sockets of one interface.

    Attributes:
        ifname: Its name by now.
        dhcp: Takes and sends frames, whatever addresses the interface has.
        arp: Takes ARP about one address.
        udp: Takes and sends datagrams, like any program of the sandbox.
    """

    ifname: str
    dhcp: socket.socket | None = None
    arp: socket.socket | None = None
    udp: socket.socket | None = None

    def close(self) -> None:
        """Close those that are open."""
        for each in (self.dhcp, self.arp, self.udp):
            if each is not None:
                each.close()
        self.dhcp = self.arp = self.udp = None


def sandbox_is_there(place: Place) -> bool:
    """Tell cheaply whether the path still leads to the same namespace."""
    try:
        seen = os.stat(place.netns_path)  # noqa: PTH116  # many times a minute
    except (OSError, ValueError) as exc:
        # What may not be looked at may well be there.
        return isinstance(exc, OSError) and exc.errno not in _GONE
    return (seen.st_dev, seen.st_ino) == place.netns_identity


def observe_place(netns: NetNs, netns_path: str, ifname: str) -> Place:
    """
    Look where an interface is.

    Raises:
        NodeError: There is no such interface, or the sandbox cannot be found again by
            its path.
    """
    link = netns.run(lambda: _look_up(ifname))
    if link is None or not link.mac:
        raise NodeError(
            f"cannot lease an address for {ifname}: "
            + ("it has no Ethernet address" if link else "the sandbox has no such interface"),
        )
    place = Place(netns_path, netns.identity, ifname, link.mac)
    if not sandbox_is_there(place):
        raise NodeError(
            f"cannot lease an address for {ifname}: {netns_path} does not lead to its sandbox",
            hint="run the agent where the runtime's network namespaces are mounted",
        )
    return place


def _enter(place: Place) -> NetNs:
    """
    Open the sandbox.

    Raises:
        LinkGoneError: The path leads nowhere, or to another namespace.
    """
    if sandbox_is_there(place):
        with contextlib.suppress(FileNotFoundError):
            netns = NetNs.open(place.netns_path)
            if netns.identity == place.netns_identity:
                return netns
            netns.close()
    raise LinkGoneError(f"cannot use {place.ifname}: its sandbox {place.netns_path} is gone")


def place_is_there(place: Place) -> bool:
    """Tell whether sandbox and interface are still there."""
    try:
        with _enter(place) as netns:
            return netns.run(lambda: _find(place) is not None)
    except LinkGoneError:
        return False


def _look_up(ifname: str) -> Link | None:
    with Rtnl.open() as rtnl:
        return rtnl.link(ifname)


def _find(place: Place) -> Link | None:
    """Find the interface by name and MAC, or by its MAC when it was renamed."""
    with Rtnl.open() as rtnl:
        link = rtnl.link(place.ifname)
        if link is not None and link.mac == place.mac:
            return link
        return next((each for each in rtnl.links() if each.mac == place.mac), None)


def open_sockets(place: Place, *, dhcp: bool, arp: bool, udp: bool) -> Sockets:
    """
    Open sockets on an interface.

    It is set up for a search (``arp``). Later, one that is down was set down by somebody.

    Raises:
        LinkGoneError: Sandbox or interface is not there.
        NodeError: Something else is wrong.
    """
    try:
        with _enter(place) as netns:
            return netns.run(lambda: _open(place, dhcp=dhcp, arp=arp, udp=udp))
    except OSError as exc:
        raise NodeError(f"cannot open sockets on {place.ifname}: {exc.strerror}") from exc


def _open(place: Place, *, dhcp: bool, arp: bool, udp: bool) -> Sockets:
    link = _find(place)
    if link is None:
        raise LinkGoneError(f"cannot use {place.ifname} {place.mac}: it is gone from its sandbox")
    if arp and not link.up:
        _set_up(link)
    opened = Sockets(link.name)
    try:
        if dhcp:
            opened.dhcp = _packet_socket(link.name, ETH_P_IP, DHCP_FILTER)
        if arp:
            opened.arp = _packet_socket(link.name, ETH_P_ARP, NOTHING_FILTER)
        if udp:
            opened.udp = _udp_socket(link.name)
    except BaseException:
        opened.close()
        raise
    return opened


def _set_up(link: Link) -> None:
    with Rtnl.open() as rtnl:
        rtnl.request(set_link(link.index, up=True))
        # Until then the port at the other end does not forward what we send.
        rtnl.wait_link(
            link.index, lambda seen: seen.operstate in {"up", "unknown"}, timeout_s=CARRIER_S
        )


def _packet_socket(ifname: str, protocol: int, program: Sequence[Instruction]) -> socket.socket:
    # Protocol 0 takes nothing before the filter is there.
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    try:
        attach_filter(made, program)
        made.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        made.bind((ifname, protocol))
    except BaseException:
        made.close()
        raise
    return made


def _udp_socket(ifname: str) -> socket.socket | None:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, ifname.encode() + b"\0")
        made.bind(("", CLIENT_PORT))
    except OSError as exc:
        made.close()
        if exc.errno != errno.EADDRINUSE:
            raise
        # The pod runs a DHCP client of its own; frames still pass (REBINDING).
        log.warn("another program in the sandbox uses UDP port 68", interface=ifname)
        return None
    return made
