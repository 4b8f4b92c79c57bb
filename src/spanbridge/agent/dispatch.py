# SPDX-License-Identifier: Apache-2.0
"""From the event loop to a worker thread and back: turns, limits, figures."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar, cast

from spanbridge.agent.calls import Outcome, program_of, verb_of
from spanbridge.agent.receive import Request
from spanbridge.agent.tally import Tally
from spanbridge.agent.workers import Workers
from spanbridge.base.errors import RetryError

_T = TypeVar("_T")

_OF_ATTACHMENT: Final = frozenset({"ADD", "DEL", "CHECK"})


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
        abandoned: Nobody waits for its answer any more, or the agent stops. Read by the
            call's thread.
        over: Set at its end.
    """

    abandoned: bool = False
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def cancelled(self) -> bool:
        """Tell the call whether to give up."""
        return self.abandoned


class Turns:
    """
    One call at a time for each attachment; others do not wait for it.

    A client that gave up leaves its ADD running until that notices. The DEL that
    follows has to come after it, or it would find half of an attachment.
    """

    def __init__(self) -> None:
        self._locks: dict[object, tuple[asyncio.Lock, int]] = {}

    @contextlib.asynccontextmanager
    async def take(self, key: object) -> AsyncIterator[None]:
        """Hold the turn of ``key`` for the block; None is nobody's, and never waits."""
        if key is None:
            yield
            return
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[key]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = (lock, users - 1)


def _turn_of(request: Request) -> object:
    frame = request.frame
    if request.caller is None or verb_of(frame) not in _OF_ATTACHMENT:
        return None
    environ = frame.environ
    names = (frame.program, environ.get("CNI_CONTAINERID"), environ.get("CNI_IFNAME"))
    return (request.caller.identity, *names)


class Dispatcher:
    """
    Runs calls in threads; used on the event loop only.

    Args:
        run: Runs one call in a thread.
        limit: Calls at a time.
        tally: Where calls are counted.
    """

    def __init__(self, run: RunCall, *, limit: int, tally: Tally) -> None:
        self._run = run
        self._limit = limit
        self._tally = tally
        self._turns = Turns()
        self._workers = Workers()
        self._tickets: set[Ticket] = set()

    async def run(
        self, request: Request, ticket: Ticket, deliver: Deliver = _deliver_nothing
    ) -> Outcome | None:
        """
        Run one call in a thread of its own, and close the request.

        Args:
            request: What was asked.
            ticket: By which it is told to give up.
            deliver: Called with the outcome in that thread, so that the client need not
                wait until the loop has its turn.

        Returns:
            None when it was cancelled before its turn came.

        Raises:
            RetryError: Too many calls run already.
        """
        submitted = False
        try:
            with self._admitted(ticket):
                if verb_of(request.frame) == "GC":
                    await self._outlive_abandoned()
                async with self._turns.take(_turn_of(request)):
                    if ticket.cancelled():
                        return None
                    submitted = True
                    outcome = await self.in_thread(
                        lambda: self._run_and_close(request, ticket, deliver)
                    )
        finally:
            # Its thread closes it, also after this task was cancelled: the call still uses it.
            if not submitted:
                request.close()
        frame = request.frame
        self._tally.count(verb_of(frame), program_of(frame), outcome.code, outcome.seconds)
        return outcome

    def _run_and_close(self, request: Request, ticket: Ticket, deliver: Deliver) -> Outcome:
        try:
            outcome = self._run(request, ticket.cancelled)
            deliver(outcome)
            outcome.epilogue()
        finally:
            request.close()
        return outcome

    async def _outlive_abandoned(self) -> None:
        """
        Wait for the calls that nobody waits for any more.

        Whoever made them may believe that they are over, and GC would find half of what
        they are about to undo.
        """
        for ticket in [each for each in self._tickets if each.abandoned]:
            await ticket.over.wait()

    @contextlib.contextmanager
    def _admitted(self, ticket: Ticket) -> Iterator[None]:
        if len(self._tickets) >= self._limit:
            self._tally.overloads += 1
            raise RetryError(
                f"cannot take the call: {len(self._tickets)} are running already",
                hint="the runtime repeats the call; see `spanbridge agent status`",
            )
        self._tickets.add(ticket)
        self._tally.in_flight = len(self._tickets)
        try:
            yield
        finally:
            ticket.over.set()
            self._tickets.discard(ticket)
            self._tally.in_flight = len(self._tickets)

    async def in_thread(self, function: Callable[[], _T]) -> _T:
        """Run a function in a worker thread; return or raise what it does."""
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
        for ticket in self._tickets:
            ticket.abandoned = True


def _settle(future: "asyncio.Future[_T]", result: _T | None, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(cast("_T", result))
