# SPDX-License-Identifier: Apache-2.0
"""
Files of sysctls; whose they are, the namespace of the calling thread decides.

Below ``net``, that is: the kernel keeps one directory ``ipv4`` for every namespace that
was ever looked into, and goes through them one by one to find its own.

Source: fs/proc/proc_sysctl.c, proc_sys_compare(), Linux 6.1.
"""

import errno
import os
from typing import Final

from spanbridge.base.errors import InputError, NodeError

ROOT: Final = "/proc/sys/"
_MAX_BYTES: Final = 4096
_READ_ONLY: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_KEPT: Final = ("net/ipv4/", "net/ipv6/conf/")


class OpenDirs:
    """
    Directories of one namespace that stay open, and can be used from any other.

    With 200 namespaces on the node, finding one takes the kernel 0.1 ms each time.

    Attributes:
        fds: Descriptors by name.
    """

    def __init__(self) -> None:
        """Open those of the calling thread's namespace; what is missing is left out."""
        self.fds: Final[dict[str, int]] = {}
        for name in _KEPT:
            try:
                self.fds[name] = os.open(ROOT + name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError:
                continue

    def locate(self, name: str) -> tuple[str, int | None]:
        """Turn the name of a sysctl into arguments for ``open``: path and ``dir_fd``."""
        for start, fd in self.fds.items():
            if name.startswith(start):
                return name.removeprefix(start), fd
        return ROOT + name, None


def check_name(name: str) -> None:
    """
    Refuse what is no name of a sysctl.

    Raises:
        InputError: It would lead elsewhere.
    """
    parts = name.split("/")
    if not all(parts) or ".." in parts or "." in parts or "\0" in name:
        raise InputError(
            f"cannot use sysctl {name!r}: it is no name",
            hint="write it like net/ipv4/ip_forward",
        )


def read(name: str, dirs: OpenDirs | None = None) -> str | None:
    """
    Read one sysctl; None where there is none.

    Raises:
        NodeError: It may not be read.
    """
    path, dir_fd = _locate(name, dirs)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=dir_fd)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise NodeError(f"cannot read {ROOT}{name}: {exc.strerror}") from exc
    try:
        return os.read(fd, _MAX_BYTES).decode(errors="replace").strip()
    except OSError as exc:
        raise NodeError(f"cannot read {ROOT}{name}: {exc.strerror}") from exc
    finally:
        os.close(fd)


def write(name: str, value: str, *, missing_ok: bool, dirs: OpenDirs | None = None) -> bool:
    """
    Set one sysctl where it differs; tell whether it did.

    Raises:
        NodeError: It does not exist, or refuses the value.
    """
    path, dir_fd = _locate(name, dirs)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC, dir_fd=dir_fd)
    except OSError as exc:
        if missing_ok and exc.errno == errno.ENOENT:
            return False
        # Where nothing may be written, what is right already is right.
        if exc.errno in _READ_ONLY and read(name, dirs) == value:
            return False
        raise NodeError(f"cannot set sysctl {name} to {value!r}: {exc.strerror}") from exc
    try:
        if os.pread(fd, _MAX_BYTES, 0).decode(errors="replace").strip() == value:
            return False
        os.pwrite(fd, value.encode(), 0)
    except OSError as exc:
        raise NodeError(f"cannot set sysctl {name} to {value!r}: {exc.strerror}") from exc
    finally:
        os.close(fd)
    return True


def _locate(name: str, dirs: OpenDirs | None) -> tuple[str, int | None]:
    return (ROOT + name, None) if dirs is None else dirs.locate(name)
