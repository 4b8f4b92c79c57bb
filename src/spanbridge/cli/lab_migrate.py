# SPDX-License-Identifier: Apache-2.0
"""`spanbridge lab migrate` and `lab vm`: virtual machines that move between the clusters."""

import dataclasses
import functools
import json
from collections.abc import Callable
from typing import Any, Final

import click
from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from spanbridge.base.errors import InputError
from spanbridge.cli.exits import Exit
from spanbridge.cli.lab_options import changing, state_dir
from spanbridge.cli.options import examples, format_option
from spanbridge.cli.terminal import Steps, facts
from spanbridge.lab.ground import require_root
from spanbridge.lab.lifecycle import open_lab
from spanbridge.lab.migrate import Request, migrate
from spanbridge.lab.migration.request import Mode, Options, find_target, require_options
from spanbridge.lab.migration.standins import StandinCrossing
from spanbridge.lab.place import Place
from spanbridge.lab.runtime import Runtime
from spanbridge.lab.standin import ensure_standins
from spanbridge.lab.vm.life import start_machine, stop_machine
from spanbridge.lab.vm.machine import (
    Machine,
    Wanted,
    find_machine,
    is_running,
    read_machines,
    require_wanted,
)
from spanbridge.lab.vm.session import read_session
from spanbridge.model.timeline import Migration, Outcome, Sample

_MIB: Final = 1 << 20
_OPTIONS: Final = Options()
_WANTED: Final = Wanted("")
_Command = Callable[..., Any]


def _how(command: _Command) -> _Command:
    """Add the options that say how to migrate; the command gets ``options``."""

    @click.option(
        "--mode",
        type=click.Choice([mode.value for mode in Mode]),
        default=_OPTIONS.mode.value,
        show_default=True,
        help="The memory first and then the guest, or the guest first.",
    )
    @click.option(
        "--bandwidth", default=0, metavar="MIB", help="Send at most so many MiB a second."
    )
    @click.option(
        "--auto-converge",
        is_flag=True,
        help="Slow the guest down where it writes faster than can be sent.",
    )
    @click.option(
        "--cancel-at",
        default=0,
        metavar="PERCENT",
        help="Cancel when so much of the memory has been sent.",
    )
    @click.option(
        "--stall",
        default=_OPTIONS.stall_s,
        show_default=True,
        metavar="SECONDS",
        help="Cancel when nothing was sent for so long.",
    )
    @click.option(
        "--timeout",
        default=_OPTIONS.timeout_s,
        show_default=True,
        metavar="SECONDS",
        help="Cancel when it is not over by then.",
    )
    @functools.wraps(command)
    def with_options(  # one argument each option
        *,
        mode: str,
        bandwidth: int,
        auto_converge: bool,
        cancel_at: int,
        stall: float,
        timeout: float,
        **others: object,
    ) -> object:
        options = Options(
            mode=Mode(mode),
            bandwidth_mib_per_s=bandwidth,
            auto_converge=auto_converge,
            cancel_at_percent=cancel_at,
            stall_s=stall,
            timeout_s=timeout,
        )
        require_options(options)
        return command(options=options, **others)

    return with_options


@click.command(
    name="migrate",
    epilog=examples(
        "sudo spanbridge lab migrate web --to west",
        "sudo spanbridge lab migrate web --to east/east-2 --mode post-copy",
        "sudo spanbridge lab migrate web --to west --dirty 50 --auto-converge",
        "sudo spanbridge lab migrate web --to west --cancel-at 50",
        "sudo spanbridge lab migrate web --to west --format json",
    ),
)
@click.argument("vm")
@click.option("--to", "where", required=True, metavar="CLUSTER[/NODE]", help="Where to.")
@click.option(
    "--memory",
    type=int,
    metavar="MIB",
    help=f"Memory of a machine that is started.  [default: {_WANTED.memory_mib}]",
)
@click.option(
    "--dirty",
    type=int,
    metavar="MIB",
    help="How much memory it writes to in a second, all the time.  [default: 0]",
)
@_how
@format_option("text", "json")
@state_dir
def migrate_command(  # noqa: PLR0913  # one argument each option
    *,
    vm: str,
    where: str,
    memory: int | None,
    dirty: int | None,
    options: Options,
    output_format: str,
    place: Place,
) -> int:
    """
    Move a running virtual machine to another node of the lab.

    VM is a name; a machine that does not run is booted first, on the first node of the
    lab. Memory travels as KubeVirt sends it: from virt-handler to virt-handler, over
    migration0, by mutual TLS. Exit code 1 when the machine did not get there: it runs on
    where it was.
    """
    require_root()
    runtime = open_lab(place)
    with changing() as steps:
        wanted = Wanted(vm, None, memory or _WANTED.memory_mib, dirty or 0)
        machine = find_machine(place, vm)
        if machine is None:
            require_wanted(wanted)
            find_target(runtime.lab, where, runtime.lab.nodes[0])
        else:
            _require_same(machine, memory, dirty)
        migration = move(runtime, machine or wanted, where, options=options, steps=steps)
    if output_format == "json":
        click.echo(json.dumps(dataclasses.asdict(migration), indent=2))
    else:
        for shown in view_migration(migration):
            facts().print(shown)
    return Exit.FINE if migration.outcome is Outcome.COMPLETED else Exit.FINDINGS


def _require_same(machine: Machine, memory: int | None, dirty: int | None) -> None:
    """Refuse what can only be said of a machine that is started."""
    for option, value, has in (
        ("--memory", memory, machine.memory_mib),
        ("--dirty", dirty, machine.dirty_mib_per_s),
    ):
        if value is not None and value != has:
            raise InputError(
                f"cannot use {option} {value}: {machine.name} runs with {has}",
                hint=f"run `spanbridge lab vm stop {machine.name}` first",
            )


def move(
    runtime: Runtime, vm: Machine | Wanted, where: str, *, options: Options, steps: Steps
) -> Migration:
    """Migrate through the stand-ins, starting what does not run yet, with live progress."""
    standins = ensure_standins(runtime, steps)
    machine = vm if isinstance(vm, Machine) else start_machine(runtime, vm, step=steps)
    source = next(node for node in runtime.lab.nodes if node.name == machine.node)
    target = find_target(runtime.lab, where, source)
    crossing = StandinCrossing(runtime, standins)
    request = Request(machine, target, options)
    return migrate(
        runtime,
        request,
        crossing,
        step=steps,
        watch=lambda sample: steps.detail(render_progress(sample)),
    )


def render_progress(sample: Sample) -> str:
    """Say in one line how far a migration has come."""
    return (
        f"{_mib(sample.transferred_bytes)} sent, {_mib(sample.remaining_bytes)} left, "
        f"{_mib(sample.bytes_per_s)}/s; the guest writes {_mib(sample.dirty_bytes_per_s)}/s, "
        f"pass {sample.iteration}"
    )


def _mib(number: int) -> str:
    return f"{number / _MIB:.1f} MiB" if number < 10 * _MIB else f"{number / _MIB:.0f} MiB"


def view_migration(migration: Migration) -> list[RenderableType]:
    """Show one migration: a title, and a line for each thing that was measured."""
    done = migration.outcome is Outcome.COMPLETED
    title = f"{migration.vm}: {migration.source} to {migration.target}, {migration.mode}: "
    title += f"{migration.outcome} after {migration.total_ms / 1000:.1f} s"
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 1))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, text in _measured(migration):
        table.add_row(name, text)
    shown: list[RenderableType] = [Text(title, style="bold green" if done else "bold red"), table]
    if migration.error:
        shown.append(Text(migration.error, style="red"))
    return shown


def _measured(migration: Migration) -> list[tuple[str, str]]:
    rows = []
    if migration.samples:
        last = migration.samples[-1]
        sent = f"{_mib(last.transferred_bytes)} of memory in {last.iteration} passes"
        rows.append(("sent", sent if last.iteration > 1 else sent.removesuffix("es")))
    by_qemu = "none" if migration.downtime_ms is None else f"{migration.downtime_ms} ms"
    gap = f"longest gap of its counter {migration.seen_downtime_ms} ms"
    lost = f", {migration.lost_ticks} ticks lost" if migration.lost_ticks else ", no tick lost"
    rows.append(("guest paused", f"{by_qemu} by QEMU; {gap}{lost}"))
    rows.append(("migration0", f"{_mib(migration.migration0_bytes)} left the source by it"))
    rows.append(("elsewhere", f"{migration.elsewhere_bytes} bytes"))
    if migration.session_kept is not None:
        kept = "goes on" if migration.session_kept else "was lost"
        rows.append(("TCP session", f"of the guest {kept}"))
    return rows


@click.group(name="vm", epilog=examples("sudo spanbridge lab vm list"))
def vm_group() -> None:
    """Virtual machines of the lab; `lab migrate` starts them."""


@vm_group.command(
    name="list",
    epilog=examples("sudo spanbridge lab vm list", "spanbridge lab vm list --format json"),
)
@format_option("text", "json")
@state_dir
def list_command(*, output_format: str, place: Place) -> None:
    """Show every virtual machine: where it runs, on what, and its TCP session."""
    require_root()
    open_lab(place)
    rows = [_render_machine(place, machine) for machine in read_machines(place)]
    if output_format == "json":
        click.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        click.echo("The lab has no virtual machine; `spanbridge lab migrate` starts one.")
        return
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for heading in ("machine", "node", "address", "memory", "processor", "TCP session"):
        table.add_column(heading)
    for row in rows:
        session = "alive" if row["session"] else "none"
        runs = str(row["node"]) if row["runs"] else "does not run"
        memory = f"{row['memory_mib']} MiB"
        table.add_row(
            str(row["name"]), runs, str(row["address"]), memory, str(row["accelerator"]), session
        )
    facts().print(table)


def _render_machine(place: Place, machine: Machine) -> dict[str, object]:
    runs = is_running(place, machine)
    session = read_session(place, machine.name) if runs else None
    return {
        "name": machine.name,
        "runs": runs,
        "node": machine.node,
        "address": machine.address,
        "memory_mib": machine.memory_mib,
        "dirty_mib_per_s": machine.dirty_mib_per_s,
        "accelerator": machine.accelerator,
        "session": session is not None and session.open,
    }


@vm_group.command(name="stop", epilog=examples("sudo spanbridge lab vm stop web"))
@click.argument("vm")
@state_dir
def stop_command(*, vm: str, place: Place) -> int:
    """End a virtual machine at once; `lab down` ends all."""
    require_root()
    open_lab(place)
    with changing() as steps:
        steps(f"stopping {vm}")
        stopped = stop_machine(place, vm)
    click.echo(f"{vm} is stopped." if stopped else f"{vm} does not run.")
    return Exit.FINE
