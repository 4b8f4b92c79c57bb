# SPDX-License-Identifier: Apache-2.0
"""What has been counted since the start: plain numbers, written by many threads."""

import bisect
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, Literal

from spanbridge.model.request import VERBS

BOUNDS_S: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
"""Upper bounds of the latency histogram: a warm ADD takes one millisecond, DHCP seconds."""

OTHER: Final = "other"
"""Stands for what clients make up, so that they cannot make the figures grow without end."""

_VERBS: Final = frozenset(VERBS)

Figure = Literal["malformed", "late", "refused", "overloads", "abandoned"]


def known_verb(verb: str) -> str:
    """Return ``verb``, or ``OTHER`` for what is none."""
    return verb if verb in _VERBS else OTHER


@dataclass(slots=True)
class Histogram:
    """
    How long calls took.

    Attributes:
        counts: Calls by index of ``BOUNDS_S``, each within its bound and above the one
            before; the last one holds those above all.
        sum_s: All durations together.
    """

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    sum_s: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one call."""
        self.counts[bisect.bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds


@dataclass(slots=True)
class Tally:
    """
    All figures.

    Attributes:
        calls: By verb, program and code; code 0 is success.
        seconds: By verb.
        in_flight: Calls that are being run.
        malformed: Requests that could not be read.
        late: Requests that did not arrive in time.
        refused: Connections of users who may not ask.
        overloads: Calls told to try again later, because of too many.
        abandoned: Calls whose client hung up before the answer.
    """

    calls: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    seconds: dict[str, Histogram] = field(default_factory=dict)
    in_flight: int = 0
    malformed: int = 0
    late: int = 0
    refused: int = 0
    overloads: int = 0
    abandoned: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, figure: Figure) -> None:
        """Count one more of a kind."""
        with self._lock:
            setattr(self, figure, getattr(self, figure) + 1)

    def count(self, verb: str, program: str, code: int, seconds: float) -> None:
        """Count one call that was answered."""
        verb = known_verb(verb)
        with self._lock:
            self.calls[verb, program, code] += 1
            self.seconds.setdefault(verb, Histogram()).add(seconds)
