# SPDX-License-Identifier: Apache-2.0
"""`uplink ensure` and `release` on bridges that separate VLANs."""

from typing import TYPE_CHECKING, Final

import pytest

from spanbridge.base.errors import NodeError
from spanbridge.testing.crash import killed_at_every_change

if TYPE_CHECKING:
    from tests.vm.uplink.conftest import Host

NATIVE: Final = "PVID Egress Untagged"
ADMINS: Final = "ip link add br-mig address 0a:00:00:00:00:09 type bridge vlan_filtering 1"

BRIDGES: Final[dict[str, list[str]]] = {
    "missing": [],
    "there": [ADMINS],
    "port-there": [ADMINS, "ip link set eth1 up master br-mig", "bridge vlan add vid 9 dev eth1"],
}


@pytest.mark.parametrize(
    ("asked", "vlans"),
    [
        (["2"], ["2"]),
        (["2", "10-20"], ["2", "10-20"]),
        (["1", "2"], [f"1 {NATIVE}", "2"]),
        (["1-4094"], [f"1 {NATIVE}", "2-4094"]),
    ],
    ids=["one", "range", "default", "all"],
)
@pytest.mark.parametrize("bridge", ["missing", "there"])
def test_the_uplink_carries_exactly_these_vlans_and_release_leaves_no_trace(
    host: "Host", bridge: str, asked: list[str], vlans: list[str]
) -> None:
    host.sh(*BRIDGES[bridge])
    before = host.picture()

    host.ensure(*asked)
    assert host.vlans() == vlans
    assert host.faults() == ()
    assert host.ensure(*asked).changes == ()

    assert host.release().left == ()
    assert host.picture() == before or host.picture()[2] == []
    assert host.picture()[:2] == before[:2]


def test_a_bridge_that_is_made_gives_new_ports_no_vlan_that_was_not_named(host: "Host") -> None:
    host.ensure("2")
    host.sh("ip link add p0 master br-mig type veth peer name e0")
    assert (host.vlans("p0"), host.vlans("br-mig")) == ([], [])


def test_vlans_of_others_stay_and_ours_go(host: "Host") -> None:
    host.sh(*BRIDGES["port-there"])
    before = host.picture()

    host.ensure("2", "9")
    assert host.vlans() == [f"1 {NATIVE}", "2", "9"]

    host.release()
    assert host.picture()[:2] == before[:2]


def test_a_vlan_that_is_no_longer_asked_for_goes_unless_it_is_in_use(host: "Host") -> None:
    host.ensure("2", "3", "4")
    host.sh("ip link add p0 master br-mig type veth peer name e0", "bridge vlan add vid 3 dev p0")

    host.ensure("2")

    assert host.vlans() == ["2-3"]
    assert host.faults() == ()


def test_a_bridge_that_does_not_filter_is_refused(host: "Host") -> None:
    host.sh("ip link add br-mig type bridge")
    with pytest.raises(NodeError, match="it does not filter VLANs") as caught:
        host.ensure("2")
    assert "vlan_filtering 1" in caught.value.hint


def test_a_vlan_interface_that_would_steal_the_frames_is_refused(host: "Host") -> None:
    host.sh("ip link add link eth1 name eth1.2 type vlan id 2")
    with pytest.raises(NodeError, match=r"eth1\.2 takes the frames of VLAN 2"):
        host.ensure("2")
    host.ensure("3")


def test_show_names_a_missing_a_surplus_and_a_stolen_vlan(host: "Host") -> None:
    host.sh(ADMINS)
    host.ensure("2")
    host.sh(
        "bridge vlan del vid 2 dev eth1",
        "bridge vlan add vid 1 dev eth1 pvid untagged",
        "ip link add link eth1 name eth1.2 type vlan id 2",
    )
    assert [each.cause for each in host.faults()] == [
        "it lacks VLAN 2",
        "it carries VLAN 1 untagged, which nobody asked for",
        "eth1.2 takes the frames of VLAN 2",
    ]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("lines", BRIDGES.values(), ids=BRIDGES)
def test_release_after_an_ensure_that_was_killed_leaves_no_trace(
    host: "Host", lines: list[str]
) -> None:
    host.sh(*lines)
    host.ensure("2", "10-20")
    host.release()
    before = host.picture()

    for steps in killed_at_every_change(lambda: host.ensure("2", "10-20")):
        host.release()
        assert host.picture() == before, f"killed after {steps} changes"


@pytest.mark.timeout(400)
@pytest.mark.parametrize("lines", BRIDGES.values(), ids=BRIDGES)
def test_ensure_after_an_ensure_that_was_killed_finishes_it(host: "Host", lines: list[str]) -> None:
    host.sh(*lines)
    host.ensure("2", "10-20")
    wanted = host.vlans()
    host.release()
    before = host.picture()

    for steps in killed_at_every_change(lambda: host.ensure("2", "10-20")):
        host.ensure("2", "10-20")
        assert host.vlans() == wanted, f"killed after {steps} changes"
        host.release()
        assert host.picture() == before, f"killed after {steps} changes"
