# SPDX-License-Identifier: Apache-2.0
"""
Making and undoing the changes of an uplink: recorded first, then made.

The record names the whole of a call's changes before the first is made. Both ways look at
what is there, so after a kill at any moment the next call, of either kind, goes on.
"""

import contextlib
import errno
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from spanbridge.base.errors import Code, KernelError, NodeError, SpanbridgeError
from spanbridge.base.files import locked
from spanbridge.base.names import IfName
from spanbridge.bridge.link import refuse_unsuitable
from spanbridge.bridge.site import Site, random_mac
from spanbridge.bridge.uplink.attach import pin_mac, refused
from spanbridge.bridge.uplink.facts import observe_facts, port_messages, refuse_device
from spanbridge.bridge.uplink.plan import (
    BRIDGE_CHANGES,
    BRIDGE_MTU,
    BRIDGE_UP,
    CREATE_BRIDGE,
    DEVICE_MTU,
    DEVICE_UP,
    ENSLAVE,
    FOLLOW_MTU,
    VLANS,
    Change,
    is_ours,
    merge_changes,
    plan_ensure,
    plan_vlans,
    settle,
    stands,
)
from spanbridge.bridge.uplink.record import Ledger, Record
from spanbridge.model.desired import BridgeState
from spanbridge.model.uplink import UplinkWish
from spanbridge.rtnl import (
    Link,
    Message,
    del_link,
    del_vlans,
    forget_qdisc,
    new_bridge,
    set_link,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_GONE: Final = frozenset({errno.ENODEV, errno.ENOENT})


@dataclass(frozen=True, slots=True)
class Ensured:
    """
    What `ensure` did.

    Attributes:
        changes: What was changed now; empty when all was right.
        notes: What the operator should know, in sentences.
        record: As it is on disk.
    """

    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    record: Record


@dataclass(frozen=True, slots=True)
class Released:
    """
    What `release` did.

    Attributes:
        changes: What was undone now, in this order.
        left: What could not be undone yet and why, in sentences; it stays on record.
    """

    changes: tuple[Change, ...]
    left: tuple[str, ...]


def records_lock(site: Site) -> AbstractContextManager[None]:
    """Exclude other calls from reading or changing the records."""
    return locked(site.run_dir / "locks" / "uplinks")


def ensure(site: Site, ledger: Ledger, wish: UplinkWish) -> Ensured:
    """
    Make a device the uplink of a bridge; what is right already stays as it is.

    When the kernel refuses a change, those of this call are undone.

    Raises:
        NodeError: The device or the bridge must not be used; nothing was changed.
        KernelError: The kernel refused.
    """
    with records_lock(site), site.bridge_lock(wish.bridge):
        ledger.sweep()
        record = ledger.read(wish.device)
        _refuse_other_bridge(record, wish)
        facts = observe_facts(site.node, wish.device, wish.bridge)
        refuse_unsuitable(facts.bridge, _bridge_state(wish))
        refuse_device(facts, wish.bridge, wish.vlans)
        earlier = record.changes if record else ()
        changes = plan_ensure(wish, facts, earlier, random_mac())
        files = record.files if record else ()
        ahead = Record(wish, merge_changes(earlier, changes), files, ledger.boot)
        if ahead != record:
            ledger.write(ahead)
        try:
            for change in changes:
                _make(site, wish, change, ahead.changes)
        except SpanbridgeError:
            _undo_failed(site, ledger, wish, changes=changes, earlier=record)
            raise
        done = replace(ahead, changes=settle(ahead.changes))
        if done != ahead:
            ledger.write(done)
        return Ensured(changes, _notes(site, wish, changes), done)


def _bridge_state(wish: UplinkWish) -> BridgeState:
    return BridgeState(
        wish.bridge,
        wish.mtu,
        vlan_filtering=bool(wish.vlans),
        promisc=False,
        linklocal_deaf=False,
    )


def _refuse_other_bridge(record: Record | None, wish: UplinkWish) -> None:
    if record is not None and record.wish.bridge != wish.bridge:
        raise NodeError(
            f"cannot use {wish.device} as the uplink: it is on record as that of"
            f" {record.wish.bridge}",
            hint=f"run: spanbridge uplink release {wish.device}",
            code=Code.UPLINK_UNSUITABLE,
        )


def _make(site: Site, wish: UplinkWish, change: Change, recorded: tuple[Change, ...]) -> None:
    node = site.node
    match change.kind:
        case "create-bridge":
            _create_bridge(site, wish, change)
        case "bridge-mtu":
            # Only a change after creation is kept when ports come and go.
            node.request(set_link(wish.bridge, mtu=wish.mtu))
        case "bridge-up":
            if is_ours(node.link(wish.bridge), recorded):
                # A bridge that takes router advertisements would be led by its ports.
                accept = f"net/ipv6/conf/{wish.bridge}/accept_ra"
                site.host.write_sysctls([(accept, "0")], missing_ok=True)
            node.request(set_link(wish.bridge, up=True))
        case "follow-mtu":  # the kernel changes it by itself, when the port comes
            pass
        case "device-mtu":
            node.request(set_link(wish.device, mtu=wish.mtu))
        case "enslave":
            _enslave(site, wish)
        case "vlans":
            facts = observe_facts(node, wish.device, wish.bridge)
            plan = plan_vlans(wish, facts, recorded)
            if plan:
                node.request(*port_messages(facts.device.index, plan), one_by_one=True)
        case _:
            node.request(set_link(wish.device, up=True))


def _create_bridge(site: Site, wish: UplinkWish, change: Change) -> None:
    # A bridge that separates VLANs gives its ports none that was not named, at any moment.
    pvid = 0 if wish.vlans and not wish.creates_default_vlan else None
    create = new_bridge(
        wish.bridge, mac=change.mac, vlan_filtering=bool(wish.vlans), default_pvid=pvid
    )
    try:
        site.node.request(create)
    except KernelError as exc:
        if exc.errno == errno.EOPNOTSUPP and wish.vlans:
            raise NodeError(
                f"cannot use bridge {wish.bridge}: this kernel cannot filter VLANs on a bridge",
                hint="use a kernel with CONFIG_BRIDGE_VLAN_FILTERING",
                code=Code.BRIDGE_UNSUITABLE,
            ) from exc
        raise


def _enslave(site: Site, wish: UplinkWish) -> None:
    bridge, device = site.node.links_named([wish.bridge, wish.device])
    if bridge is None or device is None:
        gone = wish.device if bridge is not None else wish.bridge
        raise NodeError(f"cannot use {gone}: it was removed while we made the uplink")
    try:
        site.node.request(
            *pin_mac(bridge),
            set_link(device.index, master=bridge.index),
            one_by_one=True,
        )
    except KernelError as exc:
        raise refused(wish.device, exc) from exc


def _undo_failed(
    site: Site,
    ledger: Ledger,
    wish: UplinkWish,
    *,
    changes: tuple[Change, ...],
    earlier: Record | None,
) -> None:
    """Undo what one call made before it failed; the record is then as before the call."""
    _undo_all(site, wish, changes)
    if earlier is None:
        ledger.remove(wish.device)
    else:
        ledger.write(earlier)


def _undo_all(
    site: Site, wish: UplinkWish, changes: tuple[Change, ...]
) -> tuple[tuple[Change, ...], tuple[tuple[Change, str], ...]]:
    """Undo changes, last first; what was undone, and what was left with its reason."""
    undone, left = [], []
    for change in reversed(changes):
        device, bridge = site.node.links_named([wish.device, wish.bridge])
        if not stands(change, changes, device, bridge):
            continue
        reason = _undo(site, wish, change)
        if reason:
            left.append((change, reason))
        else:
            undone.append(change)
    return tuple(undone), tuple(left)


def _undo(site: Site, wish: UplinkWish, change: Change) -> str:
    """Undo one change; why it has to stay for now, or nothing."""
    node = site.node
    if change.kind in BRIDGE_CHANGES:
        return _undo_on_bridge(site, wish, change)
    device = node.link(wish.device)
    if device is None:
        return ""
    undo: dict[str, Callable[[], Message]] = {
        VLANS: lambda: del_vlans(device.index, change.added),
        ENSLAVE: lambda: set_link(device.index, master=0),
        DEVICE_MTU: lambda: set_link(device.index, mtu=change.before),
    }
    if change.kind == DEVICE_UP:
        _lower(site, device, change)
    else:
        node.request(undo[change.kind](), tolerate=_GONE)
    return ""


def _lower(site: Site, link: Link, change: Change) -> None:
    """Set a link down, and as if it had never been up where that is so."""
    site.node.request(set_link(link.index, up=False), tolerate=_GONE)
    if change.was_never_up:
        # Cosmetic: what refuses it (a kernel without packet scheduling) loses nothing.
        with contextlib.suppress(KernelError):
            site.node.request(*forget_qdisc(link.index), one_by_one=True)


def _undo_on_bridge(site: Site, wish: UplinkWish, change: Change) -> str:
    bridge = site.node.link(wish.bridge)
    if bridge is None:
        return ""
    names = {port.name for port in site.node.links(master=bridge.index)}
    ports = sorted(names - {wish.device})
    if ports and change.kind in {CREATE_BRIDGE, BRIDGE_UP}:
        what = "be removed" if change.kind == CREATE_BRIDGE else "be set down"
        return (
            f"bridge {bridge.name} is to {what}, but has other ports: {', '.join(ports)};"
            " run the command again when they are gone"
        )
    if change.kind == BRIDGE_UP:
        _lower(site, bridge, change)
    elif change.kind in {BRIDGE_MTU, FOLLOW_MTU}:
        site.node.request(set_link(bridge.index, mtu=change.before), tolerate=_GONE)
    else:
        site.node.request(del_link(index=bridge.index), tolerate=_GONE)
    return ""


def release(site: Site, ledger: Ledger, device: IfName) -> Released:
    """
    Undo what `ensure` did to make a device the uplink, and nothing else.

    Without a record there is nothing to undo. What others came to rely on meanwhile
    stays, on record, or passes to the record of the bridge's next uplink.

    Raises:
        KernelError: The kernel refused; the rest stays on record.
    """
    with records_lock(site):
        ledger.sweep()
        record = ledger.read(device)
        if record is None:
            return Released((), ())
        with site.bridge_lock(record.wish.bridge):
            undone, left = _undo_all(site, record.wish, record.changes)
            _keep_rest(ledger, record, tuple(change for change, _ in left))
    heirs = ledger.of_bridge(record.wish.bridge)
    reasons = () if any(each.wish.device != device for each in heirs) else left
    return Released(undone, tuple(reason for _, reason in reasons))


def _keep_rest(ledger: Ledger, record: Record, left: tuple[Change, ...]) -> None:
    """Put on record what is left: with the bridge's next uplink, where there is one."""
    device = record.wish.device
    others = [each for each in ledger.of_bridge(record.wish.bridge) if each.wish.device != device]
    if left and others:
        heir = others[0]
        ledger.write(replace(heir, changes=merge_changes(left, heir.changes)))
        left = ()
    if left or record.files:
        kept = tuple(sorted(left, key=record.changes.index))
        ledger.write(replace(record, changes=kept))
    else:
        ledger.remove(device)


def _notes(site: Site, wish: UplinkWish, changes: tuple[Change, ...]) -> tuple[str, ...]:
    bridge, device = site.node.links_named([wish.bridge, wish.device])
    if bridge is None or device is None:
        return ()
    notes = []
    if device.mtu < bridge.mtu:
        notes.append(
            f"the MTU of {device.name} is {device.mtu}, that of {bridge.name} {bridge.mtu}:"
            " larger frames are lost without a word"
        )
    # A card that was just set up needs seconds to agree with the switch.
    if not device.carrier and all(each.kind != DEVICE_UP for each in changes):
        notes.append(f"{device.name} has no carrier: is the cable in?")
    return tuple(notes)
