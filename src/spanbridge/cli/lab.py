# SPDX-License-Identifier: Apache-2.0
"""`spanbridge lab`: clusters on this machine that reach each other over a VLAN."""

from typing import Final

import click

from spanbridge.cli.lazy import LazyCommand, LazyGroup
from spanbridge.cli.options import examples

# What these import takes long in an emulated guest.
_LAZY: Final = {
    "demo": LazyCommand(
        "spanbridge.cli.lab_demo",
        "demo",
        "Bring the lab up, verify it, move a machine, show what was proved, and remove it.",
    ),
    "down": LazyCommand(
        "spanbridge.cli.lab_life",
        "down",
        "Detach the pods and remove everything, also what a crash left.",
    ),
    "fault": LazyCommand(
        "spanbridge.cli.lab_fault",
        "fault",
        "Give the lab that is up a real fault, or several, and take them back.",
    ),
    "migrate": LazyCommand(
        "spanbridge.cli.lab_migrate",
        "migrate_command",
        "Move a running virtual machine to another node of the lab.",
    ),
    "status": LazyCommand(
        "spanbridge.cli.lab_look",
        "status",
        "Show nodes, bridges, uplinks, VLANs and pods as the kernel has them, agents and leases.",
    ),
    "up": LazyCommand("spanbridge.cli.lab_life", "up", "Build the lab and leave it up."),
    "verify": LazyCommand(
        "spanbridge.cli.lab_look",
        "verify",
        "Prove that every virt-handler reaches every other over the VLAN, and only there.",
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
