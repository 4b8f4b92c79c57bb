# SPDX-License-Identifier: Apache-2.0
"""What was measured, as data: samples, paired ratios, targets; pure."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Spread:
    """
    The middle of some figures and how far the middle half of them reaches.

    Attributes:
        p25: A quarter of the figures is below.
        median: Half of them.
        p75: Three quarters.
        count: How many there are.
    """

    p25: float
    median: float
    p75: float
    count: int


def spread_of(figures: Sequence[float]) -> Spread:
    """Sum up figures; at least one."""
    ordered = sorted(figures)
    if len(ordered) == 1:
        ordered *= 2
    p25, median, p75 = statistics.quantiles(ordered, n=4, method="inclusive")
    return Spread(p25, median, p75, len(figures))


@dataclass(frozen=True, slots=True)
class Contender:
    """
    Who was measured.

    Attributes:
        key: Short name in JSON.
        label: For people.
    """

    key: str
    label: str


OURS: Final = Contender("ours", "Spanbridge")
FLOOR: Final = Contender("floor", "kernel alone")


@dataclass(frozen=True, slots=True)
class Target:
    """
    What was promised.

    Attributes:
        at_most: The greatest good figure.
        unit: Empty for a ratio to the reference; else of the figure itself.
    """

    at_most: float
    unit: str = ""


@dataclass(slots=True)
class Case:
    """
    One thing that was measured.

    Attributes:
        key: Short name in JSON.
        title: For people.
        samples: Milliseconds by contender's key; the n-th of each were taken side by side.
        target: Of the ratio ours to the reference's; None where nothing was promised.
        figure: Where the target is no ratio: the figure that it is about.
        remark: What a reader has to know.
    """

    key: str
    title: str
    samples: dict[str, list[float]] = field(default_factory=dict)
    target: Target | None = None
    figure: float | None = None
    remark: str = ""

    def add(self, contender: Contender, seconds: float) -> None:
        """Note one measurement."""
        self.samples.setdefault(contender.key, []).append(seconds * 1000)

    def spread(self, contender: Contender) -> Spread | None:
        """Sum up what one contender took, in milliseconds; None where it was not measured."""
        found = self.samples.get(contender.key)
        return spread_of(found) if found else None

    def ratio(self, contender: Contender, to: Contender) -> Spread | None:
        """Sum up the ratios of what was measured side by side."""
        ours, theirs = self.samples.get(contender.key), self.samples.get(to.key)
        if not ours or not theirs or len(ours) != len(theirs):
            return None
        return spread_of([a / b for a, b in zip(ours, theirs, strict=True)])

    def judged(self, reference: Contender | None) -> float | None:
        """Give the figure that the target is about; None where it was not measured."""
        if self.target is not None and self.target.unit:
            return self.figure
        ratio = self.ratio(OURS, reference) if reference is not None else None
        return None if ratio is None else ratio.median

    def met(self, reference: Contender | None) -> bool | None:
        """Tell whether the target was met; None where there is none, or no figure."""
        judged = self.judged(reference)
        return None if self.target is None or judged is None else judged <= self.target.at_most


@dataclass(frozen=True, slots=True)
class Growth:
    """
    What planning and linting so many clusters took.

    Attributes:
        clusters: How many.
        plan_s: Seconds of `spanbridge plan`.
        lint_s: Seconds of `spanbridge lint` over all that was written.
        resident_mib: MiB that the larger of the two processes held at most.
    """

    clusters: int
    plan_s: float
    lint_s: float
    resident_mib: float


@dataclass(slots=True)
class Bench:
    """
    One run of all measurements.

    Attributes:
        machine: What it ran on, by name of the fact.
        references: The first is the one that ratios are about; may be empty.
        launcher_ms: What starting ``/bin/true`` took: part of every figure of a program.
        cases: In the order of the table.
        growth: Planning and linting, by the number of clusters; ascending.
    """

    machine: dict[str, str]
    references: tuple[Contender, ...]
    launcher_ms: Spread
    cases: list[Case]
    growth: list[Growth] = field(default_factory=list)

    @property
    def reference(self) -> Contender | None:
        """The reference that ratios are about."""
        return self.references[0] if self.references else None


def render_bench(bench: Bench) -> dict[str, Any]:
    """Make the JSON document."""
    return {
        "version": 1,
        "machine": bench.machine,
        "references": {each.key: each.label for each in bench.references},
        "launcher_ms": _render_spread(bench.launcher_ms),
        "cases": [_render_case(case, bench) for case in bench.cases],
        "growth": [asdict(each) for each in bench.growth],
    }


def parse_bench(document: dict[str, Any]) -> Bench:
    """Read the JSON document of `render_bench` again, for another look at it."""
    cases = [
        Case(
            each["key"],
            each["title"],
            samples=each["samples_ms"],
            target=None if each["target"] is None else Target(each["target"], each["unit"]),
            figure=each["figure"],
            remark=each["remark"],
        )
        for each in document["cases"]
    ]
    references = tuple(Contender(*each) for each in document["references"].items())
    growth = [Growth(**each) for each in document.get("growth", [])]
    launcher_ms = Spread(**document["launcher_ms"])
    return Bench(document["machine"], references, launcher_ms, cases, growth)


def _render_spread(spread: Spread | None) -> dict[str, float] | None:
    if spread is None:
        return None
    return {
        "p25": round(spread.p25, 4),
        "median": round(spread.median, 4),
        "p75": round(spread.p75, 4),
        "count": spread.count,
    }


def _render_case(case: Case, bench: Bench) -> dict[str, Any]:
    everybody = (OURS, *bench.references, FLOOR)
    reference = bench.reference
    return {
        "key": case.key,
        "title": case.title,
        "ms": {each.key: _render_spread(case.spread(each)) for each in everybody},
        "ratio": _render_spread(case.ratio(OURS, reference)) if reference else None,
        "target": None if case.target is None else case.target.at_most,
        "unit": "" if case.target is None else case.target.unit,
        "figure": case.judged(reference),
        "met": case.met(reference),
        "remark": case.remark,
        "samples_ms": {
            key: [round(each, 4) for each in found] for key, found in case.samples.items()
        },
    }
