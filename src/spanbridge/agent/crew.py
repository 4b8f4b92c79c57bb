# SPDX-License-Identifier: Apache-2.0
"""
Threads that take turns at a door: one waits for the next client, the others serve theirs.

Whoever let a client in serves it, so nothing is handed from thread to thread while the
client waits. An event loop in between would cost as much again as a whole call.
"""

import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar

_T = TypeVar("_T")

IDLE_S: Final = 30.0
"""Seconds that a thread waits for its turn; after a burst of calls most end."""


class Crew(Generic[_T]):
    """
    As many threads as there are clients at a time, and one more at the door.

    Unlike those of ``concurrent.futures``, the threads are daemons, so a call that hangs
    in the kernel cannot keep the process from ending.

    Args:
        take: Waits for a client, in one thread at a time; None closes the door for good.
            Must not raise.
        serve: Serves it. Must not raise.
        idle_s: Seconds that a thread waits for its turn.
    """

    def __init__(
        self,
        take: Callable[[], _T | None],
        serve: Callable[[_T], None],
        *,
        idle_s: float = IDLE_S,
    ) -> None:
        self._take = take
        self._serve = serve
        self._idle_s = idle_s
        self._door = threading.Lock()
        self._lock = threading.Lock()
        self._waiting = 0
        self._closed = threading.Event()

    def start(self) -> None:
        """Open the door."""
        with self._lock:
            self._hire()

    def wait_closed(self, timeout_s: float) -> bool:
        """Wait until nobody is let in any more; tell whether it came to that."""
        return self._closed.wait(timeout_s)

    def _hire(self) -> None:
        """Start a thread that waits for its turn; the caller has the lock."""
        self._waiting += 1
        threading.Thread(target=self._work, name="call", daemon=True).start()

    def _work(self) -> None:
        while self._await_turn():
            client = self._let_in()
            if client is None:
                return
            self._serve(client)
            # Before it idles: the client holds what a call has left behind.
            del client
            with self._lock:
                self._waiting += 1

    def _await_turn(self) -> bool:
        """Wait for the door; False ends a thread that has idled too long."""
        while not self._door.acquire(timeout=self._idle_s):
            with self._lock:
                # The one at the door does not count.
                if self._waiting > 1:
                    self._waiting -= 1
                    return False
        return True

    def _let_in(self) -> _T | None:
        try:
            client = None if self._closed.is_set() else self._take()
            with self._lock:
                self._waiting -= 1
                if client is None:
                    self._closed.set()
                elif not self._waiting:
                    self._hire()
            return client
        finally:
            self._door.release()
