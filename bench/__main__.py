# SPDX-License-Identifier: Apache-2.0
"""``python -m bench``: measure, show, write JSON and a picture."""

import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from bench import cases, show
from bench.contenders import (
    GO_VERSION,
    Programs,
    build_reference,
    find_references,
    oneshot_programs,
    running_agent,
    shim_programs,
)
from bench.figures import Bench, Case, Target, render_bench
from bench.growth import growth
from bench.launch import BenchError
from spanbridge.testing import sandbox

PROJECT: Final = Path(__file__).parents[1]
CACHE: Final = PROJECT / ".cache/bench"

TABLE_WIDTH: Final = 160
"""Columns, where no terminal says how many there are."""

ADD, DEL = Target(0.30), Target(0.95)
ADD_MASQ, DEL_MASQ = Target(0.15), Target(0.35)
ADDS, DELS = Target(0.30), Target(0.10)
RSS: Final = Target(60, "MiB")


def _measure(bed: cases.Bed, oneshot: Programs, console: Console) -> Bench:
    started = time.monotonic()

    def say(what: str) -> None:
        console.print(f"[dim]{time.monotonic() - started:5.0f} s[/]  {what}")

    say("starting programs")
    launcher_ms = cases.launcher(bed)
    found: list[Case] = []
    say("one attachment after the other")
    found += cases.one_by_one(bed, "", "bridge and host-local", (ADD, DEL))
    say("the same with ipMasq")
    found += cases.one_by_one(bed, "-masq", "with ipMasq", (ADD_MASQ, DEL_MASQ), ipMasq=True)
    say("many attachments at a time")
    found += cases.many_at_once(bed, (ADDS, DELS))
    say("without an agent")
    found += cases.one_shot(bed, oneshot)
    found.append(cases.shim_alone(bed))
    say("addresses from a full range")
    found += cases.allocation(bed)
    say("memory of the agent")
    found += cases.memory(bed, RSS)
    more, points = growth(bed.place, bed.sizes.clusters, bed.sizes.nodes, say)
    found += more
    say("done")
    references = tuple(each.contender for each in bed.references)
    return Bench(_machine(), references, launcher_ms, found, points)


def _machine() -> dict[str, str]:
    return {
        "processors": str(os.cpu_count()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def _run(sizes: cases.Sizes, console: Console) -> Bench:
    references = find_references(CACHE)
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        oneshot = oneshot_programs(place)
        socket, _ = stack.enter_context(running_agent(place))
        bed = cases.Bed(place, sizes, references, shim_programs(place, socket))
        return _measure(bed, oneshot, console)


def _enter_sandbox(argv: Sequence[str], console: Console) -> None:
    """Build what needs the network, then go where nothing of the machine can be touched."""
    if (why := sandbox.missing(needed=[PROJECT, Path(sys.base_prefix)])) is not None:
        raise click.ClickException(f"cannot make a sandbox: {why}")
    CACHE.mkdir(parents=True, exist_ok=True)
    if why := build_reference(CACHE):
        console.print(f"no reference plugins {GO_VERSION}: {why}", style="yellow")
    sandbox.enter([sys.executable, "-m", "bench", *argv])


@click.command()
@click.option("--quick", is_flag=True, help="Only see that everything works; figures mean nothing.")
@click.option(
    "--json",
    "json_path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=CACHE / "bench.json",
    show_default=".cache/bench/bench.json",
    help="Where every figure is written.",
)
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    default=CACHE / "bench.png",
    show_default=".cache/bench/bench.png",
    help="Where the picture is written; .png or .svg.",
)
def main(*, quick: bool, json_path: Path, picture: Path) -> None:
    """
    Measure Spanbridge beside the reference plugins, in a sandbox.

    The reference is release 1.9.1, built from source where Go is, and what
    $REFERENCE_CNI or Debian's package containernetworking-plugins holds.
    Exits with 1 when a target was missed.
    """
    console = Console(stderr=True, highlight=False)
    if not sandbox.inside():
        _enter_sandbox(sys.argv[1:], console)
    try:
        bench = _run(cases.QUICK if quick else cases.Sizes(), console)
    except BenchError as exc:
        raise click.ClickException(str(exc)) from exc
    json_path.parent.mkdir(parents=True, exist_ok=True)
    json_path.write_text(json.dumps(render_bench(bench), indent=1) + "\n")
    show.draw(bench, picture)
    table = Console(highlight=False)
    table.width = table.width if table.is_terminal else TABLE_WIDTH
    show.tabulate(bench, table)
    console.print(f"wrote {json_path} and {picture}")
    if not quick and any(case.met(bench.reference) is False for case in bench.cases):
        sys.exit(1)


if __name__ == "__main__":
    main(prog_name="python -m bench")
