# SPDX-License-Identifier: Apache-2.0
"""Which fault, and where it strikes."""

from collections.abc import Sequence
from typing import Final, TypeVar

from spanbridge.base.errors import InputError, NodeError
from spanbridge.lab.faults.recipes import Fault, Scene, Scope
from spanbridge.lab.faults.steps import works_here
from spanbridge.lab.faults.table import FAULTS
from spanbridge.lab.runtime import Runtime
from spanbridge.lab.topology import Cluster, Node

_TRIALS: Final = {
    "netem": ("sch_netem", "tc qdisc add dev lo root netem delay 1ms"),
    "conntrack": (
        "nf_conntrack",
        "nft 'add table inet t; add chain inet t c; add rule inet t c ct state new drop'",
    ),
}
"""By need: the kernel's module, and a command that only works with it."""

_Named = TypeVar("_Named", Node, Cluster)
_ENDS: Final = 2
"""Of a way between clusters."""


def find_fault(name: str) -> Fault:
    """
    Find a fault by its name.

    Raises:
        InputError: There is none of that name.
    """
    if name not in FAULTS:
        raise InputError(
            f"cannot inject {name!r}: there is no such fault",
            hint="`spanbridge lab fault --list` names them",
        )
    return FAULTS[name]


def require_kernel(fault: Fault) -> None:
    """
    Make sure that the kernel has what a fault needs, by a trial in a namespace of its own.

    Raises:
        NodeError: It has not.
    """
    if not fault.needs:
        return
    module, command = _TRIALS[fault.needs]
    if not works_here(command):
        raise NodeError(
            f"cannot inject {fault.name}: this kernel has no {fault.needs} ({module})",
            hint=f"`modprobe {module}`, or a kernel that has it",
        )


def set_scene(runtime: Runtime, fault: Fault, at: str = "") -> tuple[Scene, str]:
    """
    Find where a fault strikes; without a choice that is the last node or cluster of the lab.

    Args:
        runtime: Of the lab.
        fault: Which.
        at: A node; a cluster; two clusters joined by a comma; empty for the usual place.

    Returns:
        The scene, and its name.

    Raises:
        InputError: There is no such place, or the fault does not strike such a one.
    """
    lab = runtime.lab
    match fault.scope:
        case Scope.NODE:
            node = _named(lab.nodes, at, fault) if at else lab.nodes[-1]
            home = next(each for each in lab.clusters if each.name == node.cluster)
            return Scene(runtime, (node,), (home,)), node.name
        case Scope.CLUSTER:
            cluster = _named(lab.clusters, at, fault) if at else lab.clusters[-1]
            return Scene(runtime, cluster.nodes, (cluster,)), cluster.name
        case Scope.LINK:
            pair = _two(lab.clusters, fault, at)
            nodes = tuple(node for cluster in pair for node in cluster.nodes)
            return Scene(runtime, nodes, pair), ",".join(each.name for each in pair)
    if at:
        raise InputError(f"cannot inject {fault.name} at {at!r}: it strikes {fault.scope}")
    return Scene(runtime, lab.nodes, lab.clusters), ""


def _named(choice: Sequence[_Named], name: str, fault: Fault) -> _Named:
    for each in choice:
        if each.name == name:
            return each
    raise InputError(
        f"cannot inject {fault.name} at {name!r}: it strikes a {fault.scope}",
        hint=f"give one of {', '.join(each.name for each in choice)}",
    )


def _two(clusters: tuple[Cluster, ...], fault: Fault, at: str) -> tuple[Cluster, Cluster]:
    if len(clusters) < _ENDS:
        raise InputError(f"cannot inject {fault.name}: the lab has one cluster only")
    if not at:
        return clusters[0], clusters[1]
    names = at.split(",")
    known = {each.name: each for each in clusters}
    if len(set(names)) != _ENDS or not set(names) <= set(known):
        raise InputError(
            f"cannot inject {fault.name} at {at!r}: it strikes two clusters",
            hint=f"give two of {', '.join(known)}, joined by a comma",
        )
    return known[names[0]], known[names[1]]
