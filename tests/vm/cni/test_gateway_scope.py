# SPDX-License-Identifier: Apache-2.0
"""A gateway in a VLAN stays on its node: two hosts behind trunk uplinks, in VLAN 100 and 200."""

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from spanbridge.testing.plugin import Netns

if TYPE_CHECKING:
    from tests.vm.cni.conftest import World

DUAL: Final = ("10.9.0.0/24", "fd00:9::/64")
GATEWAYS: Final = ("10.9.0.1", "fd00:9::1")
MADE: Final = {
    "veth": [],
    "802.1q": ["ip link add link br0 name br0.100 type vlan id 100"],
}


def host(world: "World", vlan: int, *addresses: str) -> Netns:
    """Make a host behind an uplink of its own that is a trunk of both VLANs."""
    made, uplink = world.netns("fabric"), f"up{vlan}"
    steps = [f"ip link add {uplink} up master br0 type veth peer eth0 netns {made.name}"]
    steps += [f"bridge vlan add vid {vid} dev {uplink}" for vid in (100, 200)]
    world.node.run("sh", "-ec", "; ".join(steps))
    steps = ["ip link set eth0 up", f"ip link add link eth0 name lan up type vlan id {vlan}"]
    steps += [f"ip addr add {each} dev lan" for each in addresses]
    made.run("sh", "-ec", "; ".join(steps))
    return made


def neighbour(netns: Netns, address: str) -> str:
    listed = json.loads(netns.run("ip", "-j", "neigh", "show", "to", address) or "[]")
    return str(listed[0].get("lladdr", "")) if listed else ""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("lines", MADE.values(), ids=MADE)
def test_it_answers_its_pods_alone(
    world: "World",
    lines: list[str],
    capture: Any,  # noqa: ANN401  # a context manager
) -> None:
    world.sh("ip link add br0 up type bridge vlan_filtering 1", *lines)
    fabric = host(world, 100, "10.9.0.50/24", "fd00:9::50/64 nodad")
    router = host(world, 200, "10.9.0.1/24", "fd00:9::1/64 nodad")
    conf = world.host_local(*DUAL, vlan=100, isGateway=True)
    pod = world.attach(conf)
    other = world.attach(world.static("10.9.0.7/24", "fd00:9::7/64", name="net2", vlan=200), "c2")

    with capture(fabric, "lan", "arp or icmp6") as seen:
        for gateway, far in zip(GATEWAYS, ("10.9.0.50", "fd00:9::50"), strict=True):
            assert pod.pod.ping(gateway)
            assert pod.pod.ping(far)
            assert other.pod.ping(gateway), "a router of the same address, in VLAN 200"
    ours, theirs = world.links()["br0.100"], world.links(router)["lan"]
    for gateway in GATEWAYS:
        assert not fabric.ping(gateway, wait_s=1)
        assert neighbour(pod.pod, gateway) == ours["address"]
        assert neighbour(other.pod, gateway) == theirs["address"]
    assert any("who-has 10.9.0.50 tell" in line for line in seen)
    assert [line for line in seen if "10.9.0.1" in line or "who has fd00:9::1," in line] == []
    assert world.check(pod) is None
    world.cni.delete(conf, pod.pod)
    assert not fabric.ping("10.9.0.1", wait_s=1), "the address stays on the node"
    valid = [{"containerID": "c2", "ifname": "eth0"}]
    world.cni.call("GC", conf | {"cni.dev/valid-attachments": valid}).result  # noqa: B018
    assert ("gateway" in world.node.run("nft", "list", "ruleset")) is bool(lines)


@pytest.mark.timeout(120)
def test_on_a_bridge_without_vlans_it_answers_its_pods_alone(world: "World") -> None:
    world.sh("ip link add br0 up type bridge")
    fabric = world.netns("fabric")
    world.sh(f"ip link add up0 up master br0 type veth peer eth0 netns {fabric.name}")
    for words in ("link set eth0 up", "addr add 10.9.0.50/24 dev eth0"):
        fabric.run("ip", *words.split())
    fabric.run("ip", "addr", "add", "fd00:9::50/64", "dev", "eth0", "nodad")
    pod = world.attach(world.host_local(*DUAL, isGateway=True)).pod

    for gateway, far in zip(GATEWAYS, ("10.9.0.50", "fd00:9::50"), strict=True):
        assert pod.ping(gateway)
        assert pod.ping(far)
        assert not fabric.ping(gateway, wait_s=1)
