# SPDX-License-Identifier: Apache-2.0
"""
Programs that stay in a lab's namespace after the command that started them.

What is known of one is written to a file: its process id, which counts only as long
as that process is in the namespace where it was started.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from spanbridge.base.errors import NodeError
from spanbridge.base.files import write_atomic
from spanbridge.lab.forking import Forked
from spanbridge.lab.processes import SURE_S, runs_in
from spanbridge.rtnl import NETNS_DIR, NetNs

START_S: Final = 300.0
"""Time until a program is ready: a second as a rule, a minute in a busy emulated guest."""

_POLL_S: Final = 0.02
_TAIL_CHARACTERS: Final = 500
# Python ignores the first two, and a lab command may ignore the others while it cleans up.
_SIGNALS: Final = (
    *(signal.SIGPIPE, signal.SIGXFSZ),
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP),
)


_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


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


@dataclass(frozen=True, slots=True)
class Program:
    """
    A Python program to be started as a daemon.

    Attributes:
        daemon: What it is, and where.
        module: Has a function ``main`` that does all the work.
        arguments: What follows the program's name.
        env: Its environment, beside PATH and LANG.
    """

    daemon: Daemon
    module: str
    arguments: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


def launch_together(programs: Sequence[Program], *, imports: Sequence[str] = ()) -> None:
    """
    Start Python programs that outlive us, as copies of one that has imported what they need.

    They may not be ready yet.

    Args:
        programs: What to start.
        imports: Modules to import beforehand, those of the programs among them.

    Raises:
        NodeError: They cannot be started; what was is in its namespace.
    """
    if not programs:
        return
    env = {"PATH": _PATH, "LANG": "C.UTF-8"}
    asked = {"imports": imports, "programs": [asdict(_forked(each, env)) for each in programs]}
    done = subprocess.run(
        [sys.executable, "-m", "spanbridge.lab.forking"],
        input=json.dumps(asked),
        env=env,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        # Ctrl-C in our terminal is ours alone.
        start_new_session=True,
    )
    if done.returncode:
        said = done.stderr.strip()[-_TAIL_CHARACTERS:] or f"exit status {done.returncode}"
        raise NodeError(f"cannot start {programs[0].daemon.name}: {said}")
    for program, pid in zip(programs, json.loads(done.stdout), strict=True):
        write_atomic(program.daemon.pid_file, f"{pid}\n".encode())


def _forked(program: Program, env: Mapping[str, str]) -> Forked:
    program.daemon.directory.mkdir(parents=True, exist_ok=True)
    return Forked(
        netns=f"{NETNS_DIR}/{program.daemon.netns}",
        output=str(program.daemon.log_file),
        module=program.module,
        arguments=program.arguments,
        env={**env, **program.env},
    )


def await_ready(daemon: Daemon, ready: Callable[[], bool]) -> None:
    """
    Wait until a program that was launched says that it is ready.

    Raises:
        NodeError: It ended, or takes too long; with the last that it wrote.
    """
    deadline = time.monotonic() + START_S
    while not ready():
        if find_daemon(daemon) is None:
            raise NodeError(f"cannot start {daemon.name}: it ended; {last_words(daemon)}")
        if time.monotonic() > deadline:
            raise NodeError(
                f"cannot start {daemon.name}: not ready after {START_S:.0f} s; {last_words(daemon)}"
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


def last_words(daemon: Daemon) -> str:
    """Quote the end of what a program wrote, for a message."""
    try:
        said = daemon.log_file.read_text(errors="replace").strip()
    except FileNotFoundError:
        said = ""
    return f"it wrote: {said[-_TAIL_CHARACTERS:]}" if said else "it wrote nothing"
