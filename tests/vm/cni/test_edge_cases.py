# SPDX-License-Identifier: Apache-2.0
"""VLANs where the reference plugin is silently wrong, or fails late."""

from typing import TYPE_CHECKING, Any, Final

import pytest

from spanbridge.testing.modes import in_both_modes

if TYPE_CHECKING:
    from tests.vm.cni.conftest import World

MEND: Final = "ip link set dev br0 type bridge vlan_filtering 1"
NEEDS_FILTER: Final = {
    "vlan": {"vlan": 100},
    "trunk": {"vlanTrunk": [{"id": 101}]},
    "empty-trunk": {"vlanTrunk": []},
}


@pytest.mark.parametrize("fields", NEEDS_FILTER.values(), ids=NEEDS_FILTER)
def test_a_bridge_that_does_not_filter_is_refused(world: "World", fields: dict[str, Any]) -> None:
    world.sh("ip link add br0 type bridge")
    before, pod = world.links(), world.netns()
    answer = world.cni.call("ADD", world.host_local(**fields), pod)
    assert answer.code == 103
    assert MEND in answer.error["details"]
    assert world.links() == before
    assert world.links(pod) == {}
    assert not (world.place / "leases").exists()


@in_both_modes
def test_a_trunk_on_a_bridge_made_without_filtering_is_refused(world: "World") -> None:
    first = world.attach(world.static("10.9.0.1/24"))
    pod = world.netns()
    conf = world.static("10.9.0.2/24", vlanTrunk=[{"id": 101}])
    assert world.cni.call("STATUS", conf).code == 50
    assert world.cni.call("ADD", conf, pod, container="c2").code == 103
    assert set(world.links()) == {"br0", first.port}
    world.sh(MEND)
    world.cni.add(conf, pod, container="c2")
    assert first.pod.ping("10.9.0.2"), "both are in VLAN 1"


def test_a_bridge_name_too_long_for_the_gateway_is_refused_at_once(world: "World") -> None:
    conf = world.host_local(bridge="br-migration", vlan=4094, isGateway=True)
    answer = world.cni.call("ADD", conf, world.netns())
    assert answer.code == 7
    assert "/bridge" in answer.error["details"]
    assert world.links() == {}
    assert not (world.place / "leases").exists()


def test_a_long_bridge_name_serves_a_vlan_without_gateway(world: "World") -> None:
    attached = world.attach(world.conf(bridge="br-migration-15", vlan=4094))
    assert world.links()[attached.port]["master"] == "br-migration-15"
