# SPDX-License-Identifier: Apache-2.0
"""One lease: all that is needed to go on with it after a restart; as JSON; as CNI result. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

from spanbridge.base.errors import ConfigError, DecodeError
from spanbridge.base.names import MacAddress, ifname_fault, is_identifier
from spanbridge.ipam.dhcp.conf import DhcpConf
from spanbridge.ipam.dhcp.options import ClasslessRoute, Granted
from spanbridge.model.addresses import Cidr, parse_cidr, parse_ip, parse_mac
from spanbridge.model.owner import Owner
from spanbridge.model.reader import Node, as_node, as_text, json_name, shorten
from spanbridge.model.result import CniResult, Dns, IpConfig, RouteConfig

VERSION: Final = 1
"""Of the JSON form; another one is refused, not guessed at."""

_SCOPE_LINK: Final = 253
"""Source: linux/rtnetlink.h, RT_SCOPE_LINK."""

_NUMBER_MAX: Final = 2**53
"""Beyond it a JSON number loses digits."""

_DEVICE_MAX: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Lease:
    """
    One lease. Times are wall clock, Unix seconds; None is never.

    Attributes:
        owner: Whose it is.
        netns_path: Path of the sandbox.
        netns_identity: Device and inode of the sandbox.
        boot_id: Of the kernel under which it was acquired.
        mac: Of the sandbox link.
        client_id: Option 61.
        granted: From the last ACK.
        acquired: When the REQUEST of the first ACK was sent.
        renewed: When the REQUEST of the last ACK was sent.
        t1: When to renew.
        t2: When to rebind.
        expiry: When the address must no longer be used.
        state: Name of the client's state.
        section: The ``ipam`` section as it was given, to be parsed again.
        args: CNI_ARGS.
        server_mac: Ethernet address from which the last ACK came; empty if unknown.
    """

    owner: Owner
    netns_path: str
    netns_identity: tuple[int, int]
    boot_id: str
    mac: MacAddress
    client_id: bytes
    granted: Granted
    acquired: float
    renewed: float
    t1: float | None
    t2: float | None
    expiry: float | None
    state: str
    section: Mapping[str, object]
    args: str = ""
    server_mac: str = ""


def render_lease(lease: Lease) -> dict[str, object]:
    """Make the JSON object."""
    return {
        "version": VERSION,
        "network": lease.owner.network,
        "container": lease.owner.container_id,
        "ifname": lease.owner.ifname,
        "netns": {
            "path": lease.netns_path,
            "device": lease.netns_identity[0],
            "inode": lease.netns_identity[1],
        },
        "boot_id": lease.boot_id,
        "mac": lease.mac,
        "client_id": lease.client_id.hex(),
        "granted": {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(lease.granted).items()
        },
        "acquired": lease.acquired,
        "renewed": lease.renewed,
        "t1": lease.t1,
        "t2": lease.t2,
        "expiry": lease.expiry,
        "state": lease.state,
        "section": dict(lease.section),
        "args": lease.args,
        "server_mac": lease.server_mac,
    }


def _required(node: Node, key: str) -> str:
    text = node.text(key)
    if not text:
        raise node.fault(key, "it is missing or empty")
    return text


def _inner(node: Node, key: str) -> Node:
    found = node.node(key)
    if found is None:
        raise node.fault(key, "it is missing")
    return found


def _whole(node: Node, key: str, maximum: int, *, minimum: int = 0) -> int:
    if not node.has(key):
        raise node.fault(key, "it is missing")
    return node.integer(key, minimum=minimum, maximum=maximum)


def _optional_whole(node: Node, key: str, maximum: int, *, minimum: int) -> int | None:
    return _whole(node, key, maximum, minimum=minimum) if node.has(key) else None


def _optional_time(node: Node, key: str) -> float | None:
    value = node.take(key)
    if value is None:
        return None
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else -1
    if not 0 <= number < _NUMBER_MAX:  # NaN neither
        raise node.fault(key, f"{shorten(value)} is no time")
    return float(number)


def _time(node: Node, key: str) -> float:
    number = _optional_time(node, key)
    if number is None:
        raise node.fault(key, "it is missing")
    return number


def _ipv4(value: object, pointer: str) -> str:
    text = as_text(value, pointer)
    if "." not in text or parse_ip(text, pointer).version != 4:
        raise ConfigError(f"cannot use address {text!r}: it is not IPv4", pointer=pointer)
    return text


def _route(value: object, pointer: str) -> ClasslessRoute:
    node = as_node(value, pointer)
    dst = parse_cidr(node.text("dst"), node.at("dst"))
    if dst.version != 4 or dst != dst.network:
        raise node.fault("dst", f"{dst} is no IPv4 network")
    gw = node.text("gw")
    return ClasslessRoute(str(dst), _ipv4(gw, node.at("gw")) if gw else "")


def _granted(node: Node) -> Granted:
    return Granted(
        address=_ipv4(_required(node, "address"), node.at("address")),
        prefix_length=_whole(node, "prefix_length", 32, minimum=1),
        server_id=_ipv4(_required(node, "server_id"), node.at("server_id")),
        routers=node.each("routers", _ipv4),
        routes=node.each("routes", _route),
        dns=node.each("dns", _ipv4),
        domain=node.text("domain"),
        search=node.texts("search"),
        ntp=node.each("ntp", _ipv4),
        mtu=_optional_whole(node, "mtu", 0xFFFF, minimum=68),
        lease_s=_optional_whole(node, "lease_s", 0xFFFFFFFE, minimum=1),
        t1_s=_optional_time(node, "t1_s"),
        t2_s=_optional_time(node, "t2_s"),
        text=node.text("text"),
    )


def _owner(node: Node) -> Owner:
    network, container = _required(node, "network"), _required(node, "container")
    for key, name in (("network", network), ("container", container)):
        if not is_identifier(name):
            raise node.fault(key, f"{name!r} holds forbidden characters")
    ifname = node.text("ifname")
    fault = ifname_fault(ifname)
    if fault:
        raise node.fault("ifname", fault)
    return Owner.of(network, container, ifname)


def _client_id(node: Node) -> bytes:
    try:
        return bytes.fromhex(_required(node, "client_id"))
    except ValueError as exc:
        raise node.fault("client_id", "it is not written in hex") from exc


def _lease(node: Node) -> Lease:
    version = node.integer("version", minimum=0, maximum=_NUMBER_MAX)
    if version != VERSION:
        raise node.fault("version", f"{version} is not {VERSION}", "another release wrote it")
    netns = _inner(node, "netns")
    server_mac = node.text("server_mac")
    return Lease(
        owner=_owner(node),
        netns_path=netns.text("path"),
        netns_identity=(
            _whole(netns, "device", _DEVICE_MAX),
            _whole(netns, "inode", _DEVICE_MAX),
        ),
        boot_id=_required(node, "boot_id"),
        mac=parse_mac(node.text("mac"), node.at("mac")),
        client_id=_client_id(node),
        granted=_granted(_inner(node, "granted")),
        acquired=_time(node, "acquired"),
        renewed=_time(node, "renewed"),
        t1=_optional_time(node, "t1"),
        t2=_optional_time(node, "t2"),
        expiry=_optional_time(node, "expiry"),
        state=_required(node, "state"),
        section=_inner(node, "section").raw,
        args=node.text("args"),
        server_mac=parse_mac(server_mac, node.at("server_mac")) if server_mac else "",
    )


def parse_lease(raw: object) -> Lease:
    """
    Read the JSON object back.

    Raises:
        DecodeError: Anything missing or malformed; no other exception, whatever the value.
    """
    if not isinstance(raw, dict):
        raise DecodeError(f"cannot read the lease: it is {json_name(raw)}, not an object")
    try:
        return _lease(Node(raw))
    except ConfigError as exc:
        raise DecodeError(
            f"cannot read the lease: {exc.message}",
            hint=exc.hint,
            pointer=exc.pointer,
        ) from exc


def lease_result(lease: Lease, conf: DhcpConf) -> CniResult:
    """
    Make what ADD answers: the address, every route with ``priority`` and the MTU, DNS.

    An on-link route has link scope and no next hop. The gateway is the first router of
    option 3 also where 121 gives the routes, as in CNI plugins 1.9.1, dhcp.
    """
    granted = lease.granted
    address = Cidr(parse_ip(granted.address, ""), granted.prefix_length)
    routes = tuple(
        RouteConfig(
            dst=parse_cidr(route.dst, ""),
            gw=route.gw,
            mtu=granted.mtu or 0,
            priority=conf.priority,
            scope=None if route.gw else _SCOPE_LINK,
        )
        for route in granted.routes
    )
    return CniResult(
        ips=(IpConfig(address, granted.routers[0] if granted.routers else ""),),
        routes=routes,
        dns=Dns(granted.dns, granted.domain, granted.search),
    )
