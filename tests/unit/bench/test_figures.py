# SPDX-License-Identifier: Apache-2.0
"""Sums of measurements: spreads, ratios of neighbours, targets."""

import json
import sys
from pathlib import Path

import pytest

# The project's folder is on no path.
sys.path.insert(0, str(Path(__file__).parents[3]))

from bench.figures import (
    FLOOR,
    OURS,
    Bench,
    Case,
    Contender,
    Growth,
    Spread,
    Target,
    parse_bench,
    render_bench,
    spread_of,
)

THEIRS = Contender("reference-1", "reference 1")


def case(ours: list[float], theirs: list[float], target: Target | None = None) -> Case:
    found = Case("add", "ADD", target=target)
    for mine, other in zip(ours, theirs, strict=True):
        found.add(OURS, mine)
        found.add(THEIRS, other)
    return found


def test_a_spread_is_the_middle_half() -> None:
    assert spread_of([5, 1, 4, 2, 3]) == Spread(2, 3, 4, 5)


def test_a_single_figure_has_no_spread() -> None:
    assert spread_of([7]) == Spread(7, 7, 7, 1)


def test_a_ratio_is_one_of_neighbours() -> None:
    ratio = case([0.001, 0.020], [0.002, 0.010]).ratio(OURS, THEIRS)

    assert ratio is not None
    assert ratio.median == pytest.approx((0.5 + 2) / 2)


def test_nobody_is_compared_with_who_was_not_measured() -> None:
    assert case([1], [1]).ratio(OURS, FLOOR) is None


@pytest.mark.parametrize(("at_most", "met"), [(0.5, True), (0.49, False)])
def test_a_target_is_met_up_to_its_bound(at_most: float, *, met: bool) -> None:
    assert case([1], [2], Target(at_most)).met(THEIRS) is met


def test_without_a_reference_no_target_is_judged() -> None:
    assert case([1], [2], Target(1)).met(None) is None


def test_a_target_with_a_unit_is_about_the_figure() -> None:
    found = Case("rss", "memory", target=Target(60, "MiB"), figure=61)

    assert found.met(None) is False


def test_what_was_written_is_read_again() -> None:
    found = case([0.001, 0.002], [0.004, 0.004], Target(0.3))
    points = [Growth(10, 1.5, 2.5, 40.25)]
    bench = Bench({"kernel": "6"}, (THEIRS,), Spread(1, 1, 1, 3), [found], points)

    again = parse_bench(json.loads(json.dumps(render_bench(bench))))

    assert again.machine == bench.machine
    assert again.growth == points
    assert again.references == bench.references
    assert again.cases[0].spread(OURS) == found.spread(OURS)
    assert again.cases[0].met(THEIRS) == found.met(THEIRS)
