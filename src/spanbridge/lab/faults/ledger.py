# SPDX-License-Identifier: Apache-2.0
"""Giving faults to a lab, and taking them back."""

import contextlib
import functools
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from spanbridge.base.errors import InputError, NodeError, SpanbridgeError
from spanbridge.base.files import write_atomic
from spanbridge.lab.agents import Ask, agent_daemon
from spanbridge.lab.build import find_netns
from spanbridge.lab.daemons import find_daemon
from spanbridge.lab.faults.looking import ask as ask_tool
from spanbridge.lab.faults.recipes import Fault, Recipe
from spanbridge.lab.faults.records import Entry, read_entries, record_file, render_entry
from spanbridge.lab.faults.scenes import find_fault, require_kernel, set_scene
from spanbridge.lab.faults.steps import run_in, take
from spanbridge.lab.place import Place
from spanbridge.lab.pods import pod_address
from spanbridge.lab.runtime import Runtime
from spanbridge.lab.standin.standins import ensure_standins
from spanbridge.lab.topology import FABRIC_NETNS, POD_INTERFACE, Node

SETTLE_S: Final = 60.0
"""Time for ports to forward and a lease to be had again: a second, in a guest many."""

_POLL_S: Final = 0.05


# ---------------------------------------------------------------- making


def _silent(_: str) -> None:
    """Report no progress."""


def inject(
    runtime: Runtime, name: str, at: str = "", *, step: Callable[[str], None] = _silent
) -> Entry:
    """
    Give the lab a fault.

    Args:
        runtime: Of the lab.
        name: Of the fault.
        at: Where; see `set_scene`.
        step: Called with the progress.

    Raises:
        InputError: There is no such fault or place.
        NodeError: The kernel lacks something, another fault is in the way, or a step
            failed; what had been done by then is taken back.
    """
    fault = find_fault(name)
    scene, where = set_scene(runtime, fault, at)
    require_kernel(fault)
    _require_apart(runtime.place, fault, where)
    _ensure_standins(runtime, fault, step)
    step(f"injecting {name}")
    recipe = fault.plan(scene)
    _require_apart(runtime.place, fault, where, recipe)
    entry = Entry(
        name=fault.name,
        at=where,
        since=datetime.now(UTC).isoformat(timespec="milliseconds"),
        undo=recipe.undo,
        touches=recipe.touches,
        sites=recipe.sites,
        done=tuple(map(str, recipe.make)),
    )
    file = record_file(runtime.place, fault.name, where)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, render_entry(entry))
    try:
        for each in recipe.make:
            take(runtime, each)
    except BaseException:
        _undo(runtime, entry)
        raise
    return entry


def _ensure_standins(runtime: Runtime, fault: Fault, step: Callable[[str], None]) -> None:
    """Have what is verified run before the fault: once it is there, that may not start."""
    try:
        ensure_standins(runtime, step)
    except NodeError:
        # An earlier fault may be in their way; it is not this one that hides then.
        if fault.standins:
            raise


def _require_apart(place: Place, fault: Fault, where: str, recipe: Recipe | None = None) -> None:
    for entry in read_entries(place):
        label = f"{fault.name} at {where}" if where else fault.name
        if (entry.name, entry.at) == (fault.name, where):
            raise NodeError(f"cannot inject {label}: the lab has it already", hint=_clear(entry))
        both = sorted(entry.touches & recipe.touches) if recipe else []
        if both:
            raise NodeError(
                f"cannot inject {label}: {entry.label} has changed {both[0]} already",
                hint=_clear(entry),
            )


def _clear(entry: Entry) -> str:
    return f"first: spanbridge lab fault --clear {entry.name}"


# ---------------------------------------------------------------- undoing


def clear(
    runtime: Runtime,
    names: Iterable[str] = (),
    *,
    ask: Ask | None = None,
    settle_s: float = SETTLE_S,
) -> tuple[Entry, ...]:
    """
    Take faults back, the last one first, and wait until the lab is whole again.

    Args:
        runtime: Of the lab.
        names: Of those to take back; none means all.
        ask: Asks an agent; None leaves leases alone.
        settle_s: How long to wait for that.

    Returns:
        What was taken back.

    Raises:
        InputError: The lab has no such fault; nothing was done.
        NodeError: A step failed; the fault stays on the list.
    """
    wanted, entries = set(names), read_entries(runtime.place)
    if missing := sorted(wanted - {each.name for each in entries}):
        there = ", ".join(each.label for each in entries) or "none"
        raise InputError(f"cannot clear {missing[0]}: the lab has no such fault; it has {there}")
    chosen = [each for each in reversed(entries) if not wanted or each.name in wanted]
    troubles = [trouble for entry in chosen for trouble in _undo(runtime, entry)]
    if troubles:
        raise NodeError("; ".join(troubles), hint="or take the lab down: `spanbridge lab down`")
    _forget_neighbours()
    busy = {site for each in read_entries(runtime.place) for site in each.sites}
    sites = {site for each in chosen for site in each.sites} - busy
    nodes = [node for node in runtime.lab.nodes if node.name in sites]
    _settle(runtime, nodes, ask, time.monotonic() + settle_s)
    return tuple(chosen)


def _undo(runtime: Runtime, entry: Entry) -> list[str]:
    """Take a fault back, every step of it; strike it off the list where all went well."""
    troubles = []
    for step in entry.undo:
        try:
            take(runtime, step)
        except SpanbridgeError as error:
            troubles.append(f"cannot clear {entry.label}: {error.message}")
    if not troubles:
        record_file(runtime.place, entry.name, entry.at).unlink(missing_ok=True)
    return troubles


def _forget_neighbours() -> None:
    """Let pods ask anew who has an address: it may have been somebody else's meanwhile."""
    for name in find_netns():
        # What is no pod, or has lost its device, knows nobody by it.
        with contextlib.suppress(NodeError):
            run_in(name, ("ip", "neighbour", "flush", "dev", POD_INTERFACE))


def _settle(runtime: Runtime, nodes: Sequence[Node], ask: Ask | None, deadline: float) -> None:
    """Wait until the ports of nodes forward and their pods have addresses; renew leases."""
    for node in nodes:
        _await(functools.partial(_forwards, node), deadline, f"{node.name} is not connected again")
    if runtime.lab.dhcp is not None and runtime.has_agents and ask is not None:
        for node in nodes:
            # A lease that came near its end meanwhile must not be the next fault.
            if find_daemon(agent_daemon(runtime.place, node)) is not None:
                ask(runtime.place.agent_socket(node), "renew")
    for node in nodes:
        trouble = f"the pod of {node.name} has no address again"
        _await(functools.partial(pod_address, node.handler), deadline, trouble)


def _await(happened: Callable[[], object], deadline: float, trouble: str) -> None:
    while not happened():
        if time.monotonic() > deadline:
            raise NodeError(f"cannot bring the lab back: {trouble}")
        time.sleep(_POLL_S)


def _forwards(node: Node) -> bool:
    ports = ((node.netns, node.wiring.uplink), (FABRIC_NETNS, node.name))
    return all(
        each.get("state") == "forwarding"
        for netns, port in ports
        for each in ask_tool(netns, "bridge", "-j", "link", "show", "dev", port) or [{}]
    )
