# SPDX-License-Identifier: Apache-2.0
"""The key ``uplink`` on a bridge that separates VLANs, as ``bridge vlan`` shows it."""

from typing import TYPE_CHECKING, Any, Final

import pytest

from spanbridge.testing.modes import in_both_modes

if TYPE_CHECKING:
    from tests.vm.cni.conftest import World

NATIVE: Final = "PVID Egress Untagged"

UPLINKS: Final = {
    "vlan": ({"vlan": 2}, ["2"]),
    "vlan-preserve": ({"vlan": 2, "preserveDefaultVlan": True}, [f"1 {NATIVE}", "2"]),
    "vlan-1": ({"vlan": 1}, [f"1 {NATIVE}"]),
    "trunk": ({"vlanTrunk": [{"minID": 10, "maxID": 12}]}, [f"1 {NATIVE}", "10-12"]),
    "native-and-trunk": ({"vlan": 5, "vlanTrunk": [{"id": 7}]}, ["5", "7"]),
    "all": ({"vlan": 2, "vlanTrunk": [{"minID": 1, "maxID": 4094}]}, [f"1 {NATIVE}", "2-4094"]),
}


def _card(world: "World") -> None:
    world.sh("ip link add eth1 type veth peer name far", "ip link set far up")


@pytest.mark.parametrize(("fields", "vlans"), UPLINKS.values(), ids=UPLINKS)
def test_a_new_uplink_carries_exactly_the_vlans_of_the_network(
    world: "World", fields: dict[str, Any], vlans: list[str]
) -> None:
    _card(world)
    attached = world.attach(world.conf(uplink="eth1", **fields))

    assert world.vlans("eth1") == vlans
    assert world.check(attached) is None


@in_both_modes
def test_two_networks_of_one_bridge_share_the_uplink(world: "World") -> None:
    _card(world)
    world.attach(world.conf(uplink="eth1", vlan=2), "c1")
    world.attach(world.conf(uplink="eth1", vlan=3, name="net2"), "c2")
    assert world.vlans("eth1") == ["2-3"]

    plain = world.attach(world.conf(uplink="eth1", name="net3"), "c3")
    assert world.vlans("eth1") == [f"1 {NATIVE}", "2-3"]
    assert world.check(plain) is None


def test_what_others_put_on_a_port_stays(world: "World") -> None:
    _card(world)
    world.sh(
        "ip link add br0 type bridge vlan_filtering 1",
        "ip link set eth1 master br0",
        "bridge vlan add vid 9 dev eth1",
        "bridge vlan add vid 3 dev eth1 untagged",
    )
    world.attach(world.conf(uplink="eth1", vlan=2))
    world.attach(world.conf(uplink="eth1", vlan=3, name="net2"), "c2")

    assert world.vlans("eth1") == [f"1 {NATIVE}", "2", "3 Egress Untagged", "9"]


def test_a_failed_add_takes_back_the_vlan_that_it_added(world: "World") -> None:
    _card(world)
    world.attach(world.conf(uplink="eth1", vlan=2))
    before = world.links()
    failing = world.static("10.9.9.1/24", uplink="eth1", vlan=3, isGateway=True, name="net2")

    assert world.cni.call("ADD", failing, world.netns(), container="c2").code == 7

    assert world.vlans("eth1") == ["2"]
    assert set(world.links()) == set(before)


def test_check_names_a_vlan_that_is_missing_and_one_that_is_stolen(world: "World") -> None:
    _card(world)
    attached = world.attach(world.conf(uplink="eth1", vlan=2))
    world.sh("bridge vlan del vid 2 dev eth1")
    error = world.check(attached)
    assert error["msg"] == "cannot confirm uplink eth1: it lacks VLAN 2"
    assert error["details"] == "run: bridge vlan add dev eth1 vid 2"

    world.sh("bridge vlan add dev eth1 vid 2", "ip link add link eth1 name eth1.2 type vlan id 2")
    error = world.check(attached)
    assert "eth1.2 takes the frames of VLAN 2" in error["msg"]

    world.sh("ip link del eth1.2")
    assert world.check(attached) is None


def test_a_vlan_interface_that_would_steal_the_frames_is_refused(world: "World") -> None:
    _card(world)
    world.sh("ip link add link eth1 name eth1.2 type vlan id 2")

    answer = world.cni.call("ADD", world.conf(uplink="eth1", vlan=2), world.netns())

    assert (answer.code, "ip link del eth1.2" in answer.error["details"]) == (105, True)


def test_frames_of_the_network_leave_with_their_tag(world: "World", capture: Any) -> None:  # noqa: ANN401
    outside = world.netns("outside")
    world.sh(f"ip link add eth1 type veth peer name eth0 netns {outside.name}")
    outside.run("ip", "link", "set", "eth0", "up")
    pod = world.attach(world.static("10.9.0.2/24", uplink="eth1", vlan=2)).pod

    with capture(outside, "eth0", "arp") as lines:
        pod.ping("10.9.0.99", wait_s=3)

    assert lines
    assert all("vlan 2," in line for line in lines)
