# SPDX-License-Identifier: Apache-2.0
"""
Moving a running virtual machine to another node, as KubeVirt's controllers do it.

A second launcher is made at the target, the stream led there, the guest handed over, and
the launcher that is not needed any more removed: the target's when anything went wrong.
"""

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from spanbridge.base.errors import NodeError
from spanbridge.lab.daemons import Daemon, find_daemon, last_words
from spanbridge.lab.migration.crossing import CONTROL, RAM, Crossing, Passage
from spanbridge.lab.migration.meter import Traffic, measured
from spanbridge.lab.migration.records import write_migration
from spanbridge.lab.migration.request import Options, require_options
from spanbridge.lab.migration.stream import (
    Course,
    Ends,
    StoppedError,
    overlooks_writes,
    prepare_source,
    prepare_target,
    run_stream,
    take_back,
)
from spanbridge.lab.place import Place
from spanbridge.lab.runtime import Runtime
from spanbridge.lab.topology import Node
from spanbridge.lab.vm.console import Console, Count, count, join_ticks
from spanbridge.lab.vm.image import ensure_image
from spanbridge.lab.vm.life import stop_machine
from spanbridge.lab.vm.machine import (
    Machine,
    launcher_of,
    moved,
    new_suffix,
    qemu_daemon,
    vm_dir,
    write_machine,
)
from spanbridge.lab.vm.network import Launcher
from spanbridge.lab.vm.qemu import KVM, close_launcher, open_launcher
from spanbridge.lab.vm.qmp import ask, connected
from spanbridge.lab.vm.session import Session, read_session
from spanbridge.model.timeline import Migration, Outcome, Sample

CONNECT_S: Final = 60.0
HEARD_S: Final = 300.0
"""Time for the guest to be heard after a migration: at once as a rule, not in slow motion."""

_TICKS_AFTER: Final = 5
_SAID_LINES: Final = 3
_LINES_AFTER: Final = 3
_BEFORE_S: Final = 1.0
_POLL_S: Final = 0.05

Step = Callable[[str], None]
"""Called with what is being done next, in a few words."""

Watch = Callable[[Sample], None]
"""Called with each look at a running migration; what it raises ends the migration."""


@dataclass(frozen=True, slots=True)
class Request:
    """
    A migration to be done.

    Attributes:
        machine: What runs, and where.
        target: Where to.
        options: How.
    """

    machine: Machine
    target: Node
    options: Options = field(default_factory=Options)


@dataclass(slots=True)
class _Trip:
    """
    What one migration has come to so far.

    Attributes:
        source: The launcher that the machine runs in.
        target: The one that it is to run in.
        passage: What the crossing knows of it.
        course: How the stream goes.
        traffic: What it sent.
        outcome: How it ended.
        error: Why it did not complete.
        runs: Whether the guest runs, wherever it is.
    """

    source: Launcher
    target: Launcher
    passage: Passage
    course: Course = field(default_factory=Course)
    traffic: Traffic = field(default_factory=Traffic)
    outcome: Outcome = Outcome.COMPLETED
    error: str = ""
    runs: bool = True

    @property
    def arrived(self) -> bool:
        """Whether the guest is the target's now."""
        return self.outcome is Outcome.COMPLETED

    @property
    def home(self) -> str:
        """Where it was, as ``cluster/node``."""
        return _place_name(self.passage.source)

    @property
    def goal(self) -> str:
        """Where it was to go, as ``cluster/node``."""
        return _place_name(self.passage.target)


def _place_name(node: Node) -> str:
    return f"{node.cluster}/{node.name}"


def migrate(
    runtime: Runtime,
    request: Request,
    crossing: Crossing,
    *,
    step: Step = lambda _: None,
    watch: Watch = lambda _: None,
) -> Migration:
    """
    Migrate, and tell how it went; the migration is also kept in the state directory.

    After a failure the machine runs on at the source, and nothing is left at the target.
    Whatever ``step`` or ``watch`` raises has the same effect, and is raised again.

    Args:
        runtime: Of the lab.
        request: What is to be done.
        crossing: Leads the stream from one node to the other.
        step: Called with what is done next.
        watch: Called with each look at the migration.

    Raises:
        InputError: The options do not fit together.
        NodeError: It could not be begun; nothing has changed.
    """
    require_options(request.options)
    place, machine = runtime.place, request.machine
    # What a command left that was killed on the way.
    stop_machine(place, machine.name, but=machine.suffix)
    trip = _plan(runtime, request)
    step(f"starting a launcher for {machine.name} on {request.target.name}")
    with _launched(runtime, request, trip), Console(trip.source.socket("console")) as here:
        if here.await_tick(timeout_s=HEARD_S) is None:
            raise NodeError(f"cannot migrate {machine.name}: its guest is not heard")
        before = read_session(place, machine.name)
        with Console(trip.target.socket("console")) as there:
            with measured(runtime.lab, trip.passage.source.handler) as trip.traffic:
                asyncio.run(_cross(request, crossing, trip, step=step, watch=watch))
            total_ms = round((time.monotonic() - trip.course.began_s) * 1000)
            step(f"listening to {machine.name}")
            _listen(there if trip.arrived else here, trip)
            counted = _count(trip, here, there)
            kept = trip.runs and _talks_on(place, machine.name, before)
    _settle(place, machine, trip)
    migration = _recorded(request, trip, counted, total_ms=total_ms, session_kept=kept)
    write_migration(place, migration)
    return migration


def _recorded(
    request: Request, trip: _Trip, counted: Count, *, total_ms: int, session_kept: bool
) -> Migration:
    return Migration(
        vm=request.machine.name,
        source=trip.home,
        target=trip.goal,
        mode=str(request.options.mode),
        outcome=trip.outcome,
        total_ms=total_ms,
        paused_at_ms=trip.course.paused_at_ms,
        downtime_ms=trip.course.downtime_ms,
        seen_downtime_ms=counted.longest_gap_ms,
        lost_ticks=counted.missing + counted.repeated,
        session_kept=session_kept,
        migration0_bytes=trip.traffic.migration0_bytes,
        elsewhere_bytes=trip.traffic.elsewhere_bytes,
        samples=tuple(trip.course.samples),
        error=trip.error,
    )


def _plan(runtime: Runtime, request: Request) -> _Trip:
    """Say what is to be made; nothing is made yet."""
    place, machine, target = runtime.place, request.machine, request.target
    nodes = {node.name: node for node in runtime.lab.nodes}
    source = launcher_of(place, machine)
    aimed = replace(machine, node=target.name, suffix=new_suffix())
    goal = launcher_of(place, aimed)
    passage = Passage(
        name=f"{machine.name}-{goal.suffix}",
        vm=machine.name,
        source=nodes[machine.node],
        target=target,
        sockets={CONTROL: goal.socket("control"), RAM: goal.socket("ram")},
        directory=source.directory,
    )
    return _Trip(source, goal, passage)


@contextlib.contextmanager
def _launched(runtime: Runtime, request: Request, trip: _Trip) -> Iterator[None]:
    """Have a launcher at the target, that is gone when the block fails."""
    image = ensure_image(vm_dir(runtime.place))
    aimed = moved(request.machine, trip.target)
    try:
        open_launcher(runtime.place, request.target, aimed, image, incoming=True)
        yield
    except BaseException:
        close_launcher(trip.target)
        raise


async def _cross(
    request: Request, crossing: Crossing, trip: _Trip, *, step: Step, watch: Watch
) -> None:
    """Do it; how it ended is in ``trip``."""
    options, passage = request.options, trip.passage
    troubles: list[str] = []
    target_daemon = qemu_daemon(trip.target)
    async with (
        connected(trip.source.socket("qmp"), "QEMU at the source", timeout_s=CONNECT_S) as source,
        connected(trip.target.socket("qmp"), "QEMU at the target", timeout_s=CONNECT_S) as target,
    ):
        ends = Ends(
            source=source,
            target=target,
            target_lives=lambda: find_daemon(target_daemon) is not None,
            cut=lambda: troubles.extend(crossing.close(passage, completed=False)),
        )
        await prepare_target(target, passage.sockets[RAM], options)
        emulated = request.machine.accelerator != KVM
        one_pass = emulated and not options.auto_converge and await overlooks_writes(source)
        await prepare_source(source, options, one_pass=one_pass)
        step(f"opening a way from {trip.home} to {trip.goal}")
        trip.course = Course()
        try:
            sockets = await asyncio.to_thread(crossing.open, passage)
            await _greet(sockets[CONTROL], passage.vm)
            step(f"sending {passage.vm} to {trip.goal}")
            await run_stream(ends, sockets[RAM], options=options, course=trip.course, watch=watch)
        except BaseException as error:
            trip.runs = await take_back(ends, trip.course)
            if not isinstance(error, NodeError):
                raise
            stopped = isinstance(error, StoppedError)
            asked = isinstance(error, StoppedError) and error.asked
            trip.outcome = Outcome.CANCELLED if asked else Outcome.FAILED
            # What the stream says of its end says nothing new where we ended it.
            more = f" ({troubles[0]})" if troubles and not stopped else ""
            trip.error = f"{error.message}{more}"
        finally:
            await asyncio.to_thread(crossing.close, passage, completed=trip.arrived)


async def _greet(control: Path, vm: str) -> None:
    """
    Ask for the machine through the way's other stream, as libvirt speaks with its peer.

    Raises:
        NodeError: Nobody is there, or somebody else.
    """
    async with connected(control, "the target's control", timeout_s=CONNECT_S) as peer:
        told = (await ask(peer, "query-name")).get("name")
    if told != vm:
        raise NodeError(f"the way leads to {told or 'nobody'} instead of {vm}")


def _listen(console: Console, trip: _Trip) -> None:
    """Hear whether the guest runs where it is."""
    if not trip.runs:
        return
    daemon = qemu_daemon(trip.target if trip.arrived else trip.source)
    lives = functools.partial(_lives, daemon)
    trip.runs = all(
        console.await_tick(timeout_s=HEARD_S, alive=lives) is not None for _ in range(_TICKS_AFTER)
    )
    if trip.arrived and not trip.runs:
        trip.outcome = Outcome.FAILED
        ended = f"QEMU ended at the target; {_said(console) or last_words(daemon)}"
        trip.error = "its guest is not heard at the target" if lives() else ended


def _lives(daemon: Daemon) -> bool:
    return find_daemon(daemon) is not None


def _said(console: Console) -> str:
    """Quote what a guest said last beside its counting: a panic, as a rule."""
    said = " / ".join(console.said[-_SAID_LINES:])
    return f"its guest said: {said}" if said else ""


def _count(trip: _Trip, here: Console, there: Console) -> Count:
    """Judge the counter from just before the migration on."""
    since_s = trip.course.began_s - _BEFORE_S
    return count(tick for tick in join_ticks(here, there) if tick.at_s > since_s)


def _talks_on(place: Place, name: str, before: Session | None) -> bool:
    """Tell whether the guest's session from before brings lines still."""
    if before is None or not before.open:
        return False
    first, deadline = read_session(place, name), time.monotonic() + HEARD_S
    while first is not None and time.monotonic() < deadline:
        now = read_session(place, name)
        if now is None or not now.open or now.sessions != before.sessions:
            return False
        if now.lines >= first.lines + _LINES_AFTER:
            return True
        time.sleep(_POLL_S)
    return False


def _settle(place: Place, machine: Machine, trip: _Trip) -> None:
    """Write down where the machine is, and remove the launcher that it is not in."""
    if trip.runs:
        if trip.arrived:
            write_machine(place, moved(machine, trip.target))
        close_launcher(trip.source if trip.arrived else trip.target)
        on = f"it runs on in {trip.home}"
    else:
        stop_machine(place, machine.name)
        on = "the virtual machine is lost"
    if trip.error:
        trip.error = f"cannot migrate {machine.name} to {trip.goal}: {trip.error}; {on}"
