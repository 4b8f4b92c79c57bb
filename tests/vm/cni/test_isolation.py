# SPDX-License-Identifier: Apache-2.0
"""What VLANs do to frames: between pods, and on the wire behind the uplink."""

import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

import pytest

from spanbridge.testing.plugin import Netns

if TYPE_CHECKING:
    from tests.vm.cni.conftest import World

Capture = Callable[..., AbstractContextManager[list[str]]]

PODS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "red": ("10.9.0.1", {"vlan": 100}),
    "red2": ("10.9.0.2", {"vlan": 100}),
    "blue": ("10.9.0.3", {"vlan": 200}),
    "plain": ("10.9.0.4", {}),
    "leaky": ("10.9.0.5", {"vlan": 100, "preserveDefaultVlan": True}),
    "trunk": ("10.9.0.6", {"vlan": 200, "vlanTrunk": [{"id": 100}]}),
}
NOBODY: Final = "10.9.0.99"
"""Asked for by ARP broadcasts."""


@pytest.fixture(scope="module")
def pods(shared_world: "World") -> dict[str, Netns]:
    """One pod of each kind on one bridge, an uplink for VLAN 100 only, a host behind it."""
    world, made = shared_world, {}
    world.sh("ip link add br0 type bridge vlan_filtering 1 mcast_snooping 0")
    for name, (address, fields) in PODS.items():
        made[name] = world.attach(world.static(f"{address}/24", **fields), name).pod
    made["fabric"] = world.netns("fabric")
    world.sh(
        f"ip link add uplink type veth peer name eth0 netns {made['fabric'].name}",
        "ip link set uplink up master br0",
        "bridge vlan add vid 100 dev uplink",
    )
    on_trunk = "ip link add link eth0 name eth0.100 type vlan id 100"
    other = "ip link add link eth0 name eth0.200 type vlan id 200"
    for line in (
        *("ip link set eth0 up", on_trunk, "ip link set eth0.100 up"),
        *("ip addr add 10.9.0.50/24 dev eth0.100", other, "ip link set eth0.200 up"),
        "ip addr add 10.9.0.51/32 dev eth0.200",
        "ip route add 10.9.0.3/32 dev eth0.200 src 10.9.0.51",
    ):
        made["fabric"].run(*shlex.split(line))
    return made


def test_pods_of_one_vlan_reach_each_other(pods: dict[str, Netns]) -> None:
    assert pods["red"].ping(PODS["red2"][0])
    assert pods["blue"].ping(PODS["trunk"][0]), "its native VLAN"


@pytest.mark.parametrize("other", ["blue", "plain", "trunk"])
def test_a_pod_of_another_vlan_is_out_of_reach(pods: dict[str, Netns], other: str) -> None:
    assert not pods["red"].ping(PODS[other][0], wait_s=1)
    assert not pods[other].ping(PODS["red"][0], wait_s=1)


def test_a_broadcast_of_vlan_1_reaches_only_who_kept_it(
    pods: dict[str, Netns], capture: Capture
) -> None:
    # Of that sender alone: an earlier test's pod may still be asking for the same address.
    words = ("arp", "and", "src", "host", PODS["plain"][0], "and", "dst", "host", NOBODY)
    with capture(pods["red"], "eth0", *words) as red, capture(pods["leaky"], "eth0", *words) as hit:
        assert not pods["plain"].ping(NOBODY, wait_s=1)
    assert hit
    assert red == []


def test_frames_leave_the_node_with_the_tag(pods: dict[str, Netns], capture: Capture) -> None:
    with capture(pods["fabric"], "eth0", "icmp", "or", "vlan") as wire:
        assert pods["red"].ping("10.9.0.50")
    echoes = [line for line in wire if "ICMP echo re" in line]
    assert len(echoes) == 2
    assert all("vlan 100," in line for line in echoes)


def test_a_vlan_that_the_uplink_does_not_carry_stays_on_the_node(
    shared_world: "World", pods: dict[str, Netns], capture: Capture
) -> None:
    with capture(pods["fabric"], "eth0") as wire:
        assert not pods["blue"].ping("10.9.0.51", wait_s=1)
        assert not pods["fabric"].ping(PODS["blue"][0], wait_s=1)
    assert [line for line in wire if PODS["blue"][0] in line and "tell 10.9.0.51" not in line] == []
    shared_world.sh("bridge vlan add vid 200 dev uplink")
    # Several: neighbour entries of the pings that had to fail are still waiting to be tried again.
    reached = pods["blue"].ping("10.9.0.51", count=6, wait_s=5)
    shared_world.sh("bridge vlan del vid 200 dev uplink")
    assert reached


def test_a_trunk_pod_gets_tagged_frames_of_its_vlans(
    pods: dict[str, Netns], capture: Capture
) -> None:
    with capture(pods["trunk"], "eth0", "vlan", "100", "and", "arp") as seen:
        assert not pods["red"].ping(NOBODY, wait_s=1)
    assert seen
    assert all("vlan 100," in line for line in seen)
