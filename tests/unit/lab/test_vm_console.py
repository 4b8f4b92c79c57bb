# SPDX-License-Identifier: Apache-2.0
"""What the guest's counter tells."""

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from spanbridge.lab.vm.console import Console, Tick, count, join_ticks


def _ticks(*beats: tuple[int, float]) -> list[Tick]:
    return [Tick(number, 0.0, at_s) for number, at_s in beats]


def test_the_longest_gap_may_lie_between_two_consoles() -> None:
    before = _ticks((1, 10.0), (2, 10.02))
    after = _ticks((3, 10.5), (4, 10.52))
    counted = count([*before, *after])
    assert (counted.longest_gap_ms, counted.gap_at_s) == (480, 10.02)
    assert (counted.ticks, counted.missing, counted.repeated) == (4, 0, 0)


def test_a_number_that_was_never_heard_is_missing() -> None:
    assert count(_ticks((1, 1.0), (4, 1.1))).missing == 2


def test_a_number_that_was_heard_at_both_ends_is_repeated() -> None:
    counted = count(_ticks((1, 1.0), (2, 1.1), (2, 1.2)))
    assert (counted.repeated, counted.missing) == (1, 0)


def test_a_console_without_a_tick_counts_nothing() -> None:
    assert count([]).ticks == 0


@contextlib.contextmanager
def _console(path: Path) -> Iterator[tuple[Console, socket.socket]]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        with Console(path) as console, listening.accept()[0] as guest:
            yield console, guest


def _await(console: Console, ticks: int) -> Tick:
    deadline = time.monotonic() + 10
    while len(console.ticks) < ticks and time.monotonic() < deadline:
        time.sleep(0.01)
    return console.ticks[ticks - 1]


def test_a_tick_that_is_said_half_here_and_half_there_is_none_lost(tmp_path: Path) -> None:
    with _console(tmp_path / "a") as (here, source), _console(tmp_path / "b") as (there, target):
        source.sendall(b"tick 1 1.00\r\ntick 2 1.")
        _await(here, 1)
        target.sendall(b"02\r\ntick 3 1.04\r\n")
        _await(there, 1)
        counted = count(join_ticks(here, there))
    assert (counted.ticks, counted.missing, counted.repeated) == (3, 0, 0)


def test_a_line_that_comes_in_pieces_is_heard_as_one(tmp_path: Path) -> None:
    with _console(tmp_path / "c") as (console, guest):
        guest.sendall(b"memory is busy\r\nti")
        guest.sendall(b"ck 7 1.")
        guest.sendall(b"25\r\n")
        heard = _await(console, 1)
    assert (heard.number, heard.guest_s) == (7, 1.25)
    assert console.said == ["memory is busy"]
