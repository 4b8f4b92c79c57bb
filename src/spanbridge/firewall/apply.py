# SPDX-License-Identifier: Apache-2.0
"""Ensure, observe, release, collect: the changes of `plan` through a `session`."""

import time
from collections.abc import Callable
from typing import Final

from spanbridge.base.errors import Code, NodeError, NotReadyError
from spanbridge.base.log import warn
from spanbridge.firewall import ruleset, session
from spanbridge.firewall.entries import Entries, SpoofGuard
from spanbridge.firewall.plan import entries_of, plan_creation, plan_removal, plan_takeover
from spanbridge.firewall.ruleset import Command
from spanbridge.firewall.session import RefusedError, Session, UnavailableError
from spanbridge.model.desired import Masquerade
from spanbridge.model.owner import Owner, network_tag
from spanbridge.rtnl import NetNs

_ATTEMPTS: Final = 8
_PAUSE_S: Final = 0.002
"""Grows with each attempt: 56 ms for all of them."""


def ensure(
    host: NetNs, owner: Owner, *, masquerade: tuple[Masquerade, ...], guard: SpoofGuard | None
) -> None:
    """
    Make an owner's entries be there, all or none of them.

    Where another owner's element has the same key (an address handed out again
    before its dead holder was collected), it becomes this owner's: of two attachments
    with one address the last one counts, and releasing the first leaves it alone.
    Other entries of this owner stay, except for other MACs on the guarded port.

    What is there is looked at only when the new elements are refused; so rules that
    somebody flushed out of our chains are noticed by ``observe``, not here.

    Raises:
        NodeError: libnftables cannot be loaded, or the kernel refuses.
    """
    entries = tuple({entry.source: entry for entry in masquerade}.values())
    if not entries and guard is None:
        return
    verb = "masquerade " + ", ".join(str(entry.source) for entry in entries)
    if guard is not None and not entries:
        verb = f"guard {guard.port} against foreign source MACs"
    with session.changing(host) as tables:
        try:
            tables.change(plan_creation(owner, entries, guard))
        except RefusedError as exc:
            if exc.errno not in session.CONFLICTING | session.PASSING:
                raise _failed(verb, exc) from exc
            _converge(tables, verb, lambda: _taken_over(tables, owner, entries, guard))


def _taken_over(
    tables: Session, owner: Owner, masquerade: tuple[Masquerade, ...], guard: SpoofGuard | None
) -> list[Command]:
    return plan_takeover(tables.read(), owner, masquerade, guard)


def _converge(tables: Session, verb: str, plan: Callable[[], list[Command]]) -> bool:
    """Look and change until the kernel takes it; tell whether there was anything to change."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            changes = plan()
            if changes:
                tables.change(changes)
        except RefusedError as exc:
            passes = exc.errno in session.CONFLICTING | session.PASSING
            if not passes or attempt == _ATTEMPTS:
                raise _failed(verb, exc) from exc
            time.sleep(_PAUSE_S * attempt)
        else:
            return bool(changes)
    raise AssertionError("the last attempt returns or raises")


def _failed(verb: str, exc: RefusedError) -> NodeError:
    return NodeError(f"cannot {verb}: {exc.words}", code=Code.FIREWALL)


def observe(host: NetNs, owner: Owner) -> Entries:
    """
    Look at what an owner has.

    Raises:
        NodeError: libnftables cannot be loaded, or the kernel refuses.
    """
    with session.reading(host) as tables:
        try:
            return entries_of(tables.read(), owner)
        except RefusedError as exc:
            raise _failed("read the firewall", exc) from exc


def release(host: NetNs, *owners: Owner) -> bool:
    """
    Remove all entries of the owners, found by tag; tell whether there were any.

    All of them cost one look at the tables. A table goes with its last entry.
    Elements that another owner took over are not touched. Without libnftables there
    is nothing that could be ours to remove, or nobody who could remove it: DEL must
    not fail for it, so it is a warning.

    Raises:
        NodeError: The kernel refuses.
    """
    tags = {owner.tag for owner in owners}
    verb = "release the firewall entries of " + ", ".join(
        f"{owner.container_id} {owner.ifname}" for owner in owners
    )
    try:
        with session.changing(host) as tables:
            return _converge(tables, verb, lambda: plan_removal(tables.read(), tags.__contains__))
    except UnavailableError as exc:
        warn("firewall entries are not looked for", cause=exc.message)
        return False


def collect(host: NetNs, network: str, keep: frozenset[str]) -> tuple[str, ...]:
    """
    Remove what the attachments of one network left behind (GC).

    Args:
        host: The node's namespace.
        network: Name of the network; entries of others are not touched.
        keep: Tags of the attachments that are valid.

    Returns:
        The tags that were removed, ascending.

    Raises:
        NodeError: libnftables cannot be loaded, or the kernel refuses.
    """
    prefix = network_tag(network)
    removed: set[str] = set()

    def goes(tag: str) -> bool:
        return tag.startswith(prefix) and tag not in keep

    def plan() -> list[Command]:
        found = tables.read()
        removed.clear()
        removed.update(tag for tag in found.tags if goes(tag))
        return plan_removal(found, goes)

    with session.changing(host) as tables:
        _converge(tables, f"collect the firewall entries of network {network}", plan)
    return tuple(sorted(removed))


def probe(host: NetNs) -> None:
    """
    Try all that an ADD could need; nothing of it stays.

    Raises:
        NotReadyError: An ADD with masquerade or MAC check would fail now.
    """
    try:
        with session.reading(host) as tables:
            tables.change(ruleset.probe())
    except NodeError as exc:
        raise NotReadyError(exc.message, hint=exc.hint) from exc
    except RefusedError as exc:
        raise NotReadyError(f"cannot use nftables: {exc.words}") from exc
