# SPDX-License-Identifier: Apache-2.0
"""Checks of a bridge and of its uplink."""

from collections.abc import Iterable, Iterator
from typing import Final

from spanbridge.base.names import VlanId
from spanbridge.model.netconf import VlanRange, merge_ranges
from spanbridge.model.node_state import LinkState, VlanEntry
from spanbridge.model.repair import (
    AllowVlans,
    Enslave,
    EnsureUplink,
    FilterVlans,
    ForbidVlans,
    MakeBridge,
    Paste,
    RemoveLink,
    SetUp,
    Step,
)
from spanbridge.stretch.doctor.case import BridgeCase, is_uplink_like, spans, spell
from spanbridge.stretch.doctor.outcome import Outcome, advice, doubtful, fine, skipped, wrong

NO_BRIDGE: Final = "there is no such bridge"
NO_UPLINK: Final = "the bridge has no uplink"

_CABLED: Final = frozenset({"", "bond", "team", "veth"})
"""Kinds that may be guessed to lead to a switch: tunnels and the like never are."""


def bridge_exists(bridge: BridgeCase) -> Iterator[Outcome]:
    """Look for the bridge."""
    found = bridge.state.link(bridge.name)
    if bridge.link is not None:
        yield fine(bridge.subject, "it is there")
    elif found is not None:
        yield wrong(
            bridge.subject,
            f"the link of this name is of kind {found.kind or 'device'!r}, not a bridge",
            advice('write another "bridge" into the configuration, or rename that link:'),
            Paste((f"ip link set dev {bridge.name} down name {bridge.name[:11]}-old",)),
        )
    elif not bridge.needs_uplink or _plugin_makes_it(bridge):
        yield skipped(bridge.subject, "it is not there yet; the first attachment makes it")
    else:
        link = bridge.state.link(bridge.named_uplink)
        ready = link is not None and not link.master and not _why_not(bridge, link)
        made = (
            _ensuring(bridge, link)
            if link and ready
            else MakeBridge(bridge.name, bridge.uses_vlans)
        )
        yield wrong(bridge.subject, "there is no bridge", made)


def _plugin_makes_it(bridge: BridgeCase) -> bool:
    """Tell whether ADD makes bridge and uplink; an administrator who asks wants them now."""
    return not bridge.case.options.bridge and any(one.uplink for one in bridge.networks)


def bridge_up(bridge: BridgeCase) -> Iterator[Outcome]:
    """See that the bridge is set up."""
    if bridge.link is None:
        yield skipped(bridge.subject, NO_BRIDGE)
    elif bridge.link.up:
        yield fine(bridge.subject, "it is up")
    else:
        yield wrong(bridge.subject, "it is down", SetUp(bridge.name))


def bridge_filters(bridge: BridgeCase) -> Iterator[Outcome]:
    """See that the bridge filters VLANs, where they are used."""
    if bridge.link is None:
        yield skipped(bridge.subject, NO_BRIDGE)
    elif not bridge.uses_vlans:
        yield skipped(bridge.subject, "no network on it uses VLANs")
    elif bridge.link.vlan_filtering:
        yield fine(bridge.subject, "it filters VLANs")
    else:
        yield wrong(
            bridge.subject,
            "it does not filter VLANs",
            FilterVlans(bridge.name),
            hazard=_others_rely_on(bridge),
        )


def _others_rely_on(bridge: BridgeCase) -> str:
    uplink = bridge.uplink.name if bridge.uplink else ""
    others = [port.name for port in bridge.strangers if port.name != uplink]
    others += [each.name for each in _upper(bridge, bridge.name)]
    if not others:
        return ""
    return f"tagged frames of {', '.join(others)} would be dropped where no port allows them"


def _is_vlan_on(link: LinkState, device: str) -> bool:
    return link.kind == "vlan" and link.lower == device


def uplink_is_port(bridge: BridgeCase) -> Iterator[Outcome]:
    """See that something leads to the other nodes."""
    if bridge.link is None:
        yield skipped(bridge.subject, NO_BRIDGE)
    elif bridge.uplink is not None:
        yield fine(bridge.subject, f"{bridge.uplink.name} is its port")
    elif not bridge.needs_uplink:
        reason = "its networks have no VLAN and name no uplink: meant for this node alone"
        yield skipped(bridge.subject, reason)
    elif bridge.named_uplink:
        yield _named_uplink(bridge)
    else:
        yield _no_uplink(bridge)


def _named_uplink(bridge: BridgeCase) -> Outcome:
    name = bridge.named_uplink
    link = bridge.state.link(name)
    if link is None:
        there = ", ".join(each.name for each in bridge.state.links if not each.loopback)
        return wrong(bridge.subject, f"there is no device {name}", advice(f"there are: {there}"))
    uses = _uses(bridge, link)
    if uses:
        return wrong(
            bridge.subject,
            f"{name} is no port of it, and carries {', '.join(uses)}",
            advice("as a port it would be of no use for that: take another device, or move it"),
            *_enslaving(bridge, link),
            hazard="the node would be cut off from what it reaches through it",
        )
    if link.master:
        return wrong(
            bridge.subject,
            f"{name} is a port of {link.master} instead",
            *_enslaving(bridge, link),
            hazard=f"{link.master} would lose it",
        )
    return wrong(bridge.subject, f"{name} is no port of it", *_enslaving(bridge, link))


def _uses(bridge: BridgeCase, link: LinkState) -> tuple[str, ...]:
    """List what the node itself uses a link for."""
    routes = [each for each in bridge.state.routes if each.device == link.name]
    default = any(each.destination == "default" for each in routes)
    return (*link.addresses, *(["the default route"] if default else []))


def _why_not(bridge: BridgeCase, link: LinkState) -> str:
    """Say why ``spanbridge uplink ensure`` would refuse a device; empty when it would not."""
    if link.master not in {"", bridge.name} or (not link.master and _uses(bridge, link)):
        return "it has another use"
    if any(each.vlan_id and _wanted(bridge, each.vlan_id) for each in _upper(bridge, link.name)):
        return "a VLAN interface takes its frames"
    if bridge.link is not None and bridge.filters != bool(bridge.vlans):
        return "the bridge filters VLANs, and none is wanted, or the other way round"
    return ""


def _upper(bridge: BridgeCase, device: str) -> list[LinkState]:
    return [each for each in bridge.state.links if _is_vlan_on(each, device)]


def _ensuring(bridge: BridgeCase, link: LinkState) -> EnsureUplink:
    """Ask for what is wanted now and for what was asked before: the latter stays."""
    asked = [one for one in bridge.state.uplinks if one.device == link.name]
    before = [
        VlanRange(VlanId(each.first), VlanId(each.last)) for one in asked for each in one.vlans
    ]
    wanted = merge_ranges([*bridge.vlans, *before])
    mtu = max((one.mtu for one in asked), default=0)
    return EnsureUplink(link.name, bridge.name, spans(wanted), mtu)


def _enslaving(bridge: BridgeCase, link: LinkState) -> list[Step]:
    if not _why_not(bridge, link):
        return [_ensuring(bridge, link)]
    steps: list[Step] = [Enslave(link.name, bridge.name)]
    default = bridge.link.default_pvid if bridge.link else 0
    if bridge.filters and bridge.vlans:
        if default and not any(default in each for each in bridge.vlans):
            steps.append(ForbidVlans(link.name, ((default, default),)))
        steps.append(AllowVlans(link.name, spans(bridge.vlans)))
    return steps if link.up else [*steps, SetUp(link.name)]


def _no_uplink(bridge: BridgeCase) -> Outcome:
    free = [each for each in bridge.state.links if _is_free(bridge, each)]
    if len(free) == 1:
        guess = free[0]
        return wrong(
            bridge.subject,
            f"{NO_UPLINK}; {guess.name} has neither addresses nor a bridge",
            *_enslaving(bridge, guess),
            hazard=f"{guess.name} is a guess: give --uplink {guess.name}",
        )
    names = ", ".join(each.name for each in free) or "no device without addresses and bridge"
    command = f"spanbridge doctor --bridge {bridge.name} --uplink DEVICE"
    return wrong(
        bridge.subject,
        NO_UPLINK,
        advice(f"say which device leads to the other nodes ({names}):", command),
    )


def _is_free(bridge: BridgeCase, link: LinkState) -> bool:
    idle = not link.master and not _uses(bridge, link)
    if not idle or link.kind not in _CABLED or not is_uplink_like(link):
        return False
    return not any(each.lower == link.name for each in bridge.state.links)


def uplink_works(bridge: BridgeCase) -> Iterator[Outcome]:
    """See that the uplink is up, connected and forwarding."""
    uplink = bridge.uplink
    if uplink is None:
        yield skipped(bridge.subject, NO_UPLINK)
    elif not uplink.up:
        yield wrong(f"uplink {uplink.name}", "it is down", SetUp(uplink.name))
    elif not uplink.carrier:
        yield wrong(
            f"uplink {uplink.name}",
            f"it is up but has no carrier ({uplink.operstate})",
            advice("look at the cable, and at the port of the switch"),
        )
    elif not uplink.forwarding:
        yield doubtful(
            f"uplink {uplink.name}",
            "spanning tree does not let it forward",
            Paste((f"ip link set dev {bridge.name} type bridge stp_state 0",)),
        )
    else:
        yield fine(f"uplink {uplink.name}", "it is up, with carrier")


def uplink_carries_vlans(bridge: BridgeCase) -> Iterator[Outcome]:
    """See that the VLANs of all networks pass the uplink."""
    uplink = bridge.uplink
    if uplink is None:
        yield skipped(bridge.subject, NO_UPLINK)
    elif not bridge.vlans:
        yield skipped(f"uplink {uplink.name}", "no network on the bridge names a VLAN")
    elif not bridge.filters:
        yield skipped(f"uplink {uplink.name}", "the bridge does not filter VLANs")
    elif missing := missing_vlans(uplink.vlans, bridge.vlans):
        listed = ", ".join(str(each) for each in uplink.vlans) or "none"
        yield wrong(
            f"uplink {uplink.name}",
            f"it does not carry {spell(missing)}, only {listed}",
            AllowVlans(uplink.name, spans(missing))
            if _why_not(bridge, uplink)
            else _ensuring(bridge, uplink),
        )
    else:
        yield fine(f"uplink {uplink.name}", f"it carries {spell(bridge.vlans)}")


def missing_vlans(
    entries: Iterable[VlanEntry], wanted: Iterable[VlanRange]
) -> tuple[VlanRange, ...]:
    """Cut what a port carries out of what it should."""
    left = list(wanted)
    for has in entries:
        left = [
            VlanRange(VlanId(first), VlanId(last))
            for each in left
            for first, last in (
                (each.first, min(each.last, has.first - 1)),
                (max(each.first, has.last + 1), each.last),
            )
            if first <= last
        ]
    return tuple(left)


def nothing_steals(bridge: BridgeCase) -> Iterator[Outcome]:
    """See that no 802.1Q interface on a port takes the frames away before the bridge."""
    if bridge.link is None:
        yield skipped(bridge.subject, NO_BRIDGE)
        return
    ports = {each.name for each in bridge.state.ports(bridge.name)}
    thieves = [
        each
        for each in bridge.state.links
        if each.kind == "vlan" and each.lower in ports and _wanted(bridge, each.vlan_id)
    ]
    for thief in thieves:
        addresses = f" (it has {', '.join(thief.addresses)})" if thief.addresses else ""
        yield wrong(
            f"uplink {thief.lower}",
            f"{thief.name} takes the frames of VLAN {thief.vlan_id} before the bridge{addresses}",
            RemoveLink(thief.name),
            hazard=f"somebody made {thief.name}, and may use it",
        )
    if not thieves:
        yield fine(bridge.subject, "no interface takes frames of its VLANs from its ports")


def _wanted(bridge: BridgeCase, vid: int) -> bool:
    return any(vid in each for each in bridge.vlans)


def uplink_has_no_addresses(bridge: BridgeCase) -> Iterator[Outcome]:
    """See that the uplink has no addresses of its own."""
    uplink = bridge.uplink
    if uplink is None:
        yield skipped(bridge.subject, NO_UPLINK)
    elif uplink.addresses:
        yield doubtful(
            f"uplink {uplink.name}",
            f"it carries {', '.join(uplink.addresses)}, but as a port it receives nothing",
            Paste(tuple(f"ip addr del {each} dev {uplink.name}" for each in uplink.addresses)),
        )
    else:
        yield fine(f"uplink {uplink.name}", "it has no addresses of its own")
