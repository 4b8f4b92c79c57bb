# SPDX-License-Identifier: Apache-2.0
"""Checks along a bridge's ports: MTU and VLANs."""

from collections.abc import Iterator
from typing import Final

from spanbridge.base.names import VlanId
from spanbridge.model.netconf import VlanRange
from spanbridge.model.node_state import LinkState, VlanEntry
from spanbridge.model.repair import AllowVlans, ForbidVlans, SetMtu, Step
from spanbridge.stretch.doctor.case import BridgeCase, OurPort, spans, spell
from spanbridge.stretch.doctor.links import NO_BRIDGE, missing_vlans
from spanbridge.stretch.doctor.outcome import Outcome, advice, doubtful, fine, skipped, wrong

ETHERNET_MTU: Final = 1500
"""Bytes; what a link gets where nobody says otherwise. Source: linux/if_ether.h, ETH_DATA_LEN."""

_NATIVE_VLAN: Final = 1
"""Of a trunk without ``vlan``."""

_ALL: Final = (2, 4094)
"""What NMState allows on a port by default, beside VLAN 1."""

_HARDWARE: Final = "hardware may lose its link for a moment, and the switch must agree"


# ---------------------------------------------------------------- MTU


def mtu_fits(bridge: BridgeCase) -> Iterator[Outcome]:
    """See that what a pod may send passes the bridge and the uplink."""
    if bridge.link is None:
        yield skipped(bridge.subject, NO_BRIDGE)
        return
    need = _needed_mtu(bridge)
    uplink = bridge.uplink
    chain = [each for each in (uplink, bridge.link) if each is not None]
    narrow = [each for each in chain if each.mtu < need]
    narrow_ports = [port for port in bridge.ports if port.link.mtu < _port_mtu(port)]
    small_pods = [port for port in bridge.ports if _pod_is_small(port)]
    if narrow or narrow_ports:
        yield _narrow(bridge, need, narrow, narrow_ports)
    elif small_pods:
        names = ", ".join(port.what for port in small_pods)
        words = advice("recreate these pods: the MTU of an interface is given when it is made")
        yield doubtful(bridge.subject, f"smaller than its network's MTU: {names}", words)
    else:
        path = " and ".join(f"{each.name} {each.mtu}" for each in chain)
        yield fine(bridge.subject, f"pods send up to {need} bytes; {path}")


def _needed_mtu(bridge: BridgeCase) -> int:
    asked = [one.conf.mtu for one in bridge.networks if one.conf.mtu]
    used = [mtu for port in bridge.ports for mtu in (_port_mtu(port), port.link.mtu)]
    return max([*asked, *used], default=ETHERNET_MTU)


def _port_mtu(port: OurPort) -> int:
    """Largest packet that the other end may send; 0 where that is not known."""
    asked = port.network.conf.mtu if port.network else 0
    return max(asked, port.attachment.pod_mtu if port.attachment else 0)


def _pod_is_small(port: OurPort) -> bool:
    seen = port.attachment.pod_mtu if port.attachment else 0
    return bool(seen) and port.network is not None and seen < port.network.conf.mtu


def _narrow(bridge: BridgeCase, need: int, links: list[LinkState], ports: list[OurPort]) -> Outcome:
    listed = [f"{each.name} {each.mtu}" for each in links]
    listed += [f"{port.link.name} {port.link.mtu}" for port in ports]
    steps: list[Step] = [SetMtu(each.name, need) for each in links]
    steps += [SetMtu(port.link.name, _port_mtu(port)) for port in ports]
    hardware = [each for each in links if not each.kind]
    hazard = f"{hardware[0].name}: {_HARDWARE}" if hardware else ""
    message = f"pods send up to {need} bytes, but {', '.join(listed)}"
    return wrong(bridge.subject, message, *steps, hazard=hazard)


# ---------------------------------------------------------------- VLANs


def _wanted_vlans(port: OurPort) -> tuple[int, tuple[VlanRange, ...]] | None:
    """
    Tell the VLAN of untagged frames (0: what the bridge gives), and the tagged ones.

    Returns:
        None where nobody knows.
    """
    if port.device:
        vlan = port.device.rpartition(".")[2]
        return (int(vlan), ()) if vlan.isdecimal() else None
    if port.network is None:
        return None
    trunk = port.network.conf.trunk or ()
    pvid = port.network.conf.vlan or (_NATIVE_VLAN if trunk else 0)
    return pvid, missing_vlans((VlanEntry(pvid, pvid),), trunk)


def ports_carry_vlans(bridge: BridgeCase) -> Iterator[Outcome]:
    """See that each pod's port, and the gateway's, is in the VLANs of its network."""
    if bridge.link is None:
        yield skipped(bridge.subject, NO_BRIDGE)
        return
    known = [(port, wanted) for port in bridge.ports if (wanted := _wanted_vlans(port))]
    using = [(port, *wanted) for port, wanted in known if any(wanted)]
    if not using:
        yield skipped(bridge.subject, "no pod of a network with VLANs is attached to it")
        return
    faults = [each for each in using if _port_steps(*each)]
    for port, pvid, tagged in faults:
        listed = ", ".join(str(each) for each in port.link.vlans) or "none"
        needs = ", ".join([*([f"{pvid} untagged"] if pvid else []), *map(str, tagged)])
        yield wrong(
            f"port {port.link.name}",
            f"{port.what} needs VLAN {needs}; its port has {listed}",
            *_port_steps(port, pvid, tagged),
        )
    if not faults:
        yield fine(bridge.subject, f"{_count(len(using), 'port')} in the VLANs of their networks")


def _port_steps(port: OurPort, pvid: int, tagged: tuple[VlanRange, ...]) -> list[Step]:
    """Say what has to be added; leftovers are another check's."""
    name, steps = port.link.name, list[Step]()
    access = (VlanEntry(pvid, pvid, pvid=True, untagged=True),)
    if pvid and not set(access) & set(port.link.vlans):
        steps.append(AllowVlans(name, ((pvid, pvid),), access=True))
    missing = missing_vlans(port.link.vlans, tagged)
    return [*steps, AllowVlans(name, spans(missing))] if missing else steps


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def no_vlan_left_over(bridge: BridgeCase) -> Iterator[Outcome]:
    """See that no port kept the VLAN that the bridge gives to a new one."""
    if bridge.link is None:
        yield skipped(bridge.subject, NO_BRIDGE)
        return
    if not bridge.filters or not bridge.uses_vlans:
        yield skipped(bridge.subject, "VLANs are not used on it")
        return
    faults = list(_left_on_ports(bridge))
    if not faults and bridge.uplink is not None and _is_left_on_uplink(bridge, bridge.uplink):
        faults = [_left_on_uplink(bridge, bridge.uplink)]
    yield from faults or [fine(bridge.subject, "no port is in a VLAN that nobody asked for")]


def _left_on_ports(bridge: BridgeCase) -> Iterator[Outcome]:
    for port in bridge.ports:
        wanted = _wanted_vlans(port)
        kept = port.network is not None and port.network.conf.preserve_default_vlan
        if wanted is None or not wanted[0] or kept:
            continue
        pvid, tagged = wanted
        asked = (VlanEntry(pvid, pvid), *(VlanEntry(each.first, each.last) for each in tagged))
        extra = missing_vlans(asked, [_range(each) for each in port.link.vlans])
        if extra:
            yield wrong(
                f"port {port.link.name}",
                f"{port.what} is in {spell(extra)} too",
                ForbidVlans(port.link.name, spans(extra)),
            )


def _range(entry: VlanEntry) -> VlanRange:
    return VlanRange(VlanId(entry.first), VlanId(entry.last))


def _default_vlan(bridge: BridgeCase) -> int:
    return bridge.link.default_pvid if bridge.link else 0


def _is_left_on_uplink(bridge: BridgeCase, uplink: LinkState) -> bool:
    """
    Tell whether the uplink kept the default VLAN, although somebody chose its VLANs.

    NMState leaves it beside all others; that is its way, and nobody's mistake.
    """
    default = _default_vlan(bridge)
    chosen = [each for each in uplink.vlans if default not in each]
    asked = any(default in each for each in bridge.vlans)
    untagged = any(not one.conf.uses_vlans for one in bridge.networks)
    everything = any((each.first, each.last) == _ALL for each in chosen)
    return (
        bool(default and chosen)
        and uplink.carries(default)
        and not (asked or untagged or everything)
    )


def _left_on_uplink(bridge: BridgeCase, uplink: LinkState) -> Outcome:
    default = _default_vlan(bridge)
    others = [port.name for port in bridge.strangers if port.name != uplink.name]
    users = [*others, *([bridge.name] if bridge.link and bridge.link.addresses else [])]
    return doubtful(
        f"uplink {uplink.name}",
        f"it is in VLAN {default} too, untagged: what the switch sends untagged gets in",
        ForbidVlans(uplink.name, ((default, default),)),
        hazard=f"{', '.join(users)} may use it" if users else "",
    )
