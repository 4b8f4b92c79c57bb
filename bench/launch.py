# SPDX-License-Identifier: Apache-2.0
"""
Starting programs as a container runtime does, with as little around them as Python allows.

posix_spawn shares our memory until the program is executed (vfork), so our size costs
nothing; standard input and output are files, so nobody here has to be scheduled while
the program runs. What this takes in itself is measured with ``/bin/true`` and shown.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_READ = os.O_RDONLY
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


class BenchError(Exception):
    """A measurement that cannot be made, and why."""


@dataclass(frozen=True, slots=True)
class Run:
    """
    One program to be run once.

    Attributes:
        program: Its path.
        environ: Its whole environment.
        stdin: File that it reads.
        out: File that gets what it prints.
        status: The exit status that it must have.
    """

    program: Path
    environ: Mapping[str, str]
    stdin: Path
    out: Path
    status: int = 0

    def start(self) -> int:
        """Start it; the process id."""
        return os.posix_spawn(
            self.program,
            [str(self.program)],
            self.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, self.stdin, _READ, 0),
                (os.POSIX_SPAWN_OPEN, 1, self.out, _WRITE, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
        )

    def check(self, status: int) -> None:
        """Raise ``BenchError`` where it did not end as it must."""
        if os.waitstatus_to_exitcode(status) != self.status:
            said = self.out.read_text(errors="replace").strip()
            verb = self.environ.get("CNI_COMMAND", "")
            raise BenchError(f"{self.program} {verb} ended with {status >> 8}: {said}")


def time_run(run: Run) -> float:
    """Run a program to its end; seconds from just before its start."""
    begun = time.perf_counter()
    pid = run.start()
    _, status = os.waitpid(pid, 0)
    taken = time.perf_counter() - begun
    run.check(status)
    return taken


def time_runs(runs: Sequence[Run], *, width: int) -> float:
    """Run programs, ``width`` of them at any time; seconds until the last has ended."""
    begun = time.perf_counter()
    ended: list[tuple[Run, int]] = []
    running: dict[int, Run] = {}
    waiting: Iterator[Run] = iter(runs)
    for run in waiting:
        running[run.start()] = run
        if len(running) >= width:
            ended.append(_wait(running))
    while running:
        ended.append(_wait(running))
    taken = time.perf_counter() - begun
    for run, status in ended:
        run.check(status)
    return taken


def _wait(running: dict[int, Run]) -> tuple[Run, int]:
    """Wait for any of them; one of ours that is not among them (the agent) is its owner's."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid in running:
            return running.pop(pid), status
        raise BenchError(f"process {pid}, which a measurement needs, ended with {status >> 8}")


def time_call(function: Callable[[], object]) -> float:
    """Call a function; seconds."""
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun
