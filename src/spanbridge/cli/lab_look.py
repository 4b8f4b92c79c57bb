# SPDX-License-Identifier: Apache-2.0
"""`spanbridge lab status` and `lab verify`: looking at a lab that is up."""

import json

import click

from spanbridge.agent.client import ask
from spanbridge.cli.exits import Exit
from spanbridge.cli.lab_options import changing, state_dir
from spanbridge.cli.lab_view import show, view_status, view_verdict
from spanbridge.cli.options import examples, format_option
from spanbridge.cli.terminal import facts
from spanbridge.lab.ground import require_root
from spanbridge.lab.lifecycle import open_lab
from spanbridge.lab.place import Place
from spanbridge.lab.status import observe_lab, render_status
from spanbridge.lab.verdict import render_verdict
from spanbridge.lab.verify import verify_lab


@click.command(
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


@click.command(
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
