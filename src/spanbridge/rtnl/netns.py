# SPDX-License-Identifier: Apache-2.0
"""
Network namespaces: open file descriptors, and what is done inside one.

The calling thread goes there and comes back; no other thread moves.
"""

import _thread
import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterable
from typing import Final, Self, TypeVar

from spanbridge.base.errors import NodeError
from spanbridge.rtnl import sysctls

_T = TypeVar("_T")

NETNS_DIR: Final = "/run/netns"
"""
Where named namespaces are mounted.

Source: iproute2 6.1, include/namespace.h, NETNS_RUN_DIR.
"""

_NS_GET_NSTYPE: Final = 0xB703
"""
ioctl that tells the kind of a namespace.

Source: linux/nsfs.h.
"""

_CLONE_NEWNET: Final = 0x40000000
OWN_NETNS: Final = "/proc/thread-self/ns/net"
"""The namespace of whoever looks; ``/proc/self`` is always the main thread's."""

_KEPT_DIRS: Final[dict[tuple[int, int], sysctls.OpenDirs]] = {}
"""By the identity of their namespace; it is kept alive, or another one could get its number."""


class NetNs:
    """
    An open network namespace; equal to every other that is the same namespace.

    Attributes:
        fd: The descriptor; -1 once closed.
        identity: Device and inode.
    """

    __slots__ = ("fd", "identity")

    def __init__(self, fd: int, identity: tuple[int, int]) -> None:
        """See `current`, `open` and `adopt`."""
        self.fd = fd
        self.identity: Final = identity

    @classmethod
    def current(cls) -> Self:
        """Open the namespace of the calling thread."""
        return cls.adopt(os.open(OWN_NETNS, os.O_RDONLY | os.O_CLOEXEC))

    @classmethod
    def empty(cls) -> Self:
        """
        Make a namespace without a name; it lives as long as it is open.

        Raises:
            NodeError: Not allowed.
        """
        from spanbridge.rtnl import libc

        try:
            return in_thread(libc.unshare_network, cls.current)
        except OSError as exc:
            raise NodeError(
                f"cannot make a network namespace: {exc.strerror}", hint="CAP_SYS_ADMIN is needed"
            ) from exc

    @classmethod
    def open(cls, path: str) -> Self:
        """
        Open a namespace by path, or a named one by its bare name, as ``ip`` does.

        Args:
            path: ``/run/netns/NAME``, ``/proc/PID/ns/net``, or ``NAME``.

        Raises:
            FileNotFoundError: There is nothing.
            NodeError: What is there is no network namespace, or may not be opened.
        """
        where = path if "/" in path else f"{NETNS_DIR}/{path}"
        try:
            # Without O_NONBLOCK a FIFO would keep us waiting for a writer.
            fd = os.open(where, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            raise
        except (OSError, ValueError) as exc:
            cause = exc.strerror if isinstance(exc, OSError) else str(exc)
            raise NodeError(
                f"cannot open network namespace {where!r}: {cause}",
                hint="name one that is mounted, for example /run/netns/NAME or /proc/PID/ns/net",
            ) from exc
        return cls.adopt(fd, label=repr(where))

    @classmethod
    def adopt(cls, fd: int, *, label: str = "") -> Self:
        """
        Take over an open descriptor; it is closed with this object, and on failure.

        Args:
            fd: Of a network namespace.
            label: What to call it in error text.

        Raises:
            NodeError: It is no network namespace.
        """
        cause = "it is no namespace"
        try:
            seen = os.fstat(fd)
            # Only regular files are asked: to a device the ioctl could mean anything.
            if stat.S_ISREG(seen.st_mode):
                if fcntl.ioctl(fd, _NS_GET_NSTYPE) == _CLONE_NEWNET:
                    return cls(fd, (seen.st_dev, seen.st_ino))
                cause = "it is a namespace of another kind"
        except OSError as exc:
            if exc.errno not in {errno.ENOTTY, errno.EINVAL}:
                cause = exc.strerror or cause
        with contextlib.suppress(OSError):
            os.close(fd)
        raise NodeError(
            f"cannot use {label or f'descriptor {fd}'} as network namespace: {cause}",
            hint="name one that is mounted, for example /run/netns/NAME or /proc/PID/ns/net",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the namespace; a second time does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NetNs):
            return NotImplemented
        return self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)

    def __repr__(self) -> str:
        return f"NetNs(fd={self.fd}, inode={self.identity[1]})"

    def is_current(self) -> bool:
        """Tell whether the calling thread is in it."""
        return _here() == self

    def run(self, function: Callable[[], _T]) -> _T:
        """
        Call a function inside the namespace and return what it returns.

        The calling thread moves for that long, so it should be short.

        Raises:
            NodeError: The namespace may not be entered.
            BaseException: Whatever the function raised.
        """
        here = _here()
        if here == self:
            return function()
        self.enter()
        try:
            return function()
        finally:
            here.enter()

    def enter(self) -> None:
        """
        Move the calling thread, and only it, into the namespace for good.

        Raises:
            NodeError: Not allowed.
        """
        from spanbridge.rtnl import libc

        _PLACE.netns = None  # a signal may come in between
        try:
            libc.setns(self.fd)
        except OSError as exc:
            raise NodeError(
                f"cannot enter network namespace {self.identity[1]}: {exc.strerror}",
                hint="CAP_SYS_ADMIN is needed",
            ) from exc
        _PLACE.netns = self

    def read_sysctl(self, name: str) -> str | None:
        """
        Read one sysctl of the namespace.

        Args:
            name: With slashes, since interface names may hold dots:
                ``net/ipv6/conf/eth0/accept_dad``.

        Returns:
            Its value without white space around; None where there is no such sysctl.
        """
        return self.sysctls([name])[name]

    def sysctls(self, names: Iterable[str]) -> dict[str, str | None]:
        """Read sysctls of the namespace, entering it once; see `read_sysctl`."""
        wanted = list(names)
        for name in wanted:
            sysctls.check_name(name)
        return self.run(lambda: {name: sysctls.read(name) for name in wanted})

    def write_sysctls(
        self, pairs: Iterable[tuple[str, str]], *, missing_ok: bool = False
    ) -> tuple[str, ...]:
        """
        Set sysctls of the namespace in order, entering it once; equal ones are left alone.

        Args:
            pairs: Names as in `read_sysctl`, and values.
            missing_ok: Skip what does not exist, for example on a kernel without IPv6.

        Returns:
            The names of those that were changed.

        Raises:
            NodeError: One does not exist, or refuses its value; those before it are set.
        """
        wanted = list(pairs)
        for name, _ in wanted:
            sysctls.check_name(name)
        dirs = _KEPT_DIRS.get(self.identity)

        def write() -> tuple[str, ...]:
            return tuple(
                name
                for name, value in wanted
                if sysctls.write(name, value, missing_ok=missing_ok, dirs=dirs)
            )

        return self.run(write)

    def keep_sysctls(self) -> None:
        """Keep it, and directories of its sysctls, open for as long as the process lives."""
        if self.identity not in _KEPT_DIRS:
            os.dup(self.fd)  # an open directory does not keep its namespace alive
            _KEPT_DIRS[self.identity] = self.run(sysctls.OpenDirs)


class _Place(_thread._local):  # noqa: SLF001  # importing threading takes milliseconds
    """Where a thread is; None until it was asked, and after a move by other means."""

    netns: NetNs | None = None


_PLACE: Final = _Place()
_HOMES: Final[dict[tuple[int, int], NetNs]] = {}
"""Where threads were before they ever moved, by identity: nearly always one namespace."""


def _here() -> NetNs:
    """The calling thread's namespace; asked of the kernel once, which takes 0.04 ms."""
    found = _PLACE.netns
    if found is None:
        seen = NetNs.current()
        found = _PLACE.netns = _HOMES.setdefault(seen.identity, seen)
    return found


def in_thread(enter: Callable[[], None], function: Callable[[], _T]) -> _T:
    """
    Run two functions in a new thread and wait for it.

    `_thread` and a lock, since `threading.Thread` costs three times as much.
    """
    results: list[_T] = []
    errors: list[BaseException] = []
    finished = _thread.allocate_lock()
    finished.acquire()

    def body() -> None:
        try:
            enter()
            results.append(function())
        except BaseException as exc:  # noqa: BLE001  # raised again where it was asked for
            errors.append(exc)
        finally:
            finished.release()

    _thread.start_new_thread(body, ())
    finished.acquire()
    if errors:
        try:
            raise errors[0]
        finally:
            # The traceback holds this frame, and the frame would hold the error.
            errors.clear()
    return results[0]
