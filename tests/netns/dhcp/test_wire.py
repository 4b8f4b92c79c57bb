# SPDX-License-Identifier: Apache-2.0
"""What a client may expect of a wire: of a real interface, and of its twin in memory."""

import asyncio
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from spanbridge.ipam.dhcp.ether import (
    CLIENT_PORT,
    SERVER_PORT,
    UdpFrame,
    arp_announcement,
    render_udp_frame,
)
from spanbridge.ipam.dhcp.sockets import LinkGoneError, observe_place
from spanbridge.ipam.dhcp.wire import Ears, LinkWire, Wire
from spanbridge.model.arp import Arp
from spanbridge.rtnl import NetNs
from spanbridge.testing.dhcp import wait_until
from spanbridge.testing.dhcp_twin import TwinLink, TwinWire
from spanbridge.testing.plugin import MakeNetns, Netns, run

OUTSIDE = bytes.fromhex("020000000001")
INSIDE = bytes.fromhex("020000000005")


@dataclass
class Ear:
    """Remembers what it hears."""

    datagrams: list[tuple[bytes, str]] = field(default_factory=list)
    arps: list[Arp] = field(default_factory=list)
    damaged: int = 0

    def on_datagram(self, payload: bytes, server_mac: str) -> None:
        self.datagrams.append((payload, server_mac))

    def on_arp(self, arp: Arp) -> None:
        self.arps.append(arp)

    def on_damaged(self) -> None:
        self.damaged += 1


@dataclass
class Line:
    """
    A wire, and the other end of the link.

    Attributes:
        wire: What is tested.
        ear: Hears for it.
        bring: Lets a frame come from the other end.
        cut: Takes the interface away.
    """

    wire: Wire
    ear: Ear
    bring: Callable[[bytes], object]
    cut: Callable[[], object]


Play = Callable[[Callable[[Line], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def outside(node: Netns, pod: Netns) -> Iterator[socket.socket]:
    """A packet socket at the node's end of a veth pair whose other end is the pod's eth0."""
    peer = ("peer", "name", "eth0", "address", INSIDE.hex(":"), "netns", pod.name)
    run("ip", "-n", node.name, "link", "add", "out", "type", "veth", *peer)
    run("ip", "-n", node.name, "link", "set", "out", "up")
    run("ip", "-n", pod.name, "link", "set", "eth0", "up")
    # Before that the kernel drops what is sent.
    shown = ("ip", "-n", node.name, "-br", "link", "show", "dev", "out")
    wait_until(lambda: " UP " in run(*shown), what="the link to work")
    with NetNs.open(str(node.path)) as opened:
        raw = opened.run(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
    with raw:
        raw.bind(("out", 0))
        yield raw


def _real(outside: socket.socket, pod: Netns) -> Play:
    def play(act: Callable[[Line], Coroutine[Any, Any, None]]) -> None:
        with NetNs.open(str(pod.path)) as opened:
            place = observe_place(opened, str(pod.path), "eth0")

        async def main() -> None:
            ear = Ear()
            wire = LinkWire(
                place, ear, in_thread=lambda f: asyncio.get_running_loop().run_in_executor(None, f)
            )
            cut = lambda: run("ip", "-n", pod.name, "link", "del", "eth0")  # noqa: E731
            try:
                await act(Line(wire, ear, outside.send, cut))
            finally:
                wire.close()

        asyncio.run(main())

    return play


def _twin(act: Callable[[Line], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        link, ear = TwinLink(asyncio.get_running_loop().time), Ear()
        wire = TwinWire(link, ear)
        await act(Line(wire, ear, wire.hear_frame, lambda: setattr(link, "there", False)))

    asyncio.run(main())


@pytest.fixture(params=["link", "twin"])
def play(request: pytest.FixtureRequest, pod: Netns) -> Play:
    """Plays a scene on a real interface, or on the twin."""
    if request.param == "twin":
        return _twin
    return _real(request.getfixturevalue("outside"), pod)


def datagram(payload: bytes = b"hello", port: int = CLIENT_PORT) -> bytes:
    return render_udp_frame(
        UdpFrame(OUTSIDE, INSIDE, "10.0.0.1", "10.0.0.5", payload, SERVER_PORT, port)
    )


async def settle() -> None:
    await asyncio.sleep(0.15)


def test_a_datagram_for_the_client_is_heard_with_the_mac_it_came_from(play: Play) -> None:
    async def act(line: Line) -> None:
        await line.wire.listen(Ears.DHCP)
        line.bring(datagram())
        await settle()
        assert line.ear.datagrams == [(b"hello", OUTSIDE.hex(":"))]

    play(act)


def test_nothing_is_heard_before_and_after_listening(play: Play) -> None:
    async def act(line: Line) -> None:
        line.bring(datagram())
        await line.wire.listen(Ears.DHCP)
        await line.wire.listen(Ears.NONE)
        line.bring(datagram())
        await line.wire.listen(Ears.DHCP)
        await settle()
        assert line.ear.datagrams == []

    play(act)


def test_a_frame_leaves_only_while_listening(play: Play) -> None:
    async def act(line: Line) -> None:
        frame = arp_announcement(INSIDE, "10.0.0.5")
        assert not line.wire.send_frame(frame)
        await line.wire.listen(Ears.DHCP)
        assert line.wire.send_frame(frame)
        line.wire.close()
        assert not line.wire.send_frame(frame)

    play(act)


def test_arp_is_heard_about_the_watched_address_alone(play: Play) -> None:
    async def act(line: Line) -> None:
        await line.wire.listen(Ears.DHCP | Ears.ARP)
        line.bring(arp_announcement(OUTSIDE, "10.0.0.5"))
        await settle()
        line.wire.watch("10.0.0.5")
        line.bring(arp_announcement(OUTSIDE, "10.0.0.6"))
        line.bring(arp_announcement(OUTSIDE, "10.0.0.5"))
        await settle()
        assert [arp.sender_ip for arp in line.ear.arps] == ["10.0.0.5"]

    play(act)


def test_a_damaged_frame_is_told_and_the_next_one_heard(play: Play) -> None:
    async def act(line: Line) -> None:
        await line.wire.listen(Ears.DHCP)
        damaged = bytearray(datagram())
        damaged[-1] ^= 1
        line.bring(bytes(damaged))
        line.bring(datagram(b"whole"))
        await settle()
        assert line.ear.damaged == 1
        assert [payload for payload, _ in line.ear.datagrams] == [b"whole"]

    play(act)


def test_an_interface_that_is_gone_cannot_be_listened_on(play: Play) -> None:
    async def act(line: Line) -> None:
        await line.wire.listen(Ears.DHCP)
        await line.wire.listen(Ears.NONE)
        line.cut()
        with pytest.raises(LinkGoneError):
            await line.wire.listen(Ears.DHCP)

    play(act)


# ---------------------------------------------------------------- of real interfaces


def test_a_frame_for_another_port_is_not_even_copied(outside: socket.socket, pod: Netns) -> None:
    async def act(line: Line) -> None:
        await line.wire.listen(Ears.DHCP)
        line.bring(datagram(port=69))
        await settle()
        assert (line.ear.datagrams, line.ear.damaged) == ([], 0)

    _real(outside, pod)(act)


def test_a_tagged_frame_belongs_to_another_network(outside: socket.socket, pod: Netns) -> None:
    async def act(line: Line) -> None:
        await line.wire.listen(Ears.DHCP)
        frame = datagram()
        line.bring(frame[:12] + struct.pack("!HH", 0x8100, 7) + frame[12:])
        line.bring(datagram(b"untagged"))
        await settle()
        assert [payload for payload, _ in line.ear.datagrams] == [b"untagged"]

    _real(outside, pod)(act)


def test_a_checksum_that_the_peer_left_to_a_device_is_no_damage(
    outside: socket.socket, node: Netns, pod: Netns
) -> None:
    program = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.bind(("10.0.0.1", 67))
    sock.sendto(b"from the kernel", ("255.255.255.255", 68))
"""
    run("ip", "-n", node.name, "addr", "add", "10.0.0.1/24", "dev", "out")
    run("ip", "-n", node.name, "route", "add", "255.255.255.255", "dev", "out")

    async def act(line: Line) -> None:
        await line.wire.listen(Ears.DHCP)
        enter = ("ip", "netns", "exec", node.name)
        subprocess.run([*enter, sys.executable, "-IS", "-c", program], check=True)  # noqa: ASYNC221
        await settle()
        assert [payload for payload, _ in line.ear.datagrams] == [b"from the kernel"]
        assert line.ear.damaged == 0

    _real(outside, pod)(act)


def test_a_link_that_went_down_and_up_is_heard_again(outside: socket.socket, pod: Netns) -> None:
    async def act(line: Line) -> None:
        await line.wire.listen(Ears.DHCP)
        run("ip", "-n", pod.name, "link", "set", "eth0", "down")
        await settle()
        run("ip", "-n", pod.name, "link", "set", "eth0", "up")
        await asyncio.sleep(1)
        line.bring(datagram())
        await settle()
        assert len(line.ear.datagrams) == 1

    _real(outside, pod)(act)


def test_a_renamed_interface_is_found_by_its_mac(outside: socket.socket, pod: Netns) -> None:
    async def act(line: Line) -> None:
        run("ip", "-n", pod.name, "link", "set", "eth0", "down")
        run("ip", "-n", pod.name, "link", "set", "eth0", "name", "eth9")
        run("ip", "-n", pod.name, "link", "set", "eth9", "up")
        await line.wire.listen(Ears.DHCP)
        await asyncio.sleep(1)
        line.bring(datagram())
        await settle()
        assert len(line.ear.datagrams) == 1

    _real(outside, pod)(act)


def test_another_namespace_at_the_same_path_is_not_taken_for_the_sandbox(
    outside: socket.socket, pod: Netns, netns: MakeNetns
) -> None:
    # Made before the first one goes: one made after it may get its inode number.
    other = netns("other")

    async def act(line: Line) -> None:
        assert line.wire.is_there()
        run("ip", "netns", "del", pod.name)
        pod.path.touch()
        run("mount", "--bind", str(other.path), str(pod.path))
        assert not line.wire.is_there()
        with pytest.raises(LinkGoneError):
            await line.wire.listen(Ears.DHCP)

    _real(outside, pod)(act)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_no_descriptor_is_left_open(outside: socket.socket, pod: Netns) -> None:
    async def act(line: Line) -> None:
        before = descriptors()
        for _ in range(20):
            await line.wire.listen(Ears.DHCP | Ears.ARP | Ears.UDP)
            await line.wire.listen(Ears.NONE)
        for _ in range(100):  # they are closed in threads
            if descriptors() == before:
                break
            await asyncio.sleep(0.05)
        assert descriptors() == before

    _real(outside, pod)(act)
