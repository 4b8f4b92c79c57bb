# SPDX-License-Identifier: Apache-2.0
"""The check of source MACs, seen from the bridge and from its other ports."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pytest

from spanbridge import firewall
from spanbridge.base.names import IfName, MacAddress
from spanbridge.firewall import SpoofGuard
from spanbridge.model.owner import Owner
from spanbridge.rtnl import NetNs
from spanbridge.testing.plugin import AskTool, MakeNetns, Netns

PYTHON: Final = (sys.executable, "-I", "-S", "-c")
OWN: Final = "02:00:00:00:00:05"
FOREIGN: Final = "02:00:00:00:00:66"
BROADCAST: Final = "ff:ff:ff:ff:ff:ff"
PAE: Final = "01:80:c2:00:00:03"
"""Link-local group of 802.1X: such frames pass the bridge's input hook alone."""

LLDP: Final = "01:80:c2:00:00:0e"
"""Link-local group too, but such frames pass no hook."""

OWNER: Final = Owner.of("blue", "c1", "eth0")
GUARD: Final = SpoofGuard(IfName("p1"), MacAddress(OWN))

TARGETS: Final = (BROADCAST, PAE)

# Sends one frame of an experimental EtherType.
SEND: Final = """
import socket, sys
target, source, tag = (bytes.fromhex(text.replace(":", "")) for text in sys.argv[1:4])
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind(("eth0", 0))
out.send(target + source + tag + b"\\x88\\xb5" + bytes(60))
"""

# Prints the source of the first frame of that EtherType.
FIRST_SOURCE: Final = """
import socket
sink = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5))
sink.settimeout(60)
print("ready", flush=True)
print(sink.recv(100)[6:12].hex(":"), flush=True)
"""

Send = Callable[..., None]
Learnt = Callable[[], dict[str, str]]


@dataclass(frozen=True)
class Segment:
    """Two pods on ports p1 and p2 of a bridge in the node."""

    guarded: Netns
    neighbour: Netns


@pytest.fixture
def segment(node: Netns, netns: MakeNetns) -> Segment:
    node.run("ip", "link", "add", "br0", "up", "type", "bridge")
    pods = Segment(netns("guarded"), netns("neighbour"))
    for number, pod in enumerate((pods.guarded, pods.neighbour), start=1):
        port = f"p{number}"
        node.run("ip", "link", "add", port, "type", "veth", "peer", "eth0", "netns", pod.name)
        node.run("ip", "link", "set", port, "master", "br0", "up")
        pod.run("ip", "link", "set", "eth0", "address", OWN[:-1] + str(number + 4), "up")
        pod.run("ip", "addr", "add", f"10.88.0.{number + 4}/24", "dev", "eth0")
    return pods


@pytest.fixture
def send() -> Send:
    def send(pod: Netns, *, source: str, target: str = BROADCAST, tag: str = "") -> None:
        pod.run(*PYTHON, SEND, target, source, tag)

    return send


@pytest.fixture
def learnt(node: Netns, bridge_json: AskTool) -> Learnt:
    """Ask which MACs the bridge has learnt, and on which ports."""

    def ask() -> dict[str, str]:
        entries = bridge_json("fdb", "show", "br", "br0", netns=node)
        return {each["mac"]: each["ifname"] for each in entries if each["state"] != "permanent"}

    return ask


@pytest.mark.parametrize("target", [*TARGETS, LLDP])
def test_without_guard_the_bridge_learns_any_source(
    segment: Segment, send: Send, learnt: Learnt, target: str
) -> None:
    send(segment.guarded, source=FOREIGN, target=target)

    assert learnt()[FOREIGN] == "p1"


@pytest.mark.parametrize("tag", ["", "81000002"], ids=["untagged", "tagged"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_foreign_source_is_not_learnt(
    segment: Segment, send: Send, learnt: Learnt, host: NetNs, target: str, tag: str
) -> None:
    firewall.ensure(host, OWNER, masquerade=(), guard=GUARD)

    send(segment.guarded, source=FOREIGN, target=target, tag=tag)
    send(segment.guarded, source=OWN, target=target)

    assert FOREIGN not in learnt()
    assert learnt()[OWN] == "p1"


def test_lldp_needs_an_option_of_the_bridge(
    node: Netns, segment: Segment, send: Send, learnt: Learnt, host: NetNs
) -> None:
    firewall.ensure(host, OWNER, masquerade=(), guard=GUARD)
    send(segment.guarded, source=FOREIGN, target=LLDP)
    assert FOREIGN in learnt()

    node.run("ip", "link", "set", "br0", "type", "bridge", "no_linklocal_learn", "1")
    node.run("bridge", "fdb", "flush", "dev", "br0")
    send(segment.guarded, source=FOREIGN, target=LLDP)
    assert FOREIGN not in learnt()


def test_a_foreign_source_reaches_nobody(segment: Segment, send: Send, host: NetNs) -> None:
    firewall.ensure(host, OWNER, masquerade=(), guard=GUARD)
    command = ["ip", "netns", "exec", segment.neighbour.name, *PYTHON, FIRST_SOURCE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sink:
        assert sink.stdout is not None
        assert sink.stdout.readline() == "ready\n"
        send(segment.guarded, source=FOREIGN)
        send(segment.guarded, source=OWN)

        assert sink.stdout.readline().strip() == OWN


def test_the_own_address_can_talk(segment: Segment, host: NetNs) -> None:
    firewall.ensure(host, OWNER, masquerade=(), guard=GUARD)

    assert segment.guarded.ping("10.88.0.6")
    assert segment.neighbour.ping("10.88.0.5")


def test_other_ports_are_not_checked(
    segment: Segment, send: Send, learnt: Learnt, host: NetNs
) -> None:
    firewall.ensure(host, OWNER, masquerade=(), guard=GUARD)

    send(segment.neighbour, source=FOREIGN)

    assert learnt()[FOREIGN] == "p2"


def test_the_mac_of_a_neighbour_is_foreign_too(
    segment: Segment, send: Send, learnt: Learnt, host: NetNs
) -> None:
    other = SpoofGuard(IfName("p2"), MacAddress("02:00:00:00:00:06"))
    firewall.ensure(host, OWNER, masquerade=(), guard=GUARD)
    firewall.ensure(host, Owner.of("blue", "c2", "eth0"), masquerade=(), guard=other)

    send(segment.guarded, source=other.mac)

    assert learnt().get(other.mac, "p2") == "p2"


def test_a_new_mac_replaces_that_of_an_earlier_attempt(
    segment: Segment, send: Send, learnt: Learnt, host: NetNs
) -> None:
    earlier = SpoofGuard(GUARD.port, MacAddress(FOREIGN))
    firewall.ensure(host, OWNER, masquerade=(), guard=earlier)
    firewall.ensure(host, OWNER, masquerade=(), guard=GUARD)

    send(segment.guarded, source=FOREIGN)
    send(segment.guarded, source=OWN)

    assert firewall.observe(host, OWNER).guard == GUARD
    assert FOREIGN not in learnt()
    assert OWN in learnt()


def test_after_release_any_source_passes_again(
    segment: Segment, send: Send, learnt: Learnt, host: NetNs
) -> None:
    firewall.ensure(host, OWNER, masquerade=(), guard=GUARD)
    firewall.release(host, OWNER)

    send(segment.guarded, source=FOREIGN)

    assert learnt()[FOREIGN] == "p1"
