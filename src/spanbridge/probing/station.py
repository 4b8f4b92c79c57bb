# SPDX-License-Identifier: Apache-2.0
"""
The sockets of one endpoint, in its network namespace, opened once for all its probes.

A station asks, hears who answers, and counts what of others' questions arrives. What a
link carries is read when somebody wants to know: the kernel keeps it until then.
"""

import contextlib
import errno
import socket
from collections import defaultdict
from collections.abc import Callable
from typing import Final, Self, TypeVar

from spanbridge.base.errors import NodeError
from spanbridge.model.observations import Endpoint, Route
from spanbridge.probing.capture import widen_buffer
from spanbridge.probing.echo import Pinger, open_pinger
from spanbridge.probing.filters import attach_filter, compile_filter, list_wire
from spanbridge.probing.icmp import TOKEN_BYTES, Echo
from spanbridge.probing.neighbours import Answer, Question, parse_frame, render_question
from spanbridge.rtnl import NetNs, Rtnl, del_neighbour

_T = TypeVar("_T")

_ETH_P_ALL: Final = 0x0003
_KEPT_BYTES: Final = 192
"""Of a frame: an NDP packet, or the beginning of an echo request, with their headers."""

_SILENT: Final = {
    *(errno.EAGAIN, errno.ENETDOWN, errno.ENXIO, errno.ENODEV, errno.ENOBUFS),
}
"""What a link says that has nothing, is down or gone: to us all that is silence."""

EchoKey = tuple[bytes, int]
"""Token and identifier of echo requests that belong together."""


class Station:
    """
    One endpoint's place.

    Attributes:
        endpoint: Who it is.
        interface: Its device on the network.
        mac: Of that device.
        answers: MAC addresses that have answered so far, by address, in order.
        questions: Questions that came in so far, by asker's MAC address and address.
        echoes: Sequence numbers of echo requests that came in so far.
    """

    def __init__(
        self, endpoint: Endpoint, interface: str, netns: NetNs, stack: contextlib.ExitStack
    ) -> None:
        """See `open`."""
        self.endpoint: Final = endpoint
        self.interface: Final = interface
        self.answers: Final[dict[str, dict[str, None]]] = defaultdict(dict)
        self.questions: Final[dict[tuple[str, str], int]] = defaultdict(int)
        self.echoes: Final[dict[EchoKey, set[int]]] = defaultdict(set)
        self._netns = netns
        self._stack = stack
        self._rtnl = stack.enter_context(Rtnl.open(netns))
        self._pingers: dict[int, Pinger] = {}
        self._devices: dict[int, str] = {}
        self._wire = stack.enter_context(netns.run(self._open_wire))
        self._mac: bytes = self._wire.getsockname()[4]
        self.mac: Final = self._mac.hex(":")
        self._index = self._rtnl.link_index(interface) or 0
        self._known = {each.address for each in self._rtnl.neighbours(self._index)}

    @classmethod
    def open(cls, endpoint: Endpoint, netns: str, interface: str) -> Self:
        """
        Open everything.

        Args:
            endpoint: With its addresses.
            netns: Path or name of its namespace.
            interface: Its device on the network.

        Raises:
            NodeError: The namespace or the device is not there.
        """
        with contextlib.ExitStack() as stack:
            try:
                entered = stack.enter_context(NetNs.open(netns))
                station = cls(endpoint, interface, entered, stack)
            except OSError as exc:
                raise NodeError(f"cannot probe from {endpoint.name}: {exc.strerror}") from exc
            station._stack = stack.pop_all()
            return station

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close everything; a second time does nothing."""
        self._stack.close()

    def run(self, function: Callable[[], _T]) -> _T:
        """Call a short function inside the namespace."""
        return self._netns.run(function)

    def _open_wire(self) -> socket.socket:
        # Protocol 0 hears nothing until bound: else frames of other links get in.
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            ways = list_wire(self.endpoint.addresses)
            attach_filter(opened, compile_filter(ways, keep=_KEPT_BYTES))
            widen_buffer(opened)
            opened.settimeout(0)
            opened.bind((self.interface, _ETH_P_ALL))
        except BaseException:
            opened.close()
            raise
        return opened

    def pinger(self, address: str) -> Pinger:
        """Give the socket for echoes of the address's family; needs a running event loop."""
        version = 6 if ":" in address else 4
        if version not in self._pingers:
            opened = self.run(lambda: open_pinger(version))
            self._pingers[version] = self._stack.enter_context(opened)
        return self._pingers[version]

    def route(self, address: str) -> Route:
        """Look up what the kernel would do with a packet to ``address``."""
        found = self._rtnl.route_to(address)
        if found is None or not found.oif:
            return Route("")
        return Route(self._device(found.oif), found.prefsrc, found.gateway)

    def _device(self, index: int) -> str:
        if index not in self._devices:
            link = self._rtnl.link(index)
            self._devices[index] = link.name if link else str(index)
        return self._devices[index]

    def forget(self, address: str) -> None:
        """
        Let the kernel forget a neighbour that it did not know before.

        It keeps at most 1024 for all namespaces together, fewer than a large mesh on one
        machine has. Source: Linux 6.1, net/ipv4/arp.c, gc_thresh3.
        """
        if address and address not in self._known and self._index:
            gone = {errno.ENOENT, errno.ENODEV, errno.EINVAL}
            self._rtnl.request(del_neighbour(self._index, address), tolerate=gone)

    def ask(self, address: str, *, claim: bool = True) -> None:
        """
        Ask once who has ``address``.

        Args:
            address: IPv4 or IPv6.
            claim: Name the own IPv6 address, so that the answer comes to us alone.
        """
        own = (each for each in self.endpoint.addresses if ":" in each)
        source = next(own, "") if claim else ""
        try:
            self._wire.send(render_question(self._mac, address, source))
        except OSError as exc:
            if exc.errno not in _SILENT:
                raise

    def hear(self) -> None:
        """Take note of everything that the link has carried so far."""
        while True:
            try:
                frame = self._wire.recv(_KEPT_BYTES)
            except OSError as exc:
                if exc.errno in _SILENT:
                    return
                raise
            match parse_frame(frame):
                case Answer(mac, address):
                    self.answers[address][mac] = None
                case Question(mac, address):
                    self.questions[mac, address] += 1
                case Echo(ident, sequence, payload):
                    self.echoes[payload[:TOKEN_BYTES], ident].add(sequence)
