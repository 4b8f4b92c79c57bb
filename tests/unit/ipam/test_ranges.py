# SPDX-License-Identifier: Apache-2.0
"""Parsing of ranges, and the order in which addresses are tried."""

from itertools import chain

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from spanbridge.base.errors import ConfigError
from spanbridge.ipam.host_local.ranges import (
    Range,
    RangeSet,
    candidates,
    describe,
    parse_range,
    parse_sets,
)
from spanbridge.model.addresses import Ip, ip_from_text
from spanbridge.model.reader import Node


def _ip(text: str) -> Ip:
    ip = ip_from_text(text)
    assert ip is not None
    return ip


def _range(subnet: str, **more: str) -> Range:
    return parse_range(Node({"subnet": subnet} | more, "/r"))


def _walk(ranges: RangeSet, after: str = "") -> list[str]:
    return [str(ip) for ip, _ in candidates(ranges, _ip(after) if after else None)]


def _fault(**section: object) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse_sets(Node(section, "/ipam"), None)
    return caught.value


def test_a_range_begins_behind_the_gateway_and_ends_before_the_broadcast_address() -> None:
    assert _walk((_range("10.0.0.0/29"),)) == [f"10.0.0.{i}" for i in range(2, 7)]


def test_an_ipv6_range_ends_at_the_address_of_all_ones() -> None:
    assert _walk((_range("fd00::/126"),)) == ["fd00::2", "fd00::3"]


def test_the_smallest_subnet_has_one_address() -> None:
    assert _walk((_range("10.0.0.0/30"),)) == ["10.0.0.2"]


def test_a_gateway_amid_the_range_is_skipped() -> None:
    walked = _walk((_range("10.0.0.0/29", gateway="10.0.0.3"),))
    assert walked == ["10.0.0.1", "10.0.0.2", "10.0.0.4", "10.0.0.5", "10.0.0.6"]


def test_a_gateway_outside_of_the_subnet_frees_the_first_address() -> None:
    assert _walk((_range("10.0.0.0/30", gateway="192.0.2.1"),)) == ["10.0.0.1", "10.0.0.2"]


def test_an_empty_gateway_counts_as_absent() -> None:
    assert _range("10.0.0.0/24", gateway="").gateway == _ip("10.0.0.1")


@pytest.mark.parametrize(
    ("after", "walked"),
    [
        ("10.0.0.2", ["10.0.0.3", "10.0.0.4", "10.0.0.2"]),
        ("10.0.0.3", ["10.0.0.4", "10.0.0.2", "10.0.0.3"]),
        ("10.0.0.4", ["10.0.0.2", "10.0.0.3", "10.0.0.4"]),
        ("10.9.9.9", ["10.0.0.2", "10.0.0.3", "10.0.0.4"]),
    ],
    ids=["start", "middle", "end", "outside"],
)
def test_a_round_begins_behind_the_address_given_last(after: str, walked: list[str]) -> None:
    assert _walk((_range("10.0.0.0/29", rangeEnd="10.0.0.4"),), after) == walked


def test_a_round_goes_on_in_the_next_range_and_comes_back() -> None:
    ranges = (_range("10.0.0.0/30"), _range("10.0.1.0/29", rangeEnd="10.0.1.3"))
    assert _walk(ranges, "10.0.1.2") == ["10.0.1.3", "10.0.0.2", "10.0.1.2"]


def test_the_words_for_a_range_leave_out_the_gateway_at_its_edge() -> None:
    assert describe((_range("10.0.0.0/29"),)) == "10.0.0.2-10.0.0.6 (10.0.0.0/29)"


@pytest.mark.parametrize("text", ["::1:0", "::ab:cd", "::2", "::1:0:0", "fd00::a:b"])
def test_addresses_are_written_as_the_reference_names_its_files(text: str) -> None:
    assert str(_ip(text)) == text


def test_the_runtime_precedes_the_single_range_which_precedes_the_list() -> None:
    section = {"ranges": [[{"subnet": "10.3.0.0/24"}]], "subnet": "10.2.0.0/24"}
    runtime = Node({"ipRanges": [[{"subnet": "10.1.0.0/24"}]]}, "/runtimeConfig")
    sets, _ = parse_sets(Node(section, "/ipam"), runtime)
    assert [str(one[0].subnet) for one in sets] == ["10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24"]


def test_a_single_range_without_subnet_is_reported_as_unread() -> None:
    section = {"ranges": [[{"subnet": "10.3.0.0/24"}]], "rangeStart": "10.3.0.9"}
    _, unknown = parse_sets(Node(section, "/ipam"), None)
    assert [(key.pointer, key.nearest) for key in unknown] == [("/ipam/rangeStart", "subnet")]


def test_a_mistyped_key_in_a_range_is_reported_with_the_nearest() -> None:
    section = {"ranges": [[{"subnet": "10.3.0.0/24", "rangeBegin": "10.3.0.9"}]]}
    _, unknown = parse_sets(Node(section, "/ipam"), None)
    assert [key.pointer for key in unknown] == ["/ipam/ranges/0/0/rangeBegin"]


REFUSED: dict[str, tuple[dict[str, str], str, str]] = {
    "missing subnet": ({}, "/subnet", "missing"),
    "no network": ({"subnet": "10.0.0.0"}, "/subnet", "prefix length"),
    "host bits": ({"subnet": "10.0.0.5/24"}, "/subnet", "the network is 10.0.0.0/24"),
    "host bits v6": ({"subnet": "fd00::1/64"}, "/subnet", "the network is fd00::/64"),
    "/31": ({"subnet": "10.0.0.0/31"}, "/subnet", "the smallest is a /30"),
    "/32": ({"subnet": "10.0.0.0/32"}, "/subnet", "the smallest is a /30"),
    "/127": ({"subnet": "fd00::/127"}, "/subnet", "the smallest is a /126"),
    "start outside": (
        {"subnet": "10.0.0.0/24", "rangeStart": "10.0.1.5"}, "/rangeStart", "not in 10.0.0.0/24",
    ),
    "end outside": (
        {"subnet": "10.0.0.0/24", "rangeEnd": "10.0.1.5"}, "/rangeEnd", "not in 10.0.0.0/24",
    ),
    "start after end": (
        {"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.9", "rangeEnd": "10.0.0.5"},
        "/rangeStart", "greater than the end",
    ),
    "network address": (
        {"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.0"}, "/rangeStart", "network address",
    ),
    "broadcast address": (
        {"subnet": "10.0.0.0/24", "rangeEnd": "10.0.0.255"}, "/rangeEnd", "broadcast address",
    ),
    "gateway only": (
        {"subnet": "10.0.0.0/24", "rangeEnd": "10.0.0.1"}, "/rangeStart", "only the gateway",
    ),
    "gateway's family": (
        {"subnet": "10.0.0.0/24", "gateway": "fd00::1"}, "/gateway", "not of the family",
    ),
    "no address": (
        {"subnet": "10.0.0.0/24", "gateway": "x"}, "/gateway", "no IP address",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_range_is_refused_with_a_pointer_and_the_cause(case: str) -> None:
    section, key, cause = REFUSED[case]
    fault = _fault(ranges=[[section]])
    assert fault.pointer == f"/ipam/ranges/0/0{key}"
    assert cause in str(fault)


def test_an_empty_set_is_refused() -> None:
    assert _fault(ranges=[[]]).pointer == "/ipam/ranges/0"


def test_a_set_that_is_no_list_is_refused() -> None:
    assert "write a list of ranges" in str(_fault(ranges=[{"subnet": "10.0.0.0/24"}]))


def test_two_families_in_one_set_are_refused() -> None:
    fault = _fault(ranges=[[{"subnet": "10.0.0.0/24"}, {"subnet": "fd00::/64"}]])
    assert fault.pointer == "/ipam/ranges/0/1/subnet"
    assert "a set of its own" in fault.hint


@pytest.mark.parametrize(
    ("ranges", "pointer"),
    [
        ([[{"subnet": "10.0.0.0/24"}, {"subnet": "10.0.0.0/25"}]], "/ipam/ranges/0/1/subnet"),
        ([[{"subnet": "10.0.0.0/24"}], [{"subnet": "10.0.0.128/25"}]], "/ipam/ranges/1/0/subnet"),
    ],
    ids=["in one set", "in two sets"],
)
def test_an_overlap_names_both_places(ranges: list[object], pointer: str) -> None:
    fault = _fault(ranges=ranges)
    assert fault.pointer == pointer
    assert "/ipam/ranges/0/0/subnet" in fault.message


def test_parts_of_one_subnet_that_do_not_overlap_are_accepted() -> None:
    low = {"subnet": "10.0.0.0/24", "rangeEnd": "10.0.0.99"}
    high = {"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.100"}
    sets, _ = parse_sets(Node({"ranges": [[low], [high]]}, "/ipam"), None)
    assert len(sets) == 2


@st.composite
def _range_sets(draw: st.DrawFn) -> RangeSet:
    """One to three small ranges in subnets of their own, with a gateway anywhere."""
    ranges = []
    for third in range(draw(st.integers(1, 3))):
        length = draw(st.integers(26, 30))
        edge = (1 << (32 - length)) - 1
        first = draw(st.integers(1, edge - 1))
        last = draw(st.integers(first, edge - 1))
        gateway = draw(st.integers(1, edge - 1))
        assume((first, last) != (gateway, gateway))
        base = f"10.0.{third}"
        bounds = {"rangeStart": f"{base}.{first}", "rangeEnd": f"{base}.{last}"}
        ranges.append(_range(f"{base}.0/{length}", gateway=f"{base}.{gateway}", **bounds))
    return tuple(ranges)


def _usable(ranges: RangeSet) -> set[Ip]:
    spans = chain.from_iterable(
        (Ip(4, number) for number in range(each.first.number, each.last.number + 1))
        for each in ranges
    )
    return set(spans) - {each.gateway for each in ranges}


@given(_range_sets(), st.data())
def test_a_round_visits_every_usable_address_once(ranges: RangeSet, data: st.DataObject) -> None:
    usable = _usable(ranges)
    after = data.draw(st.none() | st.sampled_from(sorted(usable)))
    walked = [ip for ip, _ in candidates(ranges, after)]
    assert len(walked) == len(usable)
    assert set(walked) == usable
    assert after is None or walked[-1] == after


@given(_range_sets())
def test_no_round_offers_a_gateway_a_network_or_a_broadcast_address(ranges: RangeSet) -> None:
    for ip, source in candidates(ranges, None):
        assert ip not in {source.gateway, source.subnet.ip, source.subnet.last}


@given(_range_sets())
def test_going_on_from_the_last_address_gives_the_pool_round_robin(ranges: RangeSet) -> None:
    last: Ip | None = None
    given_out = []
    for _ in _usable(ranges):
        last = next(candidates(ranges, last))[0]
        given_out.append(last)
    assert set(given_out) == _usable(ranges)


@given(_range_sets(), st.data())
def test_skipping_what_is_taken_gives_the_same_as_trying_it(
    ranges: RangeSet, data: st.DataObject
) -> None:
    usable = sorted(_usable(ranges))
    taken = set(data.draw(st.lists(st.sampled_from(usable))))
    after = data.draw(st.sampled_from(usable))

    def next_free(first: Ip, last: Ip) -> Ip | None:
        free = (Ip(4, n) for n in range(first.number, last.number + 1) if Ip(4, n) not in taken)
        return next(free, None)

    skipping = [ip for ip, _ in candidates(ranges, after, next_free)]
    assert skipping == [ip for ip, _ in candidates(ranges, after) if ip not in taken]
