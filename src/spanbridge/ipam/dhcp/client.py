# SPDX-License-Identifier: Apache-2.0
"""
One lease, from DISCOVER to RELEASE: the machine, fed with time and frames, and obeyed.

A client is one asyncio task. It decides nothing: `machine` does. It keeps nothing on
disk and changes no interface: its ``Holder`` does.
"""

import asyncio
import enum
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from spanbridge.base import log
from spanbridge.base.clock import Clock
from spanbridge.base.errors import NodeError
from spanbridge.ipam.dhcp import machine, options
from spanbridge.ipam.dhcp.ether import (
    BROADCAST_IP,
    UdpFrame,
    arp_announcement,
    arp_probe,
    is_conflict,
    render_udp_frame,
)
from spanbridge.ipam.dhcp.options import Identity
from spanbridge.ipam.dhcp.packet import (
    NO_ADDRESS,
    Message,
    MessageType,
    PacketError,
    is_reply_for,
    parse_message,
    render_message,
)
from spanbridge.ipam.dhcp.session import (
    Action,
    At,
    Bind,
    Drop,
    Event,
    Loss,
    On,
    Send,
    SendAnnouncement,
    Sending,
    SendProbe,
    Session,
    State,
    Tally,
)
from spanbridge.ipam.dhcp.sockets import LinkGoneError
from spanbridge.ipam.dhcp.timing import Held, Random
from spanbridge.ipam.dhcp.wire import Ears, Wire
from spanbridge.model.arp import BROADCAST_MAC, Arp

LOOK_S: Final = 30.0
"""Longest time between two looks at whether the sandbox is still there."""

_PENDING: Final = 64
"""Answers that wait to be looked at; more of them come from a flood, not from a server."""

_SEEKING: Final = Ears.DHCP | Ears.ARP

EARS: Final[Mapping[State, Ears]] = {
    State.SELECTING: _SEEKING,
    State.REQUESTING: _SEEKING,
    State.PROBING: _SEEKING,
    State.RENEWING: Ears.UDP,
    State.REBINDING: Ears.DHCP | Ears.UDP,
    State.REBOOTING: Ears.DHCP,
}
"""What is listened for in each state; in the others every socket is closed."""


class End(enum.Enum):
    """How a client ended."""

    STOPPED = enum.auto()
    """As it was told to."""
    GONE = enum.auto()
    """Its interface went away, or sends nothing; the lease, if any, was not given back."""


class _Way(enum.Enum):
    """How a message is sent."""

    BROADCAST = enum.auto()
    """As a frame to every station."""
    SERVER_MAC = enum.auto()
    """As a frame to where the last answer came from."""
    DATAGRAM = enum.auto()
    """By the sandbox's own routes and neighbours."""


class Holder(Protocol):
    """Who has a client work for it."""

    async def on_bound(self, held: Held, before: Held | None) -> bool:
        """
        Write down what is held from now on.

        Returns:
            False: it cannot be written, so it must be given back.
        """

    async def on_dropped(self, held: Held, loss: Loss) -> None:
        """Stop using an address at once."""


@dataclass(slots=True)
class Heard:
    """
    What came of a search for an address, for whoever has waited in vain.

    Attributes:
        offered: The last offer: address and server; empty without one.
        refused: The last refusal: server and its text; empty without one.
        duplicate: The last duplicate: address and who has it; empty without one.
        malformed: Frames and messages that were none.
        unsent: Messages that could not be sent.
    """

    offered: tuple[str, str] | None = None
    refused: tuple[str, str] | None = None
    duplicate: tuple[str, str] | None = None
    malformed: int = 0
    unsent: int = 0


@dataclass(slots=True)
class Counts:
    """What is counted over the life of clients: of one, or of all that share it."""

    tally: Counter[Tally] = field(default_factory=Counter)
    malformed: int = 0


_MESSAGES: Final[Mapping[Sending, Callable[[Identity, Send], Message]]] = {
    Sending.DISCOVER: lambda who, send: options.discover(who, xid=send.xid, secs=send.secs),
    Sending.SELECT: lambda who, send: options.request_selecting(
        who, xid=send.xid, secs=send.secs, address=send.address, server_id=send.server_id
    ),
    Sending.REBOOT: lambda who, send: options.request_reboot(
        who, xid=send.xid, secs=send.secs, address=send.address
    ),
    Sending.RENEW: lambda who, send: options.request_renew(
        who, xid=send.xid, secs=send.secs, address=send.address
    ),
    Sending.REBIND: lambda who, send: options.request_rebind(
        who, xid=send.xid, secs=send.secs, address=send.address
    ),
    Sending.RELEASE: lambda who, send: options.release(
        who, xid=send.xid, address=send.address, server_id=send.server_id
    ),
    Sending.DECLINE: lambda who, send: options.decline(
        who, xid=send.xid, address=send.address, server_id=send.server_id
    ),
}


def release_frame(who: Identity, held: Held, *, xid: int, server_mac: str) -> bytes:
    """
    Make a RELEASE that needs no interface of the client: any port of the link can send it.

    Args:
        who: The client.
        held: What is given back.
        xid: A transaction id.
        server_mac: Of the server; empty: every station of the link gets it.
    """
    granted = held.granted
    message = options.release(who, xid=xid, address=granted.address, server_id=granted.server_id)
    return _frame(who, message, granted.address, (granted.server_id, server_mac))


def _frame(who: Identity, message: Message, source: str, server: tuple[str, str]) -> bytes:
    address, mac = server
    return render_udp_frame(
        UdpFrame(
            src_mac=who.chaddr,
            dst_mac=bytes.fromhex(mac.replace(":", "")) or BROADCAST_MAC,
            src_ip=source,
            dst_ip=address,
            payload=render_message(message),
        )
    )


class Client:
    """
    Runs one session.

    Attributes:
        session: Where it is.
        heard: What came of the search so far.
        counts: Of this client.
        server_mac: From where the last answer that counted came.
        name: For the log.
    """

    def __init__(  # noqa: PLR0913  # what a client consists of, each by name
        self,
        identity: Identity,
        session: Session,
        *,
        holder: Holder,
        clock: Clock,
        random: Random,
        totals: Counts,
        name: str = "",
        server_mac: str = "",
    ) -> None:
        self.session = session
        self.heard = Heard()
        self.counts: Final = Counts()
        self.server_mac = server_mac
        self.name: Final = name
        self._identity: Final = identity
        self._holder: Final = holder
        self._clock: Final = clock
        self._random: Final = random
        self._totals: Final = totals
        self._pending: Final[deque[tuple[Event, str]]] = deque()
        self._news: Final = asyncio.Event()
        self._unreleased = False

    async def run(self, wire: Wire) -> End:
        """
        Work until told to stop, or until the interface is gone.

        Args:
            wire: The interface; hears for this client, and is closed at the end.
        """
        try:
            while self.session.state is not State.STOPPED:
                event = await self._next_event()
                if not wire.is_there():
                    return End.GONE
                if event is not None:
                    await self._take(wire, *event)
        except LinkGoneError:
            return End.GONE
        finally:
            wire.close()
        return End.GONE if self._unreleased else End.STOPPED

    def stop(self, *, release: bool) -> None:
        """
        Ask to end.

        Args:
            release: Give a lease back that is in use; one that is not yet always is.
        """
        self._pending.appendleft((Event(On.RELEASE if release else On.STOP), ""))
        self._news.set()

    def renew(self) -> None:
        """Ask for a renewal now; without a lease in use it has no effect."""
        self._put(Event(On.RENEW), "")

    # ------------------------------------------------------------ hearing

    def on_datagram(self, payload: bytes, server_mac: str) -> None:
        """See `wire.Listener`."""
        try:
            message = parse_message(payload)
            event = self._event(message)
        except PacketError as exc:
            self.on_damaged()
            if self.counts.malformed == 1:  # the first tells what to look for, the rest counts
                log.warn("malformed DHCP message", lease=self.name, cause=exc)
            return
        if event is not None:
            self._put(event, server_mac)

    def on_arp(self, arp: Arp) -> None:
        """See `wire.Listener`."""
        candidate = self.session.candidate
        if candidate is None:
            return
        address = candidate.granted.address
        if is_conflict(arp, mac=self._identity.chaddr, ip=address):
            self.heard.duplicate = (address, arp.sender_mac.hex(":"))
            self._put(Event(On.CONFLICT), "")

    def on_damaged(self) -> None:
        """See `wire.Listener`."""
        self.heard.malformed += 1
        self.counts.malformed += 1
        self._totals.malformed += 1

    def _event(self, message: Message) -> Event | None:
        """Make an event of an answer to us; raises PacketError where it is unusable."""
        who, xid = self._identity, self.session.xid
        if not is_reply_for(message, xid, who.chaddr, client_id=who.client_id):
            return None
        server = message.server_id or ""
        if message.type is MessageType.NAK:
            self.heard.refused = (server, options.server_text(message))
            return Event(On.NAK, xid, server)
        granted = options.parse_granted(message)
        on = On.OFFER if message.type is MessageType.OFFER else On.ACK
        if on is On.OFFER:
            self.heard.offered = (granted.address, server)
        return Event(on, xid, server, granted)

    def _put(self, event: Event, server_mac: str) -> None:
        if len(self._pending) < _PENDING:
            self._pending.append((event, server_mac))
            self._news.set()

    async def _next_event(self) -> tuple[Event, str] | None:
        """Wait for what happens next; None: nothing, but it is time for a look around."""
        while True:
            if self._pending:
                return self._pending.popleft()
            left = LOOK_S
            if self.session.wake is not None:
                left = min(left, self.session.wake - self._clock.boot())
            if left <= 0:
                return Event(On.TICK), ""
            self._news.clear()
            try:
                async with asyncio.timeout(left):
                    await self._news.wait()
            except TimeoutError:
                # The loop's clock stands still while the machine sleeps; ours does not.
                if left == LOOK_S:
                    return None

    # ------------------------------------------------------------ doing

    async def _take(self, wire: Wire, event: Event, server_mac: str) -> None:
        before = self.session
        at = At(self._clock.boot(), self._random)
        self.session, actions = machine.step(before, event, at)
        if server_mac and self.session is not before:
            self.server_mac = server_mac
        for action in actions:
            await self._do(wire, action)
        if self.session.state not in EARS:
            await wire.listen(Ears.NONE)

    async def _do(self, wire: Wire, action: Action) -> None:
        match action:
            case Send():
                await self._send(wire, action)
            case SendProbe(address):
                wire.watch(address)
                await self._send_frame(wire, arp_probe(self._identity.chaddr, address))
            case SendAnnouncement(address):
                await self._send_frame(wire, arp_announcement(self._identity.chaddr, address))
            case Bind(held, before):
                if not await self._holder.on_bound(held, before):
                    self.stop(release=True)
            case Drop(held, loss):
                log.warn(
                    "a leased address is not used any more",
                    lease=self.name,
                    address=held.granted.address,
                    cause=loss.value,
                )
                await self._holder.on_dropped(held, loss)
            case Tally():
                self.counts.tally[action] += 1
                self._totals.tally[action] += 1

    async def _send(self, wire: Wire, send: Send) -> None:
        message = _MESSAGES[send.what](self._identity, send)
        for step in self._ways(send):
            if step is _Way.DATAGRAM:
                sent = await self._send_datagram(wire, message, send)
            else:
                sent = await self._send_frame(wire, self._framed(message, send, step))
            if sent:
                return
        self.heard.unsent += 1
        self._unreleased |= send.what is Sending.RELEASE and self._in_use(send)
        log.warn("cannot send a DHCP message", lease=self.name, message=send.what.value)

    def _in_use(self, send: Send) -> bool:
        held = self.session.held
        return held is not None and held.granted.address == send.address

    def _ways(self, send: Send) -> tuple["_Way", ...]:
        """
        List the ways to send, the best first; each next one is for when it fails.

        To one server, a frame goes to the MAC that answered last. The sandbox's own look-up
        is the second choice: with isGateway the node itself may have the server's address,
        and answer for it. It comes first every other time, for a server that has moved.
        """
        known = (_Way.SERVER_MAC,) if self.server_mac else ()
        if send.what is Sending.RENEW:
            moved = self.session.attempt % 2 == 0
            return (_Way.DATAGRAM, *known) if moved else (*known, _Way.DATAGRAM)
        if send.what is Sending.RELEASE:
            looked_up = (_Way.DATAGRAM,) if self._in_use(send) else ()
            return (*known, *looked_up, _Way.BROADCAST)
        return (_Way.BROADCAST,)

    def _framed(self, message: Message, send: Send, way: "_Way") -> bytes:
        to_server = send.what in {Sending.RENEW, Sending.RELEASE}
        sourced = to_server or send.what is Sending.REBIND
        server = (
            send.server_id if to_server else BROADCAST_IP,
            self.server_mac if way is _Way.SERVER_MAC else "",
        )
        return _frame(self._identity, message, send.address if sourced else NO_ADDRESS, server)

    async def _send_datagram(self, wire: Wire, message: Message, send: Send) -> bool:
        try:
            await wire.listen(EARS.get(self.session.state, Ears.NONE) | Ears.UDP)
        except LinkGoneError:
            raise
        except NodeError as exc:
            log.warn("cannot use the interface of a lease", lease=self.name, cause=exc)
            return False
        return await wire.send_datagram(
            render_message(message),
            source=send.address,
            destination=send.server_id,
            flush=send.what is Sending.RELEASE,
        )

    async def _send_frame(self, wire: Wire, frame: bytes) -> bool:
        """Send, a second time through new sockets: for those of a search the link is set up."""
        wanted = EARS.get(self.session.state, Ears.NONE) | Ears.DHCP
        for _ in range(2):
            try:
                await wire.listen(wanted)
            except LinkGoneError:
                raise
            except NodeError as exc:
                log.warn("cannot use the interface of a lease", lease=self.name, cause=exc)
                return False
            if wire.send_frame(frame):
                return True
        return False
