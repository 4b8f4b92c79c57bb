# SPDX-License-Identifier: Apache-2.0
"""Frames of a network in the wrong VLAN, and on the wrong device."""

import socket
import struct

import pytest

from spanbridge.model.observations import Expectations, Stray
from spanbridge.probing.strays import Device, Watch
from spanbridge.rtnl import NetNs
from spanbridge.testing.plugin import MakeNetns, Netns

EXPECTED = Expectations(vlan=2, subnets=("10.88.0.0/16", "fd00:88::/64"))


@pytest.fixture
def host(netns: MakeNetns) -> Netns:
    """A host whose eth1 leads to another one."""
    made, other = netns("host"), netns("other")
    made.run(*f"ip link add eth1 up type veth peer eth1 netns {other.name}".split())
    other.run("ip", "link", "set", "eth1", "up")
    return made


def _frame(source: str, target: str, *, vlan: int | None = None) -> bytes:
    tag = b"" if vlan is None else struct.pack("!HH", 0x8100, vlan)
    if ":" in source:
        ends = b"".join(socket.inet_pton(socket.AF_INET6, each) for each in (source, target))
        packet = b"\x86\xdd\x60" + bytes(3) + b"\0\0\x3b\x40" + ends
    else:
        ends = socket.inet_aton(source) + socket.inet_aton(target)
        packet = b"\x08\x00\x45\0\0\x14" + bytes(4) + b"\x40\xfd\0\0" + ends
    return b"\2\0\0\0\0\2" + b"\2\0\0\0\0\1" + tag + packet


def _seen(host: Netns, frames: list[bytes], *, uplink: bool) -> tuple[Stray, ...]:
    """Watch while a host sends frames."""
    device = Device("east", "n1", host.name, "eth1", uplink=uplink)
    watch = Watch([device], EXPECTED)
    with NetNs.open(host.name) as inside:
        sending = inside.run(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
    with sending:
        sending.bind(("eth1", 0))
        for frame in frames:
            sending.send(frame)
    try:
        return watch.read()
    finally:
        watch.close()


def test_an_uplink_may_carry_the_network_in_its_vlan_only(host: Netns) -> None:
    pair = ("10.88.1.1", "10.88.2.1")
    frames = [_frame(*pair, vlan=2)] * 3 + [_frame(*pair, vlan=3)] * 2 + [_frame(*pair)]
    found = {(each.vlan, each.frames, each.example) for each in _seen(host, frames, uplink=True)}
    assert found == {(0, 1, "10.88.1.1 > 10.88.2.1"), (3, 2, "10.88.1.1 > 10.88.2.1")}


def test_the_same_holds_for_ipv6(host: Netns) -> None:
    pair = ("fd00:88::1", "fd00:88::2")
    frames = [_frame(*pair, vlan=2), _frame(*pair, vlan=7), _frame(*pair)]
    found = {(each.vlan, each.example) for each in _seen(host, frames, uplink=True)}
    assert found == {(0, "fd00:88::1 > fd00:88::2"), (7, "fd00:88::1 > fd00:88::2")}


def test_any_other_device_may_not_carry_the_network_at_all(host: Netns) -> None:
    frames = [_frame("10.88.1.1", "10.88.2.1"), _frame("10.88.1.1", "8.8.8.8")]
    (found,) = _seen(host, frames, uplink=False)
    assert found == Stray("east", "n1", "eth1", 1, 0, "10.88.1.1 > 10.88.2.1")


def test_other_traffic_is_nobody_s_business(host: Netns) -> None:
    frames = [_frame("192.0.2.1", "192.0.2.2"), _frame("192.0.2.1", "10.88.0.1", vlan=9)]
    assert _seen(host, frames, uplink=True) == ()


def test_a_device_that_is_not_there_carries_nothing(host: Netns) -> None:
    gone = [Device("east", "n1", host.name, "eth7"), Device("east", "n2", "no-such", "eth1")]
    watch = Watch(gone, EXPECTED)
    assert watch.read() == ()
    watch.close()
