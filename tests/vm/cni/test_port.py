# SPDX-License-Identifier: Apache-2.0
"""The fields ``vlan``, ``vlanTrunk`` and ``preserveDefaultVlan`` on the host port."""

import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from spanbridge.testing.modes import in_both_modes

if TYPE_CHECKING:
    from tests.vm.cni.conftest import World

NATIVE: Final = "PVID Egress Untagged"
SLOWER_AT_MOST: Final = 10
"""One message for each of 4094 VLANs makes ADD hundreds of times slower."""

PORTS: Final = {
    "vlan": ({"vlan": 100}, [f"100 {NATIVE}"]),
    "vlan-preserve": (
        {"vlan": 100, "preserveDefaultVlan": True},
        ["1 Egress Untagged", f"100 {NATIVE}"],
    ),
    "vlan-1": ({"vlan": 1}, [f"1 {NATIVE}"]),
    "vlan-4094": ({"vlan": 4094}, [f"4094 {NATIVE}"]),
    "trunk": (
        {"vlanTrunk": [{"id": 101}, {"minID": 200, "maxID": 203}]},
        [f"1 {NATIVE}", "101", "200-203"],
    ),
    "trunk-preserve": (
        {"vlanTrunk": [{"id": 101}], "preserveDefaultVlan": True},
        [f"1 {NATIVE}", "101"],
    ),
    "trunk-with-1": ({"vlanTrunk": [{"id": 1}, {"id": 5}]}, [f"1 {NATIVE}", "5"]),
    "trunk-overlapping": (
        {"vlanTrunk": [{"minID": 20, "maxID": 30, "id": 40}, {"minID": 25, "maxID": 35}]},
        [f"1 {NATIVE}", "20-35", "40"],
    ),
    "native-wins": (
        {"vlan": 100, "vlanTrunk": [{"id": 101}, {"id": 100}]},
        [f"100 {NATIVE}", "101"],
    ),
    "empty-trunk": ({"vlanTrunk": []}, [f"1 {NATIVE}"]),
}


@pytest.mark.parametrize(("fields", "vlans"), PORTS.values(), ids=PORTS)
def test_the_port_of_a_new_bridge_carries_these_vlans(
    world: "World", fields: dict[str, Any], vlans: list[str]
) -> None:
    attached = world.attach(world.conf(**fields))
    assert world.vlans(attached.port) == vlans
    assert world.links()["br0"]["linkinfo"]["info_data"]["vlan_filtering"] == 1


def test_all_vlans_at_once_take_little_time(world: "World") -> None:
    started = time.monotonic()
    world.attach(world.conf(vlan=100), "c1")
    between = time.monotonic()
    conf = world.conf(vlan=100, vlanTrunk=[{"minID": 1, "maxID": 4094}])
    attached = world.attach(conf, "c2")
    assert time.monotonic() - between < SLOWER_AT_MOST * (between - started)
    assert world.vlans(attached.port) == ["1-99", f"100 {NATIVE}", "101-4094"]


@in_both_modes
def test_a_bridge_that_filters_is_taken_as_it_is(world: "World") -> None:
    world.sh("ip link add br0 type bridge vlan_filtering 1 vlan_default_pvid 7")
    before = world.links()["br0"]
    alone = world.attach(world.conf(vlan=100), "c1")
    kept = world.attach(world.conf(vlan=100, preserveDefaultVlan=True), "c2")
    plain = world.attach(world.conf(), "c3")
    assert world.vlans(alone.port) == [f"100 {NATIVE}"]
    assert world.vlans(kept.port) == ["7 Egress Untagged", f"100 {NATIVE}"]
    assert world.vlans(plain.port) == [f"7 {NATIVE}"]
    after = world.links()["br0"]
    assert after["ifindex"] == before["ifindex"]
    assert after["linkinfo"]["info_data"]["vlan_default_pvid"] == 7


def test_a_bridge_without_default_vlan_gives_a_plain_port_none(world: "World") -> None:
    world.sh("ip link add br0 type bridge vlan_filtering 1 vlan_default_pvid 0")
    plain = world.attach(world.conf(), "c1")
    trunk = world.attach(world.conf(vlanTrunk=[{"id": 101}]), "c2")
    assert world.vlans(plain.port) == []
    assert world.vlans(trunk.port) == [f"1 {NATIVE}", "101"]


def test_a_bridge_made_without_vlans_does_not_filter(world: "World") -> None:
    world.attach(world.conf())
    assert world.links()["br0"]["linkinfo"]["info_data"]["vlan_filtering"] == 0
