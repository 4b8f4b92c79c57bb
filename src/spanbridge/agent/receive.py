# SPDX-License-Identifier: Apache-2.0
"""Reading one request from a socket: its bytes and the descriptors that travel along."""

import array
import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterator
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

    The socket must not block.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
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

    async def request(self) -> Request | None:
        """
        Read one request; the caller sets the deadline.

        Returns:
            None when the client hung up without a byte, as who only looks does.

        Raises:
            DecodeError: It is malformed, or ends too early.
            CallError: A descriptor that it announces did not arrive, or the caller's
                is no network namespace.
            OSError: The connection broke.
        """
        if not await self._fill(HEADER_BYTES):
            return None
        header = parse_call_header(bytes(self._data[:HEADER_BYTES]))
        await self._fill(HEADER_BYTES + header.body_bytes)
        frame = parse_call(header, bytes(memoryview(self._data)[HEADER_BYTES:]))
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

    async def _fill(self, wanted: int) -> bool:
        """Read until there are ``wanted`` bytes; tell whether anything came at all."""
        while len(self._data) < wanted:
            chunk = await self._receive(min(wanted - len(self._data), _CHUNK_BYTES))
            if not chunk:
                if not self._data:
                    return False
                raise DecodeError(
                    f"cannot read a call: the client hung up after {len(self._data)} bytes"
                )
            self._data += chunk
        return True

    async def _receive(self, size: int) -> bytes:
        while True:
            try:
                data, ancillary, flags, _ = self._sock.recvmsg(
                    size, _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                await _until_readable(self._sock)
                continue
            for level, kind, content in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    whole = len(content) - len(content) % _INT_BYTES
                    self._descriptors += array.array("i", content[:whole])
            self._truncated |= bool(flags & socket.MSG_CTRUNC)
            return data


async def _until_readable(sock: socket.socket) -> None:
    # By number: asyncio spells out a socket object in an error that it then swallows.
    loop, number = asyncio.get_running_loop(), sock.fileno()
    ready = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(number, wake)
    try:
        await ready
    finally:
        loop.remove_reader(number)


@contextlib.contextmanager
def watch_hang_up(sock: socket.socket, on_hang_up: Callable[[], None]) -> Iterator[None]:
    """
    Call ``on_hang_up`` when the client closes its end while the block runs.

    What it sends instead means nothing, and is read away.
    """
    loop, number = asyncio.get_running_loop(), sock.fileno()

    def look() -> None:
        try:
            if sock.recv(_CHUNK_BYTES):
                return
        except BlockingIOError:
            return
        except OSError:
            pass  # reset: gone as well
        loop.remove_reader(number)
        on_hang_up()

    loop.add_reader(number, look)
    try:
        yield
    finally:
        loop.remove_reader(number)
