# SPDX-License-Identifier: Apache-2.0
"""
Which changes turn what is there into what was asked for, and back; pure.

A change says what it makes of what; so it can be written down before it is made, and
undone later only where it was made and nobody has changed it since.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from spanbridge.bridge.uplink.facts import (
    UplinkFacts,
    default_vlan,
    fresh_port_vlans,
    port_plan,
    ranges_of,
)
from spanbridge.model.netconf import VlanRange, merge_ranges
from spanbridge.model.uplink import PortPlan, UplinkState, UplinkWish, subtract
from spanbridge.rtnl import NOOP, Link

CREATE_BRIDGE: Final = "create-bridge"
BRIDGE_MTU: Final = "bridge-mtu"
BRIDGE_UP: Final = "bridge-up"
FOLLOW_MTU: Final = "follow-mtu"
DEVICE_MTU: Final = "device-mtu"
ENSLAVE: Final = "enslave"
VLANS: Final = "vlans"
DEVICE_UP: Final = "device-up"

ORDER: Final = (
    *(CREATE_BRIDGE, BRIDGE_MTU, FOLLOW_MTU, BRIDGE_UP),
    *(DEVICE_MTU, ENSLAVE, VLANS, DEVICE_UP),
)
"""In which changes are made; they are undone from the last to the first."""

BRIDGE_CHANGES: Final = frozenset({CREATE_BRIDGE, BRIDGE_MTU, FOLLOW_MTU, BRIDGE_UP})
"""Those that a second uplink of the same bridge relies on."""

_PLAIN_MTU: Final = 1500
"""
Bytes of a bridge without ports, unless its MTU was set after it was made.

Source: net/bridge/br_if.c, br_mtu_min() and br_mtu_auto_adjust(), Linux 6.1.
"""

Ranges = tuple[tuple[int, int], ...]
"""First and last VLAN of each range."""


@dataclass(frozen=True, slots=True)
class Change:
    """
    One change of one object.

    Attributes:
        kind: One of ``ORDER``.
        mac: Of a bridge that we make; by it we know it again.
        before: MTU, in bytes, before the change.
        after: MTU afterwards.
        added: VLANs that the port did not carry.
        removed: VLANs that were taken from it.
        was_never_up: Of a link that is set up: it had no queueing discipline yet.
    """

    kind: str
    mac: str = ""
    before: int = 0
    after: int = 0
    added: Ranges = ()
    removed: Ranges = ()
    was_never_up: bool = False


def state_of(wish: UplinkWish) -> UplinkState:
    """Say what the port of an uplink must carry for a wish."""
    return UplinkState(wish.device, wish.vlans, keep_default_vlan=not wish.vlans, mtu=0)


def _find(changes: Iterable[Change], kind: str) -> Change | None:
    return next((each for each in changes if each.kind == kind), None)


def is_ours(bridge: Link | None, changes: Iterable[Change]) -> bool:
    """Tell whether a bridge is the one that recorded changes made."""
    made = _find(changes, CREATE_BRIDGE)
    return bridge is not None and made is not None and bridge.mac == made.mac


def made_mac(changes: Iterable[Change]) -> str:
    """Return the MAC of the bridge that recorded changes made; empty where they made none."""
    made = _find(changes, CREATE_BRIDGE)
    return made.mac if made is not None else ""


def plan_ensure(
    wish: UplinkWish, facts: UplinkFacts, recorded: tuple[Change, ...], mac: str
) -> tuple[Change, ...]:
    """
    List the changes that are still to be made.

    Args:
        wish: What was asked for.
        facts: What is there; a device that must not be used was refused before.
        recorded: What earlier calls have made, or were about to make.
        mac: For a bridge that is to be made, where no earlier call chose one.
    """
    changes = [*_bridge_changes(wish, facts, recorded, mac)]
    device = facts.device
    if wish.mtu > device.mtu:
        changes.append(Change(DEVICE_MTU, before=device.mtu, after=wish.mtu))
    if not facts.is_port:
        changes.append(Change(ENSLAVE))
    vlans = plan_vlans(wish, facts, recorded)
    if vlans:
        changes.append(Change(VLANS, added=vlans.added, removed=vlans.removed))
    if not device.up:
        changes.append(Change(DEVICE_UP, was_never_up=device.qdisc == NOOP))
    return tuple(changes)


def _bridge_changes(
    wish: UplinkWish, facts: UplinkFacts, recorded: tuple[Change, ...], mac: str
) -> Iterator[Change]:
    bridge = facts.bridge
    if bridge is None:
        chosen = _find(recorded, CREATE_BRIDGE)
        yield Change(CREATE_BRIDGE, mac=chosen.mac if chosen else mac)
    if wish.mtu and (bridge is None or bridge.mtu != wish.mtu):
        yield Change(BRIDGE_MTU, before=bridge.mtu if bridge else 0, after=wish.mtu)
    if bridge is not None and not wish.mtu and _loses_mtu(bridge, facts):
        yield Change(FOLLOW_MTU, before=bridge.mtu, after=_PLAIN_MTU)
    if bridge is None or not bridge.up:
        yield Change(BRIDGE_UP, was_never_up=bridge is not None and bridge.qdisc == NOOP)


def _loses_mtu(bridge: Link, facts: UplinkFacts) -> bool:
    """Tell whether an empty bridge may lose, with its first port, the MTU it was made with."""
    return bridge.mtu != _PLAIN_MTU and not facts.is_port and not facts.ports


def plan_vlans(wish: UplinkWish, facts: UplinkFacts, recorded: tuple[Change, ...]) -> PortPlan:
    """
    Compare the VLANs of the device with the wish.

    On top of what ADD would do, it takes back what an earlier call added and is no longer
    wished, unless another port of the bridge carries it.
    """
    bridge = facts.bridge
    given = default_vlan(bridge)
    if bridge is None and wish.vlans:
        given = int(wish.creates_default_vlan)
    if given is None:
        return PortPlan(0, (), ())
    vlans = facts.vlans if facts.is_port else fresh_port_vlans(given)
    fresh = not facts.is_port or _find(recorded, ENSLAVE) is not None
    plan = port_plan(state_of(wish), given, vlans, fresh=fresh)
    return replace(plan, removed=(*plan.removed, *_stale(wish, facts, recorded)))


def _stale(
    wish: UplinkWish, facts: UplinkFacts, recorded: tuple[Change, ...]
) -> list[tuple[int, int]]:
    """List VLANs on the port that earlier calls added and nobody wants any more."""
    earlier = _find(recorded, VLANS)
    if earlier is None or not facts.is_port:
        return []
    kept = [(int(each.first), int(each.last)) for each in wish.vlans]
    kept += [each for port in facts.ports for each in ranges_of(port.vlans)]
    there = ranges_of(facts.vlans)
    absent = subtract(earlier.added, there)
    return subtract(earlier.added, [*kept, *absent])


def merge_changes(earlier: tuple[Change, ...], later: tuple[Change, ...]) -> tuple[Change, ...]:
    """
    Unite what earlier calls have made with what this one will make, in ``ORDER``.

    What was there before the first of them counts; what the last one makes of it, too.
    """
    merged = {each.kind: each for each in earlier}
    for each in later:
        first = merged.get(each.kind)
        if first is None or each.kind == CREATE_BRIDGE:
            merged[each.kind] = each
        else:
            merged[each.kind] = replace(
                first,
                after=each.after,
                added=_union(first.added, each.added),
                removed=_union(subtract(first.removed, each.added), each.removed),
            )
    return tuple(merged[kind] for kind in ORDER if kind in merged)


def settle(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    """Forget, once all changes are made, the VLANs that were taken back."""
    return tuple(
        replace(each, added=tuple(subtract(each.added, each.removed)), removed=())
        for each in changes
    )


def _union(first: Iterable[tuple[int, int]], second: Iterable[tuple[int, int]]) -> Ranges:
    ranges = [VlanRange(low, high) for low, high in (*first, *second)]  # type: ignore[arg-type]
    return tuple((each.first, each.last) for each in merge_ranges(ranges))


def after_reboot(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    """
    Keep what still holds in another boot than the one in which changes were made.

    A bridge with our MAC and its port are there again when a network manager keeps them;
    states and MTUs are what that boot has made them.
    """
    return tuple(each for each in changes if each.kind in {CREATE_BRIDGE, ENSLAVE, VLANS})


def stands(
    change: Change, changes: tuple[Change, ...], device: Link | None, bridge: Link | None
) -> bool:
    """
    Tell whether a change is still to be undone: it was made, and nobody undid or redid it.

    Args:
        change: One of ``changes``.
        changes: What was made, or was about to be.
        device: As it is now; None where it is gone.
        bridge: As it is now; None where it is gone.
    """
    made = is_ours(bridge, changes)
    is_port = device is not None and bridge is not None and device.master == bridge.index
    fresh_port = _find(changes, ENSLAVE) is not None
    # What was done to a bridge of ours goes with it.
    has_mtu = bridge is not None and not made and bridge.mtu == change.after
    standing = {
        CREATE_BRIDGE: made,
        BRIDGE_MTU: has_mtu,
        FOLLOW_MTU: has_mtu,
        BRIDGE_UP: not made and _is_raised(bridge, change),
        DEVICE_MTU: device is not None and device.mtu == change.after,
        ENSLAVE: is_port,
        # The same goes for the VLANs of a port that was none before.
        VLANS: is_port and not fresh_port and bool(change.added),
        DEVICE_UP: _is_raised(device, change),
    }
    return standing[change.kind]


def _is_raised(link: Link | None, change: Change) -> bool:
    """Tell whether a link is not yet as it was before it was set up."""
    if link is None:
        return False
    return link.up or (change.was_never_up and link.qdisc != NOOP)
