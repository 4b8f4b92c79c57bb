# SPDX-License-Identifier: Apache-2.0
"""One agent a node: the lock that says so, and the socket it listens on."""

import contextlib
import fcntl
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from spanbridge.base.errors import InputError, NodeError

LOCK_NAME: Final = "agent.lock"

PATH_MAX_BYTES: Final = 107
"""Longest path of a socket. Source: linux/un.h, UNIX_PATH_MAX (108 with the final NUL)."""

BACKLOG: Final = 4096
"""Connections that may wait to be accepted; the kernel cuts it at net.core.somaxconn."""

_DIRECTORY_MODE: Final = 0o755


def hold_lock(run_dir: Path) -> int:
    """
    Become the one agent of a run directory, until the process ends.

    Returns:
        The descriptor that holds the lock; the kernel drops it with the process.

    Raises:
        NodeError: Another agent runs, or the directory cannot be used.
    """
    path = run_dir / LOCK_NAME
    try:
        _make_directory(run_dir)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise NodeError(f"cannot lock {path}: {exc.strerror}", hint="run as root") from exc
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        pid = os.read(descriptor, 32).decode(errors="replace").strip()
        os.close(descriptor)
        raise NodeError(
            f"cannot start the agent: another one runs, with pid {pid or 'unknown'}",
            hint=f"stop it, or move this one's files by SPANBRIDGE_RUN (now {run_dir})",
        ) from exc
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _make_directory(path: Path) -> None:
    path.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)


@dataclass(frozen=True, slots=True)
class Listener:
    """
    What clients connect to.

    Attributes:
        sock: Listening.
        path: Where it is, if that is ours to remove; None where a service manager made it.
    """

    sock: socket.socket
    path: Path | None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()
        self.sock.close()

    def remove(self) -> None:
        """Let nobody find it any more; who waits already is still to be accepted."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def open_listener(path: Path) -> Listener:
    """
    Listen on ``path``, for root and our own user only.

    A socket that nobody listens on any more is replaced. The caller holds the lock, so
    no two agents do this at a time.

    Raises:
        InputError: The path is too long.
        NodeError: Somebody listens there, something else is there, or the directory
            cannot be used.
    """
    if len(os.fsencode(path)) > PATH_MAX_BYTES:
        raise InputError(
            f"cannot listen on {path}: more than {PATH_MAX_BYTES} bytes",
            hint="choose a shorter path; every client must know it: SPANBRIDGE_SOCKET",
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        _make_directory(path.parent)
        _remove_stale(path)
        listener.bind(str(path))
        # Before listen(2), so that nobody connects while the mode is still the umask's.
        path.chmod(0o600)
        listener.listen(BACKLOG)
    except OSError as exc:
        listener.close()
        raise NodeError(f"cannot listen on {path}: {exc.strerror}", hint="run as root") from exc
    except BaseException:
        listener.close()
        raise
    return Listener(listener, path)


def _remove_stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as caller:
        caller.settimeout(0)
        try:
            caller.connect(str(path))
        except FileNotFoundError:
            return
        except BlockingIOError:
            pass  # a full queue is somebody's
        except ConnectionRefusedError:
            if not path.is_socket():
                raise NodeError(f"cannot listen on {path}: there is no socket there") from None
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            return
    raise NodeError(
        f"cannot listen on {path}: another program does",
        hint=f"find it with: ss -xlp src {path}",
    )
