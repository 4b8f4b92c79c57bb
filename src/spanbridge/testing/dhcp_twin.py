# SPDX-License-Identifier: Apache-2.0
"""
A DHCP client's link in memory, and a loop whose time leaps: hours pass in milliseconds.

``TwinWire`` is the twin of ``spanbridge.ipam.dhcp.wire.LinkWire``; both run through the
same tests. Unlike fixtures for real links it may use our codec, since what is tested
with it is the client and not the codec.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from spanbridge.base.clock import Clock
from spanbridge.ipam.dhcp.ether import BROADCAST_IP, parse_udp_frame
from spanbridge.ipam.dhcp.packet import Message, parse_message
from spanbridge.ipam.dhcp.sockets import LinkGoneError
from spanbridge.ipam.dhcp.wire import Ears, Listener
from spanbridge.model.arp import Arp, parse_arp

_T = TypeVar("_T")

START_S: Final = 1_000_000.0
"""When virtual time begins; on the wall, a thousand seconds later."""

SERVER_MAC: Final = "02:00:00:00:00:01"


@dataclass(frozen=True, slots=True)
class Sent:
    """
    A message that left.

    Attributes:
        time: Virtual seconds since `START_S`.
        message: What.
        source: Address that it came from.
        destination: Address that it went to.
        mac: Where a frame went; empty for a datagram of the sandbox.
    """

    time: float
    message: Message
    source: str
    destination: str
    mac: str = ""


@dataclass(slots=True)
class TwinLink:
    """
    One interface and what is behind it.

    Attributes:
        now: Tells virtual time.
        answer: The server: called with each message, gives what it answers.
        there: The interface exists.
        up: Frames leave.
        addressed: It has the leased address, so datagrams can be sent.
        sent: Messages that left, in order.
        arps: ARP packets that left: when, and what.
        opened: What was listened for each time that it changed.
    """

    now: Callable[[], float]
    answer: Callable[[Sent], list[bytes]] = lambda _: []
    there: bool = True
    up: bool = True
    addressed: bool = True
    sent: list[Sent] = field(default_factory=list)
    arps: list[tuple[float, Arp]] = field(default_factory=list)
    opened: list[Ears] = field(default_factory=list)


class TwinWire:
    """An interface in memory; see ``wire.Wire`` for the methods."""

    def __init__(self, link: TwinLink, listener: Listener) -> None:
        self.link: Final = link
        self._listener: Final = listener
        self._ears = Ears.NONE
        self._watched = ""

    async def listen(self, ears: Ears) -> None:
        """See ``Wire.listen``."""
        if not ears:
            self.close()
        elif not self.link.there:
            raise LinkGoneError("cannot use eth0: it is gone")
        elif ears & ~self._ears:
            self._ears = ears
            self.link.opened.append(ears)

    def watch(self, address: str) -> None:
        """See ``Wire.watch``."""
        self._watched = address

    def send_frame(self, frame: bytes) -> bool:
        """See ``Wire.send_frame``."""
        if Ears.DHCP not in self._ears or not self.link.up:
            return False
        udp, arp = parse_udp_frame(frame), parse_arp(frame)
        if arp is not None:
            self.link.arps.append((self.link.now(), arp))
        if udp is not None:
            self._carry(parse_message(udp.payload), udp.src_ip, udp.dst_ip, udp.dst_mac.hex(":"))
        return True

    async def send_datagram(
        self, payload: bytes, *, source: str, destination: str, flush: bool = False
    ) -> bool:
        """See ``Wire.send_datagram``."""
        ready = Ears.UDP in self._ears and self.link.up and self.link.addressed
        if ready:
            self._carry(parse_message(payload), source, destination)
        await asyncio.sleep(0.001 if flush else 0)
        return ready

    def is_there(self) -> bool:
        """See ``Wire.is_there``."""
        return self.link.there

    def close(self) -> None:
        """See ``Wire.close``."""
        if self._ears:
            self.link.opened.append(Ears.NONE)
        self._ears = Ears.NONE

    def _carry(self, message: Message, source: str, destination: str, mac: str = "") -> None:
        sent = Sent(self.link.now() - START_S, message, source, destination, mac)
        self.link.sent.append(sent)
        for payload in self.link.answer(sent):
            asyncio.get_running_loop().call_later(0.001, self.hear, payload)

    def hear(self, payload: bytes) -> None:
        """Take a datagram from the server, as the link brings it."""
        if self._ears & (Ears.DHCP | Ears.UDP):
            self._listener.on_datagram(payload, SERVER_MAC)

    def hear_frame(self, frame: bytes) -> None:
        """Take a frame, as the link brings it."""
        arp = parse_arp(frame)
        if arp is not None:
            if Ears.ARP in self._ears and self._watched in {arp.sender_ip, arp.target_ip}:
                self._listener.on_arp(arp)
            return
        udp = parse_udp_frame(frame)
        if Ears.DHCP not in self._ears:
            return
        if udp is None:
            self._listener.on_damaged()
        else:
            self._listener.on_datagram(udp.payload, udp.src_mac.hex(":"))


class _Leap(selectors.DefaultSelector):
    """Waits for nothing: what should take time makes it pass."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START_S

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("nothing will ever happen any more")
        if not ready and timeout:
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """
    An event loop on which a wait takes no time.

    Attributes:
        slept: Seconds that the machine slept: clocks ran on, timers of loops did not.
    """

    def __init__(self) -> None:
        self._leap: Final = _Leap()
        self.slept = 0.0
        super().__init__(self._leap)

    def time(self) -> float:
        """Tell virtual time."""
        return self._leap.now

    @property
    def clock(self) -> Clock:
        """The same time, as our code asks for it."""
        return Clock(
            wall=lambda: self.time() + self.slept + 1000.0, boot=lambda: self.time() + self.slept
        )


def run_virtually(main: Callable[[VirtualLoop], Coroutine[Any, Any, _T]]) -> _T:
    """Run a coroutine to its end on a loop of its own, whatever time it takes there."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        return runner.run(main(loop))


def is_broadcast(sent: Sent) -> bool:
    """Tell whether a message went to everybody."""
    return sent.destination == BROADCAST_IP
