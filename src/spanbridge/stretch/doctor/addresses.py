# SPDX-License-Identifier: Apache-2.0
"""Checks of addresses: who has which, on the node and on the network; forwarding."""

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from spanbridge.model.addresses import ip_from_text
from spanbridge.model.netconf import SCOPE_NODE
from spanbridge.model.node_state import AttachmentState, LinkState, ProbeState
from spanbridge.model.repair import Paste, SetSysctl
from spanbridge.stretch.doctor.case import BridgeCase, Network
from spanbridge.stretch.doctor.links import NO_UPLINK
from spanbridge.stretch.doctor.outcome import Outcome, advice, doubtful, fine, skipped, wrong

MAX_QUESTIONS: Final = 64
"""Addresses asked for on one uplink: a node has fewer pods on a migration network."""

_FORWARDING: Final = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}
NF_CALL: Final = "net/bridge/bridge-nf-call-iptables"
"""On: bridged frames pass the IP firewall. Source: Documentation/networking/ip-sysctl.rst."""

_STRICT: Final = "1"
"""Source: Documentation/networking/ip-sysctl.rst, rp_filter."""


@dataclass(frozen=True, slots=True)
class Question:
    """An address to ask for by ARP; ``vlan`` 0 is untagged."""

    device: str
    vlan: int
    address: str


# ---------------------------------------------------------------- what to ask


def gateways(bridge: BridgeCase, network: Network) -> tuple[str, ...]:
    """Name the IPv4 gateways of a network, from its section, its pods and the node."""
    found = [each for one in _attached(bridge, network) for each in one.gateways]
    found += _written_gateways(network)
    if network.conf.is_gateway:
        found += [each.partition("/")[0] for each in _gateway_addresses(bridge, network)]
    return tuple(sorted({each for each in found if "." in each}))


def _attached(bridge: BridgeCase, network: Network) -> list[AttachmentState]:
    listed = bridge.state.agent.attachments
    return [
        each
        for each in listed
        if each.here and not each.stale and each.network == network.conf.name
    ]


def _written_gateways(network: Network) -> Iterator[str]:
    """Read the gateways of an ``ipam`` section, wherever its plugin keeps them."""
    if network.conf.ipam is None:
        return
    raw = network.conf.ipam.node.raw
    stack: list[object] = [raw]
    while stack:
        match stack.pop():
            case dict() as one:
                gateway = one.get("gateway")
                if isinstance(gateway, str) and ip_from_text(gateway) is not None:
                    yield gateway
                stack += [one[key] for key in ("ranges", "addresses", "ipRanges") if key in one]
            case list() as several:
                stack += several


def gateway_device(bridge: BridgeCase, network: Network) -> LinkState | None:
    """Find the interface that has the gateway's address; None before the first pod."""
    vlan = network.conf.vlan
    return bridge.state.link(f"{bridge.name}.{vlan}" if vlan else bridge.name)


def _gateway_addresses(bridge: BridgeCase, network: Network) -> tuple[str, ...]:
    device = gateway_device(bridge, network)
    return device.addresses if device is not None else ()


def _tag(bridge: BridgeCase, network: Network) -> int | None:
    """Tag that a network's frames have on the uplink, 0 for none; None: they do not pass."""
    uplink, vlan = bridge.uplink, network.conf.vlan
    if uplink is None or not (uplink.up and uplink.carrier):
        return None
    if not vlan or not bridge.filters:
        return None if vlan else 0
    entry = next((each for each in uplink.vlans if vlan in each), None)
    return None if entry is None else (0 if entry.untagged else vlan)


def questions(bridge: BridgeCase) -> tuple[Question, ...]:
    """List what is to be asked for on the uplink of a bridge: gateways, then pods."""
    found: dict[Question, None] = {}
    for addresses in (gateways, _pod_addresses):
        for network in bridge.networks:
            tag = _tag(bridge, network)
            if tag is None or bridge.uplink is None:
                continue
            for address in addresses(bridge, network):
                found[Question(bridge.uplink.name, tag, address)] = None
    return tuple(found)[:MAX_QUESTIONS]


def _pod_addresses(bridge: BridgeCase, network: Network) -> tuple[str, ...]:
    listed = [each for one in _attached(bridge, network) for each in one.addresses]
    return tuple(each.partition("/")[0] for each in listed if "." in each)


def _answers(bridge: BridgeCase, network: Network, addresses: Iterable[str]) -> list[ProbeState]:
    tag, uplink = _tag(bridge, network), bridge.uplink
    wanted = set(addresses)
    return [
        each
        for each in bridge.state.probes
        if uplink is not None
        and (each.device, each.vlan) == (uplink.name, tag)
        and each.address in wanted
    ]


def _unasked(bridge: BridgeCase, probes: list[ProbeState]) -> str:
    """Say why nothing is known; empty where something is."""
    if bridge.state.unprobed:
        return bridge.state.unprobed
    if bridge.uplink is None:
        return NO_UPLINK
    if not probes:
        return f"nobody could be asked through {bridge.uplink.name}"
    return next((each.fault for each in probes if each.fault), "")


# ---------------------------------------------------------------- who answers


def gateway_is_one(bridge: BridgeCase) -> Iterator[Outcome]:
    """See that no two hosts answer for a gateway's address."""
    asked = False
    for network in bridge.networks:
        known = gateways(bridge, network)
        if known:
            asked = True
            yield _judge_gateways(bridge, network, known)
    if not asked:
        yield skipped(bridge.subject, "no network on it has an IPv4 gateway that is known")


def _judge_gateways(bridge: BridgeCase, network: Network, known: tuple[str, ...]) -> Outcome:
    subject = f"network {network.conf.name}"
    probes = _answers(bridge, network, known)
    reason = _unasked(bridge, probes)
    if reason:
        return skipped(subject, reason)
    own = {each.partition("/")[0] for each in _gateway_addresses(bridge, network)}
    pinned = network.conf.gateway_scope == SCOPE_NODE
    for probe in probes:
        local = probe.address in own and network.conf.is_gateway and not pinned
        if len(probe.macs) + local > 1:
            return _gateway_twice(bridge, network, probe, local=local)
    silent = [each.address for each in probes if not each.macs and each.address not in own]
    if silent:
        words = f"nobody answers for {', '.join(silent)}"
        return doubtful(subject, words, advice("see that the router is on, and in this VLAN"))
    heard = ", ".join(_spell_answers(each, own) for each in probes)
    return fine(subject, heard)


def _spell_answers(probe: ProbeState, own: set[str]) -> str:
    if probe.macs:
        return f"{probe.address} is at {probe.macs[0]}"
    here = " (this node has it)" if probe.address in own else ""
    return f"nobody else answers for {probe.address}{here}"


def _gateway_twice(
    bridge: BridgeCase, network: Network, probe: ProbeState, *, local: bool
) -> Outcome:
    hosts = [*probe.macs, *(["this node"] if local else [])]
    steps = [
        advice("each of them but the router must give the address up; to find a MAC's port:"),
        Paste(tuple(f"bridge fdb show | grep {mac}" for mac in probe.macs)),
        advice(
            'where it is a node: "gatewayScope": "node" keeps the address there, or no isGateway'
        ),
    ]
    device = gateway_device(bridge, network)
    if local and device is not None:
        mine = [each for each in device.addresses if each.partition("/")[0] == probe.address]
        steps.append(Paste(tuple(f"ip addr del {each} dev {device.name}" for each in mine)))
    return wrong(
        f"network {network.conf.name}",
        f"{len(hosts)} hosts answer for the gateway {probe.address}: {', '.join(hosts)}",
        *steps,
    )


def pods_are_alone(bridge: BridgeCase) -> Iterator[Outcome]:
    """See that nobody behind the uplink has the address of a pod."""
    asked = False
    for network in bridge.networks:
        known = _pod_addresses(bridge, network)
        if known:
            asked = True
            yield _judge_pods(bridge, network, known)
    if not asked:
        yield skipped(bridge.subject, "the agent has no pod with an IPv4 address on it")


def _judge_pods(bridge: BridgeCase, network: Network, known: tuple[str, ...]) -> Outcome:
    subject = f"network {network.conf.name}"
    probes = _answers(bridge, network, known)
    reason = _unasked(bridge, probes)
    if reason:
        return skipped(subject, reason)
    taken = [f"{each.address} at {each.macs[0]}" for each in probes if each.macs]
    if not taken:
        return fine(subject, f"nobody else has one of {len(probes)} addresses of pods")
    return wrong(
        subject,
        f"addresses of pods here are in use elsewhere: {', '.join(taken)}",
        advice(
            "two clusters draw from one range: give each its own (spanbridge plan), then",
            "delete the pods that have these addresses",
        ),
    )


def no_duplicates_here(bridge: BridgeCase) -> Iterator[Outcome]:
    """See that no two pods of the node, or a pod and the node, have one address."""
    owners: dict[tuple[str, str], list[str]] = defaultdict(list)
    for network in bridge.networks:
        segment = str(network.conf.vlan)
        for one in _attached(bridge, network):
            for address in one.addresses:
                key = (segment, address.partition("/")[0])
                owners[key].append(f"container {one.container_id}")
        for address in _gateway_addresses(bridge, network):
            holder = f"the node ({gateway_device_name(bridge, network)})"
            key = (segment, address.partition("/")[0])
            if holder not in owners[key]:
                owners[key].append(holder)
    twice = {address: who for (_, address), who in owners.items() if len(who) > 1}
    for address, who in sorted(twice.items()):
        yield wrong(
            bridge.subject,
            f"{address} belongs to {' and to '.join(who)}",
            advice("delete one of these pods; what gave the address twice is its ipam"),
        )
    if not twice:
        yield fine(bridge.subject, "no address twice on this node")


def gateway_device_name(bridge: BridgeCase, network: Network) -> str:
    """Name the interface that has the gateway's address."""
    return f"{bridge.name}.{network.conf.vlan}" if network.conf.vlan else bridge.name


# ---------------------------------------------------------------- forwarding


def forwards(bridge: BridgeCase) -> Iterator[Outcome]:
    """See that the node forwards for the networks whose gateway it is."""
    serving = [one for one in bridge.networks if one.conf.is_gateway]
    held = {6 if ":" in each else 4 for one in serving for each in _gateway_addresses(bridge, one)}
    if not held:
        yield skipped(bridge.subject, "the node is the gateway of no network on it")
        return
    off = [version for version in sorted(held) if _is_off(bridge, version)]
    if off:
        families = " and ".join(f"IPv{version}" for version in off)
        steps = [SetSysctl(_FORWARDING[version], "1") for version in off]
        yield wrong(bridge.subject, f"the node does not forward {families}", *steps)
    else:
        yield fine(bridge.subject, "the node forwards")


def _is_off(bridge: BridgeCase, version: int) -> bool:
    return bridge.state.sysctls.get(_FORWARDING[version]) == "0"


def firewall_lets_pass(bridge: BridgeCase) -> Iterator[Outcome]:
    """See that bridged frames are not dropped by a firewall that was meant for routed ones."""
    state = bridge.state
    if state.sysctls.get(NF_CALL) != "1":
        yield fine(bridge.subject, "bridged frames do not pass the IP firewall")
    elif not state.dropping:
        yield fine(bridge.subject, "bridged frames pass the IP firewall, which drops none unasked")
    else:
        rule = f"iptables -I FORWARD -i {bridge.name} -o {bridge.name} -j ACCEPT"
        yield doubtful(
            bridge.subject,
            f"bridged frames pass the IP firewall, and {', '.join(state.dropping)} drops what no"
            " rule lets pass",
            Paste((rule,)),
        )


def reverse_path_fits(bridge: BridgeCase) -> Iterator[Outcome]:
    """See that strict reverse path filtering does not drop what pods send to the gateway."""
    faults = []
    for network in bridge.networks:
        device = gateway_device(bridge, network) if network.conf.is_gateway else None
        if device is None or not device.addresses or not _is_strict(bridge, device.name):
            continue
        for other, address in _same_subnet(bridge, device):
            faults.append(
                doubtful(
                    f"link {device.name}",
                    f"{other} has {address}, of the same subnet, and rp_filter is strict",
                    SetSysctl(f"net/ipv4/conf/{device.name}/rp_filter", "2"),
                    hazard="the better cure is one subnet on one interface",
                )
            )
    yield from faults or [fine(bridge.subject, "no subnet of it is on another interface too")]


def _is_strict(bridge: BridgeCase, device: str) -> bool:
    values = [
        bridge.state.sysctls.get(f"net/ipv4/conf/{name}/rp_filter", "0") for name in ("all", device)
    ]
    return max(values) == _STRICT


def _same_subnet(bridge: BridgeCase, device: LinkState) -> Iterator[tuple[str, str]]:
    ours = [ipaddress.ip_interface(each).network for each in device.addresses if "." in each]
    for other in bridge.state.links:
        for address in other.addresses if other.name != device.name else ():
            if "." in address and ipaddress.ip_interface(address).network in ours:
                yield other.name, address
