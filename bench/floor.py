# SPDX-License-Identifier: Apache-2.0
"""
What the kernel alone takes for an attachment: route netlink, nothing around it.

No plugin, no address management, no start of a process, and on purpose none of our own
netlink code: the few messages are laid out here by hand.

Source: linux/netlink.h, linux/if_link.h, linux/if_addr.h, linux/rtnetlink.h, Linux 6.1.
"""

import contextlib
import ctypes
import os
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Final, Self

NEWLINK, DELLINK, GETLINK, NEWADDR, NEWROUTE = 16, 17, 18, 20, 24
REQUEST, ACK, EXCL_CREATE = 0x1, 0x4, 0x600
IFNAME, ADDRESS, MASTER, LINKINFO, GROUP, NET_NS_FD = 3, 1, 10, 18, 27, 28
NUM_TX_QUEUES, NUM_RX_QUEUES = 31, 32
INFO_KIND, INFO_DATA, VETH_PEER = 1, 2, 1
UP: Final = 1
CLONE_NEWNET: Final = 0x40000000

BRIDGE: Final = "floor0"
GROUP_OF_ALL: Final = 4711
GATEWAY: Final = bytes([10, 79, 255, 254])

_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def _attribute(kind: int, *parts: bytes) -> bytes:
    data = b"".join(parts)
    return struct.pack("=HH", len(data) + 4, kind) + data + bytes(-len(data) % 4)


def _u32(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack("=I", value))


def _text(kind: int, text: str) -> bytes:
    return _attribute(kind, text.encode(), b"\0")


def _link(index: int = 0, *, up: bool = False) -> bytes:
    return struct.pack("=BxHiII", 0, 0, index, UP * up, UP * up)


def _mac() -> bytes:
    return b"\x02" + os.urandom(5)


class Netlink:
    """A socket in the namespace of the thread that makes it."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.bind((0, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def request(self, *messages: tuple[int, int, bytes]) -> None:
        """Send type, flags and body of each message at once; wait for every answer."""
        self._socket.send(
            b"".join(
                struct.pack("=IHHII", 16 + len(body), kind, flags | REQUEST | ACK, 1, 0) + body
                for kind, flags, body in messages
            )
        )
        left = len(messages)
        while left:
            data, at = self._socket.recv(1 << 16), 0
            while at < len(data):
                length, _, _, _, _, number = struct.unpack_from("=IHHIIi", data, at)
                if number:
                    raise OSError(-number, os.strerror(-number))
                left -= 1
                at += (length + 3) & ~3

    def index_of(self, name: str) -> int:
        """Find the index of a link."""
        body = _link() + _text(IFNAME, name)
        self._socket.send(struct.pack("=IHHII", 16 + len(body), GETLINK, REQUEST, 1, 0) + body)
        found: int = struct.unpack_from("=i", self._socket.recv(1 << 16), 20)[0]
        return found


class Floor:
    """Attachments on a bridge of their own, made in the least possible way."""

    def __init__(self) -> None:
        self._host = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._netlink = Netlink()
        info = _attribute(LINKINFO, _text(INFO_KIND, "bridge"))
        self._netlink.request((NEWLINK, EXCL_CREATE, _link(up=True) + _text(IFNAME, BRIDGE) + info))
        self._bridge = self._netlink.index_of(BRIDGE)

    @contextlib.contextmanager
    def _inside(self, path: str) -> Iterator[Netlink]:
        """Open a socket in another namespace, from a thread that ends in it."""
        made: list[Netlink] = []

        def enter() -> None:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _LIBC.setns(descriptor, CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
                made.append(Netlink())
            finally:
                os.close(descriptor)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        with made[0]:
            yield made[0]

    def add(self, number: int, path: str) -> None:
        """Attach the namespace at ``path``: pair, port, address, default route."""
        port = f"floor.{number}"
        # More queues than one are switched off, at a grace period for each end.
        queues = _u32(NUM_TX_QUEUES, 1) + _u32(NUM_RX_QUEUES, 1)
        peer = _attribute(
            VETH_PEER,
            _link() + _text(IFNAME, port) + _attribute(ADDRESS, _mac()),
            _u32(NET_NS_FD, self._host) + queues,
        )
        info = _text(INFO_KIND, "veth") + _attribute(INFO_DATA, peer)
        pair = _link() + _text(IFNAME, "eth0") + _attribute(ADDRESS, _mac()) + queues
        address = bytes([10, 79, number >> 8, number & 255])
        with self._inside(path) as inside:
            inside.request((NEWLINK, EXCL_CREATE, pair + _attribute(LINKINFO, info)))
            enslaved = _link(self._netlink.index_of(port), up=True) + _u32(MASTER, self._bridge)
            self._netlink.request((NEWLINK, 0, enslaved))
            eth0 = inside.index_of("eth0")
            on_eth0 = struct.pack("=BBBBi", socket.AF_INET, 16, 0, 0, eth0)
            route = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 254, 4, 0, 1, 0)
            inside.request(
                (NEWLINK, 0, _link(eth0, up=True)),
                (NEWADDR, EXCL_CREATE, on_eth0 + _attribute(2, address) + _attribute(1, address)),
                (NEWROUTE, EXCL_CREATE, route + _attribute(5, GATEWAY) + _u32(4, eth0)),
            )

    def delete(self, path: str) -> None:
        """Detach the namespace at ``path``."""
        with self._inside(path) as inside:
            inside.request((DELLINK, 0, _link() + _text(IFNAME, "eth0")))

    def delete_at_once(self, numbers: range) -> None:
        """Detach several as one group of links: the kernel waits for one grace period."""
        for number in numbers:
            index = self._netlink.index_of(f"floor.{number}")
            self._netlink.request((NEWLINK, 0, _link(index) + _u32(GROUP, GROUP_OF_ALL)))
        self._netlink.request((DELLINK, 0, _link() + _u32(GROUP, GROUP_OF_ALL)))

    def close(self) -> None:
        """Remove the bridge."""
        self._netlink.request((DELLINK, 0, _link(self._bridge)))
        self._netlink.__exit__()
        os.close(self._host)
