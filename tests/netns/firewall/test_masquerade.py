# SPDX-License-Identifier: Apache-2.0
"""Masquerade, seen from where the packets arrive."""

import subprocess
import sys
from dataclasses import dataclass
from typing import Final

import pytest

from spanbridge import firewall
from spanbridge.model.addresses import parse_cidr, parse_ip
from spanbridge.model.desired import Masquerade
from spanbridge.model.owner import Owner
from spanbridge.rtnl import NetNs
from spanbridge.testing.plugin import MakeNetns, Netns

PYTHON: Final = (sys.executable, "-I", "-S", "-c")
PORT: Final = "4789"

# Waits for one datagram and prints its source address.
SINK: Final = """
import socket, struct, sys
port, address, device = int(sys.argv[1]), *sys.argv[2:4]
version = socket.AF_INET6 if ":" in address else socket.AF_INET
sink = socket.socket(version, socket.SOCK_DGRAM)
sink.bind(("", port))
if device:
    packed, index = socket.inet_pton(version, address), socket.if_nametoindex(device)
    if version == socket.AF_INET:
        membership = packed + struct.pack("4xi", index)
        sink.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    else:
        membership = packed + struct.pack("i", index)
        sink.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)
sink.settimeout(60)
print("ready", flush=True)
print(sink.recvfrom(100)[1][0], flush=True)
"""

# Sends one datagram from an address, out of a device when the target is a group.
SOURCE: Final = """
import socket, struct, sys
port, target, source, device = int(sys.argv[1]), *sys.argv[2:5]
version = socket.AF_INET6 if ":" in target else socket.AF_INET
out = socket.socket(version, socket.SOCK_DGRAM)
out.bind((source, 0))
if device and version == socket.AF_INET:
    choice = struct.pack("8xi", socket.if_nametoindex(device))
    out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, choice)
elif device:
    choice = socket.if_nametoindex(device)
    out.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, choice)
out.sendto(b"x", (target, port))
"""


@dataclass(frozen=True)
class Addresses:
    """Of one family."""

    pod: str
    network: str
    node: str
    outside: str
    cousin: str
    group: str


IPV4 = Addresses("10.88.0.5", "10.88.0.0/16", "192.0.2.1", "192.0.2.2", "10.88.9.9", "239.1.1.1")
IPV6 = Addresses(
    "fd00:88::5", "fd00:88::/48", "2001:db8::1", "2001:db8::2", "fd00:88:0:9::9", "ff05::1:3"
)
FAMILIES = pytest.mark.parametrize("family", [IPV4, IPV6], ids=["IPv4", "IPv6"])

OWNER = Owner.of("blue", "c1", "eth0")
MASQUERADE = tuple(
    Masquerade(parse_ip(family.pod, ""), parse_cidr(family.network, "")) for family in (IPV4, IPV6)
)


@pytest.fixture
def outside(node: Netns, pod: Netns, netns: MakeNetns) -> Netns:
    """A host beyond the node; it is also the pod's cousin on another link of its network."""
    there = netns("outside")
    for near, far in (("to-pod", pod), ("up0", there)):
        node.run("ip", "link", "add", near, "up", "type", "veth", "peer", "eth0", "netns", far.name)
        far.run("ip", "link", "set", "eth0", "up")
    addresses = (
        (node, "to-pod", "10.88.0.1/24", "fd00:88::1/64"),
        (pod, "eth0", f"{IPV4.pod}/24", f"{IPV6.pod}/64"),
        (node, "up0", f"{IPV4.node}/24", f"{IPV6.node}/64"),
        (node, "up0", "10.88.9.1/24", "fd00:88:0:9::1/64"),
        (there, "eth0", f"{IPV4.outside}/24", f"{IPV6.outside}/64"),
        (there, "eth0", f"{IPV4.cousin}/24", f"{IPV6.cousin}/64"),
    )
    for where, device, four, six in addresses:
        where.run("ip", "addr", "add", four, "dev", device)
        where.run("ip", "addr", "add", six, "dev", device, "nodad")
    node.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    pod.run("ip", "route", "add", "default", "via", "10.88.0.1")
    pod.run("ip", "route", "add", "default", "via", "fd00:88::1")
    return there


def source_seen(
    sender: Netns, receiver: Netns, *, source: str, target: str, out: str = "", on: str = ""
) -> str:
    """Send a datagram; the source address with which it arrives. Groups need devices."""
    command = ["ip", "netns", "exec", receiver.name, *PYTHON, SINK, PORT, target, on]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sink:
        assert sink.stdout is not None
        assert sink.stdout.readline() == "ready\n"
        sender.run(*PYTHON, SOURCE, PORT, target, source, out)
        return sink.stdout.readline().strip()


@FAMILIES
def test_traffic_to_the_outside_comes_from_the_node(
    pod: Netns, outside: Netns, host: NetNs, family: Addresses
) -> None:
    before = source_seen(pod, outside, source=family.pod, target=family.outside)
    firewall.ensure(host, OWNER, masquerade=MASQUERADE, guard=None)
    after = source_seen(pod, outside, source=family.pod, target=family.outside)

    assert (before, after) == (family.pod, family.node)


@FAMILIES
@pytest.mark.usefixtures("outside")
def test_answers_find_back(pod: Netns, host: NetNs, family: Addresses) -> None:
    firewall.ensure(host, OWNER, masquerade=MASQUERADE, guard=None)

    assert pod.ping(family.outside)


@FAMILIES
def test_traffic_to_the_own_network_keeps_its_source(
    pod: Netns, outside: Netns, host: NetNs, family: Addresses
) -> None:
    firewall.ensure(host, OWNER, masquerade=MASQUERADE, guard=None)

    assert source_seen(pod, outside, source=family.pod, target=family.cousin) == family.pod


@FAMILIES
def test_multicast_keeps_its_source(
    node: Netns, outside: Netns, host: NetNs, family: Addresses
) -> None:
    # Nobody routes multicast here, so the node itself sends with the address.
    node.run("ip", "addr", "add", family.pod, "dev", "lo")
    firewall.ensure(host, OWNER, masquerade=MASQUERADE, guard=None)

    unicast = source_seen(node, outside, source=family.pod, target=family.outside)
    multicast = source_seen(
        node, outside, source=family.pod, target=family.group, out="up0", on="eth0"
    )

    assert (unicast, multicast) == (family.node, family.pod)


@FAMILIES
def test_other_addresses_are_not_masqueraded(
    pod: Netns, outside: Netns, host: NetNs, family: Addresses
) -> None:
    other = str(parse_ip(family.pod, "") + 1)
    pod.run("ip", "addr", "add", other, "dev", "eth0", *(["nodad"] if ":" in other else []))
    firewall.ensure(host, OWNER, masquerade=MASQUERADE, guard=None)

    assert source_seen(pod, outside, source=other, target=family.outside) == other


@FAMILIES
def test_after_release_the_source_is_the_pod_again(
    pod: Netns, outside: Netns, host: NetNs, family: Addresses
) -> None:
    firewall.ensure(host, OWNER, masquerade=MASQUERADE, guard=None)
    firewall.release(host, OWNER)

    assert source_seen(pod, outside, source=family.pod, target=family.outside) == family.pod


def test_a_network_of_everything_is_never_masqueraded(
    pod: Netns, outside: Netns, host: NetNs
) -> None:
    everything = Masquerade(parse_ip(IPV4.pod, ""), parse_cidr("0.0.0.0/0", ""))
    firewall.ensure(host, OWNER, masquerade=(everything,), guard=None)

    assert source_seen(pod, outside, source=IPV4.pod, target=IPV4.outside) == IPV4.pod
