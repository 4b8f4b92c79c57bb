# SPDX-License-Identifier: Apache-2.0
"""
How requests and answers travel: batches, acknowledgements, dumps that are started over.

Source: linux/netlink.h; net/netlink/af_netlink.c, Linux 6.1.
"""

import errno
import os
import socket
import struct
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final, Self, TypeVar

from spanbridge.base.errors import KernelError, NodeError, RetryError
from spanbridge.rtnl.messages import Message, is_question, render
from spanbridge.rtnl.netns import NetNs
from spanbridge.rtnl.wire import (
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    WireError,
    is_success,
    parse_error,
    parse_replies,
)

_T = TypeVar("_T")

DUMP_ATTEMPTS: Final = 8
"""How often a dump is started over that was interrupted by a change, or overran."""

DUMP_PAUSE_S: Final = 0.001
"""Seconds before a dump is started over, times the attempts so far."""

BATCH_MESSAGES: Final = 64
"""
Messages in one send: their acknowledgements must fit the receive buffer.

A default buffer of 208 KiB holds about 250.
"""

BATCH_BYTES: Final = 64 * 1024
"""Bytes in one send; the default send buffer takes three times that."""

ANSWER_TIMEOUT_S: Final = 10
"""Seconds to wait for the kernel; it answers within one, even to a large deletion."""

_RECEIVE_BUFFER_BYTES: Final = 1024 * 1024
"""Asked for; the kernel grants what net.core.rmem_max allows."""

_DATAGRAM_BYTES: Final = 64 * 1024
"""The kernel fills at most 32 KiB of a dump into one datagram."""

_SOL_NETLINK: Final = 270
_NETLINK_CAP_ACK: Final = 10
_NETLINK_EXT_ACK: Final = 11
_NETLINK_GET_STRICT_CHK: Final = 12

_DONE: Final = (0, "")
"""Error number and text of a message that took effect."""

_TIMEVAL: Final = struct.Struct("@ll")
_SEQUENCE_MAX: Final = 0x7FFFFFFF


class RtnlError(KernelError):
    """
    The kernel refused a message.

    Attributes:
        errno: The positive error number.
        index: Which message of the batch, from 0.
        applied: Which messages of the batch took effect. Also later ones may have: the
            kernel goes on after an error, unless they were sent one by one.
    """

    def __init__(
        self,
        message: str,
        *,
        errno: int,
        index: int = 0,
        applied: tuple[int, ...] = (),
    ) -> None:
        super().__init__(message, errno=errno)
        self.index = index
        self.applied = applied


class Spares:
    """
    Sockets of the process's own namespace that wait for their next user; none at first.

    Making and closing one takes 33 us, and a DEL needs three. Its own namespace lives as
    long as the process does; another one is never kept alive by this. Not for a process
    that forks: the child would get the parent's answers.
    """

    def __init__(self) -> None:
        self._limit = 0
        self._home: tuple[int, int] | None = None
        self._kept: list[tuple[int, int]] = []

    def keep(self, limit: int) -> None:
        """Keep up to so many from now on."""
        with NetNs.current() as home:
            self._home = home.identity
        self._limit = limit

    def are_of(self, netns: NetNs) -> bool:
        """Tell whether sockets of ``netns`` are kept."""
        return netns.identity == self._home

    def take(self) -> tuple[socket.socket, int] | None:
        """Take one, and the last sequence number that was used on it."""
        try:
            fd, sequence = self._kept.pop()
        except IndexError:
            return None
        return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0, fileno=fd), sequence

    def put(self, sock: socket.socket, sequence: int) -> None:
        """Take over one that nobody uses any more."""
        if len(self._kept) < self._limit:
            self._kept.append((sock.detach(), sequence))
        else:
            sock.close()


SPARES: Final = Spares()
"""Those of this process."""


class Transport:
    """A route netlink socket of one namespace, and how to talk over it."""

    __slots__ = ("_buffer", "_sequence", "_socket", "_spare")

    def __init__(self, sock: socket.socket, *, sequence: int = 0, spare: bool = False) -> None:
        """See `open`."""
        self._socket = sock
        self._buffer: Final = bytearray(_DATAGRAM_BYTES)
        self._sequence = sequence
        self._spare = spare

    @classmethod
    def open(cls, netns: NetNs | None = None) -> Self:
        """
        Make a socket inside a namespace.

        Args:
            netns: None for the calling thread's; it may be closed afterwards.

        Raises:
            NodeError: The namespace may not be entered, or sockets are forbidden.
        """
        spare = netns is not None and SPARES.are_of(netns)
        found = SPARES.take() if spare else None
        if found is not None:
            return cls(found[0], sequence=found[1], spare=True)
        try:
            sock = _bare_socket() if netns is None else netns.run(_bare_socket)
            return cls(sock, spare=spare)
        except OSError as exc:
            raise NodeError(f"cannot open a netlink socket: {exc.strerror}") from exc

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket, or keep it for the next; a second time does nothing."""
        if self._spare:
            self._spare = False
            SPARES.put(self._socket, self._sequence)
        else:
            self._socket.close()

    def request(
        self,
        *messages: Message,
        tolerate: Collection[int] = (),
        one_by_one: bool = False,
    ) -> tuple[int, ...]:
        """
        Send messages at once and wait until each is acknowledged.

        The kernel goes on after a message that failed, so those of one batch must not
        harm when an earlier one fails; otherwise ask for ``one_by_one``. More than
        ``BATCH_MESSAGES`` go in several sends, and the first that fails is the last.

        Args:
            messages: In the order in which they take effect.
            tolerate: Error numbers that count as success.
            one_by_one: Send each after the one before it succeeded.

        Returns:
            For each message 0, or the error number that was tolerated.

        Raises:
            RtnlError: For the first message that failed. The socket stays usable.
            RetryError: The kernel did not answer; what took effect is unknown.
        """
        outcome: list[int] = []
        for batch in _batches(messages, longest=1 if one_by_one else BATCH_MESSAGES):
            answers = self._exchange(batch)
            start = len(outcome)
            outcome += [number for number, _ in answers]
            for offset, (number, text) in enumerate(answers):
                if number and number not in tolerate:
                    raise RtnlError(
                        f"cannot {batch[offset].label}: {text or os.strerror(number)}",
                        errno=number,
                        index=start + offset,
                        applied=tuple(at for at, seen in enumerate(outcome) if not seen),
                    )
        return tuple(outcome)

    def _exchange(self, batch: Sequence[Message]) -> list[tuple[int, str]]:
        """
        Send one batch; error number and text for each message, in order.

        The kernel takes them one by one, and tells of each that failed; so only the last
        need be acknowledged.
        """
        label = batch[0].label
        first = self._next_sequence(len(batch))
        last = first + len(batch) - 1
        self._send(
            b"".join(
                render(each, sequence=number, acknowledged=number == last)
                for number, each in enumerate(batch, first)
            ),
            label=label,
        )
        answers = [_DONE] * len(batch)
        while True:
            data = self._receive(label)
            if is_success(data, last):
                return answers
            for reply in parse_replies(data):
                if reply.type == NLMSG_ERROR and first <= reply.sequence <= last:
                    answers[reply.sequence - first] = parse_error(reply)
                    if reply.sequence == last:
                        return answers

    def _next_sequence(self, count: int) -> int:
        """Reserve consecutive sequence numbers, never 0; the first of them."""
        if self._sequence + count > _SEQUENCE_MAX:
            self._sequence = 0
        first = self._sequence + 1
        self._sequence += count
        return first

    def _send(self, data: bytes, *, label: str) -> None:
        try:
            self._socket.send(data)
        except OSError as exc:
            number = exc.errno or errno.EIO
            raise RtnlError(f"cannot {label}: {exc.strerror}", errno=number) from exc

    def _receive(self, label: str) -> bytes:
        """Receive one datagram."""
        try:
            # With MSG_TRUNC the kernel tells the true length of what did not fit.
            length = self._socket.recv_into(self._buffer, 0, socket.MSG_TRUNC)
        except BlockingIOError as exc:
            self._spare = False  # the answer may come yet
            raise RetryError(
                f"cannot {label}: the kernel gave no answer within {ANSWER_TIMEOUT_S} s"
            ) from exc
        except OSError as exc:
            self._spare = False
            if exc.errno != errno.ENOBUFS:
                raise NodeError(f"cannot {label}: {exc.strerror}") from exc
            self._drain()
            raise RetryError(f"cannot {label}: answers of the kernel were lost") from exc
        if length > len(self._buffer):
            self._drain()
            raise NodeError(f"cannot {label}: an answer of {length} bytes is too large")
        return bytes(memoryview(self._buffer)[:length])

    def _drain(self) -> None:
        """Throw away what has arrived, after answers were lost."""
        while True:
            try:
                self._socket.recv_into(self._buffer, 0, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as exc:
                if exc.errno != errno.ENOBUFS:
                    raise NodeError(f"cannot read from the kernel: {exc.strerror}") from exc

    def ask(self, *messages: Message, tolerate: Collection[int] = ()) -> list[bytes | None]:
        """
        Ask for one object each, with one send for at most ``BATCH_MESSAGES`` messages.

        Requests may come before the questions: each message gets one answer.

        Args:
            messages: The questions; among them requests, after any of which the kernel
                goes on also when it failed.
            tolerate: Error numbers that say that there is no such object.

        Returns:
            The bodies, in order; None for what is not there, and for requests.

        Raises:
            RtnlError: For the first message that the kernel refused.
        """
        first = self._next_sequence(len(messages))
        label = messages[0].label
        self._send(
            b"".join(
                render(each, sequence=first + at, acknowledged=not is_question(each))
                for at, each in enumerate(messages)
            ),
            label=label,
        )
        bodies: list[bytes | None] = [None] * len(messages)
        refused: list[tuple[int, str, str]] = []
        left = len(messages)
        while left:
            for reply in parse_replies(self._receive(label)):
                at = reply.sequence - first
                if not 0 <= at < len(messages):
                    continue
                left -= 1
                if reply.type != NLMSG_ERROR:
                    bodies[at] = reply.body
                    continue
                number, text = parse_error(reply)
                if number and not (number in tolerate and is_question(messages[at])):
                    refused.append((number, text, messages[at].label))
        for number, text, asked in refused:
            raise RtnlError(f"cannot {asked}: {text or os.strerror(number)}", errno=number)
        return bodies

    def dump(self, message: Message, parse: Callable[[bytes], _T | None]) -> list[_T]:
        """
        List all objects; those of which ``parse`` makes None are left out.

        Raises:
            RetryError: It was interrupted ``DUMP_ATTEMPTS`` times.
        """
        for attempt in range(DUMP_ATTEMPTS):
            if attempt:  # what changes the tables needs a moment to finish
                time.sleep(DUMP_PAUSE_S * attempt)
            try:
                found = self._dump_once(message, parse)
            except WireError:
                self._drain()  # else the kernel would call the dump unfinished
                raise
            except RetryError:
                if attempt == DUMP_ATTEMPTS - 1:
                    raise
                continue
            if found is not None:
                return found
        raise RetryError(
            f"cannot {message.label}: it changed during each of {DUMP_ATTEMPTS} attempts"
        )

    def _dump_once(self, message: Message, parse: Callable[[bytes], _T | None]) -> list[_T] | None:
        """List all objects; None when a change made the list inconsistent."""
        sequence = self._next_sequence(1)
        self._send(render(message, sequence=sequence), label=message.label)
        found: list[_T] = []
        consistent = True
        while True:
            for reply in parse_replies(self._receive(message.label)):
                if reply.sequence != sequence:
                    continue
                consistent = consistent and not reply.flags & NLM_F_DUMP_INTR
                if reply.type not in {NLMSG_DONE, NLMSG_ERROR}:
                    each = parse(reply.body)
                    if each is not None:
                        found.append(each)
                    continue
                number, text = parse_error(reply)
                if number:
                    raise RtnlError(
                        f"cannot {message.label}: {text or os.strerror(number)}", errno=number
                    )
                if reply.type == NLMSG_DONE:
                    return found if consistent else None


def _bare_socket() -> socket.socket:
    """Make the socket in the calling thread's namespace."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        timeout = _TIMEVAL.pack(ANSWER_TIMEOUT_S, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            try:
                sock.setsockopt(_SOL_NETLINK, option, 1)
            except OSError as exc:
                # Older kernels (strict checks: before 4.20) do without.
                if exc.errno != errno.ENOPROTOOPT:
                    raise
        sock.bind((0, 0))
    except BaseException:
        sock.close()
        raise
    return sock


def _batches(messages: Sequence[Message], *, longest: int) -> Iterator[list[Message]]:
    """Cut a sequence into batches that fit the buffers of a socket."""
    batch: list[Message] = []
    size = 0
    for message in messages:
        length = len(message.body) + 20
        if batch and (len(batch) >= longest or size + length > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += length
    if batch:
        yield batch
