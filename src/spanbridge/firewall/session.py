# SPDX-License-Identifier: Apache-2.0
"""
The one way to nf_tables: contexts, and what the kernel says no with.

Rules are made and read by libnftables; changes of elements alone go straight to the
kernel (`elements`). A context's netlink sockets stay in the namespace in which they were
opened, so contexts are made there and used from any thread. They are kept for a moment:
closing one makes the kernel wait for the grace period of what was deleted before (16 ms,
during which no other change gets in), unless that has passed already.

Source: net/netfilter/nf_tables_api.c, nft_rcv_nl_event(), Linux 6.1.
"""

import errno
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Final

from spanbridge.base.errors import Code, NodeError
from spanbridge.base.files import locked
from spanbridge.firewall.elements import are_elements, render_batch
from spanbridge.firewall.entries import Found
from spanbridge.firewall.listing import parse_listing
from spanbridge.firewall.ruleset import BRIDGE, INET, Command, list_table
from spanbridge.rtnl import NetNs
from spanbridge.rtnl.wire import NLMSG_ERROR, parse_error, parse_replies

_IDLE_S: Final = 1.0
"""An unused context is closed after this: it keeps its namespace alive."""

_MAX_CONTEXTS: Final = 16

_NETLINK_NETFILTER: Final = 12
"""Source: linux/netlink.h."""

_TIMEVAL: Final = struct.Struct("@ll")
ANSWER_TIMEOUT_S: Final = 10
"""Seconds that the kernel may take for a transaction; it takes far less than one of them."""

_DATAGRAM_BYTES: Final = 32 * 1024

_RUN_DIR: Final = "/run/spanbridge"

PASSING: Final = frozenset({errno.EAGAIN, errno.EINTR, errno.ENOBUFS})
"""
What a transaction can meet by no fault of its content: the same may pass now.

ERESTART, which the kernel can let out too, is read as EINTR: its text begins so.
"""

CONFLICTING: Final = frozenset({errno.ENOENT, errno.EEXIST, errno.EBUSY})
"""What was read is no longer so, or was never read."""

_KNOWN: Final = (*PASSING, *CONFLICTING, errno.EPERM, errno.EOPNOTSUPP)

_ABSENT: Final = frozenset({errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT})
"""What a kernel without nftables says."""

_LIBRARY: Final = "libnftables.so.1"
_INSTALL: Final = "install libnftables (Debian: apt-get install libnftables1)"


class RefusedError(Exception):
    """
    The kernel, or libnftables for it, refused a transaction as a whole.

    Attributes:
        errno: 0 when it is none of those that something depends on.
        words: What it said.
    """

    def __init__(self, text: str) -> None:
        # libnftables has no error number to give: only strerror's text, in the same locale.
        first = text.partition("\n")[0]
        self.errno = next((each for each in _KNOWN if os.strerror(each) in first), 0)
        words = first.rpartition("Error: ")[2].removeprefix("Could not process rule: ")
        self.words = words.strip() or "libnftables gives no reason"
        super().__init__(self.words)


class UnavailableError(NodeError):
    """libnftables cannot be loaded, or the kernel has no nftables."""

    code = Code.FIREWALL


class _Context:
    """
    One libnftables context, in the namespace of the thread that makes it.

    Raises:
        OSError: The kernel gives no netlink socket for netfilter.
    """

    def __init__(self) -> None:
        # libnftables ends the whole process when it gets no socket: so ours comes first.
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        timeout = _TIMEVAL.pack(ANSWER_TIMEOUT_S, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
        self._sequence = 0
        self._nft = _load().Nftables(_LIBRARY)
        self._nft.set_json_output(True)
        self.used_at_s = 0.0

    def __del__(self) -> None:
        # Not left to the socket, which warns when nobody has closed it.
        if hasattr(self, "_socket"):
            self._socket.close()

    def run(self, commands: list[Command]) -> list[Command]:
        """Run commands as one transaction; the objects it answers with."""
        code, output, error = self._nft.json_cmd({"nftables": commands})
        self.used_at_s = time.monotonic()
        if code != 0:
            raise RefusedError(error)
        objects: list[Command] = output["nftables"] if output else []
        return objects

    def put(self, commands: list[Command]) -> None:
        """
        Change elements as one transaction, without libnftables.

        That takes a sixth of the time, and as long with a thousand attachments as with one.
        """
        first = self._sequence + 1
        self._sequence += len(commands) + 2
        self.used_at_s = time.monotonic()
        try:
            self._socket.send(render_batch(commands, first=first))
            number = self._answer(first, first + len(commands))
        except OSError as exc:
            raise RefusedError(exc.strerror or str(exc)) from exc
        if number:
            raise RefusedError(os.strerror(number))

    def _answer(self, first: int, last: int) -> int:
        """
        Wait for what became of a transaction: 0, or the first error number.

        Every refused message is answered, in order, and the one numbered ``last`` in any
        case; or the one numbered ``first`` alone, when the transaction as a whole failed.
        """
        failed = 0
        while True:
            for reply in parse_replies(self._socket.recv(_DATAGRAM_BYTES)):
                if reply.type != NLMSG_ERROR or not first <= reply.sequence <= last:
                    continue
                number, _ = parse_error(reply)
                failed = failed or number
                if reply.sequence == last or (number and reply.sequence == first):
                    return failed


def _load() -> ModuleType:
    """Import the binding, and see that the library is there; only when there is work."""
    try:
        import nftables

        nftables.cdll.LoadLibrary(_LIBRARY)
    except (ImportError, OSError) as exc:
        raise UnavailableError(f"cannot load libnftables: {exc}", hint=_INSTALL) from exc
    module: ModuleType = nftables
    return module


def is_available() -> bool:
    """Tell whether libnftables can be loaded."""
    try:
        _load()
    except UnavailableError:
        return False
    return True


# libnftables shares state between contexts, so one thread is in it at a time.
_LOCK: Final = threading.Lock()
_Key = tuple[int, tuple[int, int]]
_contexts: dict[_Key, _Context] = {}
_closer: list[threading.Timer] = []


def _key(host: NetNs) -> _Key:
    # A forked child must not talk over its parent's socket: hence the process id.
    return os.getpid(), host.identity


def _context(host: NetNs) -> _Context:
    found = _contexts.pop(_key(host), None)
    if found is None:
        _load()
        try:
            found = host.run(_Context)
        except OSError as exc:
            words = os.strerror(exc.errno) if exc.errno else str(exc)
            kind = UnavailableError if exc.errno in _ABSENT else NodeError
            raise kind(f"cannot open nftables: {words}", code=Code.FIREWALL) from exc
        while len(_contexts) >= _MAX_CONTEXTS:
            del _contexts[next(iter(_contexts))]
    _contexts[_key(host)] = found
    if not _closer:
        _start_closer()
    return found


def _start_closer() -> None:
    timer = threading.Timer(_IDLE_S, _close_idle)
    timer.name = "spanbridge-nft-closer"
    timer.daemon = True
    _closer[:] = [timer]
    timer.start()


def _close_idle() -> None:
    with _LOCK:
        _closer.clear()
        for key, each in list(_contexts.items()):
            if time.monotonic() - each.used_at_s >= _IDLE_S:
                del _contexts[key]
        if _contexts:
            _start_closer()


def _lock_path(host: NetNs) -> str:
    directory = os.environ.get("SPANBRIDGE_RUN") or _RUN_DIR
    return f"{directory}/firewall-{host.identity[1]}.lock"


class Session:
    """Our tables in one namespace, for the time of one call."""

    def __init__(self, host: NetNs) -> None:
        self._host = host
        # Opened here, so that what cannot be loaded is said before anything is done.
        _context(host)

    def _run(self, commands: list[Command]) -> list[Command]:
        context = _context(self._host)
        try:
            if are_elements(commands):
                context.put(commands)
                return []
            return context.run(commands)
        except RefusedError as exc:
            if exc.errno not in CONFLICTING:
                # Its socket may still hold answers to this request.
                _contexts.pop(_key(self._host), None)
            raise

    def change(self, commands: list[Command]) -> None:
        """
        Apply all or nothing.

        Raises:
            RefusedError: Nothing was changed.
        """
        self._run(commands)

    def read(self) -> Found:
        """
        Read both tables; a missing one has nothing in it.

        Raises:
            RefusedError: They cannot be read.
        """
        objects = []
        for family in (INET, BRIDGE):
            try:
                objects += self._run([list_table(family)])
            except RefusedError as exc:
                if exc.errno != errno.ENOENT:
                    raise
        return parse_listing(objects)

    def chains(self) -> list[Command]:
        """
        List the chains of everybody's tables, without their rules.

        Raises:
            RefusedError: They cannot be read.
        """
        return self._run([{"list": {"chains": None}}])


@contextmanager
def reading(host: NetNs) -> Iterator[Session]:
    """
    Open our tables to look.

    Raises:
        NodeError: libnftables cannot be loaded, or the kernel has no nftables.
    """
    with _LOCK:
        yield Session(host)


@contextmanager
def changing(host: NetNs) -> Iterator[Session]:
    """
    Open our tables to change them, alone among all processes of ours.

    The kernel makes each transaction atomic; the lock does the same for looking and
    changing: a removal by key must not hit an element that was taken over in between.

    Raises:
        NodeError: libnftables cannot be loaded, the kernel has no nftables, or the lock
            file cannot be made.
    """
    with _LOCK, ExitStack() as stack:
        session = Session(host)
        path = _lock_path(host)
        try:
            stack.enter_context(locked(path))
        except OSError as exc:
            raise NodeError(
                f"cannot lock {path}: {exc.strerror}",
                hint="SPANBRIDGE_RUN names another directory",
                code=Code.FIREWALL,
            ) from exc
        yield session
