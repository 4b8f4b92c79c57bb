# SPDX-License-Identifier: Apache-2.0
"""Threads at the door: never too few, fewer again after a burst, none behind a closed one."""

import threading
import time
from queue import SimpleQueue

from spanbridge.agent.crew import Crew

WAIT_S = 10


def until_left(count: int, before: set[threading.Thread]) -> None:
    """Wait until no more than so many threads are left of those that began after ``before``."""
    deadline = time.monotonic() + WAIT_S
    while len(set(threading.enumerate()) - before) > count:
        assert time.monotonic() < deadline, "the threads do not end"
        time.sleep(0.005)


def test_every_client_is_served_at_once() -> None:
    clients: SimpleQueue[int | None] = SimpleQueue()
    together = threading.Barrier(21, timeout=WAIT_S)

    def meet(_client: int) -> None:
        together.wait()

    crew = Crew(clients.get, meet)
    crew.start()
    for number in range(20):
        clients.put(number)

    together.wait()

    clients.put(None)
    assert crew.wait_closed(WAIT_S)


def test_after_a_burst_one_thread_stays_and_serves_on() -> None:
    before = set(threading.enumerate())
    clients: SimpleQueue[int | None] = SimpleQueue()
    together, served = threading.Barrier(9, timeout=WAIT_S), threading.Event()

    def serve(number: int) -> None:
        if number == 9:
            served.set()
        else:
            together.wait()

    crew = Crew(clients.get, serve, idle_s=0.01)
    crew.start()
    for number in range(8):
        clients.put(number)
    together.wait()
    until_left(1, before)

    clients.put(9)

    assert served.wait(WAIT_S)
    clients.put(None)
    assert crew.wait_closed(WAIT_S)


def test_nobody_waits_behind_a_closed_door() -> None:
    before = set(threading.enumerate())
    clients: SimpleQueue[int | None] = SimpleQueue()
    crew = Crew(clients.get, lambda _client: None, idle_s=0.01)
    crew.start()
    for client in (1, 2, None):
        clients.put(client)

    assert crew.wait_closed(WAIT_S)
    until_left(0, before)
