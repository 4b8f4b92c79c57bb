# SPDX-License-Identifier: Apache-2.0
"""
A lab from its beginning to its end: up, demo, down.

Whatever stops `up` or `demo`, the lab is taken down before they return; what SIGKILL
leaves is found by name by the next `down`, `up` or `demo`.
"""

import contextlib
import ipaddress
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spanbridge.base.errors import InputError, NodeError, SpanbridgeError
from spanbridge.cni.install import built_shim, install
from spanbridge.lab.agents import agent_daemon, require_short_paths, start_agents
from spanbridge.lab.build import (
    build_dhcp,
    build_fabric,
    build_node,
    build_pod,
    find_netns,
    prepare_node,
    release_netns,
)
from spanbridge.lab.daemons import find_daemon
from spanbridge.lab.dhcp import Dnsmasq, about, await_released, start_dnsmasq
from spanbridge.lab.faults.records import read_entries
from spanbridge.lab.parallel import on_each
from spanbridge.lab.place import Place, Record
from spanbridge.lab.processes import end_processes
from spanbridge.lab.runtime import Runtime
from spanbridge.lab.topology import DHCP_NETNS, Lab, LabParameters, plan_lab, sync_pods

RELEASE_WAIT_S: Final = 10.0
"""Time for the DHCP server to take note of the last RELEASE."""

FAULTS_WAIT_S: Final = 10.0
"""Time for the lab to be whole again after faults that were cleared; it may never be."""

Step = Callable[[str], None]
"""Called with what is being done next, in a few words."""


def _silent(_: str) -> None:
    """Report no progress."""


@dataclass(frozen=True, slots=True)
class Removed:
    """
    What `down` did.

    Attributes:
        detached: Pods that the CNI program detached.
        leases: Addresses that were still reserved or leased after that; must be 0.
        released: Leases given back, by the DHCP server's log; None without a DHCP server.
        netns: Namespaces removed, by name.
        had_files: Whether there was a state directory.
        troubles: Failures that did not keep the rest from being removed.
    """

    detached: int = 0
    leases: int = 0
    released: int | None = None
    netns: tuple[str, ...] = ()
    had_files: bool = False
    troubles: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether every pod was detached in order and left no address behind."""
        return not self.troubles and not self.leases

    def __bool__(self) -> bool:
        """Tell whether there was anything to remove."""
        return bool(self.netns) or self.had_files


@dataclass(frozen=True, slots=True)
class Up:
    """
    What `up` did.

    Attributes:
        runtime: Of the lab that is up.
        new: It has just been built; False: it was up already.
        restarted: Agents and servers that did not run, by name, in a lab that was up already.
    """

    runtime: Runtime
    new: bool
    restarted: tuple[str, ...] = ()


def up(
    parameters: LabParameters, place: Place, *, bin_dir: Path | None = None, step: Step = _silent
) -> Up:
    """
    Build a lab and attach its virt-handlers.

    A lab of these very parameters that is up already is left as it is; what ended of its
    agents and its DHCP server is started again.

    Args:
        parameters: What to build.
        place: Where its files go.
        bin_dir: CNI programs to use; None installs ours.
        step: Called with the progress.

    Raises:
        InputError: The parameters cannot be used, or not together.
        NodeError: A different lab is up, or the node refused something.
    """
    lab = plan_lab(parameters)
    require_usable(lab, place, bin_dir)
    record = place.read()
    if record is not None and is_up(record):
        if record.parameters == parameters and bin_dir in (None, record.bin_dir):
            runtime = Runtime(lab, place, record.bin_dir)
            return Up(runtime, new=False, restarted=_restart(runtime, step))
        raise NodeError(
            f"cannot bring the lab up: another is up ({describe(record.parameters)})",
            hint="run `spanbridge lab down` first",
        )
    clear_leftovers(place, step=step)
    try:
        return Up(_build(lab, place, bin_dir=bin_dir, step=step), new=True)
    except BaseException:
        down(place)
        raise


def require_usable(lab: Lab, place: Place, bin_dir: Path | None) -> None:
    """
    Make sure that a plan fits what it is built with and where.

    Raises:
        InputError: It does not.
    """
    if lab.dhcp is not None and bin_dir is not None:
        raise InputError(
            f"cannot use --ipam dhcp with the programs in {bin_dir}: "
            "the lab runs our agent only, and no DHCP daemon of others",
            hint="use --ipam host-local with --bin-dir",
        )
    require_short_paths(lab, place)


def _build(lab: Lab, place: Place, *, bin_dir: Path | None, step: Step) -> Runtime:
    programs = bin_dir or place.bin_dir
    place.write(Record(lab.parameters, programs, complete=False))
    if bin_dir is None:
        install(programs, shim=built_shim())
    runtime = Runtime(lab, place, programs)
    step("building the fabric, its trunks and the nodes")
    build_fabric(lab)
    for node in lab.nodes:
        build_node(lab, node)
        build_pod(node.handler)
    prepared = [node for node in lab.nodes if node.wiring.command]
    if prepared:
        step("preparing the nodes with spanbridge uplink ensure, as planned")
        for node in prepared:
            prepare_node(place, node)
    _start_daemons(runtime, step)
    step("attaching migration0 to every virt-handler with CNI ADD")
    on_each(lambda each: runtime.add(*each), lab.attachments())
    place.write(Record(lab.parameters, programs, complete=True))
    return runtime


def _start_daemons(runtime: Runtime, step: Step) -> None:
    lab, place = runtime.lab, runtime.place
    if lab.dhcp is not None:
        step("starting a DHCP server on the VLAN")
        build_dhcp(lab, lab.dhcp)
        start_dnsmasq(lab, place)
    if runtime.has_agents:
        step("starting an agent on every node")
        start_agents(place, lab.nodes)


def _restart(runtime: Runtime, step: Step) -> tuple[str, ...]:
    """Start again what does not run of a lab that was built, and name it."""
    lab, place, restarted = runtime.lab, runtime.place, []
    server = Dnsmasq(place).daemon
    if lab.dhcp is not None and find_daemon(server) is None:
        step("starting the DHCP server again")
        start_dnsmasq(lab, place)
        restarted.append(server.name)
    agents = {node: agent_daemon(place, node) for node in lab.nodes} if runtime.has_agents else {}
    ended = [node for node, agent in agents.items() if find_daemon(agent) is None]
    if ended:
        step("starting the agents again that have ended")
        start_agents(place, ended)
    return (*restarted, *(agents[node].name for node in ended))


def is_up(record: Record) -> bool:
    """Tell whether the lab of ``record`` was built to the end and still has all its namespaces."""
    lab = plan_lab(record.parameters)
    wanted = {node.netns for node in lab.nodes} | {node.handler.netns for node in lab.nodes}
    wanted |= {DHCP_NETNS} if lab.dhcp is not None else set()
    return record.complete and wanted <= set(find_netns())


def describe(parameters: LabParameters) -> str:
    """Say in one line what a lab is made of."""
    clusters = " and ".join(parameters.clusters)
    if parameters.planned is not None:
        count = len(parameters.planned.nodes)
        return f"{clusters}, {count} nodes, VLAN {parameters.vlan}, {parameters.subnet}, as planned"
    nodes = f"{parameters.nodes} node{'s' if parameters.nodes > 1 else ''} each"
    addresses = f"{parameters.subnet} by {parameters.ipam}"
    return f"{clusters}, {nodes}, VLAN {parameters.vlan}, {addresses}"


def open_lab(place: Place, *, whole: bool = True) -> Runtime:
    """
    Find the lab that is up.

    Args:
        place: Where its files are.
        whole: False also finds one that an interrupted command left, or that lost parts.

    Raises:
        NodeError: There is none.
    """
    record = place.read()
    if record is None or (whole and not is_up(record)):
        rest = record is not None or find_netns()
        cause = "what there is was left by an interrupted one" if rest else "none is up"
        raise NodeError(f"cannot find a lab: {cause}", hint="run `spanbridge lab up` first")
    return Runtime(plan_lab(record.parameters), place, record.bin_dir)


def clear_leftovers(place: Place, *, step: Step = _silent) -> None:
    """Remove what an interrupted lab left, saying so where there is something."""
    if find_netns() or place.directory.exists():
        step("removing what an interrupted lab left")
        down(place)


def down(place: Place, *, step: Step = _silent) -> Removed:
    """
    Detach the pods, then remove every namespace and file of a lab, whole or in pieces.

    Processes that still run in its namespaces are ended first; the agents and the DHCP
    server when every pod is detached, since they have a part in it.

    Raises:
        NodeError: Something is still there afterwards.
    """
    _clear_faults(place)
    step("detaching every pod with CNI DEL and removing the lab")
    end_processes(find_netns(), but=_daemons(place))
    detached, troubles = _detach(place)
    leases, released = _left(place)
    end_processes(find_netns())
    names = release_netns()
    had_files = place.remove()
    if rest := find_netns():
        raise NodeError(f"cannot remove the lab: {', '.join(rest)} still there")
    return Removed(detached, leases, released, names, had_files, troubles)


def _clear_faults(place: Place) -> None:
    """Take faults back as well as it goes, so that pods can be detached in order."""
    record = place.read()
    if record is None:
        return
    with contextlib.suppress(SpanbridgeError):
        if read_entries(place):
            from spanbridge.lab.faults.ledger import clear

            runtime = Runtime(plan_lab(record.parameters), place, record.bin_dir)
            clear(runtime, settle_s=FAULTS_WAIT_S)


def _daemons(place: Place) -> set[int]:
    """Find the agents and the DHCP server of the lab that is there."""
    record = place.read()
    if record is None:
        return set()
    daemons = [agent_daemon(place, node) for node in plan_lab(record.parameters).nodes]
    found = (find_daemon(each) for each in (*daemons, Dnsmasq(place).daemon))
    return {pid for pid in found if pid is not None}


def _left(place: Place) -> tuple[int, int | None]:
    """Count the addresses that are not free again, and the leases that were given back."""
    reserved, server = sum(1 for _ in _reservations(place)), Dnsmasq(place)
    if not server.log():
        return reserved, None
    left = await_released(server, timeout_s=RELEASE_WAIT_S)
    return reserved + len(left), len(about(server.log(), "DHCPRELEASE"))


def _detach(place: Place) -> tuple[int, tuple[str, ...]]:
    """Detach every pod that was attached, or begun to be; go on after failures and return them."""
    record = place.read()
    if record is None or not (record.bin_dir / "bridge").exists():
        return 0, ()
    runtime = Runtime(plan_lab(record.parameters), place, record.bin_dir)
    lab, there = runtime.lab, set(find_netns())
    on_demand = [(lab.outsider_node, lab.outsider), *((x.node, x.pod) for x in sync_pods(lab))]
    # As every runtime does: DEL also where ADD failed, or never told how it ended.
    attached = [
        (node, pod)
        for node, pod in (*lab.attachments(), *on_demand)
        if node.netns in there and (pod.netns in there or place.result_file(pod).exists())
    ]

    def detach(each: int) -> str:
        try:
            runtime.delete(*attached[each])
        except NodeError as error:
            return str(error)
        return ""

    answers = on_each(detach, range(len(attached)))
    return answers.count(""), tuple(filter(None, answers))


def _reservations(place: Place) -> Iterator[Path]:
    """Find the address reservations of all nodes and clusters: a file is named after each."""
    for file in place.directory.glob("*/*/networks/*/*"):
        try:
            ipaddress.ip_address(file.name)
        except ValueError:
            continue
        yield file


@contextmanager
def temporary_lab(
    parameters: LabParameters, place: Place, *, bin_dir: Path | None = None, step: Step = _silent
) -> Iterator[Runtime]:
    """
    Bring a lab up that is gone when the block ends, however it ends.

    Raises:
        NodeError: A lab is up already; it is left alone.
    """
    record = place.read()
    if record is not None and is_up(record):
        raise NodeError(
            f"cannot start the demo: a lab is up ({describe(record.parameters)})",
            hint="look at it with `spanbridge lab verify`, or remove it: `spanbridge lab down`",
        )
    made = up(parameters, place, bin_dir=bin_dir, step=step)
    try:
        yield made.runtime
    finally:
        if place.directory.exists() or find_netns():
            down(place)
