# SPDX-License-Identifier: Apache-2.0
"""The figures as a table for the terminal, and as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.figures import FLOOR, OURS, Bench, Case, Contender, Growth, Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def _milliseconds(spread: Spread | None) -> str:
    if spread is None:
        return ""
    return f"{spread.median:.2f}" if spread.median < 100 else f"{spread.median:.0f}"


def _ratio_text(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.3f}"


def _ratio(case: Case, reference: Contender | None) -> Text:
    if case.target is not None and case.target.unit:
        figure = case.figure
        return Text("" if figure is None else f"{figure:.1f} {case.target.unit}")
    ratio = case.ratio(OURS, reference) if reference is not None else None
    if ratio is None:
        return Text("")
    spread = f"  {_ratio_text(ratio.p25)} to {_ratio_text(ratio.p75)}" if ratio.count > 1 else ""
    return Text(_ratio_text(ratio.median)).append(spread, style="dim")


def _verdict(case: Case, reference: Contender | None) -> Text:
    met = case.met(reference)
    if case.target is None:
        return Text("")
    words = f"≤ {case.target.at_most:g} {case.target.unit}".rstrip()
    if met is None:
        return Text(f"{words}  not measured", style="yellow")
    return Text(f"{words}  {'met' if met else 'missed'}", style="green" if met else "bold red")


def tabulate(bench: Bench, console: Console) -> None:
    """Print the table: medians in milliseconds, ratios of pairs with their middle half."""
    reference = bench.reference
    facts = ", ".join(f"{name} {value}" for name, value in bench.machine.items())
    table = Table(title="Spanbridge beside the reference plugin", caption=facts)
    table.add_column("what")
    for each in bench.references:
        table.add_column(f"{each.label}\nms", justify="right", style="cyan")
    table.add_column(f"{OURS.label}\nms", justify="right", style="bold")
    table.add_column(f"{FLOOR.label}\nms", justify="right", style="dim")
    table.add_column("ours to reference\nmedian  middle half", justify="left")
    table.add_column("target")
    for case in bench.cases:
        table.add_row(
            case.title,
            *(_milliseconds(case.spread(each)) for each in bench.references),
            _milliseconds(case.spread(OURS)),
            _milliseconds(case.spread(FLOOR)),
            _ratio(case, reference),
            _verdict(case, reference),
        )
    console.print(table)
    started = _milliseconds(bench.launcher_ms)
    console.print(
        f"Each figure of a program holds the {started} ms that starting /bin/true takes; nothing "
        "was subtracted."
    )
    for case in bench.cases:
        if case.remark:
            console.print(f"{case.title}: {case.remark}", style="dim")


# ---------------------------------------------------------------- picture

_COLOURS: Final = {"reference": "#9aa5b1", "ours": "#0b6e99", "floor": "#d6c7a1"}
_MET, _MISSED, _INK = "#2a7f3f", "#b3261e", "#1f2933"
_INCHES_A_CASE: Final = 0.62
_INCHES_GROWTH: Final = 3.4


def draw(bench: Bench, path: Path) -> None:
    """Draw what was promised: times on the left, ratios with their targets on the right."""
    from matplotlib.figure import Figure

    reference = bench.reference
    shown = [case for case in bench.cases if case.spread(OURS) is not None]
    promised = [case for case in shown if case.ratio(OURS, reference or OURS) is not None]
    height = _INCHES_A_CASE * len(promised) + 2.0
    below = _INCHES_GROWTH if bench.growth else 0.0
    figure = Figure(figsize=(13, height + below), layout="constrained")
    halves = figure.subfigures(2, 1, squeeze=False, height_ratios=[height, max(below, 0.01)])
    upper, lower = halves[:, 0]
    times, ratios = upper.subplots(1, 2, sharey=True, width_ratios=[5, 4])
    _draw_times(times, bench, promised)
    if reference is not None:
        _draw_ratios(ratios, promised, reference)
    if bench.growth:
        _draw_growth(lower.subplots(1, 2), bench.growth)
    facts = ", ".join(f"{name} {value}" for name, value in bench.machine.items())
    upper.suptitle("Spanbridge beside the reference CNI plugin\n", fontsize=14, color=_INK)
    handles, labels = times.get_legend_handles_labels()
    upper.legend(
        handles, labels, loc="upper center", ncols=3, frameon=False, bbox_to_anchor=(0.5, 0.97)
    )
    upper.supxlabel(
        f"whole processes, started the same way; {bench.launcher_ms.median:.2f} ms of each is the "
        f"start of any program ({facts})",
        fontsize=8,
        color="#52606d",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _draw_times(axes: "Axes", bench: Bench, shown: Sequence[Case]) -> None:
    drawn = [(bench.reference, "reference"), (OURS, "ours"), (FLOOR, "floor")]
    bars = [(each, colour) for each, colour in drawn if each is not None]
    thick = 0.8 / len(bars)
    for place, (contender, colour) in enumerate(bars):
        spreads = [(at, case.spread(contender)) for at, case in enumerate(shown)]
        there = [(at, spread) for at, spread in spreads if spread is not None]
        rows = [at - 0.4 + thick * (place + 0.5) for at, _ in there]
        medians = [spread.median for _, spread in there]
        axes.barh(rows, medians, thick * 0.92, color=_COLOURS[colour], label=contender.label)
        for row, (_, spread) in zip(rows, there, strict=True):
            axes.annotate(
                f"{_milliseconds(spread)}",
                (spread.median, row),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=7,
                color=_INK,
            )
    axes.set_yticks(range(len(shown)), [case.title for case in shown], fontsize=9)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds, median (logarithmic)")
    _tidy(axes)


def _draw_ratios(axes: "Axes", shown: Sequence[Case], reference: Contender) -> None:
    for at, case in enumerate(shown):
        ratio = case.ratio(OURS, reference)
        if ratio is None:
            continue
        met = case.met(reference)
        colour = _INK if met is None else _MET if met else _MISSED
        axes.plot([ratio.p25, ratio.p75], [at, at], color=colour, linewidth=2.5, alpha=0.45)
        axes.plot([ratio.median], [at], "o", color=colour, markersize=7)
        axes.annotate(
            _ratio_text(ratio.median),
            (ratio.median, at),
            xytext=(0, 8),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=colour,
        )
        if case.target is not None:
            axes.plot([case.target.at_most] * 2, [at - 0.36, at + 0.36], color=_INK, linewidth=1.6)
    axes.axvline(1, color="#9aa5b1", linewidth=1, linestyle="--")
    axes.set_xscale("log")
    axes.set_xlabel(f"ratio to {reference.label} (line: middle half; bar: target)")
    axes.xaxis.set_major_formatter("{x:g}")
    _tidy(axes)


def _draw_growth(both: "Sequence[Axes]", points: Sequence[Growth]) -> None:
    """Draw seconds and memory by the number of clusters, beside a straight line to the last."""
    clusters = [each.clusters for each in points]
    last = points[-1]
    lines = [
        ("plan", [each.plan_s for each in points], _COLOURS["ours"]),
        ("lint", [each.lint_s for each in points], _COLOURS["floor"]),
    ]
    times, memory = both
    for label, seconds, colour in lines:
        times.plot([0, last.clusters], [0, seconds[-1]], "--", color="#9aa5b1", linewidth=1)
        times.plot(clusters, seconds, "o-", color=colour, label=label)
    times.set_title("plan and lint", fontsize=10)
    times.set_ylabel("seconds (dashed: linear growth)", fontsize=8)
    times.legend(frameon=False, fontsize=8)
    memory.plot(clusters, [each.resident_mib for each in points], "o-", color=_COLOURS["ours"])
    memory.set_title("resident at most", fontsize=10)
    memory.set_ylabel("MiB", fontsize=8)
    for axes in both:
        axes.set_xlabel("clusters", fontsize=8)
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)


def _tidy(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#e4e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.12, y=0.01)
