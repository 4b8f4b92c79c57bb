# SPDX-License-Identifier: Apache-2.0
"""The socket: requests in batches, answers, dumps that are retried, waiting for a link."""

import errno
import os
import socket
import struct
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final, Self, TypeVar

from spanbridge.base.errors import KernelError, NodeError, RetryError
from spanbridge.base.names import IfIndex
from spanbridge.rtnl import links as ifla
from spanbridge.rtnl import messages as rtm
from spanbridge.rtnl.addresses import IFADDR, Address, parse_address
from spanbridge.rtnl.links import Link, parse_index, parse_link
from spanbridge.rtnl.messages import IFINFO, Message
from spanbridge.rtnl.neighbours import NDA_IFINDEX, NDMSG, Neighbour, parse_neighbour
from spanbridge.rtnl.netns import NetNs
from spanbridge.rtnl.routes import (
    RTA_DST,
    RTA_OIF,
    RTA_SRC,
    RTA_TABLE,
    RTMSG,
    Route,
    parse_route,
)
from spanbridge.rtnl.vlans import PortVlan
from spanbridge.rtnl.wire import (
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    Reply,
    attribute,
    attribute_text,
    attribute_u32,
    pack_address,
    parse_error,
    parse_replies,
)

_T = TypeVar("_T")

DUMP_ATTEMPTS: Final = 8
"""How often a dump is started over that was interrupted by a change, or overran."""

BATCH_MESSAGES: Final = 64
"""
Messages in one send: their acknowledgements must fit the receive buffer.

A default buffer of 208 KiB holds about 250.
"""

BATCH_BYTES: Final = 64 * 1024
"""Bytes in one send; the default send buffer takes three times that."""

ANSWER_TIMEOUT_S: Final = 10
"""Seconds to wait for the kernel; it answers within one, even to a large deletion."""

WAIT_FIRST_S: Final = 0.001
WAIT_LONGEST_S: Final = 0.05
"""Pauses between two looks at a link that is waited for: from the first to the longest."""

_RECEIVE_BUFFER_BYTES: Final = 1024 * 1024
"""Asked for; the kernel grants what net.core.rmem_max allows."""

_DATAGRAM_BYTES: Final = 64 * 1024
"""The kernel fills at most 32 KiB of a dump into one datagram."""

_SOL_NETLINK: Final = 270
_NETLINK_CAP_ACK: Final = 10
_NETLINK_EXT_ACK: Final = 11
_NETLINK_GET_STRICT_CHK: Final = 12

_AF_BRIDGE: Final = 7
_SKIP_STATS: Final = 8
_BRVLAN_COMPRESSED: Final = 4
_TIMEVAL: Final = struct.Struct("@ll")
_UNREACHABLE: Final = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH})
_SEQUENCE_MASK: Final = 0x7FFFFFFF


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


class Rtnl:
    """
    A route netlink socket of one namespace; for one thread at a time.

    It stays in the namespace in which it was made, whoever uses it.
    """

    __slots__ = ("_buffer", "_sequence", "_socket")

    def __init__(self, sock: socket.socket) -> None:
        """See `open`."""
        self._socket = sock
        self._buffer: Final = bytearray(_DATAGRAM_BYTES)
        self._sequence = 0

    @classmethod
    def open(cls, netns: NetNs | None = None) -> Self:
        """
        Make a socket inside a namespace.

        Args:
            netns: None for the calling thread's; it may be closed afterwards.

        Raises:
            NodeError: The namespace may not be entered, or sockets are forbidden.
        """
        try:
            return cls(_bare_socket() if netns is None else netns.run(_bare_socket))
        except OSError as exc:
            raise NodeError(f"cannot open a netlink socket: {exc.strerror}") from exc

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; a second time does nothing."""
        self._socket.close()

    # ------------------------------------------------------------ requests

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
        """Send one batch; error number and text for each message, in order."""
        first = self._next_sequence(len(batch))
        self._send(
            b"".join(rtm.render(each, sequence=first + at) for at, each in enumerate(batch)),
            label=batch[0].label,
        )
        answers: list[tuple[int, str] | None] = [None] * len(batch)
        left = len(batch)
        while left:
            for reply in self._receive(batch[0].label):
                at = reply.sequence - first
                if reply.type != NLMSG_ERROR or not 0 <= at < len(batch):
                    continue
                left -= answers[at] is None
                answers[at] = parse_error(reply)
        return [each for each in answers if each is not None]

    def _next_sequence(self, count: int) -> int:
        """Reserve consecutive sequence numbers, never 0; the first of them."""
        if self._sequence + count > _SEQUENCE_MASK:
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

    def _receive(self, label: str) -> Iterator[Reply]:
        """Receive one datagram, and give its messages."""
        try:
            # With MSG_TRUNC the kernel tells the true length of what did not fit.
            length = self._socket.recv_into(self._buffer, 0, socket.MSG_TRUNC)
        except BlockingIOError as exc:
            raise RetryError(
                f"cannot {label}: the kernel gave no answer within {ANSWER_TIMEOUT_S} s"
            ) from exc
        except OSError as exc:
            if exc.errno != errno.ENOBUFS:
                raise NodeError(f"cannot {label}: {exc.strerror}") from exc
            self._drain()
            raise RetryError(f"cannot {label}: answers of the kernel were lost") from exc
        if length > len(self._buffer):
            self._drain()
            raise NodeError(f"cannot {label}: an answer of {length} bytes is too large")
        return parse_replies(bytes(memoryview(self._buffer)[:length]))

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

    # ------------------------------------------------------------ reading

    def _ask(self, message: Message) -> bytes | None:
        """Ask for one object; its body, None when it was acknowledged without one."""
        sequence = self._next_sequence(1)
        self._send(rtm.render(message, sequence=sequence), label=message.label)
        body = None
        while True:
            for reply in self._receive(message.label):
                if reply.sequence != sequence:
                    continue
                if reply.type != NLMSG_ERROR:
                    body = reply.body
                    continue
                number, text = parse_error(reply)
                if number:
                    raise RtnlError(
                        f"cannot {message.label}: {text or os.strerror(number)}", errno=number
                    )
                return body

    def _dump(self, message: Message, parse: Callable[[bytes], _T | None]) -> list[_T]:
        """
        List all objects; those of which ``parse`` makes None are left out.

        Raises:
            RetryError: It was interrupted ``DUMP_ATTEMPTS`` times.
        """
        for attempt in range(DUMP_ATTEMPTS):
            # What changes the tables needs a moment to finish.
            time.sleep(WAIT_FIRST_S * attempt)
            try:
                found = self._dump_once(message, parse)
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
        self._send(rtm.render(message, sequence=sequence), label=message.label)
        found: list[_T] = []
        consistent = True
        while True:
            for reply in self._receive(message.label):
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

    def link(self, name_or_index: int | str) -> Link | None:
        """Find a link by name or index; None when there is none."""
        body = self._find_link(name_or_index)
        return None if body is None else parse_link(body)

    def link_index(self, name: str) -> IfIndex | None:
        """Find the index of a link by name; None when there is none."""
        body = self._find_link(name)
        return None if body is None else parse_index(body)

    def _find_link(self, which: int | str) -> bytes | None:
        if isinstance(which, str):
            body = IFINFO.pack(0, 0, 0, 0, 0) + attribute_text(ifla.IFLA_IFNAME, which)
        else:
            body = IFINFO.pack(0, 0, which, 0, 0)
        body += attribute_u32(ifla.IFLA_EXT_MASK, _SKIP_STATS)
        try:
            return self._ask(Message(rtm.RTM_GETLINK, 0, body, f"look up link {which}"))
        except RtnlError as exc:
            if exc.errno == errno.ENODEV:
                return None
            raise

    def links(
        self,
        *,
        master: int | None = None,
        kind: str | None = None,
        group: int | None = None,
        vlans: bool = False,
    ) -> list[Link]:
        """
        List links, in no particular order.

        Args:
            master: Only ports of the bridge with this index.
            kind: Only of this kind.
            group: Only of this link group.
            vlans: Fill in ``Link.vlans``; costs a second dump.
        """
        body = IFINFO.pack(0, 0, 0, 0, 0) + attribute_u32(ifla.IFLA_EXT_MASK, _SKIP_STATS)
        # The kernel filters too, where it can; that it did is not relied upon.
        if master:
            body += attribute_u32(ifla.IFLA_MASTER, master)
        if kind:
            body += attribute(ifla.IFLA_LINKINFO, attribute_text(ifla.IFLA_INFO_KIND, kind))

        def parse(found: bytes) -> Link | None:
            link = parse_link(found)
            wanted = (
                (master is None or link.master == master)
                and (kind is None or link.kind == kind)
                and (group is None or link.group == group)
            )
            return link if wanted else None

        links = self._dump(Message(rtm.RTM_GETLINK, NLM_F_DUMP, body, "list links"), parse)
        if not vlans:
            return links
        from dataclasses import replace

        of_port = self.vlans()
        return [replace(link, vlans=of_port.get(link.index, ())) for link in links]

    def addresses(self, index: int | None = None, family: int = 0) -> list[Address]:
        """
        List addresses.

        Args:
            index: Only of this link.
            family: Only AF_INET or AF_INET6; 0 for both.
        """
        body = IFADDR.pack(family, 0, 0, 0, index or 0)

        def parse(found: bytes) -> Address | None:
            address = parse_address(found) if found[:1] in _IP_FAMILIES else None
            if address is None or (index is not None and address.index != index):
                return None
            return address if family in {0, address.family} else None

        message = Message(rtm.RTM_GETADDR, NLM_F_DUMP, body, "list addresses")
        return self._dump_of_link(message, parse)

    def _dump_of_link(self, message: Message, parse: Callable[[bytes], _T | None]) -> list[_T]:
        """List what belongs to one link: nothing, where the link is gone."""
        try:
            return self._dump(message, parse)
        except RtnlError as exc:
            if exc.errno == errno.ENODEV:
                return []
            raise

    def routes(self, family: int = 0, table: int | None = None) -> list[Route]:
        """
        List routes.

        Args:
            family: Only AF_INET or AF_INET6; 0 for both.
            table: Only of this table; None for all, the local one included.
        """
        body = RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
        if table:
            body += attribute_u32(RTA_TABLE, table)

        def parse(found: bytes) -> Route | None:
            # Asked for all families, the kernel also lists multicast and MPLS routes.
            route = parse_route(found) if found[:1] in _IP_FAMILIES else None
            if route is None or (table is not None and route.table != table):
                return None
            return route if family in {0, route.family} else None

        try:
            return self._dump(Message(rtm.RTM_GETROUTE, NLM_F_DUMP, body, "list routes"), parse)
        except RtnlError as exc:
            if exc.errno == errno.ENOENT and table:  # a table that nobody has used
                return []
            raise

    def route_to(self, destination: str, *, source: str = "", oif: int = 0) -> Route | None:
        """
        Ask which route a packet of this host would take.

        Args:
            destination: An address.
            source: An address; empty for the kernel's choice, told in ``prefsrc``.
            oif: Only through this link.

        Returns:
            The route, to the address alone; None when it is unreachable.
        """
        packed = pack_address(destination)
        bits = len(packed) * 8
        family = socket.AF_INET if bits == 32 else socket.AF_INET6
        body = RTMSG.pack(family, bits, bits if source else 0, 0, 0, 0, 0, 0, 0)
        body += attribute(RTA_DST, packed)
        if source:
            body += attribute(RTA_SRC, pack_address(source))
        if oif:
            body += attribute_u32(RTA_OIF, oif)
        label = f"look up the route to {destination}"
        try:
            found = self._ask(Message(rtm.RTM_GETROUTE, 0, body, label))
        except RtnlError as exc:
            if exc.errno in _UNREACHABLE:
                return None
            raise
        return None if found is None else parse_route(found)

    def neighbours(self, index: int | None = None, family: int = 0) -> list[Neighbour]:
        """
        List neighbours.

        Args:
            index: Only of this link.
            family: Only AF_INET or AF_INET6, 0 for both; AF_BRIDGE for the MAC tables
                of bridges.
        """
        body = NDMSG.pack(family, 0, 0, 0, 0)
        if index is not None and family != _AF_BRIDGE:
            body += attribute_u32(NDA_IFINDEX, index)

        def parse(found: bytes) -> Neighbour | None:
            known = found[:1] in _IP_FAMILIES or found[:1] == _BRIDGE_FAMILY
            each = parse_neighbour(found) if known else None
            if each is None or (index is not None and each.index != index):
                return None
            return each if family in {0, each.family} else None

        message = Message(rtm.RTM_GETNEIGH, NLM_F_DUMP, body, "list neighbours")
        return self._dump_of_link(message, parse)

    def port_vlans(self, index: int) -> tuple[PortVlan, ...]:
        """List the VLANs of one port, or of a bridge itself; empty where none can be."""
        return next(iter(self._vlans(index)), (IfIndex(index), ()))[1]

    def vlans(self) -> dict[IfIndex, tuple[PortVlan, ...]]:
        """
        List the VLANs of all bridges and ports, by index.

        Links without any are left out; on a kernel that cannot filter that is all.
        """
        return dict(self._vlans(None))

    def _vlans(self, index: int | None) -> list[tuple[IfIndex, tuple[PortVlan, ...]]]:
        # The kernel has no request for one port: only the dump.
        body = IFINFO.pack(_AF_BRIDGE, 0, 0, 0, 0)
        body += attribute_u32(ifla.IFLA_EXT_MASK, _BRVLAN_COMPRESSED | _SKIP_STATS)

        def parse(found: bytes) -> tuple[IfIndex, tuple[PortVlan, ...]] | None:
            seen = parse_index(found)
            if index is not None and seen != index:
                return None
            vlans = parse_link(found).vlans
            return (seen, vlans) if vlans else None

        message = Message(rtm.RTM_GETLINK, NLM_F_DUMP, body, "list VLANs of bridge ports")
        try:
            return self._dump(message, parse)
        except RtnlError as exc:
            if exc.errno == errno.EOPNOTSUPP:  # no bridge module yet, so no bridge
                return []
            raise

    def wait_link(
        self, index: int, predicate: Callable[[Link], bool], *, timeout_s: float
    ) -> Link | None:
        """
        Look at a link until it is as wished, at growing intervals.

        Returns:
            The link as last seen, which may not be as wished when the time is over;
            None once it is gone.
        """
        deadline = time.monotonic() + timeout_s
        pause = WAIT_FIRST_S
        while True:
            link = self.link(index)
            left = deadline - time.monotonic()
            if link is None or predicate(link) or left <= 0:
                return link
            time.sleep(min(pause, left))
            pause = min(pause * 2, WAIT_LONGEST_S)


_IP_FAMILIES: Final = frozenset({bytes([socket.AF_INET]), bytes([socket.AF_INET6])})
_BRIDGE_FAMILY: Final = bytes([_AF_BRIDGE])


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
