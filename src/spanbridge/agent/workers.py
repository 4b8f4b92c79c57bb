# SPDX-License-Identifier: Apache-2.0
"""Threads that take one job each."""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

Job = Callable[[], None]

_NAME: Final = "call"


class Workers:
    """
    A thread for every job: one that idles, else a new one; how many is the caller's limit.

    Unlike those of ``concurrent.futures``, the threads are daemons, so a call that hangs
    in the kernel cannot keep the process from ending. A job must not raise.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0

    def submit(self, job: Job) -> None:
        """Start ``job`` at once."""
        with self._lock:
            taken = self._idle > 0
            self._idle -= taken
        self._jobs.put(job)
        if not taken:
            threading.Thread(target=self._work, name=_NAME, daemon=True).start()

    def _work(self) -> None:
        while True:
            self._jobs.get()()
            with self._lock:
                self._idle += 1
