# SPDX-License-Identifier: Apache-2.0
"""
Ask many addresses for an echo, from one network namespace.

First every target is asked until it answers, so that address resolution and ports
that still come up cost no loss; then the measured rounds. A target that never
answers costs ``patience_s``, all silent targets together, not each.
"""

import contextlib
import errno
import os
import select
import socket
import struct
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from spanbridge.probing.icmp import Echo, parse_reply, render_request

_PAYLOAD_BYTES: Final = 48
_BUFFER_BYTES: Final = 2048
# The kernel's receive time on each packet keeps Python's own slowness out of the RTT.
# Source: asm-generic/socket.h, SO_TIMESTAMPNS_OLD; absent in Python's socket module.
_SO_TIMESTAMPNS: Final = 35
_TIMESPEC: Final = struct.Struct("@ll")
# What sending to a neighbour that does not exist may answer; to us that is a lost echo.
_UNREACHABLE: Final = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENOBUFS}


@dataclass(frozen=True, slots=True)
class PingSettings:
    """
    How to ask.

    Attributes:
        rounds: Measured echoes to each target that is there at all.
        reply_s: How long a measured echo may take; later counts as lost.
        patience_s: How long a target may stay silent before it counts as unreachable.
        again_s: Pause between two questions to a target that has not answered yet.
    """

    rounds: int = 5
    reply_s: float = 2.0
    patience_s: float = 20.0
    again_s: float = 0.25


@dataclass(frozen=True, slots=True)
class PingResult:
    """
    What one target answered.

    Attributes:
        target: Its address.
        sent: Echoes that count: the measured ones, or all when none was ever answered.
        rtts_ms: Round-trip times of the answers, in the order sent.
        duplicates: Answers beyond the first to one question: two owners of one address.
    """

    target: str
    sent: int
    rtts_ms: tuple[float, ...]
    duplicates: int = 0

    @property
    def received(self) -> int:
        """Echoes answered in time."""
        return len(self.rtts_ms)

    @property
    def loss(self) -> float:
        """Share of the echoes that was not answered, 0 to 1."""
        return 1 - self.received / self.sent if self.sent else 1.0

    @property
    def rtt_min_ms(self) -> float | None:
        """Shortest round trip; None without an answer."""
        return min(self.rtts_ms, default=None)

    @property
    def rtt_median_ms(self) -> float | None:
        """Median round trip; None without an answer."""
        return median(self.rtts_ms) if self.rtts_ms else None


def open_echo_socket() -> socket.socket:
    """
    Open the socket that ``ping`` works on, in the namespace of the calling thread.

    A raw socket: the ping socket is closed to everyone in a new namespace
    (net.ipv4.ping_group_range is "1 0").
    """
    opened = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    opened.settimeout(0)
    return opened


def ping(
    sock: socket.socket, targets: Sequence[str], settings: PingSettings
) -> tuple[PingResult, ...]:
    """Ask every target, all at once; the results come in the order of ``targets``."""
    return _Pinger(sock, targets, settings).run()


@dataclass(slots=True)
class _Tally:
    asked: int = 0
    rtts_ms: list[float] = field(default_factory=list)
    duplicates: int = 0


class _Pinger:
    """
    One run over one socket.

    Args:
        sock: From ``open_echo_socket``.
        targets: IPv4 addresses.
        settings: How to ask.
    """

    def __init__(self, sock: socket.socket, targets: Sequence[str], settings: PingSettings) -> None:
        self._sock = sock
        self._targets = targets
        self._settings = settings
        self._ident = int.from_bytes(os.urandom(2), "big")
        self._payload = os.urandom(_PAYLOAD_BYTES)
        self._sequence = 0
        self._sent_ns: dict[tuple[str, int], int] = {}
        self._answered: set[tuple[str, int]] = set()
        self._tally = {target: _Tally() for target in targets}

    def run(self) -> tuple[PingResult, ...]:
        settings = self._settings
        present = self._find_present()
        for target in present:
            self._tally[target] = _Tally(duplicates=self._tally[target].duplicates)
        for _ in range(settings.rounds):
            self._round(present, settings.reply_s)
        return tuple(
            PingResult(target, tally.asked, tuple(tally.rtts_ms), tally.duplicates)
            for target, tally in self._tally.items()
        )

    def _find_present(self) -> list[str]:
        """Ask until everyone has answered or patience is over; return who has."""
        deadline = time.monotonic() + self._settings.patience_s
        silent = list(self._targets)
        while silent and (left := deadline - time.monotonic()) > 0:
            self._round(silent, min(left, self._settings.again_s))
            silent = [target for target in silent if not self._tally[target].rtts_ms]
        return [target for target in self._targets if target not in silent]

    def _round(self, targets: Collection[str], wait_s: float) -> None:
        """Ask each of ``targets`` once and wait until all have answered, at most ``wait_s``."""
        self._sequence = (self._sequence + 1) & 0xFFFF
        message = render_request(Echo(self._ident, self._sequence, self._payload))
        for target in targets:
            self._send(target, message)
        waiting = set(targets)
        deadline = time.monotonic() + wait_s
        while waiting and (left := deadline - time.monotonic()) > 0:
            select.select([self._sock], [], [], left)
            waiting -= self._take_answers()
        self._take_answers()

    def _send(self, target: str, message: bytes) -> None:
        self._tally[target].asked += 1
        self._sent_ns[target, self._sequence] = time.time_ns()
        try:
            self._sock.sendto(message, (target, 0))
        except OSError as error:
            if error.errno not in _UNREACHABLE:
                raise

    def _take_answers(self) -> set[str]:
        """Record all that lies in the socket; return who answered the current question."""
        answered: set[str] = set()
        with contextlib.suppress(BlockingIOError):
            while True:
                packet, ancillary, _, sender = self._sock.recvmsg(_BUFFER_BYTES, 256)
                if self._record(packet, _received_ns(ancillary), sender[0]):
                    answered.add(sender[0])
        return answered

    def _record(self, packet: bytes, at_ns: int, sender: str) -> bool:
        reply = parse_reply(packet)
        if reply is None or (reply.ident, reply.payload) != (self._ident, self._payload):
            return False
        key = (sender, reply.sequence)
        if key in self._answered:
            self._tally[sender].duplicates += 1
        elif key in self._sent_ns and reply.sequence == self._sequence:
            self._answered.add(key)
            self._tally[sender].rtts_ms.append(max(at_ns - self._sent_ns[key], 0) / 1e6)
        return reply.sequence == self._sequence


def _received_ns(ancillary: Sequence[tuple[int, int, bytes]]) -> int:
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS) and len(data) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return time.time_ns()
