# SPDX-License-Identifier: Apache-2.0
"""What a migration is asked to do."""

import enum
from dataclasses import dataclass
from typing import Final

from spanbridge.base.errors import InputError
from spanbridge.lab.topology import Lab, Node

CANCEL_BANDWIDTH_MIB: Final = 32
"""So slow a migration goes that is to be cancelled on the way: else it is over before."""


class Mode(enum.StrEnum):
    """When the guest moves: after its memory, or before it."""

    PRE_COPY = "pre-copy"
    POST_COPY = "post-copy"


@dataclass(frozen=True, slots=True)
class Options:
    """
    How to migrate.

    Attributes:
        mode: Pre-copy, or post-copy from the first moment.
        bandwidth_mib_per_s: At most so much; 0 is no limit.
        auto_converge: Slow the guest down where it writes faster than can be sent.
        cancel_at_percent: Cancel when so much of the memory has been sent; 0 is never.
        stall_s: Cancel when nothing was sent for so long.
        timeout_s: Cancel when it is not over by then.
    """

    mode: Mode = Mode.PRE_COPY
    bandwidth_mib_per_s: int = 0
    auto_converge: bool = False
    cancel_at_percent: int = 0
    stall_s: float = 30.0
    timeout_s: float = 300.0


def require_options(options: Options) -> None:
    """
    Make sure that the options fit together.

    Raises:
        InputError: They do not.
    """
    if options.mode is Mode.POST_COPY and options.cancel_at_percent:
        raise InputError(
            "cannot cancel a post-copy migration: its guest runs at the target from the start",
            hint="give --mode pre-copy, or no --cancel-at",
        )
    for option, value, least, most in (
        ("--bandwidth", options.bandwidth_mib_per_s, 0, 100_000),
        ("--cancel-at", options.cancel_at_percent, 0, 99),
        ("--stall", options.stall_s, 1, 3600),
        ("--timeout", options.timeout_s, 1, 86400),
    ):
        if not least <= value <= most:
            raise InputError(f"cannot use {option} {value:g}", hint=f"give {least} to {most}")


def find_target(lab: Lab, where: str, source: Node) -> Node:
    """
    Find the node that a user means.

    Args:
        lab: Where to look.
        where: ``CLUSTER``, which is its first node that the machine is not on, or
            ``CLUSTER/NODE``.
        source: Where the machine runs.

    Raises:
        InputError: There is no such node, or the machine is on it.
    """
    cluster, _, name = where.partition("/")
    nodes = [node for node in lab.nodes if node.cluster == cluster]
    if not nodes:
        known = ", ".join(each.name for each in lab.clusters)
        raise InputError(f"cannot migrate to {where}: no such cluster", hint=f"give {known}")
    if name:
        nodes = [node for node in nodes if node.name in {name, f"{cluster}-{name}"}]
        if not nodes:
            known = ", ".join(each.name for each in lab.nodes if each.cluster == cluster)
            raise InputError(f"cannot migrate to {where}: no such node", hint=f"give {known}")
    others = [node for node in nodes if node != source]
    if not others:
        raise InputError(
            f"cannot migrate to {where}: the virtual machine runs there",
            hint="give another node or cluster",
        )
    return others[0]
