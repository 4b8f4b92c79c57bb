# SPDX-License-Identifier: Apache-2.0
"""What uplinks a node has, and how they differ from what they were asked to be."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from spanbridge.base.names import IfName
from spanbridge.bridge.uplink.facts import default_vlan, ranges_of, thieves
from spanbridge.bridge.uplink.record import Ledger, Record
from spanbridge.model.uplink import UplinkWish, subtract
from spanbridge.rtnl import Link, PortVlan, Rtnl

_OF_SANDBOXES: Final = frozenset({"veth", "tun", "macvtap"})
"""Kinds of ports that lead to pods and virtual machines, as a rule."""


@dataclass(frozen=True, slots=True)
class Uplink:
    """
    One uplink.

    Attributes:
        device: Its name.
        bridge: The bridge that it is, or should be, a port of.
        link: As observed; None where it is gone.
        bridge_link: The bridge, as observed; None where it is gone.
        vlans: What the port carries.
        upper: 802.1Q interfaces on it.
        record: What we did to it; None where somebody else made it.
    """

    device: IfName
    bridge: IfName
    link: Link | None
    bridge_link: Link | None
    vlans: tuple[PortVlan, ...]
    upper: tuple[Link, ...]
    record: Record | None

    @property
    def is_port(self) -> bool:
        """Whether it is a port of the bridge."""
        link, bridge = self.link, self.bridge_link
        return link is not None and bridge is not None and link.master == bridge.index


@dataclass(frozen=True, slots=True)
class Fault:
    """
    How an uplink is not as it was asked to be.

    Attributes:
        cause: What is wrong.
        remedy: The command that mends it.
    """

    cause: str
    remedy: str


def observe(node: Rtnl, ledger: Ledger, bridge: IfName | None = None) -> tuple[Uplink, ...]:
    """
    List uplinks, by bridge and name: those on record, and ports that lead to no sandbox.

    Args:
        node: Socket on the node.
        ledger: What was recorded.
        bridge: Only of this bridge.
    """
    links = node.links(vlans=True)
    by_name = {link.name: link for link in links}
    by_index = {link.index: link for link in links}
    records = {each.wish.device: each for each in ledger.every()}
    found: dict[IfName, IfName] = {
        each.wish.device: each.wish.bridge for each in records.values() if each.changes
    }
    for link in links:
        master = by_index.get(link.master)
        if master is not None and master.kind == "bridge" and link.kind not in _OF_SANDBOXES:
            found.setdefault(IfName(link.name), IfName(master.name))
    uplinks = [
        _uplink(by_name, records.get(device), device=device, bridge=above)
        for device, above in found.items()
        if bridge is None or above == bridge
    ]
    return tuple(sorted(uplinks, key=lambda each: (each.bridge, each.device)))


def _uplink(
    links: dict[str, Link], record: Record | None, *, device: IfName, bridge: IfName
) -> Uplink:
    link = links.get(device)
    uppers = (each for each in links.values() if each.kind == "vlan")
    return Uplink(
        device,
        bridge,
        link,
        links.get(bridge),
        link.vlans if link is not None and link.master else (),
        tuple(each for each in uppers if link is not None and each.link == link.index),
        record,
    )


def faults(uplink: Uplink) -> tuple[Fault, ...]:
    """Compare an uplink with its record; one that is not on record has no fault."""
    return () if uplink.record is None else tuple(_faults(uplink, uplink.record.wish))


def _faults(uplink: Uplink, wish: UplinkWish) -> Iterator[Fault]:
    link, bridge = uplink.link, uplink.bridge_link
    if link is None:
        yield Fault("the device is gone", f"spanbridge uplink release {wish.device}")
        return
    again = ensure_command(wish)
    if not uplink.is_port or bridge is None:
        yield Fault(f"it is no port of {wish.bridge}", again)
        return
    for each in (link, bridge):
        if not each.up:
            yield Fault(f"{each.name} is down", again)
    if not link.carrier and link.up:
        yield Fault("it has no carrier", f"look at the cable: ip link show {link.name}")
    yield from _vlan_faults(uplink, wish, bridge)
    if wish.mtu > link.mtu:
        yield Fault(f"its MTU is {link.mtu}, below {wish.mtu}", again)


def _vlan_faults(uplink: Uplink, wish: UplinkWish, bridge: Link) -> Iterator[Fault]:
    wanted = [(int(each.first), int(each.last)) for each in wish.vlans]
    given = default_vlan(bridge)
    if wanted and given is None:
        command = f"ip link set dev {bridge.name} type bridge vlan_filtering 1"
        yield Fault(f"{bridge.name} does not filter VLANs", command)
        return
    again = ensure_command(wish)
    lacking = subtract(wanted, ranges_of(uplink.vlans))
    if lacking:
        yield Fault(f"it lacks VLAN {spell(lacking)}", again)
    surplus = subtract([(given, given)] if given else [], wanted)
    if wanted and surplus and not subtract(surplus, ranges_of(uplink.vlans)):
        yield Fault(f"it carries VLAN {given} untagged, which nobody asked for", again)
    for thief in thieves(uplink.upper, wish.vlans):
        cause = f"{thief.name} takes the frames of VLAN {thief.vlan_id}"
        yield Fault(cause, f"ip link del {thief.name}")


def spell(ranges: list[tuple[int, int]]) -> str:
    """Write ranges of VLANs: ``2, 10-20``."""
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)


def ensure_command(wish: UplinkWish) -> str:
    """Write the command that makes an uplink as wished."""
    words = ["spanbridge uplink ensure", wish.device, "--bridge", wish.bridge]
    for each in wish.vlans:
        words += ["--vlan", str(each)]
    if wish.mtu:
        words += ["--mtu", str(wish.mtu)]
    return " ".join(words)
