# SPDX-License-Identifier: Apache-2.0
"""The addresses that an ``ipam`` section hands out, whatever plugin it names."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from spanbridge.base.errors import ConfigError, InputError
from spanbridge.ipam import DEFAULT_DATA_DIR, IpamCall
from spanbridge.ipam.dhcp.conf import parse_dhcp_conf
from spanbridge.ipam.host_local.conf import parse_host_local
from spanbridge.ipam.static import open_static
from spanbridge.model.addresses import Cidr, Ip, edge_fault, parse_cidr, parse_ip
from spanbridge.model.netconf import IpamConf
from spanbridge.model.owner import Owner
from spanbridge.model.reader import Node, UnknownKey
from spanbridge.model.request import Request
from spanbridge.model.spans import Span, parse_span, span_of
from spanbridge.model.version import NEWEST

_OWNER: Final = Owner.of("network", "container", "eth0")

_REQUEST: Final = Request(
    verb="VERSION",
    container_id=_OWNER.container_id,
    netns="",
    ifname=_OWNER.ifname,
    args="",
    path=(),
    allow_same_netns=False,
    stdin=b"",
    environ={},
)

WHEREABOUTS_KEYS: Final = (
    "type", "range", "range_start", "range_end", "exclude", "ipRanges", "gateway", "routes", "dns",
    "addresses", "network_name", "enable_overlapping_ranges", "node_slice_size", "namespace",
    "leader_lease_duration", "leader_renew_deadline", "leader_retry_period", "log_file",
    "log_level", "reconciler_cron_expression", "sleep_for_race", "kubernetes",
    "configuration_path",
)  # fmt: skip
"""Source: whereabouts 0.9, pkg/types/types.go."""

WHEREABOUTS_RANGE_KEYS: Final = ("range", "range_start", "range_end", "exclude")


@dataclass(frozen=True, slots=True)
class Pool:
    """
    Addresses that pods may be given.

    Attributes:
        span: From the first to the last.
        subnet: The network they lie in.
        excluded: Never handed out although inside of ``span``.
        gateway: The gateway that pods are told; None where none is written.
        pointer: Where it is written.
        gateway_pointer: Where the gateway is written.
        single: It is one address by name, not a range to choose from.
    """

    span: Span
    subnet: Cidr
    excluded: tuple[Span, ...]
    gateway: Ip | None
    pointer: str
    gateway_pointer: str = ""
    single: bool = False


@dataclass(frozen=True, slots=True)
class IpamFacts:
    """
    An ``ipam`` section, read as far as it can be.

    Attributes:
        type: The plugin; empty on layer 2.
        node: The section; None where there is none.
        pools: What it hands out; empty for dhcp and for plugins that are not known.
        faults: Why the plugin refuses it.
        unknown: Keys that the plugin does not read.
        known: Whether the plugin's keys are known here.
    """

    type: str
    node: Node | None
    pools: tuple[Pool, ...] = ()
    faults: tuple[InputError, ...] = ()
    unknown: tuple[UnknownKey, ...] = ()
    known: bool = False


LAYER2: Final = IpamFacts("", None)


def _usable(subnet: Cidr) -> Span:
    first = subnet.network.ip + (1 if edge_fault(subnet, subnet.network.ip) else 0)
    last = subnet.last + (-1 if edge_fault(subnet, subnet.last) else 0)
    return Span(first, last)


def _host_local(ipam: Node, call: IpamCall) -> IpamFacts:
    conf = parse_host_local(_REQUEST, call, DEFAULT_DATA_DIR)
    pointers = [ipam.at("subnet")] if ipam.text("subnet") else []
    gateways = [ipam.at("gateway")] if ipam.text("subnet") else []
    for one in ipam.each("ranges", lambda value, at: (value, at)):
        values, at = one
        count = len(values) if isinstance(values, list) else 0
        pointers += [f"{at}/{number}/subnet" for number in range(count)]
        gateways += [f"{at}/{number}/gateway" for number in range(count)]
    ranges = [each for one in conf.sets for each in one][-len(pointers) :] if pointers else []
    pools = tuple(
        Pool(
            Span(each.first, each.last),
            each.subnet,
            (Span(each.gateway, each.gateway),),
            each.gateway,
            at,
            gateway_at,
        )
        for each, at, gateway_at in zip(ranges, pointers, gateways, strict=True)
    )
    return IpamFacts("host-local", ipam, pools, unknown=conf.unknown, known=True)


def _static(ipam: Node, call: IpamCall) -> IpamFacts:
    unknown = open_static(_REQUEST, call).unknown
    pools = []
    for node in ipam.nodes("addresses") or ():
        address = parse_cidr(node.text("address"), node.at("address"))
        gateway = parse_ip(node.text("gateway"), "") if node.text("gateway") else None
        span = Span(address.ip, address.ip)
        at = node.at("address")
        pools.append(Pool(span, address.network, (), gateway, at, node.at("gateway"), single=True))
    return IpamFacts("static", ipam, tuple(pools), unknown=unknown, known=True)


def _dhcp(ipam: Node, _call: IpamCall) -> IpamFacts:
    return IpamFacts("dhcp", ipam, unknown=parse_dhcp_conf(ipam).unknown, known=True)


def _whereabouts_subnet(node: Node) -> tuple[Cidr, Span]:
    text, at = node.text("range"), node.at("range")
    if not text:
        raise node.fault("range", "it is missing", 'write for example "range": "10.88.0.0/24"')
    head, dash, rest = text.partition("-")
    if not dash:
        subnet = parse_cidr(text, at)
        return subnet.network, _usable(subnet.network)
    last, _, length = rest.partition("/")
    subnet = parse_cidr(f"{head}/{length}", at).network
    return subnet, parse_span(f"{head}-{last}", at)


def _whereabouts_bound(node: Node, key: str, subnet: Cidr) -> Ip | None:
    if not node.text(key):
        return None
    ip = parse_ip(node.text(key), node.at(key))
    if ip not in subnet:
        raise node.fault(
            key,
            f"{ip} is not in {subnet}, so whereabouts ignores it and uses the whole range",
            "write an address of the range",
        )
    return ip


def _whereabouts_pool(node: Node, gateway: Ip | None, gateway_at: str) -> Pool:
    subnet, span = _whereabouts_subnet(node)
    first = _whereabouts_bound(node, "range_start", subnet) or span.first
    last = _whereabouts_bound(node, "range_end", subnet) or span.last
    if last < first:
        raise node.fault("range_start", f"{first} is greater than the end, {last}", "swap the two")
    excluded = node.each("exclude", _excluded)
    inside = gateway if gateway is not None and gateway in subnet else None
    return Pool(Span(first, last), subnet, excluded, inside, node.at("range"), gateway_at)


def _excluded(value: object, pointer: str) -> Span:
    if not isinstance(value, str):
        raise ConfigError("cannot use the element: it is no text", pointer=pointer)
    return span_of(parse_cidr(value, pointer)) if "/" in value else parse_span(value, pointer)


def _whereabouts(ipam: Node, _call: IpamCall) -> IpamFacts:
    gateway_at = ipam.at("gateway")
    gateway = parse_ip(ipam.text("gateway"), gateway_at) if ipam.text("gateway") else None
    nodes = [ipam] if ipam.text("range") else []
    more = ipam.nodes("ipRanges") or ()
    if not nodes and not more and not ipam.has("configuration_path") and not ipam.has("addresses"):
        raise ipam.fault(
            "range", "there is no range at all", 'write for example "range": "10.88.0.0/24"'
        )
    pools = tuple(_whereabouts_pool(node, gateway, gateway_at) for node in (*nodes, *more))
    unknown = ipam.unknown(*WHEREABOUTS_KEYS)
    for node in more:
        unknown += node.unknown(*WHEREABOUTS_RANGE_KEYS)
    return IpamFacts("whereabouts", ipam, pools, unknown=unknown, known=True)


_READERS: Final = {
    "host-local": _host_local,
    "static": _static,
    "dhcp": _dhcp,
    "whereabouts": _whereabouts,
}


def read_ipam(root: Node) -> IpamFacts:
    """Read the ``ipam`` section of a configuration, whatever is wrong with it."""
    try:
        node = root.node("ipam")
        kind = node.text("type") if node is not None else ""
    except ConfigError:
        return LAYER2
    if node is None or not kind or kind not in _READERS:
        return IpamFacts(kind, node)
    call = IpamCall(NEWEST, "network", IpamConf(kind, node), root)
    try:
        return _READERS[kind](node, call)
    except InputError as exc:
        return IpamFacts(kind, node, faults=(exc,), known=True)


def free_of(pool: Pool) -> Iterator[Span]:
    """Cut what is excluded out of a pool."""
    from spanbridge.model.spans import subtract

    yield from subtract([pool.span], pool.excluded)


def known_ipam_types() -> Mapping[str, object]:
    """Name the plugins whose keys are known."""
    return _READERS
