# SPDX-License-Identifier: Apache-2.0
"""A device and what speaks for or against it as an uplink."""

from collections.abc import Sequence
from dataclasses import dataclass

from spanbridge.base.errors import Code, NodeError
from spanbridge.base.names import IfName
from spanbridge.model.netconf import VlanRange
from spanbridge.model.uplink import PortPlan, UplinkState, plan_port
from spanbridge.rtnl import (
    SCOPE_LINK,
    TABLE_MAIN,
    Link,
    Message,
    PortVlan,
    Rtnl,
    add_vlans,
    del_vlans,
)


@dataclass(frozen=True, slots=True)
class UplinkFacts:
    """
    What was observed.

    Attributes:
        device: The device.
        bridge: The bridge; None where it is missing.
        vlans: What the device carries as a port.
        master: What the device is a port of; None for nothing.
        ports: The other ports of the bridge, with their VLANs.
        addresses: Of the device, without those that every link gives itself.
        has_default_route: The node's default route leaves by the device.
        upper: 802.1Q interfaces on the device.
    """

    device: Link
    bridge: Link | None
    vlans: tuple[PortVlan, ...]
    master: Link | None
    ports: tuple[Link, ...]
    addresses: tuple[str, ...]
    has_default_route: bool
    upper: tuple[Link, ...]

    @property
    def is_port(self) -> bool:
        """Whether it is a port of the bridge already."""
        return self.bridge is not None and self.device.master == self.bridge.index


def unsuitable(device: str, cause: str, hint: str) -> NodeError:
    """Make the error for a device that cannot be the uplink."""
    return NodeError(
        f"cannot use {device} as the uplink: {cause}", hint=hint, code=Code.UPLINK_UNSUITABLE
    )


def missing(device: str) -> NodeError:
    """Make the error for a device that is not there."""
    return unsuitable(device, "there is no such device", "see what there is: ip -br link")


def observe_facts(node: Rtnl, device: IfName, bridge: IfName) -> UplinkFacts:
    """
    Read everything that matters.

    Raises:
        NodeError: There is no such device.
    """
    found = node.link(device)
    if found is None:
        raise missing(device)
    above = node.link(bridge)
    routes = node.routes(table=TABLE_MAIN)
    return UplinkFacts(
        device=found,
        bridge=above,
        vlans=node.port_vlans(found.index) if found.master else (),
        master=node.link(found.master) if found.master else None,
        ports=tuple(
            port
            for port in (node.links(master=above.index, vlans=True) if above is not None else ())
            if port.index != found.index
        ),
        addresses=tuple(
            f"{each.address}/{each.prefix_length}"
            for each in node.addresses(found.index)
            if each.scope != SCOPE_LINK
        ),
        has_default_route=any(
            route.destination == "default"
            and found.index in {route.oif, *(hop.oif for hop in route.nexthops)}
            for route in routes
        ),
        upper=tuple(each for each in node.links(kind="vlan") if each.link == found.index),
    )


def thieves(upper: Sequence[Link], vlans: Sequence[VlanRange]) -> list[Link]:
    """List the 802.1Q interfaces that take frames of ``vlans`` before the bridge sees them."""
    return [each for each in upper if any(each.vlan_id in one for one in vlans)]


def refuse_device(facts: UplinkFacts, bridge: IfName, vlans: Sequence[VlanRange]) -> None:
    """
    Refuse a device that must not become the uplink.

    Raises:
        NodeError: It has another use; the hint says how it is freed.
    """
    device = facts.device
    name = device.name
    stolen = thieves(facts.upper, vlans)
    if stolen:
        raise unsuitable(
            name,
            f"its 802.1Q interface {stolen[0].name} takes the frames of VLAN"
            f" {stolen[0].vlan_id} before the bridge sees them",
            f"run: ip link del {stolen[0].name}",
        )
    if facts.is_port:
        return
    if device.loopback or device.kind == "bridge":
        kind = "the loopback" if device.loopback else "a bridge"
        raise unsuitable(name, f"it is {kind}", "name the device that leads to the switch")
    if facts.master is not None:
        raise unsuitable(
            name,
            f"it is a port of {facts.master.name} ({facts.master.kind or 'device'}) already",
            f"name {facts.master.name} as the bridge, or free it: ip link set {name} nomaster",
        )
    if facts.has_default_route:
        raise unsuitable(
            name,
            "the node's default route leaves by it",
            "as a port of a bridge it would cut the node off; take another device",
        )
    if facts.addresses:
        listed = ", ".join(facts.addresses)
        raise unsuitable(
            name,
            f"it has the address {listed}, which would stop working on a port of {bridge}",
            f"move what uses it elsewhere and run: ip addr flush dev {name} scope global;"
            " or take another device",
        )


def refuse_mtu(want: UplinkState, device: Link) -> None:
    """
    Refuse an uplink that loses the large frames of a network without a word.

    Raises:
        NodeError: Its MTU is below the network's.
    """
    if want.mtu > device.mtu:
        raise unsuitable(
            device.name,
            f"its MTU is {device.mtu}, and frames of up to {want.mtu} bytes would be lost",
            f'run: ip link set {device.name} mtu {want.mtu}, or write "mtu": {device.mtu}',
        )


def default_vlan(bridge: Link | None) -> int | None:
    """Return the VLAN that a new port of a bridge is given; 0 for none, None without VLANs."""
    info = bridge.bridge if bridge is not None else None
    return info.default_pvid if info is not None and info.vlan_filtering else None


def ranges_of(vlans: Sequence[PortVlan]) -> list[tuple[int, int]]:
    """Turn what a port carries into first and last VLAN of each range."""
    return [(each.vid, each.vid_end) for each in vlans]


def fresh_port_vlans(given: int) -> tuple[PortVlan, ...]:
    """Say what the bridge gives to a new port, ``given`` being its default VLAN or 0."""
    return (PortVlan(given, given, pvid=True, untagged=True),) if given else ()


def port_plan(want: UplinkState, given: int, seen: Sequence[PortVlan], *, fresh: bool) -> PortPlan:
    """Compare the VLANs of a port with what is needed, ``given`` being its bridge's default."""
    return plan_port(
        want,
        ranges_of(seen),
        default_pvid=given,
        has_pvid=any(each.pvid for each in seen),
        fresh=fresh,
    )


def port_messages(index: int, plan: PortPlan) -> list[Message]:
    """Build what makes the VLANs of a port as planned; first what must not pass."""
    messages = [del_vlans(index, plan.removed)] if plan.removed else []
    if plan.native:
        native = [(plan.native, plan.native)]
        messages.append(add_vlans(index, native, pvid=True, untagged=True))
    if plan.tagged:
        messages.append(add_vlans(index, plan.tagged))
    return messages
