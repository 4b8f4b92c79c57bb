# SPDX-License-Identifier: Apache-2.0
"""Threads that wait: never too few, fewer again after a burst, none once it is over."""

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

from spanbridge.agent.crew import Closed, Crew

WAIT_S = 10
CLOSE = -1


def take_from(clients: "SimpleQueue[int]") -> Callable[[float], int | None]:
    """Let clients in from a queue until it says ``CLOSE``, to all who wait."""

    def take(idle_s: float) -> int | None:
        try:
            client = clients.get(timeout=idle_s)
        except Empty:
            return None
        if client == CLOSE:
            clients.put(CLOSE)
            raise Closed
        return client

    return take


def until_left(count: int, before: set[threading.Thread]) -> None:
    """Wait until no more than so many threads are left of those that began after ``before``."""
    deadline = time.monotonic() + WAIT_S
    while len(set(threading.enumerate()) - before) > count:
        assert time.monotonic() < deadline, "the threads do not end"
        time.sleep(0.005)


def test_every_client_is_served_at_once() -> None:
    clients: SimpleQueue[int] = SimpleQueue()
    together = threading.Barrier(21, timeout=WAIT_S)

    def meet(_client: int) -> None:
        together.wait()

    crew = Crew(take_from(clients), meet)
    crew.start()
    for number in range(20):
        clients.put(number)

    together.wait()

    clients.put(CLOSE)
    assert crew.wait_closed(WAIT_S)


def test_after_a_burst_one_thread_stays_and_serves_on() -> None:
    before = set(threading.enumerate())
    clients: SimpleQueue[int] = SimpleQueue()
    together, served = threading.Barrier(9, timeout=WAIT_S), threading.Event()

    def serve(number: int) -> None:
        if number == 9:
            served.set()
        else:
            together.wait()

    crew = Crew(take_from(clients), serve, idle_s=0.01)
    crew.start()
    for number in range(8):
        clients.put(number)
    together.wait()
    until_left(1, before)

    clients.put(9)

    assert served.wait(WAIT_S)
    clients.put(CLOSE)
    assert crew.wait_closed(WAIT_S)


def test_nobody_waits_once_it_is_over() -> None:
    before = set(threading.enumerate())
    clients: SimpleQueue[int] = SimpleQueue()
    crew = Crew(take_from(clients), lambda _client: None, idle_s=0.01)
    crew.start()
    for client in (1, 2, CLOSE):
        clients.put(client)

    assert crew.wait_closed(WAIT_S)
    until_left(0, before)


def test_it_is_over_only_when_the_last_client_is_let_in() -> None:
    clients: SimpleQueue[int] = SimpleQueue()
    let_in, on, served = threading.Event(), threading.Event(), threading.Event()
    take_next = take_from(clients)

    def take(idle_s: float) -> int | None:
        client = take_next(idle_s)
        if client == 2:
            let_in.set()
            on.wait(WAIT_S)
        return client

    def serve(client: int) -> None:
        if client == 2:
            served.set()
        else:
            let_in.wait(WAIT_S)

    crew = Crew(take, serve)
    crew.start()
    for client in (1, 2):
        clients.put(client)
    assert let_in.wait(WAIT_S)
    clients.put(CLOSE)

    assert not crew.wait_closed(0.05)
    on.set()

    assert crew.wait_closed(WAIT_S)
    assert served.wait(WAIT_S)
