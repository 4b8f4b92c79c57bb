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
from spanbridge.model.netconf import NetConf
from spanbridge.model.result import RouteConfig

WIDTH: Final = 100
_LABEL: Final = 12


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
    """

    origin: str
    conf: NetConf
    want: DesiredAttachment
    ipam_words: tuple[str, ...]
    has_example: bool


def _vlan_words(port: PortState) -> str:
    if port.pvid is None:
        return "no VLAN of its own: whatever the bridge gives a new port"
    words = f"VLAN {port.pvid} untagged (PVID)"
    if port.tagged:
        words += "; tagged " + ", ".join(str(each) for each in port.tagged)
    kept = "the bridge's default VLAN is kept too" if port.keep_default_vlan else "nothing else"
    return f"{words}; {kept}"


def _bridge_lines(one: Explanation) -> Iterator[str]:
    bridge = one.want.bridge
    filtering = "filters VLANs" if bridge.vlan_filtering else "does not filter VLANs"
    mtu = f"MTU {bridge.mtu}" if bridge.mtu else "default MTU"
    yield f"{bridge.name}: taken as it is where it exists, else created ({filtering}, {mtu})"
    if bridge.vlan_filtering:
        yield f"refused if {bridge.name} exists without VLAN filtering"
    if bridge.promisc:
        yield "set promiscuous"


def _port_lines(one: Explanation) -> Iterator[str]:
    port = one.want.port
    yield f"veth… (host end), port of {one.want.bridge.name}; {_vlan_words(port)}"
    flags = [
        word
        for word, on in (
            ("hairpin: frames may leave by the port they came from", port.hairpin),
            ("isolated: cannot talk to other isolated ports", port.isolated),
            ("frames with a foreign source MAC are dropped (macspoofchk)", one.want.spoof_check),
        )
        if on
    ]
    yield from flags


def _pod_lines(one: Explanation) -> Iterator[str]:
    sandbox = one.want.sandbox
    mac = f"MAC {sandbox.mac}" if sandbox.mac else "a random MAC, unless the runtime asks for one"
    mtu = f"MTU {sandbox.mtu}" if sandbox.mtu else "default MTU"
    state = "up" if sandbox.up else "left down (disableContainerInterface)"
    yield f"{sandbox.ifname} (named by CNI_IFNAME), {mac}, {mtu}, {state}"
    if sandbox.layer3 and sandbox.duplicate_detection:
        yield "IPv6 duplicate address detection before it is used"


def _route_words(route: RouteConfig) -> str:
    destination = "default route" if route.dst.is_default else f"route to {route.dst}"
    extras = [
        f"{name} {value}"
        for name, value in (
            ("metric", route.priority),
            ("mtu", route.mtu),
            ("advmss", route.advmss),
            ("table", route.table),
        )
        if value
    ]
    by = f"by {route.gw}" if route.gw else "on the link"
    return " ".join([destination, by, *extras])


def _address_lines(one: Explanation) -> Iterator[str]:
    if one.conf.ipam is None:
        yield "none: a layer 2 network (no ipam)"
        return
    yield from one.ipam_words
    if one.has_example:
        listed = ", ".join(str(each) for each in one.want.sandbox.addresses)
        yield f"the first pod on a fresh node gets {listed}"


def _gateway_device(one: Explanation) -> str:
    if one.want.gateway is None:
        return ""
    return one.want.gateway.device


def _gateway_addresses(gateway: GatewayState, *, known: bool) -> str:
    if known and gateway.addresses:
        return ", ".join(str(each) for each in gateway.addresses)
    return "the router's address that IPAM answers (else the network's first address)"


def _gateway_lines(one: Explanation) -> Iterator[str]:
    gateway = one.want.gateway
    if gateway is None:
        yield "none: nothing on the node routes for this network"
        return
    addresses = _gateway_addresses(gateway, known=one.has_example)
    yield f"{gateway.device} gets {addresses}"
    yield "on EVERY node where such a pod runs, each node with the same address"
    if gateway.vlan:
        yield f"{gateway.device} is an interface of the node in VLAN {gateway.vlan} of the bridge"
    families = " and ".join(f"IPv{family}" for family in gateway.families) or "the address family"
    yield f"the node forwards {families}"
    if gateway.replace_conflicting:
        yield "addresses of overlapping networks are removed from it first (forceAddress)"


def _route_lines(one: Explanation) -> Iterator[str]:
    if one.want.sandbox.routes:
        yield from (_route_words(each) for each in one.want.sandbox.routes)
    elif one.conf.is_default_gateway:
        yield "default route by the gateway"
    else:
        yield "only the connected network" if one.conf.ipam else "none"


def _firewall_lines(one: Explanation) -> Iterator[str]:
    if one.conf.ip_masq and one.conf.ipam is not None:
        yield "what leaves the pod's network is masqueraded (nftables, table inet spanbridge)"
    if one.want.spoof_check:
        yield "one source MAC allowed per port (nftables, table bridge spanbridge)"


def _sections(one: Explanation) -> list[tuple[str, list[str]]]:
    sections = [
        ("pod", list(_pod_lines(one))),
        ("port", list(_port_lines(one))),
        ("bridge", list(_bridge_lines(one))),
        ("addresses", list(_address_lines(one))),
        ("gateway", list(_gateway_lines(one))),
        ("routes", list(_route_lines(one))),
        ("firewall", list(_firewall_lines(one))),
    ]
    return [(label, lines) for label, lines in sections if lines]


def _carried(port: PortState) -> tuple[list[str], str]:
    """Name the VLANs that an uplink must carry, and the command for one of them."""
    vlans = [str(port.pvid)] if port.pvid is not None else []
    vlans += [str(each) for each in port.tagged]
    return vlans, vlans[0] if vlans else ""


def notes(one: Explanation) -> list[str]:
    """Say what surprises people with this configuration; each with its remedy."""
    conf, found = one.conf, []
    vlans, first = _carried(one.want.port)
    if vlans:
        found.append(
            f"{conf.bridge} has no way out of the node by this configuration. Its uplink must be a"
            f" port and carry VLAN {', '.join(vlans)} tagged: ip link set dev UPLINK master"
            f" {conf.bridge}; bridge vlan add vid {first} dev UPLINK"
        )
    else:
        found.append(
            f"{conf.bridge} has no way out of the node by this configuration, unless an"
            f" administrator makes an uplink its port: ip link set dev UPLINK master {conf.bridge}"
        )
    if one.want.gateway is not None:
        found.append(
            "isGateway puts the gateway's address on every node. On a network that spans nodes they"
            " all answer ARP for it, and so they take the address of a real router: remove"
            ' "isGateway" there, and let the router be the router'
        )
    if conf.is_gateway and conf.ipam is None:
        found.append('isGateway has no effect without "ipam"')
    if conf.ip_masq and conf.ipam is None:
        found.append('ipMasq has no effect without "ipam"')
    if conf.ip_masq_backend == "iptables":
        found.append("ipMasqBackend is accepted, but masquerading is always done with nftables")
    if conf.ipam is not None:
        found += _ipam_notes(conf.ipam.type)
    found += [
        f"{key.pointer} is unknown and ignored"
        + (f": did you mean {key.nearest}?" if key.nearest else "")
        for key in conf.unknown
    ]
    return found


def _ipam_notes(kind: str) -> list[str]:
    if kind == "dhcp":
        return ["dhcp needs a DHCP server that is reachable over the bridge's uplink in this VLAN"]
    if kind == "host-local":
        return [
            "host-local counts on each node by itself: give every node that shares the network a"
            " range of its own, or two pods get one address"
        ]
    return []


def drawing(one: Explanation) -> list[str]:
    """Draw pod, port, bridge, gateway and uplink as boxes."""
    want = one.want
    vlans, _ = _carried(want.port)
    inside = [f"veth…  {'VLAN ' + str(want.port.pvid) + ' untagged' if want.port.pvid else 'port'}"]
    inside.append(
        f"{want.bridge.name}  bridge{', filters VLANs' if want.bridge.vlan_filtering else ''}"
    )
    if want.gateway is not None:
        known = one.has_example and want.gateway.addresses
        shown = str(want.gateway.addresses[0]) if known else "the gateway's address"
        inside.append(f"{_gateway_device(one)}  {shown}")
    width = max(len(line) for line in inside)
    pod = f" {want.sandbox.ifname} "
    box = "─" * len(pod)
    gap = " " * (len(pod) + 2)
    out = f"uplink: yours to connect{', must carry VLAN ' + ', '.join(vlans) if vlans else ''}"
    lines = [
        f"{'pod':^{len(pod) + 2}}        {'every node that runs such a pod':^{width + 4}}",
        f"┌{box}┐        ┌{'─' * (width + 2)}┐",
        f"│{pod}├──veth──┤ {inside[0]:<{width}} │",
        f"└{box}┘        │ {inside[1]:<{width}} ├─ ─ {out}",
    ]
    lines += [f"{gap}        │ {line:<{width}} │" for line in inside[2:]]
    lines.append(f"{gap}        └{'─' * (width + 2)}┘")
    return ["  " + line.rstrip() for line in lines]


def _wrapped(label: str, text: str, width: int) -> Iterator[str]:
    import textwrap

    indent = " " * (_LABEL + 2)
    yield from textwrap.wrap(
        text, width, initial_indent=f"  {label:<{_LABEL}}", subsequent_indent=indent + "  ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def render_text(one: Explanation) -> str:
    """Render one explanation for a terminal, at most ``WIDTH`` columns wide where words allow."""
    conf = one.conf
    lines = [
        f"{conf.name}  (type {conf.type or 'bridge'}, cniVersion {conf.cni_version})  {one.origin}",
        "",
    ]
    lines += [*drawing(one), ""]
    for label, texts in _sections(one):
        for number, text in enumerate(texts):
            lines += _wrapped(label if number == 0 else "", text, WIDTH)
    lines.append("")
    for number, note in enumerate(notes(one)):
        lines += _wrapped("mind" if number == 0 else "", f"{number + 1}. {note}", WIDTH)
    return "\n".join(lines) + "\n"


def _render_port(port: PortState) -> dict[str, object]:
    return {
        "pvid": port.pvid,
        "tagged": [str(each) for each in port.tagged],
        "keepDefaultVlan": port.keep_default_vlan,
        "hairpin": port.hairpin,
        "isolated": port.isolated,
    }


def _render_route(route: RouteConfig) -> dict[str, object]:
    return {"dst": str(route.dst), "gw": route.gw or None, "priority": route.priority or None}


def _render_gateway(gateway: GatewayState | None) -> dict[str, object] | None:
    if gateway is None:
        return None
    return {
        "device": gateway.device,
        "vlan": gateway.vlan or None,
        "port": _render_port(gateway.port) if gateway.port else None,
        "addresses": [str(each) for each in gateway.addresses],
        "onEveryNode": True,
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
        },
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
        "notes": notes(one),
    }


def join_texts(explanations: Sequence[Explanation]) -> str:
    """Render several explanations, one below the other."""
    return "\n".join(render_text(each) for each in explanations)
