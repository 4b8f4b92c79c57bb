# SPDX-License-Identifier: Apache-2.0
"""
Threads that wait for clients: whoever lets one in serves it.

So nothing is handed from thread to thread while the client waits. An event loop in between
would cost as much again as a whole call, and so would waking another thread to take the
place at the door: it would fight for the interpreter with the one that serves.
"""

import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar

_T = TypeVar("_T")

IDLE_S: Final = 30.0
"""Seconds that a thread waits for a client; after a burst of calls most end."""


class Closed(Exception):  # noqa: N818  # the end of the work, no error
    """Nobody is let in any more."""


class Crew(Generic[_T]):
    """
    As many threads as there are clients at a time, and at least one more that waits.

    Unlike those of ``concurrent.futures``, the threads are daemons, so a call that hangs
    in the kernel cannot keep the process from ending.

    Args:
        take: Waits for a client for so many seconds, in many threads at a time; None when
            none came. Raises ``Closed`` once there will be no more, and nothing else.
        serve: Serves it. Must not raise.
        idle_s: Seconds that a thread waits before it may end.
    """

    def __init__(
        self,
        take: Callable[[float], _T | None],
        serve: Callable[[_T], None],
        *,
        idle_s: float = IDLE_S,
    ) -> None:
        self._take = take
        self._serve = serve
        self._idle_s = idle_s
        self._lock = threading.Lock()
        self._waiting = 0
        self._closed = threading.Event()

    def start(self) -> None:
        """Let clients in."""
        with self._lock:
            self._hire()

    def wait_closed(self, timeout_s: float) -> bool:
        """Wait until nobody is let in any more; tell whether it came to that."""
        return self._closed.wait(timeout_s)

    def _hire(self) -> None:
        """Start a thread that waits; the caller has the lock."""
        self._waiting += 1
        threading.Thread(target=self._work, name="call", daemon=True).start()

    def _work(self) -> None:
        try:
            while True:
                client = self._take(self._idle_s)
                if client is None:
                    if self._is_spare():
                        return
                    continue
                self._leave_somebody()
                self._serve(client)
                # Before it waits: the client holds what a call has left behind.
                del client
                with self._lock:
                    self._waiting += 1
        except Closed:
            with self._lock:
                self._waiting -= 1
                if not self._waiting:
                    self._closed.set()

    def _is_spare(self) -> bool:
        """Tell a thread that has waited in vain whether another one waits."""
        with self._lock:
            spare = self._waiting > 1
            self._waiting -= spare
        return spare

    def _leave_somebody(self) -> None:
        """Leave the waiting to others, of whom there has to be one."""
        with self._lock:
            self._waiting -= 1
            if not self._waiting:
                self._hire()
