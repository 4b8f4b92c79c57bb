# SPDX-License-Identifier: Apache-2.0
"""Threads for jobs: never too few, and used again."""

import threading
import time

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


def test_a_thread_without_a_job_ends_and_the_next_job_is_run_all_the_same() -> None:
    workers, before = Workers(idle_s=0.01), threading.active_count()
    for _ in range(3):
        done = threading.Event()
        workers.submit(done.set)
        assert done.wait(WAIT_S)
        deadline = time.monotonic() + WAIT_S
        while threading.active_count() > before:
            assert time.monotonic() < deadline
            time.sleep(0.005)


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
