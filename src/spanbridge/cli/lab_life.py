# SPDX-License-Identifier: Apache-2.0
"""`spanbridge lab up` and `lab down`."""

from pathlib import Path

import click

from spanbridge.cli.exits import Exit
from spanbridge.cli.lab_options import changing, planned, state_dir
from spanbridge.cli.lab_view import show, view_plan, view_removed
from spanbridge.cli.options import examples
from spanbridge.cli.terminal import facts
from spanbridge.lab.ground import require_ground, require_root
from spanbridge.lab.lifecycle import down as take_down
from spanbridge.lab.lifecycle import require_usable
from spanbridge.lab.lifecycle import up as bring_up
from spanbridge.lab.place import Place
from spanbridge.lab.topology import LabParameters, plan_lab


@click.command(
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


@click.command(epilog=examples("sudo spanbridge lab down"))
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
