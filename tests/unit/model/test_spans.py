# SPDX-License-Identifier: Apache-2.0
"""Spans of addresses, against sets of numbers and the standard library."""

import ipaddress
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbridge.base.errors import ConfigError
from spanbridge.model.spans import Span, make_span, parse_span, subtract, to_cidrs, union

small = st.integers(0, 60).flatmap(
    lambda first: st.integers(first, first + 12).map(lambda last: make_span(4, first, last))
)
mixed = st.lists(st.one_of(small, small.map(lambda one: make_span(6, one.first.number, 70))))


def numbers(spans: tuple[Span, ...]) -> set[tuple[int, int]]:
    return {(span.version, n) for span in spans
            for n in range(span.first.number, span.last.number + 1)}  # fmt: skip


@given(mixed, mixed)
def test_subtracting_is_what_it_is_for_sets(spans: list[Span], taken: list[Span]) -> None:
    left = subtract(union(spans), taken)
    assert numbers(left) == numbers(tuple(spans)) - numbers(tuple(taken))


@given(mixed)
def test_a_union_is_ascending_and_has_gaps(spans: list[Span]) -> None:
    made = union(spans)

    assert numbers(made) == numbers(tuple(spans))
    for one, other in itertools.pairwise(made):
        assert one.version < other.version or one.last.number + 1 < other.first.number


@given(st.sampled_from([4, 6]), st.integers(0, 2**32 - 1), st.integers(0, 5000))
def test_networks_cover_a_span_as_the_standard_library_does(
    version: int, first: int, more: int
) -> None:
    last = min(first + more, 2**32 - 1)
    kind = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
    wanted = ipaddress.summarize_address_range(kind(first), kind(last))

    assert [str(each) for each in to_cidrs(make_span(version, first, last))] == [
        str(each) for each in wanted
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("10.88.0.5", "10.88.0.5"),
        ("10.88.0.16/28", "10.88.0.16-10.88.0.31"),
        ("10.88.0.17/28", "10.88.0.16-10.88.0.31"),
        ("10.88.0.5 - 10.88.0.9", "10.88.0.5-10.88.0.9"),
        ("fd00::5-fd00::ff", "fd00::5-fd00::ff"),
    ],
)
def test_three_ways_of_writing_addresses_are_read(text: str, shown: str) -> None:
    assert str(parse_span(text, "")) == shown


@pytest.mark.parametrize("text", ["10.88.0.9-10.88.0.5", "10.88.0.9-fd00::5", "", "10.88.0", "-"])
def test_what_is_no_span_is_refused_with_its_pointer(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_span(text, "/spec/reserved/0")

    assert caught.value.pointer == "/spec/reserved/0"
    assert caught.value.hint
