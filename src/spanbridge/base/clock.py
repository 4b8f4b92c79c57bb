# SPDX-License-Identifier: Apache-2.0
"""Time as an argument: the wall clock for what is written down, time since boot for timers."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"


def _since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Clock:
    """
    Where time comes from.

    Attributes:
        wall: Seconds since 1970; may be set, also backwards.
        boot: Seconds since the machine booted, sleep included; never set.
    """

    wall: Callable[[], float] = time.time
    boot: Callable[[], float] = _since_boot


SYSTEM: Final = Clock()


def boot_id() -> str:
    """Return what names this boot: times since boot of another one mean nothing."""
    with open(_BOOT_ID, encoding="ascii") as stream:  # noqa: PTH123  # pathlib costs 5 ms
        return stream.read().strip()
