# SPDX-License-Identifier: Apache-2.0
"""The few calls of the C library that Python 3.11 has no name for."""

import ctypes
import os
from typing import Final

CLONE_NEWNET: Final = 0x40000000
MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_SHARED: Final = 0x100000
MNT_DETACH: Final = 2
"""
Flags.

Source: linux/sched.h, linux/mount.h, Linux 6.1.
"""

_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def setns(fd: int) -> None:
    """
    Move the calling thread, and only it, into a network namespace.

    Raises:
        OSError: Not allowed.
    """
    _checked(_LIBC.setns(fd, CLONE_NEWNET), "setns")


def unshare_network() -> None:
    """
    Move the calling thread, and only it, into a new network namespace.

    Raises:
        OSError: Not allowed.
    """
    _checked(_LIBC.unshare(CLONE_NEWNET), "unshare")


def mount(source: str, target: str, *, flags: int) -> None:
    """
    Bind or change a mount.

    Raises:
        OSError: Not allowed, or no mount point.
    """
    result = _LIBC.mount(
        source.encode(), target.encode(), b"none", ctypes.c_ulong(flags), ctypes.c_void_p(None)
    )
    _checked(result, target)


def unmount(target: str) -> None:
    """
    Detach a mount, also one that is in use.

    Raises:
        OSError: Not allowed, absent, or no mount point (EINVAL).
    """
    _checked(_LIBC.umount2(target.encode(), MNT_DETACH), target)
