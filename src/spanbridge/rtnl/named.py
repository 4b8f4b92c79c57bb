# SPDX-License-Identifier: Apache-2.0
"""
Named network namespaces, the same that ``ip netns`` lists.

Plain ``os`` calls: importing pathlib takes milliseconds of the one-shot program.
"""

import contextlib
import errno
import fcntl
import os
from typing import Final

from spanbridge.base.errors import InputError, NodeError
from spanbridge.rtnl.netns import NETNS_DIR, OWN_NETNS, in_thread

_NAME_MAX_BYTES: Final = 255


def _named_path(name: str) -> str:
    """
    Where a named namespace is mounted.

    Raises:
        InputError: The name cannot be a file's.
    """
    bad = not name or name in {".", ".."} or "/" in name or "\0" in name
    if bad or len(os.fsencode(name)) > _NAME_MAX_BYTES:
        raise InputError(f"cannot use {name!r} as name of a network namespace")
    return f"{NETNS_DIR}/{name}"


def create_named_netns(name: str) -> None:
    """
    Make a namespace that ``ip netns`` lists and enters; it has a loopback that is down.

    Raises:
        FileExistsError: The name is taken.
        NodeError: Not allowed.

    Source: iproute2 6.1, ip/ipnetns.c, netns_add().
    """
    from spanbridge.rtnl import libc

    path = _named_path(name)
    try:
        _prepare_netns_dir()
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0))
        try:
            in_thread(libc.unshare_network, lambda: libc.mount(OWN_NETNS, path, flags=libc.MS_BIND))
        except BaseException:
            os.unlink(path)  # noqa: PTH108  # as above
            raise
    except FileExistsError:
        raise
    except OSError as exc:
        raise NodeError(f"cannot create network namespace {name}: {exc.strerror}") from exc


def _prepare_netns_dir() -> None:
    """
    Make the directory a shared mount, so that namespaces show, and go, in every mount namespace.

    Source: iproute2 6.1, ip/ipnetns.c, create_netns_dir() and netns_add().
    """
    from spanbridge.rtnl import libc

    os.makedirs(NETNS_DIR, mode=0o755, exist_ok=True)  # noqa: PTH103  # as above
    fd = os.open(NETNS_DIR, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # iproute2 takes the same lock: two at once would stack mounts.
        fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            libc.mount("", NETNS_DIR, flags=libc.MS_SHARED | libc.MS_REC)
        except OSError as exc:
            if exc.errno != errno.EINVAL:
                raise
            libc.mount(NETNS_DIR, NETNS_DIR, flags=libc.MS_BIND | libc.MS_REC)
            libc.mount("", NETNS_DIR, flags=libc.MS_SHARED | libc.MS_REC)
    finally:
        os.close(fd)


def delete_named_netns(name: str) -> None:
    """
    Remove a named namespace; one that is absent is fine.

    The kernel keeps it while a process or a descriptor holds it.

    Raises:
        NodeError: Not allowed.
    """
    from spanbridge.rtnl import libc

    path = _named_path(name)
    try:
        try:
            libc.unmount(path)
        except OSError as exc:
            # A file that was left without a mount goes too.
            if exc.errno not in {errno.EINVAL, errno.ENOENT}:
                raise
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108  # as above
    except OSError as exc:
        raise NodeError(f"cannot delete network namespace {name}: {exc.strerror}") from exc


def named_netns() -> list[str]:
    """List the named namespaces, sorted."""
    try:
        return sorted(os.listdir(NETNS_DIR))  # noqa: PTH208  # as above
    except FileNotFoundError:
        return []
