# SPDX-License-Identifier: Apache-2.0
"""`spanbridge lab fault`: faults to try the verifier, and oneself, on."""

import json
from collections.abc import Sequence

import click
from rich import box
from rich.table import Table

from spanbridge.agent.client import ask
from spanbridge.cli.lab_options import changing, state_dir
from spanbridge.cli.options import examples, format_option
from spanbridge.cli.terminal import facts
from spanbridge.lab.faults.ledger import clear, inject
from spanbridge.lab.faults.records import Entry, read_entries
from spanbridge.lab.faults.scenes import find_fault
from spanbridge.lab.faults.table import FAULTS
from spanbridge.lab.ground import require_root
from spanbridge.lab.lifecycle import open_lab
from spanbridge.lab.place import Place
from spanbridge.stretch.diagnose.catalogue import CAUSES


@click.command(
    epilog=examples(
        "spanbridge lab fault --list",
        "sudo spanbridge lab fault uplink-without-vlan",
        "sudo spanbridge lab fault uplink-down --at east-1",
        "sudo spanbridge lab fault link-cut --at east,west",
        "sudo spanbridge lab fault --clear uplink-down",
        "sudo spanbridge lab fault --clear",
    )
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--at",
    default="",
    metavar="NODE|CLUSTER",
    help="Where; two clusters are joined by a comma. Default: the last node or cluster, the "
    "first two clusters.",
)
@click.option("--list", "listing", is_flag=True, help="Show every fault there is.")
@click.option("--clear", "clearing", is_flag=True, help="Take faults back: those named, or all.")
@format_option("text", "json")
@state_dir
def fault(
    *,
    names: tuple[str, ...],
    at: str,
    listing: bool,
    clearing: bool,
    output_format: str,
    place: Place,
) -> None:
    """
    Give the lab that is up a real fault, or several, and take them back.

    Prints the commands that made the fault; what takes it back is written down before.
    Then `spanbridge verify --lab` should name the cause. After --clear the kernel's state
    is what it was; `lab down` needs none.
    """
    as_json = output_format == "json"
    if listing:
        _show_table(as_json=as_json)
        return
    if not names and not clearing:
        raise click.UsageError("name a fault, or give --list or --clear")
    if at and clearing:
        raise click.UsageError("--clear takes names, not --at")
    for name in names:
        find_fault(name)
    require_root()
    runtime = open_lab(place)
    with changing() as steps:
        if clearing:
            steps("taking faults back")
            done = clear(runtime, names, ask=ask)
        else:
            done = tuple(inject(runtime, name, at, step=steps) for name in names)
    if as_json:
        left = [_render(each) for each in read_entries(place)]
        key = "cleared" if clearing else "injected"
        click.echo(json.dumps({key: [_render(each) for each in done], "active": left}, indent=2))
    elif clearing:
        _show_cleared(done)
    else:
        _show_injected(done)


def _render(entry: Entry) -> dict[str, object]:
    return {
        "name": entry.name,
        "at": entry.at,
        "since": entry.since,
        "done": list(entry.done),
    }


def _show_injected(done: Sequence[Entry]) -> None:
    for each in done:
        click.echo(f"{each.label}: {FAULTS[each.name].text}")
        for line in each.done:
            click.echo(f"  {line}")
    click.echo("Next: spanbridge verify --lab, spanbridge lab fault --clear")


def _show_cleared(done: Sequence[Entry]) -> None:
    for each in done:
        click.echo(f"{each.label}: taken back")
        for step in each.undo:
            click.echo(f"  {step}")
    if not done:
        click.echo("The lab has no fault; there was nothing to take back.")


def _show_table(*, as_json: bool) -> None:
    if as_json:
        rows = [
            {
                "name": each.name,
                "text": each.text,
                "strikes": str(each.scope),
                "rows": list(each.rows),
                "code": each.code,
                "cause": CAUSES[each.code].title,
            }
            for each in FAULTS.values()
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("fault", no_wrap=True)
    for heading in ("strikes", "what happens", "verify names first"):
        table.add_column(heading)
    for each in FAULTS.values():
        cause = f"{each.code} {CAUSES[each.code].title}"
        table.add_row(each.name, str(each.scope), each.text, cause)
    facts().print(table)
