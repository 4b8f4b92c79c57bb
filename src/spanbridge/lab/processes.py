# SPDX-License-Identifier: Apache-2.0
"""Processes that still run in a lab's namespaces, and their end."""

import contextlib
import os
import signal
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

from spanbridge.base.errors import NodeError
from spanbridge.rtnl import NetNs

POLITE_S: Final = 15.0
"""Time after SIGTERM: a CNI ADD undoes itself in it, which takes seconds in an emulated guest."""

SURE_S: Final = 5.0
"""Time after SIGKILL."""

_POLL_S: Final = 0.02


def end_processes(netns: Iterable[str], *, but: Collection[int] = ()) -> int:
    """
    End every process in the named namespaces: politely, then surely.

    A CNI program outlives a lab command that was killed; it must not go on making
    things while we remove them.

    Args:
        netns: Names of the namespaces.
        but: Process ids that are left alone.

    Returns:
        How many processes there were.
    """
    found = _processes(netns, but)
    for number, wait_s in ((signal.SIGTERM, POLITE_S), (signal.SIGKILL, SURE_S)):
        deadline = time.monotonic() + wait_s
        rest = _processes(netns, but)
        for pid in rest:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        while rest and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            rest = _processes(netns, but)
    return len(found)


def _processes(netns: Iterable[str], but: Collection[int]) -> tuple[int, ...]:
    return tuple(pid for pid in find_processes(netns) if pid not in but)


def runs_in(pid: int, netns: str) -> bool:
    """Tell whether a process runs, and does so in the named namespace."""
    try:
        with NetNs.open(netns) as opened:
            return _identity(pid) == opened.identity
    except (OSError, NodeError):
        return False


def find_processes(netns: Iterable[str]) -> tuple[int, ...]:
    """List the processes in the named namespaces, ourselves left out."""
    wanted = set()
    for name in netns:
        # A file without a mount is what a crash leaves of a name: nobody is in it.
        with contextlib.suppress(OSError, NodeError), NetNs.open(name) as opened:
            wanted.add(opened.identity)
    if not wanted:
        return ()
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return tuple(pid for pid in pids if pid != os.getpid() and _identity(pid) in wanted)


def _identity(pid: int) -> tuple[int, int] | None:
    """Tell the namespace of a process; None when it is gone, or a zombie."""
    try:
        seen = Path(f"/proc/{pid}/ns/net").stat()
    except OSError:
        return None
    return seen.st_dev, seen.st_ino
