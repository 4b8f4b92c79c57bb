# SPDX-License-Identifier: Apache-2.0
"""Ensure, observe, release, collect: the changes of `plan` through a `session`."""

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from spanbridge.base.errors import Code, NodeError, NotReadyError
from spanbridge.base.log import warn
from spanbridge.base.names import IfName
from spanbridge.firewall import gateways, probes, session
from spanbridge.firewall.batches import Batches
from spanbridge.firewall.entries import Entries, Found, GatewayPin, SpoofGuard
from spanbridge.firewall.plan import (
    deserted_gateways,
    entries_of,
    plan_creation,
    plan_removal,
    plan_takeover,
    plan_unpinning,
)
from spanbridge.firewall.ruleset import Command
from spanbridge.firewall.session import RefusedError, Session, UnavailableError
from spanbridge.model.addresses import Ip, ip_from_text
from spanbridge.model.desired import Masquerade
from spanbridge.model.owner import Owner, network_tag
from spanbridge.rtnl import NetNs, Rtnl

_BATCHES: Final = Batches()
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
    host: NetNs,
    owner: Owner,
    *,
    masquerade: tuple[Masquerade, ...],
    guard: SpoofGuard | None,
    pin: GatewayPin | None = None,
) -> None:
    """
    Make an owner's entries be there, all or none of them.

    Where another owner's element has the same key (an address handed out again
    before its dead holder was collected), it becomes this owner's: of two attachments
    with one address the last one counts, and releasing the first leaves it alone.
    Other entries of this owner stay, except for other MACs on the guarded port.

    What is there is looked at only when the new elements are refused; so rules that
    somebody flushed out of our chains are noticed by ``observe``, not here.

    A node without nftables can be a gateway all the same: that ``pin`` fails alone is
    a warning.

    Raises:
        NodeError: libnftables cannot be loaded, or the kernel refuses.
    """
    entries = tuple({entry.source: entry for entry in masquerade}.values())
    if pin is not None and pin.addresses:
        try:
            _ensure(host, owner, entries, guard, pin=pin)
        except NodeError as exc:
            listed = ", ".join(map(str, pin.addresses))
            warn("the gateway is also seen behind the uplink", gateway=listed, cause=exc.message)
        else:
            return
    if entries or guard is not None:
        _ensure(host, owner, entries, guard, pin=None)


def _ensure(
    host: NetNs,
    owner: Owner,
    entries: tuple[Masquerade, ...],
    guard: SpoofGuard | None,
    *,
    pin: GatewayPin | None,
) -> None:
    verb = "masquerade " + ", ".join(str(entry.source) for entry in entries)
    if guard is not None and not entries:
        verb = f"guard {guard.port} against foreign source MACs"
    if pin is not None and not entries and guard is None:
        verb = "keep gateway " + ", ".join(map(str, pin.addresses)) + " on its node"
    with session.changing(host) as tables:
        try:
            tables.change(plan_creation(owner, entries, guard, pin=pin))
        except RefusedError as exc:
            if exc.errno not in session.CONFLICTING | session.PASSING:
                raise _failed(verb, exc) from exc
            _converge(
                tables, verb, lambda found: plan_takeover(found, owner, entries, guard, pin=pin)
            )


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

    Up to 200 of them cost one look at the tables, also when several threads ask for
    some each while others hold the tables. A table goes with its last entry.
    Elements that another owner took over are not touched. Without libnftables there
    is nothing that could be ours to remove, or nobody who could remove it: DEL must
    not fail for it, so it is a warning.

    A gateway address stays on its node for as long as the node has it, also when nobody
    needs it any more: the node would go on answering for it.

    Raises:
        NodeError: The kernel refuses.
    """
    return _BATCHES.run(host, owners, partial(_release, host))


def release_pins(
    host: NetNs, owner: Owner, port: IfName, addresses: tuple[Ip, ...], *, held: bool
) -> None:
    """
    Remove the entries of an owner who has none but those that pin gateways to a port.

    By their keys, without looking at the tables: what `release` reads grows with the
    number of attachments.

    Args:
        host: The node's namespace.
        owner: Whose they are.
        port: The host port.
        addresses: The gateways' addresses.
        held: The node has all of them, so they stay; else there may be more to remove.

    Raises:
        NodeError: The kernel refuses.
    """
    if held:
        try:
            with session.changing(host) as tables:
                tables.change([gateways.delete_pin(ip, port) for ip in addresses])
        except (RefusedError, UnavailableError):
            pass  # not there as expected: to be looked for
        else:
            return
    release(host, owner)


def withdraw(host: NetNs, owner: Owner) -> None:
    """
    Take back what ``ensure`` made for an ADD that failed later.

    As ``release``, but a gateway address that was on the node before this ADD, and that
    only this ADD has kept there, is let go.

    Raises:
        NodeError: The kernel refuses.
    """
    _release(host, lambda: (owner,), made_by=owner.tag)


def _release(
    host: NetNs, owners_of: Callable[[], tuple[Owner, ...]], *, made_by: str = ""
) -> list[str]:
    """Remove the entries of owners who are final once the tables are ours; the tags that went."""

    def kept(found: Found, deserted: frozenset[Ip]) -> frozenset[Ip]:
        ours = {ip for ip in deserted if made_by and found.gateways[ip].made_by == made_by}
        return _held(host, deserted - ours)

    try:
        with session.changing(host) as tables:
            owners = owners_of()
            tags = {owner.tag for owner in owners}
            return _remove(tables, _release_of(owners), tags.__contains__, kept)
    except UnavailableError as exc:
        warn("firewall entries are not looked for", cause=exc.message)
        return []


def _release_of(owners: tuple[Owner, ...]) -> str:
    first = " ".join(f"{owner.container_id} {owner.ifname}" for owner in owners[:1])
    others = f" and {len(owners) - 1} others" if len(owners) > 1 else ""
    return f"release the firewall entries of {first}{others}"


def _held(host: NetNs, addresses: frozenset[Ip]) -> frozenset[Ip]:
    """Tell which of some addresses the node has."""
    if not addresses:
        return addresses
    with Rtnl.open(host) as node:
        found = {ip_from_text(each.address) for each in node.addresses()}
    return frozenset(ip for ip in addresses if ip in found)


def _remove(
    tables: Session,
    verb: str,
    goes: Callable[[str], bool],
    kept: Callable[[Found, frozenset[Ip]], frozenset[Ip]],
) -> list[str]:
    """Remove the entries of some tags, a batch of tags in each transaction; what went."""

    def going(found: Found) -> list[str]:
        return sorted(tag for tag in found.tags if goes(tag))

    def plan(found: Found) -> list[Command]:
        batch = frozenset(going(found)[:_OWNERS_AT_ONCE]).__contains__
        return plan_removal(found, batch, kept=kept(found, deserted_gateways(found, batch)))

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
        removed = _remove(
            tables,
            verb,
            lambda tag: tag.startswith(prefix) and tag not in keep,
            lambda _, deserted: _held(host, deserted),
        )
    return tuple(removed)


def unpin(host: NetNs, addresses: tuple[Ip, ...]) -> None:
    """
    Let gateway addresses be seen on their whole network, also where others keep them here.

    Where nftables cannot be used, nothing keeps them.

    Raises:
        NodeError: The kernel refuses.
    """
    verb = "let go of gateway " + ", ".join(map(str, addresses))
    try:
        with session.changing(host) as tables:
            _converge(tables, verb, lambda found: plan_unpinning(found, addresses))
    except UnavailableError:
        return


def probe(host: NetNs) -> None:
    """
    Try all that an ADD could need; nothing of it stays.

    Raises:
        NotReadyError: An ADD with masquerade or MAC check would fail now.
    """
    try:
        with session.reading(host) as tables:
            tables.change(probes.probe_attachments())
    except NodeError as exc:
        raise NotReadyError(exc.message, hint=exc.hint) from exc
    except RefusedError as exc:
        raise NotReadyError(f"cannot use nftables: {exc.words}") from exc


def probe_gateways(host: NetNs) -> None:
    """Warn when an ADD could not keep a gateway address on its node; nothing of it stays."""
    cause = ""
    try:
        with session.reading(host) as tables:
            tables.change(probes.probe_gateways())
    except NodeError as exc:
        cause = exc.message
    except RefusedError as exc:
        cause = f"cannot use nftables: {exc.words}"
    if cause:
        warn("a gateway would also be seen behind the uplink", cause=cause)
