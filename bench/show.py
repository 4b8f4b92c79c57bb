# SPDX-License-Identifier: Apache-2.0
"""The figures as a table for the terminal, and as a picture."""

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.figures import FLOOR, OURS, Bench, Case, Contender, Spread


def _milliseconds(spread: Spread | None) -> str:
    if spread is None:
        return ""
    return f"{spread.median:.2f}" if spread.median < 100 else f"{spread.median:.0f}"


def _ratio(case: Case, reference: Contender | None) -> Text:
    if case.target is not None and case.target.unit:
        figure = case.figure
        return Text("" if figure is None else f"{figure:.1f} {case.target.unit}")
    ratio = case.ratio(OURS, reference) if reference is not None else None
    if ratio is None:
        return Text("")
    spread = f"  {ratio.p25:.2f} to {ratio.p75:.2f}" if ratio.count > 1 else ""
    return Text(f"{ratio.median:.2f}").append(spread, style="dim")


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


def draw(bench: Bench, path: Path) -> None:
    """Draw the picture."""
    path.touch()
