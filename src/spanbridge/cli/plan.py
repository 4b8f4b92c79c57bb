# SPDX-License-Identifier: Apache-2.0
"""`spanbridge plan`: manifests for every cluster, with addresses that cannot collide."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spanbridge.cli.exits import Exit
from spanbridge.cli.options import examples, format_option

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from spanbridge.kube.directory import Change
    from spanbridge.stretch.plan import Plan

_SHOWN = 20
"""Files named on a terminal; the rest is counted."""


@click.command(
    epilog=examples(
        "spanbridge plan network.yaml -o plan",
        "spanbridge plan network.yaml -o plan --diff",
        "spanbridge plan network.yaml -o plan --check",
        "spanbridge plan network.yaml -o plan --reclaim east",
    )
)
@click.argument("intent", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    "directory",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the files are written, and the lock that keeps addresses where they are.",
)
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 when DIR is out of date.")
@click.option("--diff", is_flag=True, help="Write nothing; show what would change.")
@click.option(
    "--reclaim",
    multiple=True,
    metavar="NAME",
    help="Give back what a removed cluster, or CLUSTER/NODE, had; no pod may use it any more.",
)
@click.option(
    "--move",
    multiple=True,
    metavar="NAME",
    help="Let a cluster, or CLUSTER/NODE, get new addresses; take the network off it first.",
)
@format_option("text", "json")
def plan(  # noqa: PLR0913  # one argument each option
    *,
    intent: Path,
    directory: Path,
    check: bool,
    diff: bool,
    reclaim: tuple[str, ...],
    move: tuple[str, ...],
    output_format: str,
) -> int:
    """
    Plan a migration network and write what each cluster needs into DIR.

    INTENT is a YAML or JSON file of kind MigrationNetwork. Each cluster gets a directory
    with manifests, scripts and a README. Addresses that were given once never move:
    DIR/spanbridge.lock.json records them.
    """
    from spanbridge.kube.directory import apply_changes, compare, render_diff
    from spanbridge.kube.source import read_source
    from spanbridge.stretch.files import render_files
    from spanbridge.stretch.intent_file import find_intent, load_intent, located
    from spanbridge.stretch.lock import LOCK_FILE, Lock, parse_lock
    from spanbridge.stretch.planner import Freed, plan_network

    document = find_intent(read_source(intent), str(intent))
    wanted = load_intent(document)
    lock_file = directory / LOCK_FILE
    lock = parse_lock(lock_file.read_text(), str(lock_file)) if lock_file.exists() else Lock()
    with located(document):
        made = plan_network(wanted, lock, Freed(reclaim, move))
    recorded = {**lock.files, LOCK_FILE: ""} if lock_file.exists() else lock.files
    changes = compare(directory, render_files(made), recorded)
    if diff:
        for line in render_diff(changes):
            click.echo(line)
    elif not check:
        apply_changes(directory, changes, first=LOCK_FILE)
    if not diff or output_format == "json":
        _show(made, changes, directory, output_format=output_format, written=not (check or diff))
    return Exit.FINDINGS if check and _pending(changes) else Exit.FINE


def _pending(changes: "Sequence[Change]") -> "list[Change]":
    return [change for change in changes if change.kind != "kept"]


def _show(
    made: "Plan",
    changes: "Sequence[Change]",
    directory: Path,
    *,
    output_format: str,
    written: bool,
) -> None:
    if output_format == "json":
        click.echo(json.dumps(_as_json(made, changes, written=written), indent=2))
        return
    for one in made.clusters:
        spans = one.all_spans
        shown = ", ".join(str(span) for span in spans[:4]) + (" ..." if len(spans) > 4 else "")
        click.echo(f"{one.cluster.name}: {shown or 'DHCP'} ({one.need} needed)")
    for note in (*made.notes, *_gathered_notes(made)):
        click.echo(f"note: {note}", err=True)
    for change in changes[:_SHOWN]:
        click.echo(f"{change.kind}: {directory / change.path}")
    if len(changes) > _SHOWN:
        click.echo(f"... and {len(changes) - _SHOWN} more")
    click.echo(_closing(_pending(changes), directory, written=written))


def _gathered_notes(made: "Plan") -> "Iterator[str]":
    """Say once what concerns many clusters."""
    concerned: dict[str, list[str]] = {}
    for one in made.clusters:
        for note in one.notes:
            concerned.setdefault(note, []).append(one.cluster.name)
    for note, names in concerned.items():
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        yield f"{', '.join(names[:4])}{more}: {note}"


def _closing(pending: "Sequence[Change]", directory: Path, *, written: bool) -> str:
    if not pending:
        return f"{directory} is up to date."
    if written:
        return f"{len(pending)} files changed. Next: read {directory / 'README.md'}"
    return f"{directory} is out of date: {len(pending)} files would change."


def _as_json(made: "Plan", changes: "Sequence[Change]", *, written: bool) -> dict[str, object]:
    return {
        "network": made.intent.name,
        "written": written,
        "clusters": [
            {
                "name": one.cluster.name,
                "needed": one.need,
                "addresses": [str(span) for span in one.all_spans],
                "nodes": {node.name: [str(span) for span in node.spans] for node in one.nodes},
                "notes": list(one.notes),
            }
            for one in made.clusters
        ],
        "notes": list(made.notes),
        "changes": [{"path": change.path, "kind": change.kind} for change in changes],
    }
