# SPDX-License-Identifier: Apache-2.0
"""What is asked of an uplink, and which VLANs that means for its port; pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from spanbridge.base.errors import InputError
from spanbridge.base.names import VLAN_MAX, IfName, VlanId, ifname_fault
from spanbridge.model.netconf import MTU_MAX, MTU_MIN, VlanRange, merge_ranges


@dataclass(frozen=True, slots=True)
class UplinkState:
    """
    The device by which a bridge reaches the outside, as one network needs it.

    Attributes:
        device: Its name.
        vlans: Every VLAN of the network, native one included, ascending; empty for a
            network without VLANs.
        keep_default_vlan: It carries what the bridge gives to each new port, too.
        mtu: Bytes that it must let through at least; 0 for no wish.
    """

    device: IfName
    vlans: tuple[VlanRange, ...]
    keep_default_vlan: bool
    mtu: int


@dataclass(frozen=True, slots=True)
class UplinkWish:
    """
    An uplink as `spanbridge uplink ensure` was told to make it.

    Attributes:
        device: Its name.
        bridge: The bridge that it becomes a port of.
        vlans: VLANs that it carries, merged and ascending; empty for a bridge that does
            not filter.
        mtu: Bytes; the bridge gets it, and the device where it has less. 0 leaves both.
    """

    device: IfName
    bridge: IfName
    vlans: tuple[VlanRange, ...]
    mtu: int

    @property
    def creates_default_vlan(self) -> bool:
        """Whether a bridge made for it gives new ports a VLAN: only where that was named."""
        return not self.vlans or any(_DEFAULT in each for each in self.vlans)


_DEFAULT = 1
"""What a bridge gives a new port, untagged. Source: linux net/bridge/br_vlan.c."""


def _name(text: str, what: str) -> IfName:
    fault = ifname_fault(text)
    if fault:
        raise InputError(f"cannot use {what} {text!r}: {fault}", hint="see: ip -br link")
    return IfName(text)


def parse_vlan_range(text: str) -> VlanRange:
    """
    Read ``2`` or ``10-20``.

    Raises:
        InputError: It is neither, or out of range.
    """
    first, dash, last = text.partition("-")
    ends = (first, last if dash else first)
    if not all(each.isascii() and each.isdecimal() and len(each) <= 4 for each in ends):
        raise InputError(f"cannot use VLAN {text!r}: it is no number", hint="write 2 or 10-20")
    low, high = map(int, ends)
    if not 1 <= low <= high <= VLAN_MAX:
        raise InputError(
            f"cannot use VLAN {text!r}: VLANs are 1 to {VLAN_MAX}, the first not above the last",
            hint="write 2 or 10-20",
        )
    return VlanRange(VlanId(low), VlanId(high))


def parse_wish(device: str, bridge: str, vlans: Sequence[str], mtu: int) -> UplinkWish:
    """
    Read what was typed.

    Raises:
        InputError: The first fault.
    """
    wish = UplinkWish(
        _name(device, "uplink"),
        _name(bridge, "bridge"),
        merge_ranges([parse_vlan_range(one) for each in vlans for one in each.split(",")]),
        mtu,
    )
    if wish.device == wish.bridge:
        raise InputError(
            f"cannot use {device!r} as the uplink: it is the bridge itself",
            hint="name the network card that leads to the switch",
        )
    if mtu and not MTU_MIN <= mtu <= MTU_MAX:
        raise InputError(
            f"cannot use MTU {mtu}: it is out of range", hint=f"write {MTU_MIN} to {MTU_MAX}"
        )
    return wish


def subtract(
    ranges: Sequence[tuple[int, int]], holes: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Cut ``holes`` out of ranges of VLANs; first and last of each, ascending."""
    left = []
    for first, last in ranges:
        at = first
        for low, high in sorted(holes):
            if high < at or low > last:
                continue
            if low > at:
                left.append((at, low - 1))
            at = high + 1
        if at <= last:
            left.append((at, last))
    return left


@dataclass(frozen=True, slots=True)
class PortPlan:
    """
    What is to be done to the VLANs of a port.

    Attributes:
        native: VLAN to be allowed untagged, in and out; 0 for none.
        tagged: VLANs to be allowed with their tags.
        removed: VLANs to be taken away.
    """

    native: int
    tagged: tuple[tuple[int, int], ...]
    removed: tuple[tuple[int, int], ...]

    @property
    def added(self) -> tuple[tuple[int, int], ...]:
        """Everything that is to be allowed."""
        return (((self.native, self.native),) if self.native else ()) + self.tagged

    def __bool__(self) -> bool:
        return bool(self.native or self.tagged or self.removed)


def plan_port(
    want: UplinkState,
    seen: Sequence[tuple[int, int]],
    *,
    default_pvid: int,
    has_pvid: bool,
    fresh: bool,
) -> PortPlan:
    """
    Compare the VLANs of an uplink with what a network needs.

    The bridge's own default VLAN leaves untagged, as from every port that it was given
    to; every other VLAN leaves with its tag. What is there already is enough, however it
    is treated: an administrator may have made an access port of it on purpose.

    Args:
        want: What is needed.
        seen: VLANs that the port carries.
        default_pvid: What the bridge gives to a new port; 0 for nothing.
        has_pvid: Untagged frames that come in belong to a VLAN already.
        fresh: We made it a port, so what the bridge gave it then is ours to take away.
    """
    needed = [(int(each.first), int(each.last)) for each in want.vlans]
    default = [(default_pvid, default_pvid)] if default_pvid else []
    wants_default = bool(default) and (
        want.keep_default_vlan or any(low <= default_pvid <= high for low, high in needed)
    )
    lacking = subtract(needed, [*seen, *default])
    native = 0
    if wants_default and subtract(default, seen):
        if has_pvid:
            lacking = sorted([*lacking, *default])
        else:
            native = default_pvid
    surplus = fresh and bool(default) and not wants_default and not subtract(default, seen)
    return PortPlan(native, tuple(lacking), tuple(default) if surplus else ())
