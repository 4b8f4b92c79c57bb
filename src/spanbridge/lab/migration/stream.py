# SPDX-License-Identifier: Apache-2.0
"""
Driving a migration: the QEMU at the source, and the one that waits at the target.

The target stays paused until the source says that it sent everything and the target that it
has everything; only then it is started. Until that moment the source can go on, so a
migration that fails costs a pause at most. Post-copy gives that up: its guest runs at the
target with half of its memory elsewhere.

Source: QEMU 7.2, qapi/migration.json, docs/devel/migration.rst.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from spanbridge.base.errors import NodeError
from spanbridge.lab.migration.request import CANCEL_BANDWIDTH_MIB, Mode, Options
from spanbridge.lab.vm.qmp import GoneError, ask, seconds, set_capabilities, state_of, taken
from spanbridge.model.timeline import Sample

if TYPE_CHECKING:
    from qemu.qmp import QMPClient

SAMPLE_S: Final = 0.1
CANCEL_S: Final = 5.0
"""Time for QEMU to take a cancellation by itself; then its stream is cut."""

SETTLE_S: Final = 60.0
"""Time until a migration that was cut, or a guest that was told to go on, is over with it."""

_MIB: Final = 1 << 20
_NO_LIMIT: Final = 1 << 50
_DOWNTIME_MS: Final = 300
"""QEMU's own; as long as it may take to send the rest, it looks for more to send."""
_MENDED_IN: Final = 9
"""QEMU's major version that overlooks nothing any more."""

_POLL_S: Final = 0.02
_END_LOOKS: Final = 50
_OVER: Final = frozenset({"completed", "failed", "cancelled", "postcopy-paused"})
_MOVING: Final = frozenset({"postcopy-active", "postcopy-paused", "postcopy-recover"})


class StoppedError(NodeError):
    """
    The migration was ended on the way.

    Attributes:
        asked: The user wanted it so.
    """

    def __init__(self, cause: str, *, asked: bool = False) -> None:
        super().__init__(cause)
        self.asked = asked


@dataclass(slots=True)
class Course:
    """
    What is known of a migration on its way; grows with it.

    Attributes:
        began_s: By our monotonic clock.
        began_at_s: In seconds since 1970, as QEMU dates its events.
        samples: Looks at it so far.
        paused_at_ms: When the guest stopped at the source.
        downtime_ms: From its stop there to its start at the target, by QEMU's events.
        moved: Whether the guest is the target's, also where the migration then failed.
    """

    began_s: float = field(default_factory=time.monotonic)
    began_at_s: float = field(default_factory=time.time)
    samples: list[Sample] = field(default_factory=list)
    paused_at_ms: int | None = None
    downtime_ms: int | None = None
    moved: bool = False


@dataclass(frozen=True, slots=True)
class Ends:
    """
    Both QEMUs.

    Attributes:
        source: The monitor of the one that runs.
        target: The monitor of the one that waits.
        target_lives: Tells whether the latter's process is there.
        cut: Ends the stream between them, also when QEMU is stuck in it.
    """

    source: "QMPClient"
    target: "QMPClient"
    target_lives: Callable[[], bool]
    cut: Callable[[], None]


async def prepare_target(target: "QMPClient", socket: Path, options: Options) -> None:
    """Have the target wait for the stream at a unix socket."""
    await set_capabilities(target, {"events": True, **_shared_capabilities(options)})
    if options.mode is Mode.POST_COPY:
        # Nothing can be taken back in post-copy: the guest goes on as soon as it is there.
        await ask(target, "cont")
    await ask(target, "migrate-incoming", uri=f"unix:{socket}")


async def overlooks_writes(emulator: "QMPClient") -> bool:
    """
    Tell whether QEMU may lose what an emulated guest writes while a migration makes passes.

    Before 9.0 it overlooks what is written between a second look for changed pages and the next
    change of the guest's page table: seldom on an idle machine, nearly always in slow motion.

    Source: QEMU's commit "physmem: Fix migration dirty bitmap coherency with TCG memory access".
    """
    version = (await ask(emulator, "query-version"))["qemu"]
    return int(version["major"]) < _MENDED_IN


async def prepare_source(source: "QMPClient", options: Options, *, one_pass: bool = False) -> None:
    """
    Set what the options say; nothing of an earlier migration stays.

    Args:
        source: Its monitor.
        options: What the user asked for.
        one_pass: Stop the guest when its memory has been sent once, and then send what it has
            written to meanwhile: see `overlooks_writes`.
    """
    await set_capabilities(
        source,
        {
            "events": True,
            **_shared_capabilities(options),
            "auto-converge": options.auto_converge,
            # Cannot be over before we have looked how far it is.
            "pause-before-switchover": bool(options.cancel_at_percent),
        },
    )
    limit = options.bandwidth_mib_per_s
    if options.cancel_at_percent and not limit:
        limit = CANCEL_BANDWIDTH_MIB
    speed = limit * _MIB or _NO_LIMIT
    # Without a tolerated downtime there is no second look before the guest has stopped.
    downtime_ms = 0 if one_pass else _DOWNTIME_MS
    await ask(source, "migrate-set-parameters", max_bandwidth=speed, downtime_limit=downtime_ms)


def _shared_capabilities(options: Options) -> dict[str, bool]:
    return {"postcopy-ram": options.mode is Mode.POST_COPY}


async def run_stream(
    ends: Ends,
    socket: Path,
    *,
    options: Options,
    course: Course,
    watch: Callable[[Sample], None],
) -> None:
    """
    Migrate, and return when the guest runs at the target.

    Args:
        ends: Both QEMUs, prepared.
        socket: Where the source sends to.
        options: How.
        course: Filled on the way.
        watch: Called with each sample; what it raises ends the migration.

    Raises:
        StoppedError: It was ended on the way.
        NodeError: It failed.
    """
    with ends.source.listener() as heard, ends.target.listener() as arrived:
        try:
            await ask(ends.source, "migrate", uri=f"unix:{socket}")
            await _follow(ends, options, course, watch)
            await _hand_over(ends, options, course)
        finally:
            _note_pause(course, taken(heard), taken(arrived))


def _note_pause(
    course: Course, heard: Iterable[Mapping[str, Any]], arrived: Iterable[Mapping[str, Any]]
) -> None:
    """
    Note when the guest stopped at the source, and how long until it ran at the target.

    What ``query-migrate`` calls downtime ends when the source has written its last byte:
    that is not when the target has read it.
    """
    stopped = next((each for each in heard if each.get("event") == "STOP"), None)
    resumed = next((each for each in arrived if each.get("event") == "RESUME"), None)
    if stopped is not None:
        course.paused_at_ms = round((seconds(stopped) - course.began_at_s) * 1000)
        if resumed is not None:
            course.downtime_ms = round((seconds(resumed) - seconds(stopped)) * 1000)


async def _follow(
    ends: Ends, options: Options, course: Course, watch: Callable[[Sample], None]
) -> None:
    """Look at the migration until the source has sent everything."""
    pace = _Pace(course.began_s, course.began_s)
    begun = False
    while True:
        info = await _look(ends.source, options)
        status = str(info.get("status", "setup"))
        sample = render_sample(info, course)
        if sample is not None and (not course.samples or sample != course.samples[-1]):
            course.samples.append(sample)
            watch(sample)
        course.moved |= status in _MOVING
        if status in _OVER:
            break
        if options.mode is Mode.POST_COPY and status == "active" and not begun:
            await ask(ends.source, "migrate-start-postcopy")
            begun = True
        _require_going_on(ends, options, pace, info)
        if status == "pre-switchover":
            await ask(ends.source, "migrate-continue", state="pre-switchover")
        await asyncio.sleep(_POLL_S if status == "device" else SAMPLE_S)
    if status == "completed":
        return
    if status == "postcopy-paused":
        raise NodeError("the stream broke while half of the guest's memory was still at the source")
    raise NodeError(await _why_failed(ends, info))


@dataclass(slots=True)
class _Pace:
    """When bytes were last sent, and how many there were, by our monotonic clock."""

    began_s: float
    moved_s: float
    sent: int = -1


async def _look(source: "QMPClient", options: Options) -> dict[str, Any]:
    """Ask how far it is; a source that is stuck in writing does not answer at all."""
    try:
        async with asyncio.timeout(options.stall_s):
            return await ask(source, "query-migrate")
    except TimeoutError:
        raise StoppedError(_stalled(options, None)) from None


def _require_going_on(ends: Ends, options: Options, pace: _Pace, info: Mapping[str, Any]) -> None:
    """
    End a migration that goes nowhere, or was to be ended here.

    Raises:
        StoppedError: It is to be ended.
        NodeError: The target is gone.
    """
    ram, now = info.get("ram", {}), time.monotonic()
    sent, total, left = (int(ram.get(key, 0)) for key in ("transferred", "total", "remaining"))
    if sent != pace.sent:
        pace.sent, pace.moved_s = sent, now
    done = 100 * (total - left) // total if total else 0
    if options.cancel_at_percent and done >= options.cancel_at_percent:
        raise StoppedError(f"cancelled at {done} % of its memory, as asked", asked=True)
    if not ends.target_lives():
        raise NodeError("QEMU at the target ended")
    if now - pace.moved_s > options.stall_s:
        raise StoppedError(_stalled(options, ram))
    if now - pace.began_s > options.timeout_s:
        raise StoppedError(_endless(options, ram))


def _stalled(options: Options, ram: Mapping[str, Any] | None) -> str:
    so_far = f" after {_words(ram.get('transferred', 0))}" if ram is not None else ""
    return f"no byte was transferred for {options.stall_s:g} s{so_far}; the migration was cancelled"


def _endless(options: Options, ram: Mapping[str, Any]) -> str:
    dirty = int(ram.get("dirty-pages-rate", 0)) * int(ram.get("page-size", 4096))
    return (
        f"not over after {options.timeout_s:g} s, with {_words(ram.get('remaining', 0))} left: "
        f"the guest writes {_words(dirty)} a second, {_words(_speed(ram))} a second get through; "
        "the migration was cancelled"
    )


def _words(number: float) -> str:
    return f"{number / _MIB:.0f} MiB"


def _speed(ram: Mapping[str, Any]) -> int:
    """Tell the throughput in bytes a second; QEMU tells it in megabits."""
    return round(float(ram.get("mbps", 0)) * 1e6 / 8)


async def _why_failed(ends: Ends, info: Mapping[str, Any]) -> str:
    """Find the nearest cause: the source only knows that its stream broke."""
    # A process that was killed may be seen by its stream first.
    for _ in range(_END_LOOKS):
        if ends.target_lives():
            await asyncio.sleep(_POLL_S)
    if not ends.target_lives():
        return "QEMU at the target ended"
    with contextlib.suppress(NodeError):
        told = (await ask(ends.target, "query-migrate")).get("error-desc")
        if told:
            return f"the target says: {told}"
    return f"the source says: {info.get('error-desc') or 'the stream broke'}"


async def _hand_over(ends: Ends, options: Options, course: Course) -> None:
    """
    Start the guest at the target once all of it is there.

    Raises:
        NodeError: It did not get there whole; the source may go on.
    """
    deadline = time.monotonic() + max(options.stall_s, CANCEL_S)
    while True:
        try:
            status = (await ask(ends.target, "query-migrate")).get("status")
            state = await state_of(ends.target)
        except GoneError:
            raise NodeError("QEMU at the target ended before it had all") from None
        if status == "failed":
            raise NodeError("the target could not read what it was sent")
        if status in {None, "completed"} and state in {"paused", "running"}:
            break
        if time.monotonic() > deadline:
            raise NodeError("the target did not get all that the source sent")
        await asyncio.sleep(_POLL_S / 4)
    if state == "paused":
        await ask(ends.target, "cont")
    course.moved = True
    # Its event comes before this answer.
    await state_of(ends.target)


async def take_back(ends: Ends, course: Course) -> bool:
    """
    End what there is of a migration, and have the guest go on at the source.

    Returns:
        Whether it does; never, once the guest was the target's.
    """
    if course.moved:
        return False
    with contextlib.suppress(NodeError, TimeoutError):
        async with asyncio.timeout(CANCEL_S):
            await ask(ends.source, "migrate_cancel")
            await _await_over(ends.source)
    # A source that is stuck in writing hears nothing until its stream is gone.
    await asyncio.to_thread(ends.cut)
    with contextlib.suppress(NodeError, TimeoutError):
        async with asyncio.timeout(SETTLE_S):
            await _await_over(ends.source)
            if await state_of(ends.source) != "running":
                await ask(ends.source, "cont")
            return await state_of(ends.source) == "running"
    return False


async def _await_over(source: "QMPClient") -> None:
    while True:
        status = (await ask(source, "query-migrate")).get("status", "none")
        if status in {*_OVER, "none"}:
            return
        await asyncio.sleep(_POLL_S)


def render_sample(info: Mapping[str, Any], course: Course) -> Sample | None:
    """Make a sample of what QEMU says; None while it says nothing of memory."""
    ram = info.get("ram")
    if not ram:
        return None
    return Sample(
        at_ms=round((time.monotonic() - course.began_s) * 1000),
        transferred_bytes=int(ram["transferred"]),
        remaining_bytes=int(ram["remaining"]),
        dirty_bytes_per_s=int(ram.get("dirty-pages-rate", 0)) * int(ram.get("page-size", 4096)),
        bytes_per_s=_speed(ram),
        iteration=max(1, int(ram.get("dirty-sync-count", 1))),
        expected_downtime_ms=int(info.get("expected-downtime", 0)),
    )
