# SPDX-License-Identifier: Apache-2.0
"""Many processes, one directory."""

import multiprocessing
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

POOL = {"ranges": [[{"subnet": "10.0.0.0/22"}], [{"subnet": "fd00::/64"}]]}
PROCESSES = 16
ROUNDS = 20

Add = Callable[..., list[str]]
Release = Callable[..., None]


def _work(add: Add, release: Release, number: int) -> list[str]:
    kept = []
    for turn in range(ROUNDS):
        kept += add(f"keep-{number}-{turn}", POOL)
        add(f"drop-{number}-{turn}", POOL)
        release(f"drop-{number}-{turn}")
    return kept


def test_sixteen_processes_never_get_the_same_address(
    add: Add, release: Release, directory: Path
) -> None:
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.SimpleQueue[list[str]] = context.SimpleQueue()
    workers = [
        context.Process(target=lambda n=n: queue.put(_work(add, release, n)))
        for n in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    kept = Counter(address for _ in workers for address in queue.get())
    for worker in workers:
        worker.join()
    assert len(kept) == 2 * PROCESSES * ROUNDS
    assert set(kept.values()) == {1}
    files = {each.name for each in directory.iterdir()} - {"lock"}
    assert len([name for name in files if not name.startswith("last")]) == len(kept)


def test_a_hundred_threads_never_get_the_same_address(add: Add) -> None:
    with ThreadPoolExecutor(100) as pool:
        given = list(pool.map(lambda i: add(f"c{i}", POOL)[0], range(300)))
    assert len(set(given)) == 300


def test_sixteen_processes_share_a_pool_that_just_suffices(add: Add, directory: Path) -> None:
    section = {"ranges": [[{"subnet": "10.0.0.0/24", "rangeEnd": "10.0.0.161"}]]}
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=lambda n=n: [add(f"c{n}-{i}", section) for i in range(10)])
        for n in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * PROCESSES
    assert len([each for each in directory.iterdir() if each.name[0].isdigit()]) == 160
