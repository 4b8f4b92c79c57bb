# SPDX-License-Identifier: Apache-2.0
"""
A gateway that stays on its node: what a host behind the uplink sees of it.

The fabric is a namespace at the other end of an uplink; it is 10.1.2.50 and fd00::50.
"""

import contextlib
import ipaddress
import json
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from spanbridge.testing.plugin import AskRules, MakeNetns, Netns
from spanbridge.testing.runtime import Cni, Conf

MakeConf = Callable[..., Conf]
Shell = Callable[[Netns, str], str]
Elements = Callable[[Netns], list[str]]
Connect = Callable[..., Netns]
Dump = Callable[..., dict[str, Any]]

SETTLE_S: Final = 0.5
DUAL: Final = ("10.1.2.0/24", "fd00::/64")
GATEWAYS: Final = pytest.mark.parametrize("gateway", ["10.1.2.1", "fd00::1"], ids=["v4", "v6"])
SEND: Final = """
import socket, sys
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind((sys.argv[1], 0))
out.send(bytes.fromhex(sys.argv[2]))
"""
VALID: Final = "cni.dev/valid-attachments"


@pytest.fixture
def connect(netns: MakeNetns, node: Netns, sh: Shell) -> Connect:
    """Makes a bridge on the node with an uplink into a fabric of its own."""

    def make(bridge: str = "br0", *, addresses: tuple[str, ...] = ()) -> Netns:
        there, uplink = netns("fabric"), f"{bridge}-up"
        mac = f"02:00:00:00:00:7{bridge[-1]}"
        sh(node, f"ip link add {bridge} up address {mac} type bridge")
        sh(node, f"ip link add {uplink} up master {bridge} type veth peer eth0 netns {there.name}")
        for cidr in addresses or ("10.1.2.50/24", "fd00::50/64"):
            nodad = " nodad" if ":" in cidr else ""
            sh(there, f"ip addr add {cidr} dev eth0{nodad}")
        sh(there, "ip link set eth0 up")
        return there

    return make


@pytest.fixture
def fabric(connect: Connect) -> Netns:
    """What is behind the uplink of br0."""
    return connect()


@contextlib.contextmanager
def capture(netns: Netns, device: str) -> Iterator[list[str]]:
    """Capture ARP and neighbour discovery; afterwards the list holds tcpdump's lines."""
    argv = ["ip", "netns", "exec", netns.name, "tcpdump", "-nel", "--immediate-mode", "-Z", "root"]
    lines: list[str] = []
    with subprocess.Popen(
        [*argv, "-i", device, "arp or icmp6"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert any("listening on" in line for line in process.stderr)
        yield lines
        time.sleep(SETTLE_S)
        process.terminate()
        lines += [line for line in process.communicate()[0].splitlines() if line]


def mac_of(netns: Netns, device: str) -> str:
    found = json.loads(netns.run("ip", "-j", "link", "show", "dev", device))
    return str(found[0]["address"])


def neighbour(netns: Netns, address: str) -> str:
    """The MAC by which a namespace knows an address; empty for none."""
    listed = json.loads(netns.run("ip", "-j", "neigh", "show", "to", address) or "[]")
    return str(listed[0].get("lladdr", "")) if listed else ""


def send(netns: Netns, frame: bytes, device: str = "eth0") -> None:
    netns.run(sys.executable, "-IS", "-c", SEND, device, frame.hex())


def arp(netns: Netns, operation: int, sender: str, target: str, device: str = "eth0") -> bytes:
    """Build a broadcast ARP frame from a device's MAC."""
    mac = bytes.fromhex(mac_of(netns, device).replace(":", ""))
    packed = [ipaddress.ip_address(each).packed for each in (sender, target)]
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
    return b"\xff" * 6 + mac + b"\x08\x06" + body + mac + packed[0] + bytes(6) + packed[1]


def advertisement(netns: Netns, target: str, device: str = "eth0") -> bytes:
    """Build an unsolicited neighbour advertisement from a device's MAC."""
    mac = bytes.fromhex(mac_of(netns, device).replace(":", ""))
    source, group = (ipaddress.ip_address(each).packed for each in ("fe80::66", "ff02::1"))
    body = struct.pack("!BBHI", 136, 0, 0, 0x20000000) + ipaddress.ip_address(target).packed
    body += b"\x02\x01" + mac
    words = struct.unpack(
        "!36H", source + group + struct.pack("!IBBBB", len(body), 0, 0, 0, 58) + body
    )
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    checksum = struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF)
    header = struct.pack("!IHBB", 6 << 28, len(body), 58, 255)
    frame = b"\x33\x33\x00\x00\x00\x01" + mac + b"\x86\xdd" + header + source + group
    return frame + body[:2] + checksum + body[4:]


@GATEWAYS
@pytest.mark.parametrize("scope", [{}, {"gatewayScope": "network"}], ids=["node", "network"])
def test_the_gateway_answers_pods_and_nobody_behind_the_uplink(
    cni: Cni, layer3: MakeConf, pod: Netns, fabric: Netns, scope: Conf, gateway: str
) -> None:
    cni.add(layer3(*DUAL, isGateway=True, **scope), pod)

    assert pod.ping(gateway)
    assert fabric.ping(gateway, wait_s=1) is bool(scope)


@pytest.mark.parametrize("host", ["10.1.2.50", "fd00::50"], ids=["v4", "v6"])
def test_pods_and_hosts_behind_the_uplink_reach_each_other(
    cni: Cni, layer3: MakeConf, netns: MakeNetns, fabric: Netns, host: str
) -> None:
    one, two = netns(), netns()
    conf = layer3(*DUAL, isGateway=True)
    cni.add(conf, one, container="c1")
    cni.add(conf, two, container="c2")

    assert one.ping(host)
    assert fabric.ping({"1": "10.1.2.2", "f": "fd00::2"}[host[0]])
    assert two.ping({"1": "10.1.2.2", "f": "fd00::2"}[host[0]])


def test_no_arp_or_neighbour_discovery_about_the_gateway_leaves_the_node(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns, fabric: Netns
) -> None:
    cni.add(layer3(*DUAL, isGateway=True), pod)

    with capture(fabric, "eth0") as seen:
        for address in ("10.1.2.1", "fd00::1", "10.1.2.50", "fd00::50"):
            assert pod.ping(address)
        for operation in (1, 2):
            send(node, arp(node, operation, "10.1.2.1", "10.1.2.1", "br0"), "br0")
        send(node, advertisement(node, "fd00::1", "br0"), "br0")
        # Of a pod, they do not get out either.
        send(pod, arp(pod, 2, "10.1.2.1", "10.1.2.77"))
        send(pod, advertisement(pod, "fd00::1"))
        for address in ("10.1.2.50", "fd00::50"):
            node.run("sh", "-c", f"ping -n -c 1 -W 1 {address} || true")

    assert any("who-has 10.1.2.50 tell 10.1.2.2," in line for line in seen)
    assert any("who has fd00::50" in line for line in seen)
    # The node's echo request itself has the address, and the fabric asks for it in vain.
    own = mac_of(fabric, "eth0")
    about = [line for line in seen if "echo" not in line and line.split()[1] != own]
    assert [line for line in about if "10.1.2.1," in line or "10.1.2.1 " in line] == []
    assert [line for line in about if "fd00::1 " in line or "fd00::1," in line] == []


def test_what_another_router_says_of_the_gateways_address_does_not_reach_pods(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns, fabric: Netns
) -> None:
    cni.add(layer3(*DUAL, isGateway=True), pod)
    assert pod.ping("10.1.2.1")
    assert pod.ping("fd00::1")

    with capture(pod, "eth0") as seen:
        for operation in (1, 2):
            send(fabric, arp(fabric, operation, "10.1.2.1", "10.1.2.1"))
        send(fabric, arp(fabric, 2, "10.1.2.1", "10.1.2.2"))
        send(fabric, advertisement(fabric, "fd00::1"))
        send(fabric, arp(fabric, 2, "10.1.2.66", "10.1.2.66"))
        send(fabric, advertisement(fabric, "fd00::66"))

    said = [line for line in seen if mac_of(fabric, "eth0") in line]
    said = [line for line in said if "ARP" in line or "advertisement" in line]
    assert ["66" in line.partition("ethertype")[2] for line in said] == [True, True]
    assert neighbour(pod, "10.1.2.1") == neighbour(pod, "fd00::1") == mac_of(node, "br0")


def test_a_router_of_the_same_address_still_finds_the_pods(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns, connect: Connect
) -> None:
    router = connect(addresses=("10.1.2.1/24",))
    cni.add(layer3(isGateway=True), pod)
    assert pod.ping("10.1.2.1")

    router.run("sh", "-c", "ping -n -c 1 -W 1 10.1.2.2 || true")

    assert neighbour(router, "10.1.2.2") == mac_of(pod, "eth0")
    assert neighbour(pod, "10.1.2.1") == mac_of(node, "br0")


@pytest.mark.parametrize("server", ["10.1.2.50", "fd00::50"], ids=["v4", "v6"])
def test_the_node_routes_to_hosts_behind_the_uplink(
    cni: Cni,
    layer3: MakeConf,
    sh: Shell,
    pod: Netns,
    fabric: Netns,
    outside: Netns,
    seen_from: Callable[[Netns, str, Netns], str],
    server: str,
) -> None:
    cni.add(layer3(*DUAL, isGateway=True), pod)
    sh(outside, "ip route add default via 172.16.0.1")
    sh(outside, "ip route add default via fd99::1")

    client = {"1": "172.16.0.2", "f": "fd99::2"}[server[0]]
    assert seen_from(fabric, server, outside) == client


@GATEWAYS
def test_it_stays_on_the_node_while_a_second_pod_needs_it(
    cni: Cni, layer3: MakeConf, netns: MakeNetns, node: Netns, fabric: Netns, gateway: str
) -> None:
    conf, goes, stays = layer3(*DUAL, isGateway=True), netns(), netns()
    cni.add(conf, goes, container="goes")
    cni.add(conf, stays, container="stays")

    cni.delete(conf, goes, container="goes")
    node.run("ip", "neigh", "flush", "dev", "br0")

    assert stays.ping(gateway)
    assert not fabric.ping(gateway, wait_s=1)


@GATEWAYS
@pytest.mark.parametrize("verb", ["DEL", "GC"])
def test_it_stays_on_the_node_without_any_pod(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns, fabric: Netns, gateway: str, verb: str
) -> None:
    conf = layer3(*DUAL, isGateway=True)
    cni.add(conf, pod)

    assert cni.call(verb, conf | {VALID: []}, pod).result is None

    assert node.ping(gateway), "the address stays on the bridge"
    assert not fabric.ping(gateway, wait_s=1)


@pytest.mark.parametrize("verb", ["DEL", "GC"])
def test_entries_of_a_pod_go_and_all_else_with_the_address(
    cni: Cni,
    layer3: MakeConf,
    node: Netns,
    pod: Netns,
    sh: Shell,
    elements: Elements,
    rules_left: AskRules,
    verb: str,
) -> None:
    conf = layer3(*DUAL, isGateway=True)
    port = cni.add(conf, pod)["interfaces"][1]["name"]
    assert [port in each for each in sorted(elements(node))] == [False, False, True, True]

    cni.call(verb, conf | {VALID: []}, pod)
    assert not any(port in each for each in elements(node))
    sh(node, "ip addr flush dev br0")
    cni.call(verb, conf | {VALID: []}, pod)

    assert node.run("nft", "list", "ruleset") == ""
    assert rules_left(node) == []


def test_two_bridges_may_have_a_gateway_of_the_same_address(
    cni: Cni, layer3: MakeConf, node: Netns, netns: MakeNetns, connect: Connect
) -> None:
    places = [(bridge, connect(bridge), netns()) for bridge in ("br0", "br1")]
    for number, (bridge, _, pod) in enumerate(places):
        conf = layer3(name=f"net{number}", bridge=bridge, isGateway=True)
        cni.add(conf, pod, container=f"c{number}")

    for bridge, fabric, pod in places:
        assert pod.ping("10.1.2.50")
        # The node's route back leads to one of the bridges only, so the address is asked for.
        for each in (pod, fabric):
            each.run("sh", "-c", "ping -n -c 1 -W 1 10.1.2.1 || true")
        assert neighbour(pod, "10.1.2.1") == mac_of(node, bridge)
        assert neighbour(fabric, "10.1.2.1") == ""


def test_another_network_may_have_a_router_of_the_same_address(
    cni: Cni, layer3: MakeConf, netns: MakeNetns, connect: Connect
) -> None:
    connect("br0")
    router = connect("br1", addresses=("10.1.2.1/24",))
    ours, theirs = netns(), netns()
    cni.add(layer3(isGateway=True), ours, container="c1")

    cni.add(layer3(name="net2", bridge="br1"), theirs, container="c2")

    assert theirs.ping("10.1.2.1")
    assert neighbour(theirs, "10.1.2.1") == mac_of(router, "eth0")
    assert ours.ping("10.1.2.1")


def test_the_last_add_decides_on_the_scope(
    cni: Cni, layer3: MakeConf, netns: MakeNetns, fabric: Netns
) -> None:
    conf, pods = layer3(isGateway=True), [netns(), netns(), netns()]
    for number, scope in enumerate(("node", "network", "node")):
        cni.add(conf | {"gatewayScope": scope}, pods[number], container=f"c{number}")
        fabric.run("ip", "neigh", "flush", "dev", "eth0")

        assert fabric.ping("10.1.2.1", wait_s=1) is (scope == "network")
        assert pods[number].ping("10.1.2.1")


def test_a_failed_add_lets_go_of_an_address_that_was_there_before(
    cni: Cni, conf: MakeConf, node: Netns, pod: Netns, sh: Shell, dump: Dump, fabric: Netns
) -> None:
    sh(node, "ip addr add 10.1.2.1/24 dev br0")
    before = dump(node, pod)
    routes = [{"dst": "192.0.2.0/24", "gw": "203.0.113.1"}]
    ipam = {"type": "static", "addresses": [{"address": "10.1.2.9/24"}], "routes": routes}

    assert cni.call("ADD", conf(ipam=ipam, isGateway=True), pod).status == 1

    assert dump(node, pod) == before
    assert fabric.ping("10.1.2.1")


def test_a_failed_add_leaves_what_earlier_pods_have_left(
    cni: Cni, conf: MakeConf, node: Netns, netns: MakeNetns, dump: Dump, fabric: Netns
) -> None:
    section = {"type": "static", "addresses": [{"address": "10.1.2.9/24"}]}
    good = conf(ipam=section, isGateway=True)
    pods = netns(), netns()
    cni.add(good, pods[0], container="earlier")
    cni.delete(good, pods[0], container="earlier")
    before = dump(node, *pods)
    routes = [{"dst": "192.0.2.0/24", "gw": "203.0.113.1"}]

    bad = good | {"ipam": section | {"routes": routes}}
    assert cni.call("ADD", bad, pods[1], container="later").status == 1

    assert dump(node, *pods) == before
    assert not fabric.ping("10.1.2.1", wait_s=1)
