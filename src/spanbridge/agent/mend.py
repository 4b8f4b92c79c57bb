# SPDX-License-Identifier: Apache-2.0
"""Performing the steps of a remedy on the node, by our own code instead of a shell."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Final

from spanbridge.agent.client import ask
from spanbridge.agent.settings import Places
from spanbridge.base.errors import BugError, NodeError
from spanbridge.base.names import IfIndex
from spanbridge.bridge import Site
from spanbridge.bridge.uplink.changes import ensure
from spanbridge.bridge.uplink.record import Ledger
from spanbridge.model.repair import (
    AllowVlans,
    AskAgent,
    Enslave,
    EnsureUplink,
    FilterVlans,
    ForbidVlans,
    MakeBridge,
    Paste,
    RemoveLink,
    SetMtu,
    SetSysctl,
    SetUp,
    Step,
    spell_span,
)
from spanbridge.model.uplink import parse_wish
from spanbridge.rtnl import (
    Message,
    NetNs,
    Rtnl,
    add_vlans,
    del_link,
    del_vlans,
    new_bridge,
    set_bridge,
    set_link,
)

UP_WAIT_S: Final = 5.0
"""Seconds for a link to come up, so that what is looked at next is not halfway."""

_DONE: Final = frozenset({errno.EEXIST})


def perform(step: Step, host: NetNs, places: Places) -> None:
    """
    Do one step in a node's namespace.

    Args:
        step: What to do.
        host: The namespace.
        places: Where locks and the records of uplinks are.

    Raises:
        KernelError: The kernel refused.
        NodeError: The link or the agent is not there.
        BugError: It is nothing for us to do.
    """
    match step:
        case AskAgent():
            ask(Path(step.socket), step.query)
        case EnsureUplink():
            _ensure_uplink(step, host, places)
        case SetSysctl():
            host.write_sysctls([(step.name, step.value)])
        case Paste():
            raise BugError(f"cannot do {step.lines!r}: it is for an administrator")
        case _:
            with Rtnl.open(host) as node:
                _change_link(step, node)


def _ensure_uplink(step: EnsureUplink, host: NetNs, places: Places) -> None:
    """Do what the command does, but leave the files of the node's network manager alone."""
    vlans = [spell_span(each) for each in step.spans]
    wish = parse_wish(step.device, step.bridge, vlans, step.mtu)
    with Site(host, None, sandbox_path="", run_dir=places.run_dir) as site:
        ensure(site, Ledger(places.state_dir / "uplinks"), wish)
        _settle(step.device, site.node)


_LinkStep = (
    MakeBridge | FilterVlans | SetUp | SetMtu | Enslave | AllowVlans | ForbidVlans | RemoveLink
)


def _change_link(step: _LinkStep, node: Rtnl) -> None:
    match step:
        case MakeBridge():
            _make_bridge(step, node)
        case FilterVlans():
            node.request(set_bridge(step.bridge, vlan_filtering=True))
        case SetMtu():
            node.request(set_link(step.device, mtu=step.mtu))
        case SetUp():
            _set_up(step.device, node)
        case Enslave():
            _on(node, step.device, lambda at: set_link(at, master=_index(node, step.bridge)))
        case RemoveLink():
            node.request(del_link(name=step.device))
        case AllowVlans() | ForbidVlans():
            _change_vlans(step, node)


def _change_vlans(step: AllowVlans | ForbidVlans, node: Rtnl) -> None:
    if isinstance(step, ForbidVlans):
        _on(node, step.device, lambda at: del_vlans(at, step.spans))
        return
    access = step.access
    _on(node, step.device, lambda at: add_vlans(at, step.spans, pvid=access, untagged=access))


def _make_bridge(step: MakeBridge, node: Rtnl) -> None:
    filtering = True if step.vlan_filtering else None
    # Made by somebody meanwhile: then it only has to be up.
    node.request(new_bridge(step.name, vlan_filtering=filtering), tolerate=_DONE)
    node.request(set_link(step.name, up=True))


def _set_up(device: str, node: Rtnl) -> None:
    node.request(set_link(device, up=True))
    _settle(device, node)


def _settle(device: str, node: Rtnl) -> None:
    def settled(link: object) -> bool:
        operstate = getattr(link, "operstate", "")
        return operstate in {"up", "unknown"}

    node.wait_link(_index(node, device), settled, timeout_s=UP_WAIT_S)


def _on(node: Rtnl, device: str, change: Callable[[IfIndex], Message]) -> None:
    node.request(change(_index(node, device)))


def _index(node: Rtnl, device: str) -> IfIndex:
    index = node.link_index(device)
    if index is None:
        raise NodeError(f"cannot change {device}: there is no such link")
    return index
