# SPDX-License-Identifier: Apache-2.0
"""Addresses handed out twice, among any number of clusters."""

import json

from hypothesis import given
from hypothesis import strategies as st

from spanbridge.stretch.lint import lint
from spanbridge.stretch.lint.examples import as_clusters
from spanbridge.stretch.lint.registry import HYPERCONVERGED, nad

Range = tuple[int, int]
RANGES = st.tuples(st.integers(10, 200), st.integers(0, 20)).map(
    lambda pair: (pair[0], pair[0] + pair[1])
)


def cluster(name: str, bounds: Range, exclude: tuple[int, ...] = ()) -> dict[str, str]:
    ipam = {
        "type": "whereabouts",
        "range": "10.88.0.0/24",
        "range_start": f"10.88.0.{bounds[0]}",
        "range_end": f"10.88.0.{bounds[1]}",
        "exclude": [f"10.88.0.{each}/32" for each in exclude],
    }
    config = {"cniVersion": "1.0.0", "type": "bridge", "bridge": "br-mig", "ipam": ipam}
    return {
        f"{name}/hyperconverged.yaml": HYPERCONVERGED,
        f"{name}/nad.yaml": nad(json.dumps(config))["nad.yaml"],
    }


def clashing(files: dict[str, str]) -> set[str]:
    """Name the clusters that a finding is about."""
    findings = lint(as_clusters(files), codes=["SB110"]).findings
    return {each.position.file.split("/")[0] for each in findings if each.position}


def meets(one: Range, other: Range) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


@given(st.lists(RANGES, min_size=2, max_size=8))
def test_a_clash_is_found_exactly_where_two_ranges_meet(ranges: list[Range]) -> None:
    files: dict[str, str] = {}
    for number, bounds in enumerate(ranges):
        files |= cluster(f"c{number}", bounds)
    pairs = [(i, j) for i in range(len(ranges)) for j in range(i) if meets(ranges[i], ranges[j])]
    found = clashing(files)

    assert bool(found) == bool(pairs)
    assert found <= {f"c{i}" for i, _ in pairs}


@given(st.lists(RANGES, min_size=2, max_size=6))
def test_taking_out_what_was_named_leaves_no_clash(ranges: list[Range]) -> None:
    files = {f"c{number}": cluster(f"c{number}", bounds) for number, bounds in enumerate(ranges)}
    for _ in ranges:
        for name in clashing({k: v for each in files.values() for k, v in each.items()}):
            del files[name]
    kept = [ranges[int(name[1:])] for name in files]

    assert not any(meets(kept[i], kept[j]) for i in range(len(kept)) for j in range(i))


def test_excluded_addresses_do_not_clash() -> None:
    one = cluster("east", (10, 20), tuple(range(15, 21)))

    assert clashing(one | cluster("west", (15, 20))) == set()
    assert clashing(one | cluster("west", (14, 20))) == {"west"}


def test_two_hundred_clusters_with_one_range_are_each_told_once() -> None:
    files: dict[str, str] = {}
    for number in range(200):
        files |= cluster(f"c{number}", (10, 99))

    assert len(lint(as_clusters(files), codes=["SB110"]).findings) == 199
