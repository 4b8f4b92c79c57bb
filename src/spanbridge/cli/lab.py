# SPDX-License-Identifier: Apache-2.0
"""`spanbridge lab`: clusters on this machine that reach each other over a VLAN."""

import json
from pathlib import Path
from typing import Final

import click

from spanbridge.agent.client import ask
from spanbridge.cli.exits import Exit
from spanbridge.cli.lab_fault import fault
from spanbridge.cli.lab_options import changing, planned, state_dir
from spanbridge.cli.lab_view import show, view_plan, view_removed, view_status, view_verdict
from spanbridge.cli.lazy import LazyCommand, LazyGroup
from spanbridge.cli.options import examples, format_option
from spanbridge.cli.terminal import facts
from spanbridge.lab.ground import (
    require_ground,
    require_root,
)
from spanbridge.lab.lifecycle import down as take_down
from spanbridge.lab.lifecycle import open_lab, require_usable
from spanbridge.lab.lifecycle import up as bring_up
from spanbridge.lab.place import Place
from spanbridge.lab.status import observe_lab, render_status
from spanbridge.lab.topology import LabParameters, plan_lab
from spanbridge.lab.verdict import render_verdict
from spanbridge.lab.verify import verify_lab

# What these import takes long in an emulated guest.
_LAZY: Final = {
    "demo": LazyCommand(
        "spanbridge.cli.lab_demo",
        "demo",
        "Bring the lab up, verify it, move a machine, show what was proved, and remove it.",
    ),
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
@planned
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
