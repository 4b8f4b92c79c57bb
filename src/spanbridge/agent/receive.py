# SPDX-License-Identifier: Apache-2.0
"""Reading one request from a socket: its bytes and the descriptors that travel along."""

import array
import os
import select
import socket
import time
from dataclasses import dataclass
from typing import Final, Self

from spanbridge.base.errors import CallError, DecodeError, NodeError
from spanbridge.model.frames import (
    HEADER_BYTES,
    CallFrame,
    CallHeader,
    parse_call,
    parse_call_header,
)
from spanbridge.rtnl import NetNs

DESCRIPTORS_MAX: Final = 2
_SURPLUS_MAX: Final = 8
"""Descriptors taken above those expected, so that a sloppy client hears about them."""

_INT_BYTES: Final = array.array("i").itemsize
_ANCILLARY_BYTES: Final = socket.CMSG_SPACE((DESCRIPTORS_MAX + _SURPLUS_MAX) * _INT_BYTES)
_CHUNK_BYTES: Final = 64 << 10
_CREDENTIALS: Final = array.array("i", [0, 0, 0])


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is on the other end, as the kernel says. Source: unix(7), SO_PEERCRED."""

    pid: int
    uid: int
    gid: int


def observe_peer(sock: socket.socket) -> Peer:
    """Ask the kernel who connected."""
    size = len(_CREDENTIALS) * _INT_BYTES
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return Peer(*array.array("i", raw))


@dataclass(frozen=True, slots=True)
class Request:
    """
    A frame and what came along with it; whoever has it closes it, once.

    Attributes:
        frame: What was asked.
        caller: The caller's network namespace; None where none came.
        sandbox_fd: A descriptor of the sandbox, which the verbs judge; None where none
            came.
    """

    frame: CallFrame
    caller: NetNs | None
    sandbox_fd: int | None

    def close(self) -> None:
        """Let go of the namespaces."""
        if self.caller is not None:
            self.caller.close()
        if self.sandbox_fd is not None:
            os.close(self.sandbox_fd)


class Incoming:
    """
    What has arrived on one connection; descriptors that were not asked for close with it.

    Args:
        sock: Does not block.
        timeout_s: Seconds for a request to arrive as a whole.
    """

    def __init__(self, sock: socket.socket, *, timeout_s: float) -> None:
        self._sock = sock
        self._deadline = time.monotonic() + timeout_s
        self._data = bytearray()
        self._descriptors: list[int] = []
        self._truncated = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptors that are still here."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    def request(self) -> Request | None:
        """
        Read one request.

        Returns:
            None when the client hung up without a byte, as who only looks does.

        Raises:
            DecodeError: It is malformed, or ends too early.
            CallError: A descriptor that it announces did not arrive, or the caller's
                is no network namespace.
            TimeoutError: It did not arrive in time.
            OSError: The connection broke.
        """
        if not self._fill(HEADER_BYTES):
            return None
        header = parse_call_header(bytes(self._data[:HEADER_BYTES]))
        end = HEADER_BYTES + header.body_bytes
        self._fill(end)
        frame = parse_call(header, bytes(memoryview(self._data)[HEADER_BYTES:end]))
        self._refuse_missing(header)
        caller = self._caller() if header.caller else None
        return Request(frame, caller, self._descriptors.pop(0) if header.sandbox else None)

    def _refuse_missing(self, header: CallHeader) -> None:
        if self._truncated or len(self._descriptors) < header.descriptors:
            raise CallError(
                "cannot take the call: a descriptor that it announces did not arrive",
                hint="look at the agent's limit of open files, and at the client's",
            )

    def _caller(self) -> NetNs:
        try:
            return NetNs.adopt(self._descriptors.pop(0), label="the caller's descriptor")
        except NodeError as exc:
            raise CallError(exc.message) from exc

    def _fill(self, wanted: int) -> bool:
        """Read until there are ``wanted`` bytes; tell whether anything came at all."""
        while len(self._data) < wanted:
            # More than wanted, since nearly always all of it is there: what a client sends
            # after its request means nothing.
            chunk = self._receive(_CHUNK_BYTES)
            if not chunk:
                if not self._data:
                    return False
                raise DecodeError(
                    f"cannot read a call: the client hung up after {len(self._data)} bytes"
                )
            self._data += chunk
        return True

    def _receive(self, size: int) -> bytes:
        while True:
            try:
                data, ancillary, flags, _ = self._sock.recvmsg(
                    size, _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                wait_until(self._sock, select.POLLIN, self._deadline)
                continue
            for level, kind, content in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    whole = len(content) - len(content) % _INT_BYTES
                    self._descriptors += array.array("i", content[:whole])
            self._truncated |= bool(flags & socket.MSG_CTRUNC)
            return data


def wait_until(sock: socket.socket, event: int, deadline: float) -> None:
    """
    Wait for a socket until a deadline of the monotonic clock.

    Raises:
        TimeoutError: Nothing came of it.
    """
    ready = select.poll()
    ready.register(sock, event)
    left_s = deadline - time.monotonic()
    if left_s <= 0 or not ready.poll(left_s * 1000):
        raise TimeoutError


def has_hung_up(sock: socket.socket) -> bool:
    """
    Tell whether the client has closed its end.

    What it sends instead means nothing, and is read away.

    Args:
        sock: Does not block; one that is closed counts as hung up.
    """
    try:
        while sock.recv(_CHUNK_BYTES):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass  # reset: gone as well
    return True
