# SPDX-License-Identifier: Apache-2.0
"""
Programs that stay in a lab's namespace after the command that started them.

What is known of one is written to a file: its process id, which counts only as long
as that process is in the namespace where it was started.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spanbridge.base.errors import NodeError
from spanbridge.base.files import write_atomic
from spanbridge.lab.processes import SURE_S, runs_in
from spanbridge.rtnl import NetNs

START_S: Final = 300.0
"""Time until a program is ready: a second as a rule, a minute in a busy emulated guest."""

_POLL_S: Final = 0.02
_TAIL_CHARACTERS: Final = 500
# Python ignores the first two, and a lab command may ignore the others while it cleans up.
_SIGNALS: Final = (
    *(signal.SIGPIPE, signal.SIGXFSZ),
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP),
)


@dataclass(frozen=True, slots=True)
class Daemon:
    """
    One program of the lab.

    Attributes:
        name: For messages.
        netns: Name of the namespace in which it runs.
        directory: Where its process id and its output are kept.
        stem: Beginning of those files' names.
    """

    name: str
    netns: str
    directory: Path
    stem: str

    @property
    def log_file(self) -> Path:
        """What it writes to standard output and standard error."""
        return self.directory / f"{self.stem}.log"

    @property
    def pid_file(self) -> Path:
        """Its process id."""
        return self.directory / f"{self.stem}.pid"


def launch(daemon: Daemon, command: Sequence[str], *, env: Mapping[str, str]) -> int:
    """
    Start a program that outlives us, and return its process id; it may not be ready yet.

    Raises:
        NodeError: It cannot be started.
    """
    daemon.directory.mkdir(parents=True, exist_ok=True)
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(daemon.log_file), append, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]

    def spawn() -> int:
        """Spawn: a child begins in the namespaces of the thread that starts it."""
        argv = ["env", "--chdir=/", *command]
        return os.posix_spawnp(
            "env", argv, dict(env), file_actions=files, setsid=True, setsigdef=_SIGNALS
        )

    try:
        with NetNs.open(daemon.netns) as netns:
            pid = netns.run(spawn)
    except OSError as error:
        raise NodeError(f"cannot start {daemon.name}: {error}") from error
    write_atomic(daemon.pid_file, f"{pid}\n".encode())
    return pid


def await_ready(daemon: Daemon, ready: Callable[[], bool]) -> None:
    """
    Wait until a program that was launched says that it is ready.

    Raises:
        NodeError: It ended, or takes too long; with the last that it wrote.
    """
    deadline = time.monotonic() + START_S
    while not ready():
        if find_daemon(daemon) is None:
            raise NodeError(f"cannot start {daemon.name}: it ended; {_last_words(daemon)}")
        if time.monotonic() > deadline:
            raise NodeError(
                f"cannot start {daemon.name}: not ready after {START_S:.0f} s; "
                f"{_last_words(daemon)}"
            )
        time.sleep(_POLL_S)


def find_daemon(daemon: Daemon) -> int | None:
    """Tell the process id of a program that runs; None when it does not."""
    try:
        pid = int(daemon.pid_file.read_text())
    except (FileNotFoundError, ValueError):
        return None
    _reap(pid)
    return pid if runs_in(pid, daemon.netns) else None


def kill(daemon: Daemon) -> int:
    """
    End a program as a crash does, and return the process id that it had.

    Raises:
        NodeError: It does not run, or does not end.
    """
    pid = find_daemon(daemon)
    if pid is None:
        raise NodeError(f"cannot kill {daemon.name}: it does not run")
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + SURE_S
    while find_daemon(daemon) is not None:
        if time.monotonic() > deadline:
            raise NodeError(f"cannot kill {daemon.name}: process {pid} does not end")
        time.sleep(_POLL_S)
    return pid


def _reap(pid: int) -> None:
    """Take note of the end of a child; of somebody else's process nothing is known."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _last_words(daemon: Daemon) -> str:
    try:
        said = daemon.log_file.read_text(errors="replace").strip()
    except FileNotFoundError:
        said = ""
    return f"it wrote: {said[-_TAIL_CHARACTERS:]}" if said else "it wrote nothing"
