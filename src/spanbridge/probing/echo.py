# SPDX-License-Identifier: Apache-2.0
"""
Echoes: whether they come back, how long they take, how large they may be.

The kernel's receive time on each packet keeps Python's own slowness out of the round
trip. Packets are never fragmented here, and the path MTU that the kernel remembers does
not hold them back.
"""

import asyncio
import contextlib
import errno
import itertools
import os
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from spanbridge.model.observations import PathMtu
from spanbridge.probing.capture import widen_buffer
from spanbridge.probing.icmp import (
    TOKEN_BYTES,
    Echo,
    parse_reply,
    parse_reply6,
    render_request,
    render_request6,
)
from spanbridge.probing.pace import Pace

_PAYLOAD_BYTES: Final = 48
_BUFFER_BYTES: Final = 65536
_ICMP_BYTES: Final = 8
_HEADERS: Final = {4: 20 + _ICMP_BYTES, 6: 40 + _ICMP_BYTES}

# Absent in Python's socket module. Source: asm-generic/socket.h, SO_TIMESTAMPNS_OLD;
# linux/in.h; linux/in6.h; linux/icmp.h; linux/icmpv6.h.
SO_TIMESTAMPNS: Final = 35
_TIMESPEC: Final = struct.Struct("@ll")
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _IPV6_DONTFRAG = 10, 23, 62
_PMTUDISC_PROBE: Final = 3
"""Set "don't fragment", and try any size that the device takes."""

_ICMP_FILTER, _ICMP6_FILTER, _SOL_RAW = 1, 1, 255
_REPLY, _REPLY6 = 0, 129

# What sending to a neighbour that does not exist may answer; to us that is a lost echo.
UNREACHABLE: Final = {
    *(errno.EAGAIN, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN),
    *(errno.ENETDOWN, errno.EPERM, errno.EACCES, errno.EINVAL, errno.EADDRNOTAVAIL),
}

_LATE_NEWS: Final = {
    *(errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EMSGSIZE, errno.ECONNREFUSED),
    *(errno.EACCES, errno.EPROTO, errno.ENETDOWN, errno.ENOPROTOOPT),
}
"""What a socket says of something sent earlier, by a message of ICMP about it."""

COMMON_MTUS: Final = (576, 1280, 1400, 1442, 1450, 1492, 1500, 4000, 8900, 9000)
"""Sizes at which paths end as a rule, tried first."""

_WIDTH: Final = 12
"""Sizes tried at a time where none of the common ones is the last that passes."""

_COPIES: Final = 3
"""Of each size: one may be lost by chance."""

_TRIES: Final = (1, 3, 5)
"""Copies of the largest size, one try after the other: it passes as a rule."""

_TAG_BYTES: Final = 4
"""So much more than its MTU a device takes in. Source: Linux 6.1, __is_skb_forwardable()."""

_REFUSED_MAX: Final = 40
"""How often a kernel without room is asked again. It keeps neighbours for all namespaces."""

_SETTLE_S: Final = 0.15


@dataclass(frozen=True, slots=True)
class EchoSettings:
    """
    How to ask.

    Attributes:
        count: Measured echoes to a target that is there at all.
        burst: So many at a time.
        pause_s: Between two bursts.
        reply_s: How long a measured echo may take; later counts as lost.
        patience_s: How long a target may stay silent before it counts as unreachable.
        again_s: Pause between two questions to a target that has not answered yet.
    """

    count: int = 20
    burst: int = 5
    pause_s: float = 0.02
    reply_s: float = 1.0
    patience_s: float = 2.0
    again_s: float = 0.25


@dataclass(slots=True)
class Run:
    """
    Echoes to one target that belong together.

    Attributes:
        address: Of the target.
        ident: Tells them from those of other runs.
        sequence: Of the last one sent.
        sent_ns: When each was sent, by its sequence number, in the time of the kernel.
        rtt_us: Of each answered one, in microseconds.
        duplicates: Answers beyond the first to one.
        refused: How often the kernel had no room to send one.
        answered: Set with the first answer.
    """

    address: str
    ident: int
    sequence: int = 0
    sent_ns: dict[int, int] = field(default_factory=dict)
    rtt_us: dict[int, int] = field(default_factory=dict)
    duplicates: int = 0
    refused: int = 0
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    def forget(self) -> None:
        """Begin to count again; answers to what was sent before count no more."""
        self.sent_ns.clear()
        self.rtt_us.clear()


class Pinger:
    """
    A raw socket for echoes of one family, read by the event loop.

    Raw: the ping socket is closed to everyone in a new namespace (net.ipv4.ping_group_range
    is "1 0").

    Attributes:
        token: Beginning of the payload of all its requests.
    """

    def __init__(self, sock: socket.socket, version: int) -> None:
        """See `open_pinger`."""
        self.token: Final = os.urandom(TOKEN_BYTES)
        self._sock = sock
        self._version = version
        self._idents = itertools.cycle(range(1, 0x10000))
        self._runs: dict[int, Run] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._sock)
        self._sock.close()

    @contextlib.contextmanager
    def run(self, address: str) -> Iterator[Run]:
        """Ask one target; its answers are taken by the event loop while the block runs."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            loop.add_reader(self._sock, self.read)
        run = Run(address, next(self._idents))
        self._runs[run.ident] = run
        try:
            yield run
        finally:
            del self._runs[run.ident]

    def send(self, run: Run, *, size: int = 0) -> int:
        """
        Send one request.

        Args:
            run: What it belongs to.
            size: Bytes of the whole IP packet; 0 for a small one.

        Returns:
            Its sequence number; 0 where it is larger than the device may send, or where
            the kernel has no room now, which says nothing of the network.
        """
        room = max(size - _HEADERS[self._version], TOKEN_BYTES) if size else _PAYLOAD_BYTES
        run.sequence += 1
        echo = Echo(run.ident, run.sequence, self.token.ljust(room, b"\0"))
        message = render_request(echo) if self._version == 4 else render_request6(echo)
        at_ns = time.time_ns()
        try:
            self._sock.sendto(message, (run.address, 0))
        except OSError as error:
            if error.errno in {errno.EMSGSIZE, errno.ENOBUFS}:
                run.refused += error.errno == errno.ENOBUFS
                return 0
            if error.errno not in UNREACHABLE:
                raise
        run.sent_ns[run.sequence] = at_ns
        return run.sequence

    def read(self) -> None:
        """Take all answers that lie in the socket."""
        while True:
            try:
                packet, beside, _, _ = self._sock.recvmsg(_BUFFER_BYTES, 256)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in _LATE_NEWS:
                    raise
                continue
            self._take(packet, received_ns(beside))

    def _take(self, packet: bytes, at_ns: int) -> None:
        reply = parse_reply(packet) if self._version == 4 else parse_reply6(packet)
        if reply is None or not reply.payload.startswith(self.token):
            return
        run = self._runs.get(reply.ident)
        if run is None or reply.sequence not in run.sent_ns:
            return
        if reply.sequence in run.rtt_us:
            run.duplicates += 1
            return
        run.rtt_us[reply.sequence] = max(at_ns - run.sent_ns[reply.sequence], 0) // 1000
        run.answered.set()


def open_pinger(version: int) -> Pinger:
    """Open a pinger in the namespace of the calling thread."""
    if version == 4:
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        options = [(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)]
        only = (_SOL_RAW, _ICMP_FILTER, struct.pack("=I", ~(1 << _REPLY) & 0xFFFFFFFF))
    else:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        options = [
            (socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE),
            (socket.IPPROTO_IPV6, _IPV6_DONTFRAG, 1),
        ]
        words = [0xFFFFFFFF] * 8
        words[_REPLY6 >> 5] &= ~(1 << (_REPLY6 & 31)) & 0xFFFFFFFF
        only = (socket.IPPROTO_ICMPV6, _ICMP6_FILTER, struct.pack("=8I", *words))
    try:
        for level, option, value in [*options, (socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)]:
            sock.setsockopt(level, option, value)
        sock.setsockopt(*only)
        widen_buffer(sock)
        sock.settimeout(0)
    except BaseException:
        sock.close()
        raise
    return Pinger(sock, version)


def received_ns(beside: Sequence[tuple[int, int, bytes]]) -> int:
    """Tell when the kernel got a packet, by what came beside it."""
    for level, kind, data in beside:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS) and len(data) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return time.time_ns()


async def find_present(pinger: Pinger, run: Run, settings: EchoSettings, pace: Pace) -> bool:
    """Ask until the target answers or patience is over; tell whether it has."""
    tries = max(1, round(settings.patience_s / settings.again_s))
    while len(run.sent_ns) < tries and run.refused < _REFUSED_MAX:
        pinger.send(run)
        if await pace.wait(run.answered, settings.again_s):
            return True
        pinger.read()
    return bool(run.rtt_us)


async def measure(pinger: Pinger, run: Run, settings: EchoSettings, pace: Pace) -> None:
    """Send the echoes that count, and wait for those that are under way."""
    run.forget()
    for _ in range(0, settings.count, settings.burst):
        for _ in range(min(settings.burst, settings.count - len(run.sent_ns))):
            pinger.send(run)
        await asyncio.sleep(settings.pause_s)
    await _all_back(pinger, run, settings.reply_s, pace)


async def _all_back(pinger: Pinger, run: Run, limit_s: float, pace: Pace) -> None:
    def settled() -> bool:
        pinger.read()
        return len(run.rtt_us) == len(run.sent_ns)

    await pace.until(settled, limit_s)


async def find_path_mtu(pinger: Pinger, address: str, largest: int, pace: Pace) -> PathMtu:
    """
    Find the largest packet that comes back whole, from a target that answers small ones.

    Args:
        pinger: Of the address's family.
        address: Of the target.
        largest: Bytes of the IP packet up to which it is of interest.
        pace: How patient to be.
    """
    for copies in _TRIES:
        if await _passing(pinger, address, [largest], pace, copies=copies):
            return PathMtu(largest, largest)
    low, high = _PAYLOAD_BYTES + _HEADERS[6 if ":" in address else 4], largest
    sizes = [size for size in COMMON_MTUS if low < size < high]
    while high - low > 1:
        low = max([low, *await _passing(pinger, address, sizes, pace, copies=_COPIES)])
        high = min([high, *(size for size in sizes if size > low)])
        step = max(1, (high - low) // _WIDTH)
        # The next byte too: paths end at common sizes as a rule, and that shows it at once.
        sizes = sorted({low + 1, *range(low + step, high, step)})
    usual = (size for size in COMMON_MTUS if size <= low <= size + _TAG_BYTES)
    return PathMtu(largest, next(usual, low))


async def _passing(
    pinger: Pinger, address: str, sizes: Sequence[int], pace: Pace, *, copies: int
) -> list[int]:
    """Send packets of several sizes at once; tell which sizes were answered."""
    with pinger.run(address) as run:
        sent = {pinger.send(run, size=size): size for size in sizes for _ in range(copies)}
        wanted = {size for sequence, size in sent.items() if sequence}

        def settled() -> bool:
            pinger.read()
            return {sent[each] for each in run.rtt_us} == wanted

        await pace.until(settled, _SETTLE_S)
        return sorted({sent[each] for each in run.rtt_us})
