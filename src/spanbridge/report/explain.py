# SPDX-License-Identifier: Apache-2.0
"""
What a configuration will do, in words and as JSON.

The text is for a network engineer: a drawing, the objects in the order of the packet,
and what to mind before it is used on a network that spans nodes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from spanbridge.model.desired import DesiredAttachment, GatewayState, PortState
from spanbridge.model.netconf import (
    SCOPE_NETWORK,
    SCOPE_NODE,
    NetConf,
    VlanRange,
    merge_ranges,
)
from spanbridge.model.reader import UnknownKey
from spanbridge.model.result import RouteConfig
from spanbridge.model.uplink import UplinkState

WIDTH: Final = 100
_LABEL: Final = 12

_DEFAULT_PVID: Final = 1
"""What a bridge gives a new port, untagged. Source: linux net/bridge/br_vlan.c."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """
    One configuration with what it will do.

    Attributes:
        origin: Where it stands.
        conf: As parsed.
        want: The state that an ADD would ensure, with example addresses where IPAM
            can tell any.
        ipam_words: What the IPAM plugin will do, in sentences.
        has_example: Whether ``want`` holds example addresses.
        unknown: Keys of the configuration and of its IPAM section that nobody reads.
    """

    origin: str
    conf: NetConf
    want: DesiredAttachment
    ipam_words: tuple[str, ...]
    has_example: bool
    unknown: tuple[UnknownKey, ...]

    @property
    def ipam_type(self) -> str:
        """Name of the IPAM plugin; empty on layer 2."""
        return self.conf.ipam.type if self.conf.ipam else ""


@dataclass(frozen=True, slots=True)
class Note:
    """
    What surprises people, with its remedy.

    Attributes:
        text: Sentences.
        commands: To be typed on a node, if that is the remedy.
    """

    text: str
    commands: tuple[str, ...] = ()


def _listed(vlans: Sequence[VlanRange]) -> str:
    noun = "VLAN" if len(vlans) == 1 and vlans[0].first == vlans[0].last else "VLANs"
    return f"{noun} {', '.join(str(each) for each in vlans)}"


def _port_kind(port: PortState) -> str:
    """Say in switch terms what the port is."""
    if port.pvid is None:
        return "no VLAN of its own"
    if port.tagged:
        return f"trunk, native VLAN {port.pvid}"
    return f"access VLAN {port.pvid}"


def _vlan_words(one: Explanation) -> str:
    port = one.want.port
    if port.pvid is None:
        kept = "it" if one.want.bridge.vlan_filtering else "the bridge"
        return f"no VLAN asked for; {kept} treats it as any new port"
    words = f"VLAN {port.pvid} untagged (PVID)"
    if port.tagged:
        words += f", {_listed(port.tagged)} tagged"
    if port.keep_default_vlan:
        return f"{words}, and what the bridge gives every new port (preserveDefaultVlan)"
    return f"{words}, no other"


def _bridge_lines(one: Explanation) -> Iterator[str]:
    bridge = one.want.bridge
    default = "" if one.conf.root.has("bridge") else ', the default, as "bridge" is not given'
    mtu = f"MTU {bridge.mtu}" if bridge.mtu else "default MTU"
    filtering = "with VLAN filtering" if bridge.vlan_filtering else "without VLAN filtering"
    yield f"{bridge.name}{default}"
    yield f"created where it is missing: {filtering}, {mtu}"
    found = "; without VLAN filtering it is refused" if bridge.vlan_filtering else ""
    yield f"taken as it is where it exists{found}"
    if bridge.promisc:
        yield "set promiscuous (promiscMode)"
    if bridge.linklocal_deaf:
        yield "learns no MAC from frames to link-local groups (macspoofchk)"


def _uplink_lines(one: Explanation) -> Iterator[str]:
    uplink, port = one.want.uplink, one.want.port
    if uplink is None:
        return
    yield f"{uplink.device}, made a port of {one.want.bridge.name} and set up (uplink)"
    vlans = _uplink_vlans(port)
    words = [f"{_listed(vlans)} tagged"] if vlans else []
    if _leaves_untagged(port):
        given = f"VLAN {_DEFAULT_PVID}" if one.want.bridge.vlan_filtering else "everything"
        words.append(f"{given} untagged")
    yield f"carries {' and '.join(words)}; what others put on it stays"
    yield "refused with addresses, the node's default route or another master"
    yield "shared by all pods, so DEL leaves it"


def _leaves_untagged(port: PortState) -> bool:
    """Tell whether the uplink also carries the bridge's default VLAN."""
    return port.keep_default_vlan or port.pvid in {None, _DEFAULT_PVID}


def _port_lines(one: Explanation) -> Iterator[str]:
    port = one.want.port
    yield f"the node's end of the veth pair, in {one.want.bridge.name}"
    yield _vlan_words(one)
    if port.hairpin:
        yield "frames may leave by the port they came from (hairpinMode)"
    if port.isolated:
        yield "reaches the uplink and the gateway, but no other isolated port (portIsolation)"
    if one.want.spoof_check:
        yield "frames from the pod pass only with its own source MAC (macspoofchk)"


def _pod_lines(one: Explanation) -> Iterator[str]:
    sandbox = one.want.sandbox
    mac = f"MAC {sandbox.mac}" if sandbox.mac else "random MAC unless one is asked for"
    mtu = f"MTU {sandbox.mtu}" if sandbox.mtu else "default MTU"
    state = "up" if sandbox.up else "left down (disableContainerInterface)"
    yield f"{sandbox.ifname} (CNI_IFNAME): {mac}, {mtu}, {state}"
    if sandbox.layer3 and sandbox.duplicate_detection:
        yield "an IPv6 address is used only after duplicate detection (enabledad)"


def _route_words(route: RouteConfig) -> str:
    destination = "default route" if route.dst.is_default else f"route to {route.dst}"
    extras = [
        f"{name} {value}"
        for name, value in (
            ("metric", route.priority),
            ("mtu", route.mtu),
            ("advmss", route.advmss),
            ("table", route.table),
            ("scope", route.scope),
        )
        if value
    ]
    by = f"via {route.gw}" if route.gw else "on the link"
    return " ".join([destination, by, *extras])


def _address_lines(one: Explanation) -> Iterator[str]:
    if one.conf.ipam is None:
        yield "none: a layer 2 network (no ipam)"
        return
    yield from one.ipam_words
    if one.has_example:
        listed = ", ".join(str(each) for each in one.want.sandbox.addresses)
        yield f"for example, the first pod on a fresh node gets {listed}"


def _gateway_addresses(one: Explanation, gateway: GatewayState) -> str:
    if one.has_example and gateway.addresses:
        return ", ".join(str(each) for each in gateway.addresses)
    return "the gateway's address"


def _gateway_lines(one: Explanation) -> Iterator[str]:
    gateway = one.want.gateway
    if gateway is None:
        yield "none: the node does not route for this network"
        return
    yield f"{_gateway_addresses(one, gateway)} on {gateway.device}"
    yield "the same address on EVERY node that runs such a pod"
    if gateway.stays_on_node:
        yield "ARP and neighbour discovery for it stay on the node: pods here reach this one alone"
    else:
        yield "every node answers for it on the whole network (gatewayScope network)"
    if not gateway.addresses:
        yield f"it is the one that {one.ipam_type} answers, else the network's first address"
    if gateway.vlan:
        yield f"{gateway.device} is the node's own access port in VLAN {gateway.vlan} of the bridge"
    families = " and ".join(f"IPv{family}" for family in gateway.families) or "its IP version"
    yield f"the node forwards {families}, between all of its networks"
    if gateway.replace_conflicting:
        yield "takes the place of conflicting addresses on it (forceAddress)"


def _route_lines(one: Explanation) -> Iterator[str]:
    if one.conf.ipam is None:
        yield "none"
        return
    if one.has_example:
        yield from (_route_words(each) for each in one.want.sandbox.routes)
        if not one.want.sandbox.routes:
            yield "to the network itself only"
        return
    yield f"those that {one.ipam_type} answers"
    if one.conf.is_default_gateway:
        yield "a default route via the gateway, where there is none among them (isDefaultGateway)"


def _firewall_lines(one: Explanation) -> Iterator[str]:
    if one.conf.ip_masq and one.conf.ipam is not None:
        yield "what the pod sends out of its network leaves with the node's address (ipMasq)"
        for each in one.want.masquerade:
            yield f"from {each.source} to anywhere but {each.network} and multicast"
    if one.want.spoof_check:
        yield "one entry for the port and the pod's MAC (macspoofchk)"
    if one.want.gateway is not None and one.want.gateway.stays_on_node:
        yield "one entry for the port and each gateway address, which stays on the node"


def _sections(one: Explanation) -> list[tuple[str, list[str]]]:
    sections = [
        ("pod", list(_pod_lines(one))),
        ("port", list(_port_lines(one))),
        ("bridge", list(_bridge_lines(one))),
        ("uplink", list(_uplink_lines(one))),
        ("addresses", list(_address_lines(one))),
        ("gateway", list(_gateway_lines(one))),
        ("routes", list(_route_lines(one))),
        ("firewall", list(_firewall_lines(one))),
    ]
    return [(label, lines) for label, lines in sections if lines]


def _uplink_vlans(port: PortState) -> tuple[VlanRange, ...]:
    """List the VLANs that must leave the node with a tag."""
    native = [] if port.pvid in {None, _DEFAULT_PVID} else [port.pvid]
    return merge_ranges([*port.tagged, *(VlanRange(vid, vid) for vid in native if vid)])


def _uplink_note(one: Explanation) -> Note:
    name, vlans = one.conf.bridge, _uplink_vlans(one.want.port)
    if one.want.uplink is not None:
        return _switch_note(name, one.want.uplink, one.want.port)
    text = f"Nothing here connects {name} to the outside. On every node, an uplink must be its port"
    if vlans:
        text += f" and carry {_listed(vlans)} tagged, as must the switch behind it"
    if one.want.port.pvid == _DEFAULT_PVID:
        text += f"; VLAN {_DEFAULT_PVID} leaves untagged, as by default on every port"
    added = (f"bridge vlan add dev UPLINK vid {each}" for each in vlans)
    return Note(f"{text}:", (f"ip link set dev UPLINK master {name}", *added))


def _switch_note(bridge: str, uplink: UplinkState, port: PortState) -> Note:
    vlans = _uplink_vlans(port)
    words = [f"{_listed(vlans)} with tags" if vlans else ""]
    words.append("untagged frames" if _leaves_untagged(port) else "")
    passed = " and ".join(word for word in words if word)
    return Note(
        f"The switch behind {uplink.device} must pass {passed}. ADD makes {uplink.device} the"
        " uplink anew after a reboot; to have it there before the first pod, and kept by the"
        " node's own network manager, run on each node:",
        (
            " ".join(
                [
                    f"spanbridge uplink ensure {uplink.device} --bridge {bridge}",
                    *(f"--vlan {each}" for each in vlans),
                    *([f"--mtu {uplink.mtu}"] if uplink.mtu else []),
                ]
            ),
        ),
    )


def _gateway_note(conf: NetConf, gateway: GatewayState) -> Note:
    key = "isDefaultGateway" if conf.is_default_gateway else "isGateway"
    puts = f"{key} puts the gateway's address on {gateway.device} of every node. "
    if gateway.stays_on_node:
        return Note(
            f"{puts}ARP and neighbour discovery for it never pass the uplink, nor any other port"
            " that is not of such a pod: pods use their own node, also where a real router has"
            f' the address; if they are to use the router, remove "{key}" there. A node without'
            " libnftables answers the whole network for the address"
        )
    return Note(
        f"{puts}On a network that spans nodes each of them answers ARP and neighbour"
        " solicitations for it, and takes the place of a real router that has it: remove"
        f' "{key}" there, and let the router be the gateway, or remove "gatewayScope"'
    )


def _effect_notes(conf: NetConf) -> Iterator[Note]:
    if conf.ipam is None:
        for key, given in (("isGateway", conf.is_gateway), ("ipMasq", conf.ip_masq)):
            if given:
                yield Note(f'{key} has no effect without "ipam"')
    if conf.ip_masq_backend == "iptables":
        yield Note("ipMasqBackend is accepted, but masquerading is always done with nftables")


_IPAM_NOTES: Final = {
    "dhcp": Note("dhcp needs a DHCP server that is reached by the bridge's uplink in this VLAN"),
    "host-local": Note(
        "host-local counts on each node by itself: give every node that shares the network a"
        " range of its own, or two pods get one address"
    ),
    "static": Note(
        "static gives every pod of this configuration the same address, unless the runtime asks"
        " for another: one pod per configuration"
    ),
}


def notes(one: Explanation) -> list[Note]:
    """Say what surprises people with this configuration; each with its remedy."""
    found = [_uplink_note(one)]
    if one.want.gateway is not None:
        found.append(_gateway_note(one.conf, one.want.gateway))
    found += _effect_notes(one.conf)
    if one.ipam_type in _IPAM_NOTES:
        found.append(_IPAM_NOTES[one.ipam_type])
    for key in one.unknown:
        near = f": did you mean {key.nearest}?" if key.nearest else ""
        found.append(Note(f"{key.pointer} is unknown and ignored{near}"))
    return found


def _node_box(one: Explanation) -> list[str]:
    """Write what stands in the node's box: names in one column, what they are in another."""
    want = one.want
    filtering = ", VLAN filtering" if want.bridge.vlan_filtering else ""
    rows = [("port", _port_kind(want.port)), (want.bridge.name, f"bridge{filtering}")]
    if want.gateway is not None:
        known = one.has_example and want.gateway.addresses
        address = str(want.gateway.addresses[0]) if known else f"address by {one.ipam_type}"
        more = len(want.gateway.addresses) - 1
        rows.append(
            (want.gateway.device, f"gateway, {address}{f' and {more} more' if more > 0 else ''}")
        )
    column = max(len(name) for name, _ in rows)
    return [f"{name:<{column}}  {words}" for name, words in rows]


def drawing(one: Explanation) -> list[str]:
    """Draw pod, port, bridge, gateway and uplink as boxes."""
    inside, want_uplink = _node_box(one), one.want.uplink
    title = "every node that runs such a pod"
    width = max(len(line) for line in (*inside, title))
    pod = f" {one.want.sandbox.ifname} "
    way = "─ ─ uplink" if want_uplink is None else f"──── {want_uplink.device}"
    box, gap = "─" * len(pod), " " * (len(pod) + 2)
    lines = [
        f"{'pod':^{len(pod) + 2}}        {title:^{width + 4}}",
        f"┌{box}┐        ┌{'─' * (width + 2)}┐",
        f"│{pod}├──veth──┤ {inside[0]:<{width}} │",
        f"└{box}┘        │ {inside[1]:<{width}} ├{way}",
    ]
    lines += [f"{gap}        │ {line:<{width}} │" for line in inside[2:]]
    lines.append(f"{gap}        └{'─' * (width + 2)}┘")
    vlans = _uplink_vlans(one.want.port)
    if vlans and len(labelled := f"{lines[3]}, {_listed(vlans)} tagged") <= WIDTH - 2:
        lines[3] = labelled
    return ["  " + line.rstrip() for line in lines]


def _wrapped(label: str, text: str, hanging: int = 2) -> Iterator[str]:
    import textwrap

    yield from textwrap.wrap(
        text,
        WIDTH,
        initial_indent=f"  {label:<{_LABEL}}",
        subsequent_indent=" " * (_LABEL + 2 + hanging),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _note_lines(found: Sequence[Note]) -> Iterator[str]:
    for number, note in enumerate(found, 1):
        yield from _wrapped("mind" if number == 1 else "", f"{number}. {note.text}", hanging=3)
        # Never wrapped: they are there to be copied.
        yield from (" " * (_LABEL + 7) + command for command in note.commands)


def render_text(one: Explanation) -> str:
    """Render one explanation for a terminal, at most ``WIDTH`` columns wide where words allow."""
    conf = one.conf
    head = f"{conf.name}  (type {conf.type or 'bridge'}, cniVersion {conf.cni_version})"
    lines = [head, f"from {one.origin}", "", *drawing(one), ""]
    for label, texts in _sections(one):
        for number, text in enumerate(texts):
            lines += _wrapped(label if number == 0 else "", text)
    lines += ["", *_note_lines(notes(one))]
    return "\n".join(lines) + "\n"


def _render_port(port: PortState) -> dict[str, object]:
    return {
        "pvid": port.pvid,
        "tagged": [str(each) for each in port.tagged],
        "keepDefaultVlan": port.keep_default_vlan,
        "hairpin": port.hairpin,
        "isolated": port.isolated,
    }


def _render_uplink(want: DesiredAttachment) -> dict[str, object] | None:
    if want.uplink is None:
        return None
    return {
        "device": want.uplink.device,
        "tagged": [str(each) for each in _uplink_vlans(want.port)],
        "untagged": _leaves_untagged(want.port),
        "minimumMtu": want.uplink.mtu or None,
    }


def _render_route(route: RouteConfig) -> dict[str, object]:
    extras = {
        "mtu": route.mtu or None,
        "advmss": route.advmss or None,
        "priority": route.priority or None,
        "table": route.table,
        "scope": route.scope,
    }
    given = {key: value for key, value in extras.items() if value is not None}
    return {"dst": str(route.dst), "gw": route.gw or None, **given}


def _render_gateway(gateway: GatewayState | None) -> dict[str, object] | None:
    if gateway is None:
        return None
    return {
        "device": gateway.device,
        "vlan": gateway.vlan or None,
        "port": _render_port(gateway.port) if gateway.port else None,
        "addresses": [str(each) for each in gateway.addresses],
        "onEveryNode": True,
        "scope": SCOPE_NODE if gateway.stays_on_node else SCOPE_NETWORK,
        "forwarding": [f"ipv{family}" for family in gateway.families],
        "replaceConflicting": gateway.replace_conflicting,
    }


def render_json(one: Explanation) -> dict[str, object]:
    """Render one explanation as a JSON object; addresses are examples where IPAM can tell any."""
    want, sandbox = one.want, one.want.sandbox
    return {
        "origin": one.origin,
        "name": one.conf.name,
        "cniVersion": one.conf.cni_version,
        "bridge": {
            "name": want.bridge.name,
            "vlanFiltering": want.bridge.vlan_filtering,
            "mtu": want.bridge.mtu or None,
            "promisc": want.bridge.promisc,
            "linkLocalLearning": False if want.bridge.linklocal_deaf else None,
        },
        "uplink": _render_uplink(want),
        "port": _render_port(want.port),
        "sandbox": {
            "mac": sandbox.mac,
            "mtu": sandbox.mtu or None,
            "up": sandbox.up,
            "duplicateDetection": sandbox.duplicate_detection,
            "addresses": [str(each) for each in sandbox.addresses],
            "routes": [_render_route(each) for each in sandbox.routes],
            "addressesAreExamples": one.has_example,
        },
        "ipam": {"type": one.conf.ipam.type, "words": list(one.ipam_words)}
        if one.conf.ipam
        else None,
        "gateway": _render_gateway(want.gateway),
        "masquerade": [
            {"source": str(each.source), "exceptTo": str(each.network)} for each in want.masquerade
        ],
        "macSpoofCheck": want.spoof_check,
        "notes": [{"text": each.text, "commands": list(each.commands)} for each in notes(one)],
    }


def join_texts(explanations: Sequence[Explanation]) -> str:
    """Render several explanations, one below the other."""
    return "\n".join(render_text(each) for each in explanations)
