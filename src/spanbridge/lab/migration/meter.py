# SPDX-License-Identifier: Apache-2.0
"""
Counting the bytes of a migration: those on ``migration0``, and those where none may be.

What leaves ``migration0`` is the kernel's own count. Everywhere else, in every namespace of
the lab, frames between the addresses of the migration's pods are captured; the way from
``migration0`` to the fabric is left out, since there they belong.
"""

import contextlib
import socket
import struct
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from spanbridge.lab.build import find_netns
from spanbridge.lab.topology import (
    DHCP_NETNS,
    FABRIC_NETNS,
    NETNS_PREFIX,
    POD_INTERFACE,
    Lab,
    Pod,
)
from spanbridge.rtnl import Link, NetNs, Rtnl

_ETH_P_ALL: Final = 0x0003
_ETH_P_IP: Final = 0x0800
_SO_ATTACH_FILTER: Final = 26
_SO_RCVBUFFORCE: Final = 33
_BUFFER_BYTES: Final = 4 << 20
_SNAP_BYTES: Final = 64
_WHOLE_FRAME: Final = 0xFFFFFFFF
# Classic BPF. Source: linux/filter.h, linux/bpf_common.h; ancillary data from SKF_AD_OFF on.
_LOAD_HALF: Final = 0x28
_LOAD_WORD: Final = 0x20
_JUMP_EQUAL: Final = 0x15
_RETURN: Final = 0x06
_SKF_AD_OFF: Final = -0x1000 & 0xFFFFFFFF
_AD_PROTOCOL: Final = _SKF_AD_OFF
_AD_IFINDEX: Final = _SKF_AD_OFF + 8
_SKF_NET_OFF: Final = -0x100000 & 0xFFFFFFFF
_SOURCE_AT: Final = _SKF_NET_OFF + 12
_TARGET_AT: Final = _SKF_NET_OFF + 16
_INSTRUCTION: Final = struct.Struct("=HBBI")
_SOL_PACKET: Final = 263
_PACKET_STATISTICS: Final = 6
_STATISTICS: Final = struct.Struct("@II")
_SENT_COLUMN: Final = 8
# 16 bits of count, padding, and a pointer. Source: linux/filter.h, struct sock_fprog.
_PROGRAM: Final = struct.Struct("@HP")


@dataclass(slots=True)
class Traffic:
    """
    What was sent while it was measured.

    Attributes:
        migration0_bytes: Out of the source's ``migration0``, headers and all.
        elsewhere_bytes: Between addresses of the migration network, on devices that are not
            on its way.
        elsewhere: Which devices those were, as ``namespace/device``.
        missed: Frames that could not be counted there, the buffer being full.
    """

    migration0_bytes: int = 0
    elsewhere_bytes: int = 0
    elsewhere: set[str] = field(default_factory=set)
    missed: int = 0


@dataclass(frozen=True, slots=True)
class _Tap:
    """A capture of all devices of a namespace but those on the way."""

    netns: str
    socket: socket.socket


@contextlib.contextmanager
def measured(lab: Lab, source: Pod) -> Iterator[Traffic]:
    """
    Measure while the block runs; what is yielded has its figures when it has ended.

    Args:
        lab: Whose traffic.
        source: The virt-handler that sends; nothing of it is counted where it is not there.
    """
    traffic = Traffic()
    names = [name for name in find_netns() if name not in {FABRIC_NETNS, DHCP_NETNS}]
    addresses = tuple(address for name in names for address in _addresses(name))
    bridges = {node.netns: node.wiring.bridge for node in lab.nodes}
    with contextlib.ExitStack() as stack:
        taps = []
        for name in names if addresses else ():
            tap = _Tap(name, _open_tap(name, bridges.get(name, ""), addresses))
            taps.append(tap)
            stack.enter_context(tap.socket)
        before = sent_bytes(source)
        yield traffic
        traffic.migration0_bytes = sent_bytes(source) - before
        for tap in taps:
            _read_tap(tap, traffic)


def sent_bytes(pod: Pod) -> int:
    """Read what the kernel has counted out of a pod's ``migration0``; 0 where there is none."""
    try:
        with NetNs.open(pod.netns) as netns:
            table = netns.run(lambda: Path("/proc/thread-self/net/dev").read_text())
    except FileNotFoundError:
        return 0
    for line in table.splitlines():
        name, _, figures = line.partition(":")
        if name.strip() == POD_INTERFACE:
            return int(figures.split()[_SENT_COLUMN])
    return 0


def _addresses(netns: str) -> list[str]:
    """Read the addresses that a namespace has on the migration network."""
    with NetNs.open(netns) as opened, Rtnl.open(opened) as rtnl:
        link = rtnl.link(POD_INTERFACE)
        found = [] if link is None else rtnl.addresses(link.index, family=socket.AF_INET)
    return [each.address for each in found]


def _open_tap(netns: str, bridge: str, addresses: Iterable[str]) -> socket.socket:
    with NetNs.open(netns) as opened:
        with Rtnl.open(opened) as rtnl:
            belonging = _on_the_way(rtnl.links(), bridge)
        program = render_filter(belonging, addresses)
        return opened.run(lambda: _capture(program))


def _on_the_way(links: Iterable[Link], bridge: str) -> set[int]:
    """Name the devices on which a migration's frames belong."""
    known = tuple(links)
    way = {link.index for link in known if link.name in {POD_INTERFACE, bridge}}
    way |= {link.index for link in known if link.master in way}
    # A bridge's own legs in this namespace: what it floods comes there too.
    return way | {link.index for link in known if link.link in way and link.link_netnsid is None}


def render_filter(belonging: Iterable[int], addresses: Iterable[str]) -> bytes:
    """
    Make the program by which the kernel chooses frames: IPv4 between two of the addresses.

    Args:
        belonging: Index numbers of devices whose frames are left out.
        addresses: Of the migration network.
    """
    numbers = [int(IPv4Address(address)) for address in addresses]
    # Each test names where it goes on: the next one, or from the end of the program.
    program: list[tuple[int, int, str, str]] = [(_LOAD_WORD, _AD_IFINDEX, "", "")]
    program += [(_JUMP_EQUAL, index, "drop", "next") for index in belonging]
    program += [(_LOAD_HALF, _AD_PROTOCOL, "", ""), (_JUMP_EQUAL, _ETH_P_IP, "next", "drop")]
    for at in (_SOURCE_AT, _TARGET_AT):
        program.append((_LOAD_WORD, at, "", ""))
        for left, number in zip(range(len(numbers) - 1, -1, -1), numbers, strict=True):
            program.append((_JUMP_EQUAL, number, f"skip {left}", "next" if left else "drop"))
    drop = len(program) + 1
    written = bytearray()
    for here, (code, value, then, otherwise) in enumerate(program):
        hops = []
        for where in (then, otherwise):
            kind, _, count = where.partition(" ")
            hops.append({"drop": drop - here - 1, "skip": int(count or 0)}.get(kind, 0))
        written += _INSTRUCTION.pack(code, *hops, value)
    written += _INSTRUCTION.pack(_RETURN, 0, 0, _WHOLE_FRAME)
    written += _INSTRUCTION.pack(_RETURN, 0, 0, 0)
    return bytes(written)


def _capture(program: bytes) -> socket.socket:
    """Begin to collect, on all devices of the calling thread's namespace."""
    opened = socket.socket(
        socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.htons(_ETH_P_ALL)
    )
    code = array("B", program)
    at, size = code.buffer_info()
    fprog = _PROGRAM.pack(size // _INSTRUCTION.size, at)
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
    with contextlib.suppress(OSError):
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
    opened.settimeout(0)
    # What came before there was a filter.
    with contextlib.suppress(BlockingIOError):
        while True:
            opened.recv(_SNAP_BYTES)
    return opened


def _read_tap(tap: _Tap, traffic: Traffic) -> None:
    start = bytearray(_SNAP_BYTES)
    with contextlib.suppress(BlockingIOError):
        while True:
            # With this flag the kernel tells the length of the frame, not of what it gave us.
            length, address = tap.socket.recvfrom_into(start, _SNAP_BYTES, socket.MSG_TRUNC)
            traffic.elsewhere_bytes += length
            traffic.elsewhere.add(f"{tap.netns.removeprefix(NETNS_PREFIX)}/{address[0]}")
    statistics = tap.socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size)
    traffic.missed += _STATISTICS.unpack(statistics)[1]
