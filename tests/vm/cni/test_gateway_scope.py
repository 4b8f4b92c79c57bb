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
    world.sh(
        f"ip link add {uplink} up master br0 type veth peer eth0 netns {made.name}",
        f"bridge vlan del vid 1 dev {uplink}",
        f"bridge vlan add vid 100 dev {uplink}",
        f"bridge vlan add vid 200 dev {uplink}",
    )
    made.run("ip", "link", "set", "eth0", "up")
    made.run(*f"ip link add link eth0 name lan up type vlan id {vlan}".split())
    for address in addresses:
        made.run("ip", "addr", "add", address, "dev", "lan", *["nodad"][: ":" in address])
    return made


def neighbour(netns: Netns, address: str) -> str:
    listed = json.loads(netns.run("ip", "-j", "neigh", "show", "to", address) or "[]")
    return str(listed[0].get("lladdr", "")) if listed else ""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("lines", MADE.values(), ids=MADE)
def test_it_answers_its_pods_alone(
    world: "World",
    lines: list[str],
    capture: Any,  # noqa: ANN401  # a context manager
) -> None:
    world.sh("ip link add br0 up type bridge vlan_filtering 1", *lines)
    fabric = host(world, 100, "10.9.0.50/24", "fd00:9::50/64")
    router = host(world, 200, "10.9.0.1/24", "fd00:9::1/64")
    conf = world.host_local(*DUAL, vlan=100, isGateway=True)
    pod = world.attach(conf)
    other = world.attach(world.static("10.9.0.7/24", "fd00:9::7/64", name="net2", vlan=200), "c2")

    with capture(fabric, "lan", "arp or icmp6") as seen:
        for gateway, far in zip(GATEWAYS, ("10.9.0.50", "fd00:9::50"), strict=True):
            assert pod.pod.ping(gateway)
            assert pod.pod.ping(far)
            assert other.pod.ping(gateway), "a router of the same address, in VLAN 200"
    for gateway in GATEWAYS:
        assert not fabric.ping(gateway, wait_s=1)
        links = world.links()
        assert neighbour(pod.pod, gateway) == links["br0.100"]["address"]
        assert neighbour(other.pod, gateway) == world.links(router)["lan"]["address"]
    assert any("who-has 10.9.0.50 tell" in line for line in seen)
    assert [line for line in seen if "10.9.0.1" in line or "who has fd00:9::1," in line] == []
    assert world.check(pod) is None
    world.cni.delete(conf, pod.pod)
    assert not fabric.ping("10.9.0.1", wait_s=1)
    valid = [{"containerID": "c2", "ifname": "eth0"}]
    world.cni.call("GC", conf | {"cni.dev/valid-attachments": valid}).result  # noqa: B018
    assert ("gateway" in world.node.run("nft", "list", "ruleset")) is bool(lines)


@pytest.mark.timeout(60)
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
