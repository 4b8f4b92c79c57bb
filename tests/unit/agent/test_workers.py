# SPDX-License-Identifier: Apache-2.0
"""Threads for jobs: never too few, and used again."""

import threading

from spanbridge.agent.workers import Workers

WAIT_S = 10


def test_every_job_has_a_thread_at_once() -> None:
    workers, together = Workers(), threading.Barrier(20, timeout=WAIT_S)
    passed: list[int] = []
    finished = threading.Semaphore(0)

    def job() -> None:
        passed.append(together.wait())
        finished.release()

    for _ in range(20):
        workers.submit(job)
    for _ in range(20):
        assert finished.acquire(timeout=WAIT_S)

    assert sorted(passed) == list(range(20))


def test_jobs_one_after_the_other_share_a_thread() -> None:
    workers = Workers()
    names: list[int] = []
    for _ in range(50):
        done = threading.Event()

        def job(done: threading.Event = done) -> None:
            names.append(threading.get_ident())
            done.set()

        workers.submit(job)
        assert done.wait(WAIT_S)

    assert len(set(names)) < 10
