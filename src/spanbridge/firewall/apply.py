# SPDX-License-Identifier: Apache-2.0
"""Ensure, observe, release, collect: the changes of `plan` through a `session`."""

import time
from collections.abc import Callable
from typing import Final

from spanbridge.base.errors import Code, NodeError, NotReadyError
from spanbridge.base.log import warn
from spanbridge.firewall import ruleset, session
from spanbridge.firewall.entries import Entries, Found, SpoofGuard
from spanbridge.firewall.plan import entries_of, plan_creation, plan_removal, plan_takeover
from spanbridge.firewall.ruleset import Command
from spanbridge.firewall.session import RefusedError, Session, UnavailableError
from spanbridge.model.desired import Masquerade
from spanbridge.model.owner import Owner, network_tag
from spanbridge.rtnl import NetNs

_ATTEMPTS: Final = 8
_PAUSE_S: Final = 0.002
"""Grows with each attempt: 56 ms for all of them."""

_OWNERS_AT_ONCE: Final = 200
"""
A transaction is one datagram, and one of about 212 kB is too long in a user namespace.

An owner's entries need 0.5 kB there. Source: net.core.wmem_max, whose default cannot be
exceeded without CAP_NET_ADMIN on the machine.
"""


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
            _converge(tables, verb, lambda found: plan_takeover(found, owner, entries, guard))


def _converge(tables: Session, verb: str, plan: Callable[[Found], list[Command]]) -> Found:
    """Look and change until the kernel takes it; what the last look found."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            found = tables.read()
            changes = plan(found)
            if changes:
                tables.change(changes)
        except RefusedError as exc:
            passes = exc.errno in session.CONFLICTING | session.PASSING
            if not passes or attempt == _ATTEMPTS:
                raise _failed(verb, exc) from exc
            time.sleep(_PAUSE_S * attempt)
        else:
            return found
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

    Up to 200 of them cost one look at the tables. A table goes with its last entry.
    Elements that another owner took over are not touched. Without libnftables there
    is nothing that could be ours to remove, or nobody who could remove it: DEL must
    not fail for it, so it is a warning.

    Raises:
        NodeError: The kernel refuses.
    """
    tags = {owner.tag for owner in owners}
    try:
        with session.changing(host) as tables:
            return bool(_remove(tables, _release_of(owners), tags.__contains__))
    except UnavailableError as exc:
        warn("firewall entries are not looked for", cause=exc.message)
        return False


def _release_of(owners: tuple[Owner, ...]) -> str:
    first = " ".join(f"{owner.container_id} {owner.ifname}" for owner in owners[:1])
    others = f" and {len(owners) - 1} others" if len(owners) > 1 else ""
    return f"release the firewall entries of {first}{others}"


def _remove(tables: Session, verb: str, goes: Callable[[str], bool]) -> list[str]:
    """Remove the entries of some tags, a batch of tags in each transaction; what went."""

    def going(found: Found) -> list[str]:
        return sorted(tag for tag in found.tags if goes(tag))

    def plan(found: Found) -> list[Command]:
        return plan_removal(found, frozenset(going(found)[:_OWNERS_AT_ONCE]).__contains__)

    removed: list[str] = []
    while True:
        there = going(_converge(tables, verb, plan))
        removed += there[:_OWNERS_AT_ONCE]
        if len(there) <= _OWNERS_AT_ONCE:
            return removed


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
    verb = f"collect the firewall entries of network {network}"
    with session.changing(host) as tables:
        removed = _remove(tables, verb, lambda tag: tag.startswith(prefix) and tag not in keep)
    return tuple(removed)


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
