# SPDX-License-Identifier: Apache-2.0
"""
The guest's serial console: its counter, and what the gaps in it say.

The guest's own clock stands still with it, so a pause is measured here: by when each
tick arrives.
"""

import contextlib
import itertools
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

_TICK: Final = re.compile(rb"tick (\d+) (\d+\.\d+)\s*")
_POLL_S: Final = 0.02
_KEPT_LINES: Final = 50


@dataclass(frozen=True, slots=True)
class Tick:
    """
    One beat of the guest's counter.

    Attributes:
        number: From 0, since the guest's boot.
        guest_s: The guest's own clock: its uptime.
        at_s: When it arrived, by our monotonic clock.
    """

    number: int
    guest_s: float
    at_s: float


@dataclass(frozen=True, slots=True)
class Count:
    """
    What the counter did over a time.

    Attributes:
        ticks: How many were heard.
        missing: Numbers that were never heard between the first and the last.
        repeated: Numbers that were heard more than once.
        longest_gap_ms: Between one tick and the next.
        gap_at_s: When that gap began, by our monotonic clock.
    """

    ticks: int
    missing: int
    repeated: int
    longest_gap_ms: int
    gap_at_s: float


class Console:
    """
    Listens to a console until closed; one listener at a time is possible.

    Attributes:
        ticks: Heard so far.
        said: The last other lines.
        first: The first line that ended here, which may have begun at another console.
        rest: The beginning of a line that has not ended yet.

    Raises:
        OSError: Nobody is at the socket.
    """

    def __init__(self, path: Path) -> None:
        self.ticks: list[Tick] = []
        self.said: list[str] = []
        self.first = b""
        self.rest = b""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.connect(str(path))
        except BaseException:
            self._socket.close()
            raise
        self._thread = threading.Thread(target=self._listen, name="console", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(OSError):  # where QEMU was first
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while True:
            try:
                data = self._socket.recv(65536)
            except OSError:
                return
            if not data:
                return
            now = time.monotonic()
            *lines, self.rest = (self.rest + data).split(b"\n")
            for line in lines:
                self.first = self.first or line
                self._hear(line, now)

    def _hear(self, line: bytes, now: float) -> None:
        tick = _parse_tick(line, now)
        if tick is not None:
            self.ticks.append(tick)
        elif text := line.decode(errors="replace").strip():
            self.said.append(text)
            del self.said[:-_KEPT_LINES]

    def await_tick(
        self, *, timeout_s: float, alive: Callable[[], bool] = lambda: True
    ) -> Tick | None:
        """Wait for a tick that is still to come; None where none comes in time."""
        before, deadline = len(self.ticks), time.monotonic() + timeout_s
        while len(self.ticks) == before:
            if time.monotonic() > deadline or not alive():
                return None
            time.sleep(_POLL_S)
        return self.ticks[before]


def _parse_tick(line: bytes, at_s: float) -> Tick | None:
    found = _TICK.fullmatch(line)
    return Tick(int(found[1]), float(found[2]), at_s) if found is not None else None


def join_ticks(here: Console, there: Console) -> list[Tick]:
    """List the ticks of a guest that moved, also the one that began here and ended there."""
    ticks = [*here.ticks, *there.ticks]
    if here.rest and there.ticks:
        split = _parse_tick(here.rest + there.first, there.ticks[0].at_s)
        ticks += [split] if split is not None else []
    return ticks


def count(heard: Iterable[Tick]) -> Count:
    """Judge the ticks of a guest."""
    ticks = sorted(heard, key=lambda tick: tick.at_s)
    numbers = [tick.number for tick in ticks]
    if not ticks:
        return Count(0, 0, 0, 0, 0.0)
    gaps = [(after.at_s - before.at_s, before.at_s) for before, after in itertools.pairwise(ticks)]
    gap, since = max(gaps, default=(0.0, ticks[0].at_s))
    different = len(set(numbers))
    return Count(
        ticks=len(ticks),
        missing=max(numbers) - min(numbers) + 1 - different,
        repeated=len(numbers) - different,
        longest_gap_ms=round(gap * 1000),
        gap_at_s=since,
    )
