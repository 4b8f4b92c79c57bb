# SPDX-License-Identifier: Apache-2.0
"""`spanbridge doctor`: what is wrong with this node, and the command that mends it."""

import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from spanbridge.cli.exits import Exit
from spanbridge.cli.options import examples, format_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spanbridge.agent.node_state import Look
    from spanbridge.cli.doctor_view import Mended
    from spanbridge.model.diagnosis import Diagnosis
    from spanbridge.model.node_state import NodeState
    from spanbridge.stretch.doctor import Options

_FILE: Final = click.Path(dir_okay=False, path_type=Path)
_DIRECTORY: Final = click.Path(file_okay=False, path_type=Path)
_ROUNDS: Final = 4
"""Repairs uncover others: first the bridge, then its uplink, then what that carries."""


@dataclass(frozen=True, slots=True)
class _Order:
    """
    What was asked for.

    Attributes:
        look: Where to look.
        options: What the administrator said about bridge, uplink and VLAN.
        probe: Ask by ARP.
        saved: A saved state to judge instead of this node; None for this node.
    """

    look: "Look"
    options: "Options"
    probe: bool
    saved: Path | None


@click.command(
    epilog=examples(
        "spanbridge doctor",
        "spanbridge doctor bridge-net.yaml",
        "spanbridge doctor --bridge br-mig --uplink eth1 --vlan 2 --fix",
        "spanbridge doctor --save node7.json",
        "spanbridge doctor --from node7.json --format json",
    )
)
@click.argument("confs", nargs=-1, metavar="[CONF]...", type=_FILE)
@click.option("--bridge", default="", metavar="BRIDGE", help="Look at this bridge only.")
@click.option("--uplink", default="", metavar="DEVICE", help="Leads to the other nodes.")
@click.option(
    "--vlan",
    type=click.IntRange(1, 4094),
    default=None,
    metavar="N",
    help="Has to reach the other nodes, whatever configurations say.",
)
@click.option("--fix", is_flag=True, help="Mend what takes nothing away from anybody; look again.")
@click.option("--no-probe", is_flag=True, help="Send no ARP probes on the uplink.")
@click.option("--save", type=_FILE, metavar="FILE", help="Write down what was seen.")
@click.option(
    "--from", "saved", type=_FILE, metavar="FILE", help="Judge what --save wrote, not this node."
)
@click.option(
    "--bin-dir",
    "bin_dirs",
    multiple=True,
    type=_DIRECTORY,
    help="Directory of CNI programs; may be repeated [default: the journal's, or /opt/cni/bin].",
)
@click.option(
    "--socket",
    type=click.Path(path_type=Path),
    envvar="SPANBRIDGE_SOCKET",
    help="The agent's socket [env: SPANBRIDGE_SOCKET; default: /run/spanbridge/agent.sock].",
)
@format_option("text", "json")
def doctor(  # noqa: PLR0913  # one parameter for each option
    *,
    confs: tuple[Path, ...],
    bridge: str,
    uplink: str,
    vlan: int | None,
    fix: bool,
    no_probe: bool,
    save: Path | None,
    saved: Path | None,
    bin_dirs: tuple[Path, ...],
    socket: Path | None,
    output_format: str,
) -> int:
    """
    Say what is wrong with this node, and which command mends it.

    Looks at the bridge, its uplink, VLANs and MTUs, at addresses, the agent, its leases and
    attachments. What is wanted of them stands in CONF (a CNI conf, a conflist or YAML with
    NetworkAttachmentDefinitions); without CONF in /etc/cni/net.d, /etc/cni/multus/net.d and
    the agent's journal. Changes nothing without --fix.

    Exits with 1 where something is wrong; what is only doubtful does not count.
    """
    if saved is not None and (fix or save is not None):
        raise click.UsageError("--from judges a file: it goes with neither --fix nor --save")
    from spanbridge.stretch.doctor import Options

    options = Options(bridge, uplink, vlan or 0)
    order = _Order(_look(confs, bin_dirs, socket), options, probe=not no_probe, saved=saved)
    state = _observe(order)
    if save is not None:
        _save(save, state)
    diagnoses = _judge(state, order)
    mended: list[Mended] | None = None
    if fix:
        mended = []
        diagnoses = _mend(order, diagnoses, mended)
    _show(diagnoses, mended, output_format)
    wrong = any(each.status == "fail" for each in diagnoses)
    return Exit.FINDINGS if wrong else Exit.FINE


def _look(confs: tuple[Path, ...], bin_dirs: tuple[Path, ...], socket: Path | None) -> "Look":
    from spanbridge.agent.node_state import Look
    from spanbridge.agent.settings import parse_places

    places = parse_places(os.environ)
    if socket is not None:
        places = replace(places, socket=socket)
    return Look(places, bin_dirs, confs)


def _observe(order: _Order) -> "NodeState":
    from spanbridge.agent.node_state import observe_node, probe, read_confs
    from spanbridge.base.errors import InputError
    from spanbridge.model.node_state import parse_node_state
    from spanbridge.stretch.doctor import list_questions

    if order.saved is not None:
        try:
            data = order.saved.read_bytes()
        except OSError as exc:
            raise InputError(f"cannot read {order.saved}: {exc.strerror}") from exc
        state = parse_node_state(data, str(order.saved))
        given = [each for path in order.look.confs for each in read_confs(path, given=True)]
        return replace(state, confs=tuple(given)) if given else state
    state = observe_node(order.look)
    if not order.probe:
        return replace(state, unprobed="--no-probe")
    asked = [(one.device, one.vlan, one.address) for one in list_questions(state, order.options)]
    return probe(state, asked)


def _judge(state: "NodeState", order: _Order) -> "tuple[Diagnosis, ...]":
    from spanbridge.stretch.doctor import diagnose

    return diagnose(state, order.options)


def _save(path: Path, state: "NodeState") -> None:
    from spanbridge.base.errors import InputError
    from spanbridge.base.files import write_atomic
    from spanbridge.model.node_state import render_node_state

    try:
        write_atomic(path, render_node_state(state).encode(), mode=0o600)
    except OSError as exc:
        raise InputError(f"cannot write {path}: {exc.strerror}") from exc


def _mend(
    order: _Order, diagnoses: "tuple[Diagnosis, ...]", mended: "list[Mended]"
) -> "tuple[Diagnosis, ...]":
    """Do what is safe and look again, as long as something new turns up."""
    tried: set[tuple[str, ...]] = set()
    for _ in range(_ROUNDS):
        todo = [
            each
            for each in diagnoses
            if each.remedy and each.remedy.safe and each.remedy.commands not in tried
        ]
        if not todo:
            break
        for each in todo:
            commands = each.remedy.commands if each.remedy else ()
            if commands not in tried:
                tried.add(commands)
                mended.append(_perform(each, order))
        diagnoses = _judge(_observe(order), order)
    return diagnoses


def _perform(diagnosis: "Diagnosis", order: _Order) -> "Mended":
    from spanbridge.agent.mend import perform
    from spanbridge.base.errors import SpanbridgeError
    from spanbridge.cli.doctor_view import Mended
    from spanbridge.rtnl import NetNs

    try:
        with NetNs.current() as host:
            for step in diagnosis.remedy.steps if diagnosis.remedy else ():
                perform(step, host, order.look.places)
    except SpanbridgeError as exc:
        return Mended(diagnosis, error=exc.message)
    return Mended(diagnosis)


def _show(
    diagnoses: "Sequence[Diagnosis]", mended: "Sequence[Mended] | None", output_format: str
) -> None:
    from spanbridge.cli import doctor_view as view

    if output_format == "json":
        document = {"checks": [view.diagnosis_json(each) for each in diagnoses]}
        if mended is not None:
            document["mended"] = [view.mended_json(each, diagnoses) for each in mended]
        click.echo(json.dumps(document, indent=2))
        return
    from rich.text import Text

    from spanbridge.cli.terminal import facts

    console = facts()
    signs = view.symbols(getattr(sys.stdout, "encoding", "") or "")
    lines = [line for each in diagnoses for line in view.diagnosis_lines(each, signs)]
    if mended is not None:
        lines += [Text(), *view.mended_lines(mended, diagnoses, signs)]
    for line in [*lines, view.summary(diagnoses)]:
        # Not wrapped: a command has to stay one line to be pasted.
        console.print(line, soft_wrap=True)
