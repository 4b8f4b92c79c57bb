# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or absent after a crash, and locks that die with their holder."""

import _thread
import contextlib
import fcntl
import os
import time
from typing import Final

from spanbridge.base.errors import RetryError

LOCK_TIMEOUT_S: Final = 30.0
"""Seconds to wait for a lock; holders keep it for milliseconds."""

_PAUSE_S: Final = 0.0005
_PAUSE_MAX_S: Final = 0.008
"""Seconds between two attempts, doubled each time; flock knows no timeout of its own."""

_TURNS: Final[dict[str, _thread.LockType]] = {}
"""Threads of one process queue here, by lock file, instead of all trying for the flock."""

AnyPath = str | os.PathLike[str]
"""A path; ``pathlib`` itself would cost the one-shot program 5 ms."""


def write_atomic(path: AnyPath, data: bytes, *, mode: int = 0o600, durable: bool = True) -> None:
    """
    Replace the content of ``path`` so that a reader sees the old or the new one.

    Temporary file in the same directory, fsync, rename, fsync of the directory. Not
    ``durable`` leaves both fsyncs out, for what can be made again from something else.

    Raises:
        OSError: The file cannot be written, and ``path`` is as before; or it was
            replaced, and a crash of the machine may still bring the old one back.
    """
    directory, name = os.path.split(os.fspath(path))
    temporary = os.path.join(directory, f".{name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    if not durable:
        return
    descriptor = os.open(directory or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def locked(
    path: AnyPath, *, timeout_s: float = LOCK_TIMEOUT_S
) -> contextlib.AbstractContextManager[None]:
    """
    Hold the exclusive flock on ``path``, made with its directory when missing.

    The kernel drops the lock with the process, so a crash leaves no stale one.
    The file is never removed: unlinking a lock file lets two holders in. Threads of
    one process wait for their turn asleep.

    Raises:
        OSError: The file cannot be made or locked.
        RetryError: Others hold it for longer than ``timeout_s``.
    """
    return _Lock(os.fspath(path), timeout_s)


class _Lock:
    """One lock to be held once; a generator would take three times as long to set up."""

    __slots__ = ("_descriptor", "_name", "_timeout_s", "_turn")

    def __init__(self, name: str, timeout_s: float) -> None:
        self._name = name
        self._timeout_s = timeout_s
        self._turn = _TURNS.get(name) or _TURNS.setdefault(name, _thread.allocate_lock())
        self._descriptor = -1

    def __enter__(self) -> None:
        deadline = time.monotonic() + self._timeout_s
        if not self._turn.acquire(timeout=self._timeout_s):
            raise _late(self._name, self._timeout_s)
        try:
            self._descriptor = _open_lock(self._name)
            self._wait(deadline)
        except BaseException:
            self.__exit__()
            raise

    def _wait(self, deadline: float) -> None:
        pause = _PAUSE_S
        while not _try_lock(self._descriptor):
            if time.monotonic() > deadline:
                raise _late(self._name, self._timeout_s)
            time.sleep(pause)
            pause = min(2 * pause, _PAUSE_MAX_S)

    def __exit__(self, *_: object) -> None:
        try:
            if self._descriptor >= 0:
                os.close(self._descriptor)
        finally:
            self._turn.release()


def _open_lock(path: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True, mode=0o755)
        return os.open(path, flags, 0o600)


def _late(path: str, timeout_s: float) -> RetryError:
    return RetryError(
        f"cannot lock {path}: others hold it for {timeout_s:.0f} s",
        hint=f"find them with: fuser {path}",
    )


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
