# SPDX-License-Identifier: Apache-2.0
"""
A lab from its beginning to its end: up, demo, down.

Whatever stops `up` or `demo`, the lab is taken down before they return; what SIGKILL
leaves is found by name by the next `down`, `up` or `demo`.
"""

import ipaddress
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from spanbridge.base.errors import NodeError
from spanbridge.cni.install import install
from spanbridge.lab.build import build_fabric, build_node, build_pod, find_netns, release_netns
from spanbridge.lab.parallel import on_each
from spanbridge.lab.place import Place, Record
from spanbridge.lab.processes import end_processes
from spanbridge.lab.runtime import Runtime
from spanbridge.lab.topology import Lab, LabParameters, plan_lab

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
        leases: Address reservations that were left after that; must be 0.
        netns: Namespaces removed, by name.
        had_files: Whether there was a state directory.
        troubles: Failures that did not keep the rest from being removed.
    """

    detached: int = 0
    leases: int = 0
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


def up(
    parameters: LabParameters, place: Place, *, bin_dir: Path | None = None, step: Step = _silent
) -> tuple[Runtime, bool]:
    """
    Build a lab and attach its virt-handlers.

    Args:
        parameters: What to build.
        place: Where its files go.
        bin_dir: CNI programs to use; None installs ours.
        step: Called with the progress.

    Returns:
        The runtime of the lab, and whether it has just been built: a lab of these very
        parameters that is up already is left as it is.

    Raises:
        InputError: The parameters cannot be used.
        NodeError: A different lab is up, or the node refused something.
    """
    lab = plan_lab(parameters)
    record = place.read()
    if record is not None and is_up(record):
        if record.parameters == parameters and bin_dir in (None, record.bin_dir):
            return Runtime(lab, place, record.bin_dir), False
        raise NodeError(
            f"cannot bring the lab up: another is up ({describe(record.parameters)})",
            hint="run `spanbridge lab down` first",
        )
    clear_leftovers(place, step=step)
    try:
        return _build(lab, place, bin_dir=bin_dir, step=step), True
    except BaseException:
        down(place)
        raise


def _build(lab: Lab, place: Place, *, bin_dir: Path | None, step: Step) -> Runtime:
    programs = bin_dir or place.bin_dir
    place.write(Record(lab.parameters, programs, complete=False))
    if bin_dir is None:
        install(programs)
    runtime = Runtime(lab, place, programs)
    step("building the fabric, its trunks and the nodes")
    build_fabric(lab)
    for node in lab.nodes:
        build_node(lab, node)
        build_pod(node.handler)
    step("attaching migration0 to every virt-handler with CNI ADD")
    on_each(lambda each: runtime.add(*each), lab.attachments())
    place.write(Record(lab.parameters, programs, complete=True))
    return runtime


def is_up(record: Record) -> bool:
    """Tell whether the lab of ``record`` was built to the end and still has all its namespaces."""
    lab = plan_lab(record.parameters)
    wanted = {node.netns for node in lab.nodes} | {node.handler.netns for node in lab.nodes}
    return record.complete and wanted <= set(find_netns())


def describe(parameters: LabParameters) -> str:
    """Say in one line what a lab is made of."""
    clusters = " and ".join(parameters.clusters)
    nodes = f"{parameters.nodes} node{'s' if parameters.nodes > 1 else ''} each"
    return f"{clusters}, {nodes}, VLAN {parameters.vlan}, {parameters.subnet}"


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

    Processes that still run in its namespaces are ended first.

    Raises:
        NodeError: Something is still there afterwards.
    """
    step("detaching every pod with CNI DEL and removing the lab")
    end_processes(find_netns())
    detached, troubles = _detach(place)
    leases = sum(1 for _ in _leases(place))
    names = release_netns()
    had_files = place.remove()
    if rest := find_netns():
        raise NodeError(f"cannot remove the lab: {', '.join(rest)} still there")
    return Removed(detached, leases, names, had_files, troubles)


def _detach(place: Place) -> tuple[int, tuple[str, ...]]:
    """Detach every pod that was attached, or begun to be; go on after failures and return them."""
    record = place.read()
    if record is None or not (record.bin_dir / "bridge").exists():
        return 0, ()
    runtime = Runtime(plan_lab(record.parameters), place, record.bin_dir)
    lab, there = runtime.lab, set(find_netns())
    # As every runtime does: DEL also where ADD failed, or never told how it ended.
    attached = [
        (node, pod)
        for node, pod in (*lab.attachments(), (lab.outsider_node, lab.outsider))
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


def _leases(place: Place) -> Iterator[Path]:
    """Find the address reservations on all nodes: host-local names a file after each address."""
    for file in place.directory.glob("nodes/*/networks/*/*"):
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
    runtime, _ = up(parameters, place, bin_dir=bin_dir, step=step)
    try:
        yield runtime
    finally:
        if place.directory.exists() or find_netns():
            down(place)
