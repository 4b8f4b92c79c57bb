# SPDX-License-Identifier: Apache-2.0
"""
Record the frames on a link, and count them by VLAN tag.

The kernel takes the tag out of a frame before a capture sees it and passes it
beside the frame, as auxiliary data. Source: packet(7), PACKET_AUXDATA;
linux/if_packet.h, struct tpacket_auxdata.
"""

import contextlib
import errno
import socket
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from spanbridge.probing.filters import Instruction, attach_filter

_ETH_P_ALL: Final = 0x0003
_ETH_P_8021Q: Final = 0x8100
# Absent in Python's socket module. Source: asm-generic/socket.h, linux/if_packet.h.
_SO_RCVBUFFORCE: Final = 33
_SOL_PACKET: Final = 263
_PACKET_STATISTICS: Final = 6
_PACKET_AUXDATA: Final = 8
_TP_STATUS_VLAN_VALID: Final = 1 << 4
# Offset 0 status, 4 len, 8 snaplen (u32); 12 mac, 14 net, 16 vlan_tci, 18 vlan_tpid (u16); native.
_AUXDATA: Final = struct.Struct("@IIIHHHH")
_STATISTICS: Final = struct.Struct("@II")
_VLAN_ID_MASK: Final = 0x0FFF
_PACKET_OUTGOING: Final = 4
_SNAP_BYTES: Final = 64  # an ARP packet with its headers
_BUFFER_BYTES: Final = 8 << 20

UNTAGGED: Final = 0
"""Key of frames without a tag; 0 is no VLAN id but means "priority only"."""


@dataclass(frozen=True, slots=True)
class Frame:
    """
    The beginning of a frame.

    Attributes:
        vlan: Its VLAN id; ``UNTAGGED`` for none.
        sent: It left through the link; False: it came in.
        data: From its Ethernet header on; a tag beside the frame is not in it.
    """

    vlan: int
    sent: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class Recording:
    """Frames in their order; ``missed`` had to be left out, the buffer being full."""

    frames: tuple[Frame, ...]
    missed: int = 0


@dataclass(frozen=True, slots=True)
class TagCount:
    """
    Frames by VLAN.

    Attributes:
        frames: Frames in both directions by VLAN id; ``UNTAGGED`` for those without a tag.
        missed: Frames that the kernel had to leave out, the buffer being full.
    """

    frames: dict[int, int]
    missed: int = 0

    def tagged(self, vlan: int) -> int:
        """Count the frames of ``vlan``."""
        return self.frames.get(vlan, 0)

    @property
    def untagged(self) -> int:
        """Frames without a tag."""
        return self.frames.get(UNTAGGED, 0)

    def others(self, vlan: int) -> int:
        """Count the tagged frames of any VLAN but ``vlan``."""
        return sum(self.frames.values()) - self.tagged(vlan) - self.untagged


def open_capture(interface: str, *, only: Sequence[Instruction] = ()) -> socket.socket:
    """
    Begin to collect the frames on ``interface``, in the namespace of the calling thread.

    Args:
        interface: Name of the link.
        only: Program that chooses frames; none takes all.
    """
    # Protocol 0 collects nothing until bound: else frames of other links get in.
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    try:
        opened.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        if only:
            attach_filter(opened, only)
        widen_buffer(opened)
        opened.settimeout(0)
        opened.bind((interface, _ETH_P_ALL))
    except BaseException:
        opened.close()
        raise
    return opened


def widen_buffer(sock: socket.socket, size: int = _BUFFER_BYTES) -> None:
    """Let a socket keep more until it is read, where that is allowed."""
    # More than net.core.rmem_max needs CAP_NET_ADMIN of the first user namespace.
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)


def read_capture(capture: socket.socket) -> Recording:
    """Take what ``capture`` has collected so far."""
    frames: list[Frame] = []
    while True:
        try:
            data, ancillary, _, address = capture.recvmsg(_SNAP_BYTES, 256)
        except BlockingIOError:
            break
        except OSError as exc:
            # That the device went down, or away, is told once, before what came until then.
            if exc.errno not in {errno.ENETDOWN, errno.ENODEV, errno.ENXIO}:
                raise
            continue
        sent = address[2] == _PACKET_OUTGOING
        frames.append(Frame(frame_vlan(data, ancillary), sent, data))
    statistics = capture.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size)
    return Recording(tuple(frames), missed=_STATISTICS.unpack(statistics)[1])


def count_tags(recording: Recording) -> TagCount:
    """Count the frames of each VLAN."""
    counts = Counter(frame.vlan for frame in recording.frames)
    return TagCount(dict(counts), recording.missed)


def frame_vlan(frame: bytes, ancillary: Sequence[tuple[int, int, bytes]]) -> int:
    """Tell the VLAN of a frame, from beside it or from within it; ``UNTAGGED`` without one."""
    for level, kind, data in ancillary:
        if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA) and len(data) >= _AUXDATA.size:
            status, _, _, _, _, tci, _ = _AUXDATA.unpack_from(data)
            if status & _TP_STATUS_VLAN_VALID:
                return int(tci) & _VLAN_ID_MASK
    if (
        len(frame) >= 16 and int.from_bytes(frame[12:14], "big") == _ETH_P_8021Q
    ):  # addresses, type and tag
        return int.from_bytes(frame[14:16], "big") & _VLAN_ID_MASK
    return UNTAGGED
