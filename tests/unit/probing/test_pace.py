# SPDX-License-Identifier: Apache-2.0
"""Limits count only while the prober itself is running."""

import asyncio
import time

import pytest

from spanbridge.probing.pace import Pace, measure_pace

PACE = Pace()


def test_time_in_which_the_loop_was_held_up_does_not_count() -> None:
    async def run() -> bool:
        seen: list[bool] = []

        async def work() -> None:
            time.sleep(1.0)  # noqa: ASYNC251  # holds the loop up on purpose
            await asyncio.sleep(0.05)
            seen.append(True)

        task = asyncio.create_task(work())
        found = await PACE.until(lambda: bool(seen), 0.3)
        await task
        return found

    assert asyncio.run(run())


def test_what_does_not_come_is_given_up() -> None:
    async def run() -> tuple[bool, bool]:
        return await PACE.until(lambda: False, 0.05), await PACE.wait(asyncio.Event(), 0.05)

    assert asyncio.run(run()) == (False, False)


def test_an_event_that_is_there_is_not_waited_for() -> None:
    async def run() -> bool:
        event = asyncio.Event()
        event.set()
        return await PACE.wait(event, 0)

    assert asyncio.run(run())


def test_work_that_is_too_long_is_cancelled() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("yes")

    async def run() -> None:
        await PACE.limit(work(), 0.05)

    with pytest.raises(TimeoutError):
        asyncio.run(run())
    assert ended == ["yes"]


def test_the_result_and_the_error_of_work_come_through() -> None:
    async def fail() -> None:
        raise ConnectionRefusedError

    async def give() -> int:
        return 7

    async def run() -> int:
        with pytest.raises(ConnectionRefusedError):
            await PACE.limit(fail(), 1)
        return await PACE.limit(give(), 1)

    assert asyncio.run(run()) == 7


def test_a_machine_is_never_taken_for_faster_than_usual() -> None:
    assert 1 <= measure_pace().factor <= 4
