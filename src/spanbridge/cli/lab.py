# SPDX-License-Identifier: Apache-2.0
"""`spanbridge lab`: clusters on this machine that reach each other over a VLAN."""

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from spanbridge.agent.client import ask
from spanbridge.cli.exits import Exit
from spanbridge.cli.lab_fault import fault
from spanbridge.cli.lab_options import changing, state_dir
from spanbridge.cli.lab_view import show, view_plan, view_removed, view_status, view_verdict
from spanbridge.cli.lazy import LazyCommand, LazyGroup
from spanbridge.cli.options import examples, format_option
from spanbridge.cli.signals import ending_at_once
from spanbridge.cli.terminal import Steps, facts, progress_behind_pipe
from spanbridge.lab.ground import (
    Ground,
    observe_ground,
    require_ground,
    require_root,
    run_elsewhere,
)
from spanbridge.lab.leases import restart_agent
from spanbridge.lab.lifecycle import down as take_down
from spanbridge.lab.lifecycle import open_lab, require_usable, temporary_lab
from spanbridge.lab.lifecycle import up as bring_up
from spanbridge.lab.place import Place
from spanbridge.lab.planned import read_planned
from spanbridge.lab.proofs import Restart
from spanbridge.lab.runtime import Runtime
from spanbridge.lab.status import observe_lab, render_status
from spanbridge.lab.topology import IpamKind, LabParameters, plan_lab
from spanbridge.lab.verdict import render_verdict
from spanbridge.lab.verify import verify_lab

_Command = Callable[..., Any]
_DEFAULTS: Final = LabParameters()
_PLAN_DIR: Final = "spanbridge.lab.plan"


class _Names(click.ParamType[tuple[str, ...]]):
    """Names joined by commas."""

    name = "names"

    def convert(
        self,
        value: object,
        param: click.Parameter | None,  # noqa: ARG002  # click's own signature
        ctx: click.Context | None,  # noqa: ARG002  # click's own signature
    ) -> tuple[str, ...]:
        """Split; click also passes a default that is split already."""
        if isinstance(value, tuple):
            return value
        return tuple(name.strip() for name in str(value).split(","))


_bin_dir: Final = click.option(
    "--bin-dir",
    envvar="SPANBRIDGE_LAB_BIN_DIR",
    type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
    help="Use the CNI programs bridge and host-local that lie here, "
    "for example the reference ones in /usr/lib/cni. Default: install ours.",
)


def _planned(command: _Command) -> _Command:
    """Add the options that say what lab is meant; the command gets ``parameters``."""

    @click.option(
        "--clusters",
        type=_Names(),
        default=",".join(_DEFAULTS.clusters),
        show_default=True,
        help="Names, joined by commas.",
    )
    @click.option(
        "--nodes", default=_DEFAULTS.nodes, show_default=True, help="Nodes in each cluster."
    )
    @click.option(
        "--vlan", default=_DEFAULTS.vlan, show_default=True, help="VLAN of the migration network."
    )
    @click.option("--subnet", default=_DEFAULTS.subnet, show_default=True, help="Its IPv4 subnet.")
    @click.option("--mtu", default=_DEFAULTS.mtu, show_default=True, help="Its MTU, in bytes.")
    @click.option(
        "--ipam",
        type=click.Choice([kind.value for kind in IpamKind]),
        help="Who hands out addresses: a DHCP server on the VLAN, or each node from its part of "
        "the subnet.  [default: dhcp; with --bin-dir host-local]",
    )
    @click.option(
        "--plan",
        "plan_dir",
        type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
        help="Build it from what `spanbridge plan -o DIR` wrote, which says all the rest; --nodes "
        "counts where the plan names no nodes.",
    )
    @_bin_dir
    @state_dir
    @functools.wraps(command)
    def with_parameters(  # noqa: PLR0913  # one argument each option
        *,
        clusters: tuple[str, ...],
        nodes: int,
        vlan: int,
        subnet: str,
        mtu: int,
        ipam: str | None,
        plan_dir: Path | None,
        **others: object,
    ) -> object:
        if plan_dir is not None:
            return command(parameters=_read_plan(plan_dir, nodes), **others)
        usual = IpamKind.HOST_LOCAL if others["bin_dir"] else IpamKind.DHCP
        kind = IpamKind(ipam) if ipam else usual
        parameters = LabParameters(clusters, nodes, vlan=vlan, subnet=subnet, mtu=mtu, ipam=kind)
        return command(parameters=parameters, **others)

    return with_parameters


def _read_plan(directory: Path, nodes: int) -> LabParameters:
    """Read a plan; what it says cannot be said once more."""
    context = click.get_current_context()
    for name in ("clusters", "vlan", "subnet", "mtu", "ipam"):
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"--plan says what --{name} would")
    context.meta[_PLAN_DIR] = directory
    return read_planned(directory, nodes=nodes)


# What these import takes long in an emulated guest.
_LAZY: Final = {
    "migrate": LazyCommand(
        "spanbridge.cli.lab_migrate",
        "migrate_command",
        "Move a running virtual machine to another node of the lab.",
    ),
    "vm": LazyCommand(
        "spanbridge.cli.lab_migrate",
        "vm_group",
        "Virtual machines of the lab; `lab migrate` starts them.",
    ),
}


@click.group(
    cls=LazyGroup,
    lazy=_LAZY,
    epilog=examples(
        "spanbridge lab demo",
        "sudo spanbridge lab up --clusters east,west --nodes 3 --vlan 7",
        "sudo spanbridge lab verify",
        "sudo spanbridge lab migrate web --to west",
        "sudo spanbridge lab fault uplink-without-vlan",
        "sudo spanbridge lab down",
    ),
)
def lab() -> None:
    """
    Clusters on this machine that reach each other over a VLAN.

    Every node and every pod is a network namespace named sb-lab-..., joined by a switch
    that trunks the VLAN. Pods are attached by executing the CNI program `bridge`, as a
    container runtime does. The machine's own network is not touched.
    """


lab.add_command(fault)


@lab.command(
    epilog=examples(
        "sudo spanbridge lab up",
        "sudo spanbridge lab up --nodes 4 --mtu 9000",
        "sudo spanbridge lab up --plan plan",
    )
)
@_planned
def up(*, parameters: LabParameters, place: Place, bin_dir: Path | None) -> None:
    """
    Build the lab and leave it up.

    Where the same lab is up already, starts those agents again that have ended, and
    changes nothing else; removes first what an interrupted one left. Needs root and a
    kernel with bridge VLAN filtering.
    """
    require_usable(plan_lab(parameters), place, bin_dir)
    require_ground()
    with changing() as steps:
        made = bring_up(parameters, place, bin_dir=bin_dir, step=steps)
    show(facts(), *view_plan(made.runtime))
    again = (
        f"started again: {', '.join(made.restarted)}" if made.restarted else "nothing was changed"
    )
    click.echo("The lab is up." if made.new else f"The lab was up already; {again}.")
    click.echo("Next: spanbridge lab verify, spanbridge lab status, spanbridge lab down")


@lab.command(
    epilog=examples("sudo spanbridge lab status", "sudo spanbridge lab status --format json")
)
@format_option("text", "json")
@state_dir
def status(*, output_format: str, place: Place) -> int:
    """
    Show nodes, bridges, uplinks, VLANs and pods as the kernel has them, agents and leases.

    Exit code 1 when something is not as it was built.
    """
    require_root()
    found = observe_lab(open_lab(place, whole=False), ask=ask)
    if output_format == "json":
        click.echo(json.dumps(render_status(found), indent=2))
    else:
        show(facts(), *view_status(found))
    return Exit.FINE if found.up else Exit.FINDINGS


@lab.command(
    epilog=examples("sudo spanbridge lab verify", "sudo spanbridge lab verify --format json")
)
@format_option("text", "json")
@state_dir
def verify(*, output_format: str, place: Place) -> int:
    """
    Prove that every virt-handler reaches every other over the VLAN, and only there.

    Pings all ordered pairs while the trunks are captured, then tries the same from a
    pod attached without the VLAN, which must reach nobody. With a DHCP server, also
    compares addresses with its leases, and looks who answers for the gateway's address.
    Exit code 1 when anything is not as it must be.
    """
    require_root()
    runtime = open_lab(place)
    with changing() as steps:
        verdict = verify_lab(runtime, step=steps)
    if output_format == "json":
        click.echo(json.dumps(render_verdict(verdict), indent=2))
    else:
        show(facts(), view_verdict(verdict))
    return Exit.FINE if verdict.passed else Exit.FINDINGS


@lab.command(epilog=examples("sudo spanbridge lab down"))
@state_dir
def down(*, place: Place) -> int:
    """
    Detach the pods and remove everything, also what a crash left.

    Nothing to remove is fine. Exit code 1 when a pod could not be detached in order;
    the lab is removed all the same.
    """
    require_root()
    with changing() as steps:
        removed = take_down(place, step=steps)
    if not removed:
        click.echo("No lab is up; there was nothing to remove.")
        return Exit.FINE
    show(facts(), *view_removed(removed))
    return Exit.FINE if removed.clean else Exit.FINDINGS


@lab.command(
    epilog=examples(
        "spanbridge lab demo",
        "spanbridge lab demo --nodes 3 --vlan 100",
        "spanbridge lab demo --ipam host-local",
        "spanbridge lab demo --bin-dir /usr/lib/cni",
    )
)
@_planned
def demo(*, parameters: LabParameters, place: Place, bin_dir: Path | None) -> int:
    """
    Bring the lab up, verify it, show what was proved, and remove it.

    With a DHCP server, an agent is killed and started again before the lab is verified.
    Runs in a guest kernel where this one has no VLAN filtering, and in a user
    namespace where you are not root; it says so. Leaves nothing behind, also after
    Ctrl-C.
    """
    require_usable(plan_lab(parameters), place, bin_dir)
    choice = observe_ground()
    if choice.ground is Ground.HERE:
        return _demo_here(parameters, place, bin_dir)
    click.echo(f"{choice.reason}: running in a {choice.ground.value}.", err=True)
    with ending_at_once():
        words = _render_words(parameters, place, bin_dir)
        return run_elsewhere(choice.ground, words, progress_behind_pipe())


def _demo_here(parameters: LabParameters, place: Place, bin_dir: Path | None) -> int:
    with changing() as steps:
        with temporary_lab(parameters, place, bin_dir=bin_dir, step=steps) as runtime:
            restart = _restart(runtime, steps)
            verdict = dataclasses.replace(verify_lab(runtime, step=steps), restart=restart)
            removed = take_down(place, step=steps)
        steps.done()
        show(facts(), *view_plan(runtime), view_verdict(verdict), *view_removed(removed))
    return Exit.FINE if verdict.passed and removed.clean else Exit.FINDINGS


def _restart(runtime: Runtime, steps: Steps) -> Restart | None:
    """Let an agent of the last cluster crash, where one keeps a lease."""
    if runtime.lab.dhcp is None:
        return None
    node = runtime.lab.clusters[-1].nodes[0]
    steps(f"killing the agent of {node.name}; its successor renews the lease")
    return restart_agent(runtime, node, ask=ask)


def _render_words(parameters: LabParameters, place: Place, bin_dir: Path | None) -> list[str]:
    """Write the command line of the same demo."""
    if directory := click.get_current_context().meta.get(_PLAN_DIR):
        words = ["lab", "demo", "--plan", str(directory), "--nodes", str(parameters.nodes)]
        words += ["--state-dir", str(place.directory)]
        return words + (["--bin-dir", str(bin_dir)] if bin_dir else [])
    words = ["lab", "demo", "--clusters", ",".join(parameters.clusters)]
    words += ["--nodes", str(parameters.nodes), "--vlan", str(parameters.vlan)]
    words += ["--subnet", parameters.subnet, "--mtu", str(parameters.mtu)]
    words += ["--ipam", parameters.ipam, "--state-dir", str(place.directory)]
    return words + (["--bin-dir", str(bin_dir)] if bin_dir else [])
