# SPDX-License-Identifier: Apache-2.0
"""`vlanTrunk`: the reference plugin's table of good and bad lists, and more."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbridge.base.errors import ConfigError
from spanbridge.base.names import VlanId
from spanbridge.model.netconf import NetConf, VlanRange, merge_ranges, parse_netconf
from spanbridge.model.reader import Node

VIDS = st.integers(1, 4094)
RANGES = st.lists(st.tuples(VIDS, VIDS).map(lambda pair: VlanRange(*map(VlanId, sorted(pair)))))


def parse(trunk: object, **fields: object) -> NetConf:
    return parse_netconf(Node({"cniVersion": "1.0.0", "name": "net", "vlanTrunk": trunk} | fields))


def vids(ranges: tuple[VlanRange, ...] | list[VlanRange]) -> list[int]:
    return [vid for each in ranges for vid in range(each.first, each.last + 1)]


@pytest.mark.parametrize(
    ("trunk", "expected"),
    [
        ([], []),
        ([{"minID": 100, "maxID": 105}], [100, 101, 102, 103, 104, 105]),
        ([{"id": 10}], [10]),
        ([{"id": 10}, {"minID": 100, "maxID": 102}], [10, 100, 101, 102]),
        ([{"id": 3, "minID": 5, "maxID": 6}], [3, 5, 6]),
        ([{"id": 5}, {"id": 1}, {"id": 5}], [1, 5]),
        ([{"minID": 7, "maxID": 7}], [7]),
        ([{"ID": 1}, {"MinId": 4093, "MAXID": 4094}], [1, 4093, 4094]),
        ([{"id": None, "minID": 5, "maxID": 6}], [5, 6]),
    ],
    ids=repr,
)
def test_a_good_list_gives_its_vlans_ascending(trunk: object, expected: list[int]) -> None:
    conf = parse(trunk)

    assert conf.trunk is not None
    assert vids(conf.trunk) == expected


@pytest.mark.parametrize(
    ("trunk", "pointer"),
    [
        ([{"minID": 100}], "/vlanTrunk/0/minID"),
        ([{"maxID": 100}], "/vlanTrunk/0/maxID"),
        ([{"minID": -1, "maxID": 100}], "/vlanTrunk/0/minID"),
        ([{"minID": 5000, "maxID": 5001}], "/vlanTrunk/0/minID"),
        ([{"minID": 1, "maxID": 5000}], "/vlanTrunk/0/maxID"),
        ([{"id": 5000}], "/vlanTrunk/0/id"),
        ([{"id": -1}], "/vlanTrunk/0/id"),
        ([{"id": 0}], "/vlanTrunk/0/id"),
        ([{"id": 4095}], "/vlanTrunk/0/id"),
        ([{"minID": 105, "maxID": 100}], "/vlanTrunk/0/minID"),
        ([{"id": 1}, {"id": "2"}], "/vlanTrunk/1/id"),
        ([{"id": 1.0}], "/vlanTrunk/0/id"),
        ([None], "/vlanTrunk/0"),
        ([{}], "/vlanTrunk/0"),
        ([{"id": 1}, 2], "/vlanTrunk/1"),
        ([{"id": 1, "minId ": 2}], "/vlanTrunk/0/minId "),
        ([{"vlan": 5}], "/vlanTrunk/0/vlan"),
        ({"id": 1}, "/vlanTrunk"),
        ("1-5", "/vlanTrunk"),
    ],
    ids=repr,
)
def test_a_bad_list_is_refused_at_the_entry(trunk: object, pointer: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(trunk)

    assert caught.value.pointer == pointer
    assert caught.value.hint


def test_a_mistyped_key_of_an_entry_names_the_right_one() -> None:
    with pytest.raises(ConfigError, match="did you mean 'minID'") as caught:
        parse([{"minIDs": 5, "id": 1}])

    assert caught.value.pointer == "/vlanTrunk/0/minIDs"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({}, False), ({"vlanTrunk": None}, False), ({"vlanTrunk": []}, True), ({"vlan": 1}, True)],
    ids=repr,
)
def test_an_empty_list_still_asks_for_filtering(
    fields: dict[str, object], *, expected: bool
) -> None:
    conf = parse_netconf(Node({"cniVersion": "1.0.0", "name": "net"} | fields))

    assert conf.uses_vlans is expected


@given(RANGES)
def test_merging_keeps_every_vlan_and_leaves_gaps(ranges: list[VlanRange]) -> None:
    merged = merge_ranges(ranges)

    assert vids(merged) == sorted(set(vids(ranges)))
    assert all(one.last + 1 < other.first for one, other in pairwise(merged))


@pytest.mark.parametrize(
    ("first", "last", "text"), [(5, 5, "5"), (5, 9, "5-9")], ids=["single", "range"]
)
def test_a_range_prints_as_bridge_takes_it(first: int, last: int, text: str) -> None:
    assert str(VlanRange(VlanId(first), VlanId(last))) == text
