# SPDX-License-Identifier: Apache-2.0
"""Running calls: turns, limits, figures; and a thread for what would block the event loop."""

import asyncio
import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar, cast

from spanbridge.agent.calls import Outcome, program_of, verb_of
from spanbridge.agent.receive import Request
from spanbridge.agent.tally import Tally
from spanbridge.agent.workers import Workers
from spanbridge.base.errors import RetryError

_T = TypeVar("_T")

_OF_ATTACHMENT: Final = frozenset({"ADD", "DEL", "CHECK"})

_LOOK_S: Final = 0.05
"""Seconds between two looks at whether a call that waits for its turn was given up."""


class RunCall(Protocol):
    """What `spanbridge.agent.calls.Calls.run` does: blocks, and never raises."""

    def __call__(self, request: Request, cancelled: Callable[[], bool], /) -> Outcome:
        """Run one call to its end."""


Deliver = Callable[[Outcome], None]


def _deliver_nothing(_outcome: Outcome) -> None:
    """Leave the outcome to whoever awaits it."""


@dataclass(slots=True, eq=False)
class Ticket:
    """
    One call that is under way.

    Attributes:
        abandoned: Nobody waits for its answer any more, or the agent stops.
        running: Held until its end.
    """

    abandoned: bool = False
    running: threading.Lock = field(default_factory=threading.Lock)

    def given_up(self) -> bool:
        """Tell whether nobody waits for the answer, or the agent stops."""
        return self.abandoned

    def cancelled(self) -> bool:
        """Tell the call whether to give up."""
        return self.given_up()


class Turns:
    """
    One call at a time for each attachment; others do not wait for it.

    A client that gave up leaves its ADD running until that notices. The DEL that
    follows has to come after it, or it would find half of an attachment.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[object, tuple[threading.Lock, int]] = {}

    @contextlib.contextmanager
    def take(self, key: object, cancelled: Callable[[], bool]) -> Iterator[bool]:
        """
        Hold the turn of ``key`` for the block; None is nobody's, and never waits.

        Yields:
            False when ``cancelled`` before the turn came.
        """
        if key is None:
            yield not cancelled()
            return
        with self._lock:
            turn, users = self._held.get(key) or (threading.Lock(), 0)
            self._held[key] = (turn, users + 1)
        taken = False
        try:
            while not (gave_up := cancelled()) and not taken:
                taken = turn.acquire(timeout=_LOOK_S)
            yield taken and not gave_up
        finally:
            if taken:
                turn.release()
            with self._lock:
                turn, users = self._held[key]
                if users == 1:
                    del self._held[key]
                else:
                    self._held[key] = (turn, users - 1)


def _turn_of(request: Request) -> object:
    frame = request.frame
    if request.caller is None or verb_of(frame) not in _OF_ATTACHMENT:
        return None
    environ = frame.environ
    names = (frame.program, environ.get("CNI_CONTAINERID"), environ.get("CNI_IFNAME"))
    return (request.caller.identity, *names)


class Dispatcher:
    """
    Runs calls in the threads that ask for it.

    Args:
        run: Runs one call.
        limit: Calls at a time.
        tally: Where calls are counted.
    """

    def __init__(self, run: RunCall, *, limit: int, tally: Tally) -> None:
        self._run = run
        self._limit = limit
        self._tally = tally
        self._turns = Turns()
        self._workers = Workers()
        self._lock = threading.Lock()
        self._tickets: set[Ticket] = set()

    def run(
        self, request: Request, ticket: Ticket, deliver: Deliver = _deliver_nothing
    ) -> Outcome | None:
        """
        Run one call to its end, and close the request.

        Args:
            request: What was asked.
            ticket: By which it is told to give up.
            deliver: Called with the outcome before the call's epilogue, which no client
                need wait for.

        Returns:
            None when it was cancelled before its turn came.

        Raises:
            RetryError: Too many calls run already.
        """
        frame = request.frame
        try:
            with self._admitted(ticket):
                if verb_of(frame) == "GC":
                    self._outlive_abandoned(ticket)
                with self._turns.take(_turn_of(request), ticket.cancelled) as ours:
                    if not ours:
                        return None
                    outcome = self._run(request, ticket.cancelled)
                    deliver(outcome)
                    outcome.epilogue()
        finally:
            request.close()
        self._tally.count(verb_of(frame), program_of(frame), outcome.code, outcome.seconds)
        return outcome

    def _outlive_abandoned(self, own: Ticket) -> None:
        """
        Wait for the calls that nobody waits for any more.

        Whoever made them may believe that they are over, and GC would find half of what
        they are about to undo.
        """
        with self._lock:
            others = [each for each in self._tickets if each is not own]
        for ticket in others:
            if ticket.given_up():
                with ticket.running:
                    pass

    @contextlib.contextmanager
    def _admitted(self, ticket: Ticket) -> Iterator[None]:
        with self._lock:
            running = len(self._tickets)
            if running < self._limit:
                ticket.running.acquire()
                self._tickets.add(ticket)
                self._tally.in_flight = running + 1
        if running >= self._limit:
            self._tally.add("overloads")
            raise RetryError(
                f"cannot take the call: {running} are running already",
                hint="the runtime repeats the call; see `spanbridge agent status`",
            )
        try:
            yield
        finally:
            with self._lock:
                self._tickets.discard(ticket)
                self._tally.in_flight = len(self._tickets)
            ticket.running.release()

    async def in_thread(self, function: Callable[[], _T]) -> _T:
        """Run a function in a worker thread for the event loop; return or raise what it does."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()

        def job() -> None:
            try:
                settle = functools.partial(_settle, future, function(), None)
            except Exception as exc:  # noqa: BLE001  # raised again where it was asked for
                settle = functools.partial(_settle, future, None, exc)
            # A loop that has ended waits for nothing.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(settle)

        self._workers.submit(job)
        return await future

    def abandon_all(self) -> None:
        """Tell every call to give up, since the agent stops."""
        with self._lock:
            for ticket in self._tickets:
                ticket.abandoned = True


def _settle(future: "asyncio.Future[_T]", result: _T | None, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(cast("_T", result))
