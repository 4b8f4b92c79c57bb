# SPDX-License-Identifier: Apache-2.0
"""Reading an intent: a complete object, or an error with pointer and remedy."""

from typing import Final

from spanbridge.base.errors import ConfigError
from spanbridge.base.names import VLAN_MAX
from spanbridge.model.addresses import Cidr, Ip, edge_fault, parse_cidr, parse_ip
from spanbridge.model.intent import API_VERSION, KIND, Intent, IntentIpam, IpamType
from spanbridge.model.intent_clusters import parse_clusters
from spanbridge.model.netconf import MTU_MAX, MTU_MIN_IPV6
from spanbridge.model.reader import Node
from spanbridge.model.spans import Span, parse_span
from spanbridge.model.strict import as_plain_text, choice, label, refuse_strangers, section

MTU_MIN: Final = 576
"""Bytes every IPv4 host takes. Source: RFC 791, section 3.1."""

GROWTH_DEFAULT: Final = 50
GROWTH_MAX: Final = 1000
"""Percent."""

LEASE_DEFAULT_S: Final = 12 * 3600
LEASE_MIN_S: Final = 120
"""Seconds; dnsmasq raises shorter ones. Source: dnsmasq(8) 2.90, --dhcp-range."""
LEASE_MAX_S: Final = 10 * 365 * 86400

ROOT_KEYS: Final = ("apiVersion", "kind", "metadata", "spec")
METADATA_KEYS: Final = ("name", "annotations", "labels")
SPEC_KEYS: Final = (
    "vlan", "mtu", "subnets", "gateway", "reserved", "ipam", "defaults", "clusters",
)  # fmt: skip
IPAM_KEYS: Final = ("type", "server", "leaseSeconds", "growthPercent")


def parse_intent(root: Node) -> Intent:
    """
    Read and check a whole intent.

    Raises:
        ConfigError: The first fault found; ``pointer`` says where, ``hint`` what to write.
    """
    refuse_strangers(root, ROOT_KEYS)
    _check_header(root)
    metadata = section(root, "metadata", "write metadata: {name: migration-net}")
    refuse_strangers(metadata, METADATA_KEYS)
    name = label(metadata, "name")
    spec = section(root, "spec", "write spec: with vlan, subnets and clusters")
    refuse_strangers(spec, SPEC_KEYS)
    subnets = _parse_subnets(spec)
    ipam = _parse_ipam(spec, subnets)
    intent = Intent(
        name=name,
        vlan=_parse_vlan(spec),
        mtu=_parse_mtu(spec, subnets),
        subnets=subnets,
        gateways=_parse_gateways(spec, subnets),
        reserved=spec.each("reserved", _as_span),
        ipam=ipam,
        clusters=parse_clusters(spec),
    )
    _check_reserved(spec, intent)
    return intent


def is_intent(root: Node) -> bool:
    """Tell whether an object says of itself that it is an intent."""
    return root.raw.get("kind") == KIND


def _check_header(root: Node) -> None:
    for key, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        if root.text(key) != wanted:
            raise root.fault(key, f"{root.text(key)!r} is no intent", f"write {key}: {wanted}")


def _parse_vlan(spec: Node) -> int:
    if not spec.has("vlan"):
        raise spec.fault(
            "vlan", "it is missing", "write the VLAN id, 1 to 4094, or 0 for an untagged network"
        )
    return spec.integer("vlan", minimum=0, maximum=VLAN_MAX)


def _parse_mtu(spec: Node, subnets: tuple[Cidr, ...]) -> int:
    least = MTU_MIN_IPV6 if any(each.version == 6 for each in subnets) else MTU_MIN
    return spec.integer("mtu", minimum=least, maximum=MTU_MAX, default=1500)


def _parse_subnets(spec: Node) -> tuple[Cidr, ...]:
    subnets = spec.each("subnets", _as_subnet)
    if not subnets:
        raise spec.fault("subnets", "it is missing or empty", "write subnets: [10.88.0.0/24]")
    if len({each.version for each in subnets}) < len(subnets):
        raise spec.fault(
            "subnets",
            "two are of one family: pods of different subnets would be off-link for each other",
            "keep one IPv4 and at most one IPv6 subnet, large enough for all clusters",
        )
    return subnets


def _as_subnet(value: object, pointer: str) -> Cidr:
    subnet = parse_cidr(as_plain_text(value, pointer), pointer)
    if subnet != subnet.network:
        raise ConfigError(
            f"cannot use subnet {subnet}: it has host bits",
            pointer=pointer,
            hint=f"write {subnet.network}",
        )
    if subnet.ip.bits - subnet.prefix_length < 3:
        raise ConfigError(
            f"cannot use subnet {subnet}: it has no room for two clusters",
            pointer=pointer,
            hint="write a network with room for every node, such as 10.88.0.0/24",
        )
    if not _is_unicast(subnet):
        raise ConfigError(
            f"cannot use subnet {subnet}: KubeVirt takes global unicast addresses only",
            pointer=pointer,
            hint="write a private network, such as 10.88.0.0/24 or fd00:88::/64",
        )
    return subnet


def _is_unicast(subnet: Cidr) -> bool:
    """
    Tell whether KubeVirt would use addresses of ``subnet`` for migration.

    Source: KubeVirt 1.8, pkg/virt-handler/migration.go (global unicast alone counts).
    """
    forbidden = ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3",
                 "::/16", "fe80::/10", "ff00::/8")  # fmt: skip
    return not any(subnet.overlaps(parse_cidr(each, "")) for each in forbidden)


def _as_span(value: object, pointer: str) -> Span:
    return parse_span(as_plain_text(value, pointer), pointer)


def _parse_gateways(spec: Node, subnets: tuple[Cidr, ...]) -> tuple[Ip, ...]:
    raw = spec.take("gateway")
    if isinstance(raw, list):
        found = spec.each("gateway", lambda one, at: (parse_ip(as_plain_text(one, at), at), at))
    else:
        given, at = spec.has("gateway"), spec.at("gateway")
        found = ((parse_ip(spec.text("gateway"), at), at),) if given else ()
    for ip, pointer in found:
        _check_member(ip, subnets, pointer)
    return tuple(ip for ip, _ in found)


def _check_member(ip: Ip, subnets: tuple[Cidr, ...], pointer: str) -> None:
    home = next((each for each in subnets if ip in each), None)
    fault = edge_fault(home, ip) if home else "it is in none of the subnets"
    if fault:
        names = " or ".join(str(each) for each in subnets)
        raise ConfigError(
            f"cannot use address {ip}: {fault}",
            pointer=pointer,
            hint=f"write a host address of {names}",
        )


def _check_reserved(spec: Node, intent: Intent) -> None:
    for number, span in enumerate(intent.reserved):
        inside = any(span.first in each or span.last in each for each in intent.subnets)
        covers = any(each.ip in span for each in intent.subnets)
        if not inside and not covers:
            names = " and ".join(str(each) for each in intent.subnets)
            raise ConfigError(
                f"cannot reserve {span}: it is outside of {names}",
                pointer=f"{spec.at('reserved')}/{number}",
                hint="reserve addresses of the subnets, or leave it out",
            )


def _parse_ipam(spec: Node, subnets: tuple[Cidr, ...]) -> IntentIpam:
    node = spec.node("ipam") or Node({}, spec.at("ipam"))
    refuse_strangers(node, IPAM_KEYS)
    kind = choice(node, "type", IpamType, IpamType.WHEREABOUTS)
    if kind is not IpamType.DHCP:
        for key in ("server", "leaseSeconds"):
            if node.has(key):
                raise node.fault(key, f"it means nothing for {kind}", "leave it out")
    elif any(each.version == 6 for each in subnets):
        raise node.fault(
            "type",
            "dhcp plugins of CNI speak DHCPv4 alone, and a subnet is IPv6",
            "write whereabouts or host-local, or leave the IPv6 subnet out",
        )
    server = parse_ip(node.text("server"), node.at("server")) if node.has("server") else None
    if server is not None:
        _check_member(server, subnets, node.at("server"))
    return IntentIpam(
        type=kind,
        server=server,
        lease_s=node.integer(
            "leaseSeconds", minimum=LEASE_MIN_S, maximum=LEASE_MAX_S, default=LEASE_DEFAULT_S
        ),
        growth_percent=node.integer(
            "growthPercent", minimum=0, maximum=GROWTH_MAX, default=GROWTH_DEFAULT
        ),
    )
