# SPDX-License-Identifier: Apache-2.0
"""The client's task on a link in memory, hours in milliseconds."""

import asyncio
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from spanbridge.ipam.dhcp import machine
from spanbridge.ipam.dhcp.client import Client, Counts, End, release_frame
from spanbridge.ipam.dhcp.ether import arp_announcement, parse_udp_frame
from spanbridge.ipam.dhcp.failure import no_address
from spanbridge.ipam.dhcp.options import Granted, Identity, release
from spanbridge.ipam.dhcp.packet import BOOTREPLY, Message, MessageType, render_message
from spanbridge.ipam.dhcp.session import At, Loss, State, Tally
from spanbridge.ipam.dhcp.timing import PROBE_FAST, PROBE_OFF, Held, ProbeProfile
from spanbridge.ipam.dhcp.wire import Ears
from spanbridge.model.owner import Owner
from spanbridge.testing.dhcp_twin import (
    SERVER_MAC,
    START_S,
    Sent,
    TwinLink,
    TwinWire,
    VirtualLoop,
    run_virtually,
)

MAC = bytes.fromhex("020000000005")
OTHER = bytes.fromhex("020000000009")
IDENTITY = Identity(chaddr=MAC, client_id=b"\0c1", parameters=(1, 3))
SERVER = bytes((10, 0, 0, 1))
OWNER = Owner.of("net1", "c1", "eth0")


@dataclass
class Script:
    """
    A server.

    Attributes:
        silent: Types of messages without an answer.
        refuses: A REQUEST is answered with a NAK.
        lease_s: What it gives.
        mangle: Changes what it sends.
    """

    silent: set[MessageType] = field(default_factory=set)
    refuses: bool = False
    lease_s: int = 3600
    mangle: Callable[[bytes], list[bytes]] = lambda payload: [payload]

    def __call__(self, sent: Sent) -> list[bytes]:
        kind = sent.message.type
        if kind in self.silent or kind not in {MessageType.DISCOVER, MessageType.REQUEST}:
            return []
        answer = MessageType.OFFER if kind is MessageType.DISCOVER else MessageType.ACK
        options = {53: bytes([answer]), 54: SERVER, 1: b"\xff\xff\xff\0"}
        options[51] = self.lease_s.to_bytes(4, "big")
        if kind is MessageType.REQUEST and self.refuses:
            options = {53: bytes([MessageType.NAK]), 54: SERVER, 56: b"go away"}
        message = Message(BOOTREPLY, sent.message.xid, MAC, yiaddr="10.0.0.5", options=options)
        return self.mangle(render_message(message))


@dataclass
class Book:
    """Who has the client work for it."""

    writable: bool = True
    told: list[tuple[float, str]] = field(default_factory=list)
    now: Callable[[], float] = lambda: 0.0
    bound: asyncio.Event = field(default_factory=asyncio.Event)
    lost: asyncio.Event = field(default_factory=asyncio.Event)

    async def on_bound(self, held: Held, before: Held | None) -> bool:
        assert held.granted.address == "10.0.0.5"
        self.told.append((self.now(), "renewed" if before else "bound"))
        self.bound.set()
        return self.writable

    async def on_dropped(self, held: Held, loss: Loss) -> None:
        assert held.granted.address == "10.0.0.5"
        self.told.append((self.now(), loss.name))
        self.lost.set()


@dataclass
class Stage:
    """Everything of one test."""

    loop: VirtualLoop
    link: TwinLink
    book: Book
    client: Client
    wire: TwinWire
    task: "asyncio.Task[End]"

    def now(self) -> float:
        return self.loop.time() - START_S

    def sent(self) -> list[tuple[str, str]]:
        return [(each.message.type.name, each.source) for each in self.link.sent]  # type: ignore[union-attr]


def play(
    act: Callable[[Stage], Coroutine[Any, Any, None]],
    *,
    server: Callable[[Sent], list[bytes]] | None = None,
    profile: ProbeProfile = PROBE_OFF,
    writable: bool = True,
) -> Stage:
    """Run a client against a server, and what the test does meanwhile."""
    stages: list[Stage] = []

    async def main(loop: VirtualLoop) -> None:
        link = TwinLink(loop.time, server or Script())
        book = Book(writable, now=lambda: round(loop.time() - START_S, 2))
        client = Client(
            IDENTITY,
            machine.begin(profile, At(loop.time(), lambda: 0.0), jitter_s=0.0),
            holder=book,
            clock=loop.clock,
            random=lambda: 0.0,
            totals=Counts(),
        )
        wire = TwinWire(link, client)
        stage = Stage(loop, link, book, client, wire, asyncio.create_task(client.run(wire)))
        stages.append(stage)
        await act(stage)
        if not stage.task.done():
            client.stop(release=False)
        await stage.task

    run_virtually(main)
    return stages[0]


async def until_bound(stage: Stage) -> None:
    await stage.book.bound.wait()


def for_seconds(seconds: float) -> Callable[[Stage], Coroutine[Any, Any, None]]:
    async def act(_: Stage) -> None:
        await asyncio.sleep(seconds)

    return act


def test_sockets_are_open_only_while_they_are_needed() -> None:
    async def act(stage: Stage) -> None:
        await until_bound(stage)
        await asyncio.sleep(1900)

    seeking = Ears.DHCP | Ears.ARP
    opened = play(act).link.opened
    assert opened == [seeking, Ears.NONE, Ears.DHCP | Ears.UDP, Ears.NONE]


def test_renewals_come_from_the_address_and_the_lease_goes_on() -> None:
    stage = play(for_seconds(4000))
    assert stage.sent()[2:] == [("REQUEST", "10.0.0.5")] * 2
    assert [each.destination for each in stage.link.sent[2:]] == ["10.0.0.1"] * 2
    assert [told for _, told in stage.book.told] == ["bound", "renewed", "renewed"]
    assert stage.client.server_mac == SERVER_MAC


def renewals(stage: Stage) -> list[tuple[str, str]]:
    """Where renewals went: address, and MAC of frames."""
    sent = [each for each in stage.link.sent if each.message.ciaddr == "10.0.0.5"]
    assert {each.source for each in sent} == {"10.0.0.5"}
    return [(each.destination, each.mac) for each in sent]


def test_renewals_go_to_the_mac_that_answered_and_every_other_time_by_look_up() -> None:
    async def act(stage: Stage) -> None:
        await until_bound(stage)
        stage.link.answer = lambda _: []
        await asyncio.sleep(3200)

    to_mac, looked_up = ("10.0.0.1", SERVER_MAC), ("10.0.0.1", "")
    assert renewals(play(act)) == [
        *(to_mac, looked_up, to_mac, looked_up, to_mac, looked_up),
        ("255.255.255.255", "ff:ff:ff:ff:ff:ff"),
    ]


def test_a_renewal_without_the_address_on_the_interface_goes_to_the_mac_alone() -> None:
    async def act(stage: Stage) -> None:
        await until_bound(stage)
        stage.link.answer, stage.link.addressed = lambda _: [], False
        await asyncio.sleep(2900)

    assert renewals(play(act)) == [("10.0.0.1", SERVER_MAC)] * 3


def test_a_lease_ends_on_the_second() -> None:
    async def act(stage: Stage) -> None:
        await until_bound(stage)
        stage.link.answer = lambda _: []
        await asyncio.sleep(3700)

    assert play(act).book.told == [(0.0, "bound"), (3600.0, "EXPIRED")]


def test_a_clock_that_ran_on_while_the_loop_stood_still_is_noticed_within_half_a_minute() -> None:
    async def act(stage: Stage) -> None:
        await until_bound(stage)
        stage.loop.slept = 7000.0
        began = stage.now()
        await stage.book.lost.wait()
        assert stage.now() - began < 31

    assert play(act).book.told[1][1] == "EXPIRED"


def test_a_vanished_sandbox_ends_the_client_within_half_a_minute() -> None:
    async def act(stage: Stage) -> None:
        await until_bound(stage)
        stage.link.there = False
        began = stage.now()
        assert await stage.task is End.GONE
        assert stage.now() - began <= 30

    play(act)


def test_a_stop_with_release_sends_one_and_ends() -> None:
    async def act(stage: Stage) -> None:
        await until_bound(stage)
        stage.client.stop(release=True)
        assert await stage.task is End.STOPPED

    assert play(act).sent()[-1] == ("RELEASE", "10.0.0.5")


def test_a_release_takes_the_servers_mac_when_the_address_is_off_already() -> None:
    async def act(stage: Stage) -> None:
        await until_bound(stage)
        stage.link.addressed = False
        stage.client.stop(release=True)
        await stage.task

    stage = play(act)
    assert stage.sent().count(("RELEASE", "10.0.0.5")) == 1
    assert stage.link.sent[-1].destination == "10.0.0.1"


def test_a_lease_that_cannot_be_written_down_is_given_back() -> None:
    async def act(stage: Stage) -> None:
        assert await stage.task is End.STOPPED

    assert play(act, writable=False).sent()[-1][0] == "RELEASE"


def test_a_link_that_is_down_is_tried_again_until_it_is_up() -> None:
    async def act(stage: Stage) -> None:
        stage.link.up = False
        await asyncio.sleep(5)
        assert stage.sent() == []
        stage.link.up = True
        await until_bound(stage)

    assert play(act).client.heard.unsent == 3


def test_a_conflict_is_heard_while_probing_and_another_address_asked_for() -> None:
    async def act(stage: Stage) -> None:
        await asyncio.sleep(0.1)
        assert stage.link.arps
        stage.wire.hear_frame(arp_announcement(OTHER, "10.0.0.5"))
        await until_bound(stage)

    stage = play(act, profile=PROBE_FAST)
    assert [name for name, _ in stage.sent()] == [
        *("DISCOVER", "REQUEST", "DECLINE"),
        *("DISCOVER", "REQUEST"),
    ]
    assert stage.client.heard.duplicate == ("10.0.0.5", OTHER.hex(":"))


def test_our_own_probe_coming_back_is_no_conflict() -> None:
    async def act(stage: Stage) -> None:
        await asyncio.sleep(0.1)
        assert stage.link.arps
        stage.wire.hear_frame(arp_announcement(MAC, "10.0.0.5"))
        await until_bound(stage)

    assert play(act, profile=PROBE_FAST).client.heard.duplicate is None


def test_refusals_are_remembered_with_their_text() -> None:
    stage = play(for_seconds(0.5), server=Script(refuses=True))
    assert stage.client.heard.refused == ("10.0.0.1", "go away")
    assert stage.client.counts.tally[Tally.NAK] == 1


MANGLED: dict[str, Callable[[bytes], list[bytes]]] = {
    "cut short": lambda payload: [payload[:200]],
    "an option beyond the end": lambda payload: [payload[:240] + b"\x35\xff\x02"],
    "no address": lambda payload: [payload[:16] + b"\0\0\0\0" + payload[20:]],
    "no server": lambda payload: [payload.replace(b"\x36\x04" + SERVER, b"\0" * 6)],
    "noise": lambda _: [bytes(range(256))],
}


@pytest.mark.parametrize("kind", MANGLED)
def test_a_malformed_answer_is_counted_and_a_right_one_after_it_taken(kind: str) -> None:
    async def act(stage: Stage) -> None:
        await until_bound(stage)

    script = Script(mangle=lambda payload: [*MANGLED[kind](payload) * 100, payload])
    stage = play(act, server=script)
    assert stage.client.counts.malformed >= 100


FOREIGN: dict[str, Callable[[bytes], list[bytes]]] = {
    "another transaction": lambda payload: [payload[:4] + b"\0\0\0\7" + payload[8:]],
    "another client": lambda payload: [payload[:28] + OTHER + payload[34:]],
    "a request": lambda payload: [b"\1" + payload[1:]],
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_an_answer_that_is_not_ours_is_passed_over(kind: str) -> None:
    stage = play(for_seconds(2), server=Script(mangle=FOREIGN[kind]))
    assert stage.client.session.state is State.STOPPED
    assert stage.book.told == []
    assert stage.client.heard.offered is None
    assert stage.client.counts.malformed == 0


def test_a_flood_of_answers_does_not_pile_up() -> None:
    async def act(stage: Stage) -> None:
        await until_bound(stage)

    stage = play(act, server=Script(mangle=lambda payload: [payload] * 5000))
    assert len(stage.client._pending) <= 65


@pytest.mark.parametrize(
    ("server", "words"),
    [
        (lambda _: [], "no DHCP server made an offer within 20 s"),
        (
            Script(silent={MessageType.REQUEST}),
            r"server 10\.0\.0\.1 offered 10\.0\.0\.5 but did not acknowledge it within 20 s",
        ),
        (Script(refuses=True), r"server 10\.0\.0\.1 refused it \(NAK\): 'go away'"),
        (
            Script(mangle=lambda payload: [payload[:100]]),
            r"no DHCP server made an offer within 20 s; 5 malformed frames were passed over",
        ),
    ],
    ids=["silence", "no acknowledgement", "refusal", "damage"],
)
def test_the_error_says_what_was_heard(server: Callable[[Sent], list[bytes]], words: str) -> None:
    error = no_address(
        OWNER, play(for_seconds(20), server=server).client.heard, within="within 20 s"
    )
    assert re.search(words, error.message)
    assert error.message.startswith("cannot lease an address for eth0 of c1: ")


def test_the_frame_for_a_vanished_interface_is_a_whole_release() -> None:
    held = Held(Granted("10.0.0.5", 24, "10.0.0.1"), 0.0)
    frame = parse_udp_frame(release_frame(IDENTITY, held, xid=7, server_mac=SERVER_MAC))
    assert frame is not None
    assert (frame.src_ip, frame.dst_ip, frame.src_mac) == ("10.0.0.5", "10.0.0.1", MAC)
    assert frame.dst_mac.hex(":") == SERVER_MAC
    wanted = release(IDENTITY, xid=7, address="10.0.0.5", server_id="10.0.0.1")
    assert frame.payload == render_message(wanted)
