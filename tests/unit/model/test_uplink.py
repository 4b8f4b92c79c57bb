# SPDX-License-Identifier: Apache-2.0
"""The key ``uplink``, and which VLANs an uplink needs."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbridge.base.errors import ConfigError, InputError
from spanbridge.base.names import IfName
from spanbridge.cni.desired import desired
from spanbridge.model.netconf import NetConf, VlanRange, parse_netconf
from spanbridge.model.owner import Owner
from spanbridge.model.reader import Node
from spanbridge.model.result import CniResult
from spanbridge.model.uplink import (
    PortPlan,
    UplinkState,
    parse_vlan_range,
    parse_wish,
    plan_port,
    subtract,
)

Ranges = list[tuple[int, int]]


def conf(**fields: Any) -> NetConf:  # noqa: ANN401  # JSON
    return parse_netconf(Node({"cniVersion": "1.0.0", "name": "net", "bridge": "br0"} | fields))


def uplink(**fields: Any) -> UplinkState:  # noqa: ANN401  # JSON
    owner = Owner.of("net", "c1", "eth0")
    want = desired(conf(uplink="eth1", **fields), owner, mac=None, result=CniResult()).uplink
    assert want is not None
    return want


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ("br0", "it is the bridge itself"),
        ("eth/1", "it holds a slash"),
        ("a-name-that-is-too-long", "more than 15 bytes"),
        ("eth%d", "by which the kernel numbers names"),
        (7, "it is an integer"),
        (["eth1"], "it is a list"),
    ],
)
def test_a_wrong_uplink_is_refused_with_pointer_and_remedy(value: object, cause: str) -> None:
    with pytest.raises(ConfigError, match=cause) as caught:
        conf(uplink=value)

    assert caught.value.pointer == "/uplink"
    assert caught.value.hint


def test_the_default_bridge_is_no_uplink_of_itself() -> None:
    with pytest.raises(ConfigError, match="the bridge itself"):
        parse_netconf(Node({"cniVersion": "1.0.0", "name": "net", "uplink": "cni0"}))


@pytest.mark.parametrize("absent", [{}, {"uplink": ""}, {"uplink": None}])
def test_without_the_key_nobody_touches_an_uplink(absent: dict[str, Any]) -> None:
    owner = Owner.of("net", "c1", "eth0")

    assert desired(conf(**absent), owner, mac=None, result=CniResult()).uplink is None


@pytest.mark.parametrize(
    ("fields", "vlans", "default"),
    [
        ({}, "", True),
        ({"vlan": 2}, "2", False),
        ({"vlan": 2, "preserveDefaultVlan": True}, "2", True),
        ({"vlanTrunk": [{"id": 5}]}, "1 5", False),
        ({"vlan": 9, "vlanTrunk": [{"minID": 10, "maxID": 12}]}, "9-12", False),
        ({"vlanTrunk": []}, "", True),
    ],
)
def test_the_uplink_needs_every_vlan_of_the_port(
    fields: dict[str, Any], vlans: str, *, default: bool
) -> None:
    want = uplink(**fields)

    assert " ".join(map(str, want.vlans)) == vlans
    assert want.keep_default_vlan == default


def test_the_uplink_must_let_the_networks_mtu_through() -> None:
    assert (uplink(mtu=9000).mtu, uplink().mtu) == (9000, 0)


def state(*vlans: str, keep: bool = False) -> UplinkState:
    ranges = tuple(parse_vlan_range(each) for each in vlans)
    return UplinkState(IfName("eth1"), ranges, keep_default_vlan=keep, mtu=0)


@pytest.mark.parametrize(
    ("want", "seen", "default", "plan"),
    [
        (state("2"), [(1, 1)], 1, PortPlan(0, ((2, 2),), ((1, 1),))),
        (state("2", keep=True), [(1, 1)], 1, PortPlan(0, ((2, 2),), ())),
        (state("1", "5-9"), [(1, 1)], 1, PortPlan(0, ((5, 9),), ())),
        (state("2"), [], 0, PortPlan(0, ((2, 2),), ())),
        (state("1-4094"), [(1, 1)], 1, PortPlan(0, ((2, 4094),), ())),
        (state(keep=True), [(1, 1)], 1, PortPlan(0, (), ())),
        (state("7"), [(7, 7)], 7, PortPlan(0, (), ())),
    ],
)
def test_a_fresh_port_gets_exactly_what_is_needed(
    want: UplinkState, seen: Ranges, default: int, plan: PortPlan
) -> None:
    has_pvid = bool(seen)
    assert plan_port(want, seen, default_pvid=default, has_pvid=has_pvid, fresh=True) == plan


@pytest.mark.parametrize(
    ("want", "seen", "has_pvid", "plan"),
    [
        (state("2"), [(1, 1), (9, 9)], True, PortPlan(0, ((2, 2),), ())),
        (state("2-4"), [(3, 3)], False, PortPlan(0, ((2, 2), (4, 4)), ())),
        (state("2"), [(2, 2)], True, PortPlan(0, (), ())),
        (state(keep=True), [(2, 2)], False, PortPlan(1, (), ())),
        (state(keep=True), [(5, 5)], True, PortPlan(0, ((1, 1),), ())),
    ],
    ids=["others-stay", "gaps", "as-found", "native-comes-back", "pvid-of-others-stays"],
)
def test_a_port_of_somebody_else_only_gains(
    want: UplinkState, seen: Ranges, plan: PortPlan, *, has_pvid: bool
) -> None:
    assert plan_port(want, seen, default_pvid=1, has_pvid=has_pvid, fresh=False) == plan


def _set(ranges: Ranges) -> set[int]:
    return {vid for low, high in ranges for vid in range(low, high + 1)}


RANGES = st.lists(
    st.tuples(st.integers(1, 60), st.integers(0, 9)).map(lambda pair: (pair[0], sum(pair))),
    max_size=6,
)


@given(RANGES, RANGES)
def test_subtracting_ranges_is_subtracting_sets(ranges: Ranges, holes: Ranges) -> None:
    assert _set(subtract(ranges, holes)) == _set(ranges) - _set(holes)


@pytest.mark.parametrize(
    ("text", "vlans"), [("2", (2, 2)), ("10-20", (10, 20)), ("4094", (4094,) * 2)]
)
def test_a_vlan_is_a_number_or_a_range(text: str, vlans: tuple[int, int]) -> None:
    assert parse_vlan_range(text) == VlanRange(*vlans)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "0", "4095", "2-", "-2", "20-10", "x", "1.5", "²", "99999"])
def test_what_is_no_vlan_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="cannot use VLAN"):
        parse_vlan_range(text)


def test_vlans_of_a_wish_are_united() -> None:
    wish = parse_wish("eth1", "br0", ("10-20", "2,3", "15-30"), 0)

    assert [str(each) for each in wish.vlans] == ["2-3", "10-30"]


@pytest.mark.parametrize(
    ("vlans", "gives"), [((), True), (("2",), False), (("1",), True), (("1-9",), True)]
)
def test_a_bridge_that_is_made_gives_a_default_vlan_only_where_it_was_named(
    vlans: tuple[str, ...], *, gives: bool
) -> None:
    assert parse_wish("eth1", "br0", vlans, 0).creates_default_vlan == gives
