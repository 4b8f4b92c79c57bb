# SPDX-License-Identifier: Apache-2.0
"""
Keeps the leases of a node: the calls of the verbs on one side, a task per lease on the other.

Calls come from worker threads and block; the tasks live on the agent's loop. Files and
sockets are handled in threads of their own, and so, apart from those, are the two
callbacks: they may wait for locks that a thread holds which waits for a lease.
"""

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from spanbridge.agent.lease_journal import (
    DIRECTORY,
    LOST,
    Entry,
    entry_path,
    read_entries,
    remove_entry,
    set_aside,
)
from spanbridge.agent.lease_subject import (
    OnChange,
    OrphanRelease,
    Subject,
    Surroundings,
    held_since,
    release_orphan,
    subject_of,
)
from spanbridge.agent.lease_task import LeaseTask
from spanbridge.base import log
from spanbridge.base.clock import Clock, boot_id
from spanbridge.base.errors import Code, InputError, NodeError, NotReadyError, RetryError
from spanbridge.ipam.dhcp.client import Counts
from spanbridge.ipam.dhcp.failure import no_address
from spanbridge.ipam.dhcp.keeper import LeaseAsk
from spanbridge.ipam.dhcp.lease import Lease
from spanbridge.ipam.dhcp.session import Tally
from spanbridge.ipam.dhcp.sockets import Place, observe_place, place_is_there
from spanbridge.ipam.dhcp.timing import Random
from spanbridge.ipam.dhcp.wire import LinkWire, Listener, Wire
from spanbridge.model.owner import Owner

_T = TypeVar("_T")

POLL_S: Final = 0.05
"""How often a waiting call looks whether its caller has given up."""

RELEASE_TIMEOUT_S: Final = 10.0
RENEW_TIMEOUT_S: Final = 10.0
"""Time for a server's answer to a renewal that somebody waits for."""

CLOSE_TIMEOUT_S: Final = 5.0

_THREADS: Final = 8
_CALL_THREADS: Final = 4


class Leases:
    """
    A ``LeaseKeeper`` on an asyncio loop.

    Its blocking calls must not come from the loop's own thread.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        state_dir: Path,
        *,
        clock: Clock,
        random: Random,
        on_change: OnChange,
        orphan_release: OrphanRelease,
    ) -> None:
        """
        Prepare; `resume` goes on with what the journal holds.

        Args:
            loop: Where the tasks live; it runs in another thread than the callers.
            state_dir: The journal is in its directory ``leases``.
            clock: Time.
            random: Numbers from 0 up to 1, hard to guess: ``random.SystemRandom().random``.
            on_change: See `lease_task.OnChange`.
            orphan_release: See `lease_task.OrphanRelease`.
        """
        self._loop: Final = loop
        self._directory: Final = state_dir / DIRECTORY
        self._tasks: Final[dict[Owner, LeaseTask]] = {}
        self._running: Final[set[asyncio.Task[None]]] = set()
        self._closing = False
        self._threads: Final = ThreadPoolExecutor(_THREADS, "leases")
        self._call_threads: Final = ThreadPoolExecutor(_CALL_THREADS, "lease-changes")
        self._around: Final = Surroundings(
            directory=self._directory,
            clock=clock,
            random=random,
            boot_id=boot_id(),
            in_thread=self._in_thread,
            in_call_thread=self._in_call_thread,
            on_change=on_change,
            orphan_release=orphan_release,
            open_wire=self._open_wire,
            totals=Counts(),
        )

    # ------------------------------------------------------------ the agent's side

    async def resume(self) -> None:
        """
        Go on with the leases in the journal; those of vanished sandboxes are released.

        Raises:
            OSError: The journal cannot be read.
        """
        entries = await self._in_thread(lambda: list(read_entries(self._directory)))
        await asyncio.gather(*map(self._resume, entries))

    async def _resume(self, entry: Entry) -> None:
        lease, owner = entry.lease, entry.lease.owner
        try:
            subject = subject_of(lease)
            _ = subject.identity
        except InputError as exc:
            set_aside(entry_path(self._directory, owner), exc)
            return
        if await self._in_thread(lambda: place_is_there(subject.place)):
            self._start(subject, entry)
            return
        if lease.state != LOST:
            await release_orphan(
                subject, lease, held_since(entry, self._around), around=self._around
            )
        await self._in_thread(lambda: remove_entry(self._directory, owner))

    async def close(self) -> None:
        """
        Stop keeping leases; they stay in the journal, and at their servers.

        What nobody uses yet is given back, and those who wait for it are told to retry.
        """
        self._closing = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.stop(release=False)
        left = set(self._running)
        if left:
            _, left = await asyncio.wait(left, timeout=CLOSE_TIMEOUT_S)
        for each in left:
            each.cancel()
        if left:
            await asyncio.wait(left, timeout=CLOSE_TIMEOUT_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await asyncio.gather(*(task.settle() for task in tasks))
        self._call_threads.shutdown(wait=False, cancel_futures=True)
        # Sockets are closed there: each of them takes the kernel a while.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._loop.run_in_executor(None, self._threads.shutdown)

    def facts(self) -> list[dict[str, object]]:
        """Describe every lease, for a human; from any thread."""
        return [task.facts() for task in list(self._tasks.values())]

    def counters(self) -> dict[str, int]:
        """Count what has happened to all leases since the start; from any thread."""
        totals = self._around.totals
        return {
            **{tally.value: totals.tally[tally] for tally in Tally},
            "malformed": totals.malformed,
        }

    async def renew(self) -> list[dict[str, object]]:
        """See `parts.Leasing.renew`; a lease that is not renewed lives on as it was."""
        return await asyncio.gather(*map(self._renew, list(self._tasks.values())))

    async def _renew(self, task: LeaseTask) -> dict[str, object]:
        waiter, cause = task.wait(), ""
        if task.renew():
            done, _ = await asyncio.wait({waiter}, timeout=RENEW_TIMEOUT_S)
            if not done:
                cause = f"its server did not answer within {RENEW_TIMEOUT_S:.0f} s"
            elif (error := waiter.exception()) is not None:
                cause = str(error)
        else:
            cause = "it has no end" if task.lease is not None else "no address is leased now"
        task.forget(waiter)
        waiter.cancel()
        return {**task.facts(), "asked": {"renewed": not cause, "cause": cause}}

    # ------------------------------------------------------------ the callers' side

    def acquire(self, ask: LeaseAsk, *, cancelled: Callable[[], bool]) -> Lease:
        """See `LeaseKeeper.acquire`."""
        place = observe_place(ask.netns, ask.netns_path, ask.owner.ifname)
        subject = Subject(ask.owner, place, ask.conf, ask.client_id, ask.section, ask.args)
        gave_up = asyncio.Event()

        def look() -> None:
            if not gave_up.is_set() and cancelled():
                self._loop.call_soon_threadsafe(gave_up.set)

        return self._on_loop(self._acquire(subject, gave_up), while_waiting=look)

    def find(self, owner: Owner) -> Lease | None:
        """See `LeaseKeeper.find`."""
        task = self._tasks.get(owner)
        return None if task is None else task.lease

    def release(self, owner: Owner) -> None:
        """See `LeaseKeeper.release`."""
        if owner in self._tasks:
            self._on_loop(self._release([owner]))
        elif entry_path(self._directory, owner).exists():
            # What could not be removed when its task ended would be resumed one day.
            try:
                remove_entry(self._directory, owner)
            except OSError as exc:
                raise _unforgotten(self._directory, exc.strerror or "") from exc

    def collect(self, network: str, valid: frozenset[tuple[str, str]]) -> None:
        """See `LeaseKeeper.collect`."""
        dead = [
            owner
            for owner in list(self._tasks)
            if owner.network == network and (owner.container_id, owner.ifname) not in valid
        ]
        if dead:
            self._on_loop(self._release(dead))

    def status(self) -> None:
        """See `LeaseKeeper.status`."""
        if self._closing or not self._loop.is_running():
            raise NotReadyError(
                "cannot lease addresses: the agent stops", hint="wait until it runs again"
            )

    def _on_loop(
        self,
        coroutine: Coroutine[object, object, _T],
        *,
        while_waiting: Callable[[], None] = lambda: None,
    ) -> _T:
        """Run a coroutine on the loop from another thread, and wait for its end."""
        stopped = RetryError(
            "cannot work on leases: the agent stops", hint="the next call finds its successor"
        )
        if not self._loop.is_running():
            coroutine.close()
            raise stopped
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        while not done.wait(POLL_S):
            if not self._loop.is_running():
                raise stopped
            while_waiting()
        return future.result()

    # ------------------------------------------------------------ on the loop

    async def _acquire(self, subject: Subject, gave_up: asyncio.Event) -> Lease:
        budget_s = subject.conf.timeout_s
        deadline = self._loop.time() + budget_s
        task = await self._task(subject)
        if task.lease is not None:
            task.taken = True
            return task.lease
        waiter, abandoned = task.wait(), asyncio.ensure_future(gave_up.wait())
        either: set[asyncio.Future[Any]] = {waiter, abandoned}
        try:
            await asyncio.wait(
                either,
                timeout=max(0.0, deadline - self._loop.time()),
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            abandoned.cancel()
        if waiter.done() and waiter.exception() is None:
            task.taken = True
        unneeded = task.forget(waiter)
        if waiter.done():
            return waiter.result()
        within = "before the caller gave up" if gave_up.is_set() else f"within {budget_s:g} s"
        error = no_address(subject.owner, task.heard, within=within)
        if unneeded:
            task.stop(release=True)
            await task.over.wait()
        raise error

    async def _task(self, subject: Subject) -> LeaseTask:
        """Return the task of an owner; one for another interface is ended first."""
        while (task := self._tasks.get(subject.owner)) is not None:
            if not task.stopping:
                if task.subject.place == subject.place:
                    return task
                task.stop(release=True)
            await task.over.wait()
        if self._closing:
            raise RetryError("cannot lease an address: the agent stops")
        return self._start(subject)

    def _start(self, subject: Subject, entry: Entry | None = None) -> LeaseTask:
        task = LeaseTask(subject, self._around)
        if entry is not None:
            task.resume(entry)
        self._tasks[subject.owner] = task
        # Not in the context of the call that asks: the lease outlives it, and what is said of
        # the lease later neither belongs to that call nor into its answer.
        running = self._loop.create_task(
            self._keep(task), name=f"lease {subject.name}", context=contextvars.Context()
        )
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return task

    async def _keep(self, task: LeaseTask) -> None:
        """Run a task; whatever ends it ends no other."""
        name = task.subject.name
        try:
            await task.run()
        except Exception as exc:  # noqa: BLE001  # here is where tasks are supervised
            log.error("a lease task ended badly", lease=name, cause=repr(exc))
        finally:
            # Before anybody who waits for the end looks for a successor.
            del self._tasks[task.subject.owner]
            task.over.set()
            log.sink("info", "a lease task ended", {"lease": name})

    async def _release(self, owners: list[Owner]) -> None:
        """End the tasks of owners, and wait for it; bounded, since a caller waits."""
        tasks = [self._tasks[owner] for owner in owners if owner in self._tasks]
        for task in tasks:
            task.stop(release=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RELEASE_TIMEOUT_S):
                for task in tasks:
                    await task.over.wait()
                if not all(task.forgotten for task in tasks):
                    raise _unforgotten(self._directory, "see the agent's log")
                return
        raise RetryError(
            f"cannot release a lease within {RELEASE_TIMEOUT_S:.0f} s: its task hangs",
            hint="see the agent's log",
        )

    # ------------------------------------------------------------ threads

    def _in_thread(self, function: Callable[[], _T]) -> Awaitable[_T]:
        return self._loop.run_in_executor(self._threads, function)

    def _in_call_thread(self, function: Callable[[], _T]) -> Awaitable[_T]:
        return self._loop.run_in_executor(self._call_threads, function)

    def _open_wire(self, place: Place, listener: Listener) -> Wire:
        return LinkWire(place, listener, in_thread=self._in_thread)


def _unforgotten(directory: Path, cause: str) -> NodeError:
    return NodeError(
        f"cannot forget a released lease: {cause}",
        hint=f"see that files in {directory} can be removed, then repeat the call",
        code=Code.STORE,
    )
