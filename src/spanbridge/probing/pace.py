# SPDX-License-Identifier: Apache-2.0
"""
Time limits that hold on slow machines.

A limit is meant for the network. While this process itself did not run, or its kernel is
emulated, nothing can be said about the network: that time is not counted, or counted
less. So nothing is called lost because who looked for it was late.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeVar

_T = TypeVar("_T")

_SLICE_S: Final = 0.02
_LATE_S: Final = 2 * _SLICE_S
"""At most so much of a slice counts, however long it took to come back from it."""

_USUAL_S: Final = 0.001
"""What the loop of `measure_pace` takes on a processor of 2020; a slow guest needs 0.03."""

_LOOPS: Final = 20_000
_FACTOR_MAX: Final = 4.0


@dataclass(frozen=True, slots=True)
class Pace:
    """
    How patient to be.

    Attributes:
        factor: Times that every limit is longer than on a usual machine, at least 1.
    """

    factor: float = 1.0

    async def until(self, done: Callable[[], bool], limit_s: float) -> bool:
        """Wait until something is so; tell whether it is."""
        left = limit_s * self.factor
        while not done():
            if left <= 0:
                return False
            left -= await _slice()
        return True

    async def wait(self, event: asyncio.Event, limit_s: float) -> bool:
        """Wait for an event; tell whether it came."""
        left = limit_s * self.factor
        while not event.is_set():
            if left <= 0:
                return False
            began = time.monotonic()
            try:
                async with asyncio.timeout(_SLICE_S):
                    await event.wait()
            except TimeoutError:
                left -= _counted(began)
        return True

    async def limit(self, work: Coroutine[Any, Any, _T], limit_s: float) -> _T:
        """
        Do something, but not for longer.

        Raises:
            TimeoutError: The time is over; the work has been cancelled.
        """
        task = asyncio.ensure_future(work)
        left = limit_s * self.factor
        try:
            while left > 0:
                began = time.monotonic()
                if (await asyncio.wait({task}, timeout=_SLICE_S))[0]:
                    return task.result()
                left -= _counted(began)
        finally:
            if not task.done():
                await _cancel(task)
        raise TimeoutError


def _counted(began: float) -> float:
    return min(time.monotonic() - began, _LATE_S)


async def _slice() -> float:
    began = time.monotonic()
    await asyncio.sleep(_SLICE_S)
    return _counted(began)


async def _cancel(task: Awaitable[object]) -> None:
    future = asyncio.ensure_future(task)
    future.cancel()
    await asyncio.wait({future})
    if not future.cancelled():
        future.exception()  # it has been looked at


def measure_pace() -> Pace:
    """Find out how slow this machine is: the best of three short loops."""
    return Pace(min(_FACTOR_MAX, max(1.0, min(_loop_s() for _ in range(3)) / _USUAL_S)))


def _loop_s() -> float:
    began, total = time.perf_counter(), 0
    for number in range(_LOOPS):
        total += number
    return time.perf_counter() - began
