# SPDX-License-Identifier: Apache-2.0
"""Threads that take one job each."""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final

Job = Callable[[], None]

IDLE_S: Final = 30.0
"""Seconds that a thread waits for its next job; after a burst of calls most end."""

_NAME: Final = "call"


class Workers:
    """
    A thread for every job: one that idles, else a new one; how many is the caller's limit.

    Unlike those of ``concurrent.futures``, the threads are daemons, so a call that hangs
    in the kernel cannot keep the process from ending. A job must not raise.

    Args:
        idle_s: Seconds that a thread waits for its next job.
    """

    def __init__(self, idle_s: float = IDLE_S) -> None:
        self._idle_s = idle_s
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
            try:
                job = self._jobs.get(timeout=self._idle_s)
            except Empty:
                with self._lock:
                    # None idles: a job was promised to this one, and is about to come.
                    if self._idle:
                        self._idle -= 1
                        return
                continue
            job()
            # Before it idles: the job holds what a call has left behind.
            del job
            with self._lock:
                self._idle += 1
