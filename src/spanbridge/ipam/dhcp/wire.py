# SPDX-License-Identifier: Apache-2.0
"""
The link as a DHCP client sees it: frames and datagrams out, what is heard in.

``Wire`` is what the client knows; ``LinkWire`` is a real interface, used on an asyncio
loop. `spanbridge.testing.dhcp` has a twin in memory.
"""

import asyncio
import contextlib
import enum
import fcntl
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

from spanbridge.ipam.dhcp.ether import SERVER_PORT, parse_udp_frame
from spanbridge.ipam.dhcp.packet import NO_ADDRESS, pack_ipv4
from spanbridge.ipam.dhcp.sockets import (
    AUXDATA,
    IP_PKTINFO,
    PACKET_AUXDATA,
    SOL_PACKET,
    TP_STATUS_CSUMNOTREADY,
    TP_STATUS_VLAN_VALID,
    Place,
    Sockets,
    arp_filter,
    attach_filter,
    open_sockets,
    sandbox_is_there,
)
from spanbridge.model.arp import Arp, parse_arp

_T = TypeVar("_T")

FLUSH_S: Final = 0.5
"""How long the last datagram may wait for the kernel to find the server's MAC."""

_FLUSH_PAUSE_S: Final = 0.005
_DATAGRAM_BYTES: Final = 2048
_ANCILLARY_BYTES: Final = 128
_READS: Final = 32
"""Frames that are read in one go: a flood must not keep the loop from other leases."""

_SIOCOUTQ: Final = 0x5411
"""ioctl that tells how many bytes have not left yet. Source: linux/sockios.h."""

_PKTINFO: Final = struct.Struct("@i4s4s")
"""int interface, source address, destination. Source: linux/in.h, struct in_pktinfo."""

_VLAN_ID: Final = 0x0FFF
_CLOSING: Final[set[asyncio.Future[None]]] = set()
"""What is being closed: the loop itself keeps no task alive."""

_FOREIGN: Final = frozenset({3, 4})
"""PACKET_OTHERHOST, PACKET_OUTGOING: not for us. Source: linux/if_packet.h."""


class Ears(enum.Flag):
    """What a wire listens for, and can send."""

    NONE = 0
    DHCP = enum.auto()
    """Frames for UDP port 68."""
    ARP = enum.auto()
    """ARP about the address of `Wire.watch`."""
    UDP = enum.auto()
    """Datagrams for port 68, to an address that the interface has."""


class Listener(Protocol):
    """Who is told what a wire hears."""

    def on_datagram(self, payload: bytes, server_mac: str) -> None:
        """Take a datagram for port 68; the MAC is empty where the kernel took it off."""

    def on_arp(self, arp: Arp) -> None:
        """Take an ARP packet."""

    def on_damaged(self) -> None:
        """Take note of a frame that is none."""


class Wire(Protocol):
    """One interface of one sandbox."""

    async def listen(self, ears: Ears) -> None:
        """
        Listen for at least this from now on; for nothing at all where it is NONE.

        Raises:
            LinkGoneError: Sandbox or interface is not there any more.
            NodeError: It cannot be used now.
        """

    def watch(self, address: str) -> None:
        """Hear ARP about this address from now on."""

    def send_frame(self, frame: bytes) -> bool:
        """Send a frame, while listening for DHCP; tell whether it left."""

    async def send_datagram(
        self, payload: bytes, *, source: str, destination: str, flush: bool = False
    ) -> bool:
        """
        Send to a server from an address of the interface, while listening for UDP.

        Args:
            payload: A DHCP message.
            source: Address of the interface.
            destination: Of the server.
            flush: Wait until it has left the host.

        Returns:
            Whether it left, as far as is known.
        """

    def is_there(self) -> bool:
        """Tell cheaply whether the sandbox is still there."""

    def close(self) -> None:
        """Listen for nothing; a second time does nothing."""


class InThread(Protocol):
    """Runs a function that blocks, off the loop."""

    def __call__(self, function: Callable[[], _T]) -> Awaitable[_T]:
        """Run it and return what it returns."""


class LinkWire:
    """The interface of a sandbox; see `Wire` for the methods."""

    def __init__(self, place: Place, listener: Listener, *, in_thread: InThread) -> None:
        self.place: Final = place
        self._listener: Final = listener
        self._in_thread: Final = in_thread
        self._ears = Ears.NONE
        self._sockets: Sockets | None = None
        self._suspect = False
        self._watched = ""

    async def listen(self, ears: Ears) -> None:
        """See `Wire.listen`; sockets that failed are opened anew."""
        if self._suspect or ears & ~self._ears:
            place = self.place
            self.close()
            opened = await self._in_thread(
                lambda: open_sockets(
                    place,
                    dhcp=Ears.DHCP in ears,
                    arp=Ears.ARP in ears,
                    udp=Ears.UDP in ears,
                )
            )
            self._use(opened, ears)
        elif not ears:
            self.close()

    def _use(self, opened: Sockets, ears: Ears) -> None:
        self._sockets, self._ears, self._suspect = opened, ears, False
        loop = asyncio.get_running_loop()
        for sock, read in (
            (opened.dhcp, self._read_frame),
            (opened.arp, self._read_arp),
            (opened.udp, self._read_datagram),
        ):
            if sock is not None:
                loop.add_reader(sock, self._read, sock, read)
        if self._watched:
            self.watch(self._watched)

    def watch(self, address: str) -> None:
        """See `Wire.watch`."""
        self._watched = address
        if self._sockets is not None and self._sockets.arp is not None:
            attach_filter(self._sockets.arp, arp_filter(address))

    def close(self) -> None:
        """See `Wire.close`."""
        opened, self._sockets = self._sockets, None
        self._ears = Ears.NONE
        if opened is None:
            return
        for sock in (opened.dhcp, opened.arp, opened.udp):
            if sock is not None:
                asyncio.get_running_loop().remove_reader(sock)
        # For a packet socket the kernel waits a grace period, 13 ms: not on the loop.
        try:
            closing = asyncio.ensure_future(self._in_thread(opened.close))
        except RuntimeError:  # no thread is started any more: the agent ends
            opened.close()
            return
        _CLOSING.add(closing)
        closing.add_done_callback(_CLOSING.discard)

    def is_there(self) -> bool:
        """See `Wire.is_there`."""
        return sandbox_is_there(self.place)

    def send_frame(self, frame: bytes) -> bool:
        """See `Wire.send_frame`."""
        if self._sockets is None or self._sockets.dhcp is None:
            return False
        kind = int.from_bytes(frame[12:14], "big")
        try:
            self._sockets.dhcp.sendto(frame, (self._sockets.ifname, kind))
        except OSError:
            # Down, gone or full: the next `listen` looks again, the next timer sends again.
            self._suspect = True
            return False
        return True

    async def send_datagram(
        self, payload: bytes, *, source: str, destination: str, flush: bool = False
    ) -> bool:
        """See `Wire.send_datagram`."""
        sock = None if self._sockets is None else self._sockets.udp
        if sock is None:
            return False
        info = _PKTINFO.pack(0, pack_ipv4(source), pack_ipv4(NO_ADDRESS))
        try:
            sock.sendmsg(
                [payload],
                [(socket.IPPROTO_IP, IP_PKTINFO, info)],
                0,
                (destination, SERVER_PORT),
            )
            return not flush or await self._flushed(sock)
        except OSError:  # EINVAL: the address is not on the interface
            self._suspect = True
            return False

    async def _flushed(self, sock: socket.socket) -> bool:
        """
        Wait until nothing of the socket is left in the kernel.

        A datagram waits there for the answer to an ARP request, and dies with its link.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + FLUSH_S
        while struct.unpack("@i", fcntl.ioctl(sock, _SIOCOUTQ, b"\0" * 4))[0]:
            if loop.time() > deadline:
                return False
            await asyncio.sleep(_FLUSH_PAUSE_S)
        return True

    # ------------------------------------------------------------ hearing

    def _read(self, sock: socket.socket, read: Callable[[socket.socket], None]) -> None:
        # A link that goes down is an error to read, once; frames come again when it is up.
        with contextlib.suppress(OSError):
            for _ in range(_READS):
                if sock.fileno() < 0:  # what was read has ended the listening
                    return
                read(sock)

    def _read_frame(self, sock: socket.socket) -> None:
        data, ancillary, _, address = sock.recvmsg(_DATAGRAM_BYTES, _ANCILLARY_BYTES)
        status, vlan = _auxiliary(ancillary)
        if address[2] in _FOREIGN or vlan:
            return
        frame = parse_udp_frame(data, checksum_ready=not status & TP_STATUS_CSUMNOTREADY)
        if frame is None:
            self._listener.on_damaged()
        else:
            self._listener.on_datagram(frame.payload, frame.src_mac.hex(":"))

    def _read_arp(self, sock: socket.socket) -> None:
        data, ancillary, _, address = sock.recvmsg(_DATAGRAM_BYTES, _ANCILLARY_BYTES)
        if address[2] in _FOREIGN or _auxiliary(ancillary)[1]:
            return
        arp = parse_arp(data)
        if arp is None:
            self._listener.on_damaged()
        else:
            self._listener.on_arp(arp)

    def _read_datagram(self, sock: socket.socket) -> None:
        self._listener.on_datagram(sock.recv(_DATAGRAM_BYTES), "")


def _auxiliary(ancillary: list[tuple[int, int, bytes]]) -> tuple[int, int]:
    """Return status bits and VLAN id that the kernel passes beside a frame."""
    for level, kind, data in ancillary:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA) and len(data) >= AUXDATA.size:
            status, _, _, _, _, tag, _ = AUXDATA.unpack_from(data)
            return status, tag & _VLAN_ID if status & TP_STATUS_VLAN_VALID else 0
    return 0, 0
