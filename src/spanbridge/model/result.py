# SPDX-License-Identifier: Apache-2.0
"""
CNI results: one inner shape, rendered to and parsed from every version spoken.

Source: CNI specification 1.1.0, section 5 "Result Types"; 0.3.1 and 0.4.0 differ in
``ips[].version`` and in ``dns``, which is always present there.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from spanbridge.base.errors import ConfigError
from spanbridge.model.addresses import Cidr, parse_cidr, parse_ip
from spanbridge.model.reader import Node
from spanbridge.model.version import SUPPORTED, has_ip_version

_UINT32_MAX: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Interface:
    """
    One entry of ``interfaces``.

    Attributes:
        name: Interface name.
        mac: Ethernet address; empty when unknown.
        sandbox: Path of the network namespace; empty on the host.
        mtu: Bytes; 0 when unknown; rendered from 1.1.0 on.
        socket_path: As another plugin wrote it.
        pci_id: As another plugin wrote it.
    """

    name: str
    mac: str = ""
    sandbox: str = ""
    mtu: int = 0
    socket_path: str = ""
    pci_id: str = ""


@dataclass(frozen=True, slots=True)
class IpConfig:
    """One entry of ``ips``; ``interface`` indexes ``interfaces``."""

    address: Cidr
    gateway: str = ""
    interface: int | None = None


@dataclass(frozen=True, slots=True)
class RouteConfig:
    """
    One entry of ``routes``.

    Attributes:
        dst: Destination network.
        gw: Next hop; empty means the first gateway of the family, else the link.
        mtu: Path MTU in bytes; 0 is unset.
        advmss: TCP segment size in bytes to advertise; 0 is unset.
        priority: Metric; 0 is unset.
        table: Routing table; None is main.
        scope: rtnetlink scope; None is chosen by the kernel's rules.
    """

    dst: Cidr
    gw: str = ""
    mtu: int = 0
    advmss: int = 0
    priority: int = 0
    table: int | None = None
    scope: int | None = None


@dataclass(frozen=True, slots=True)
class Dns:
    """Name service settings; they have no effect in the kernel."""

    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether anything is set."""
        return bool(self.nameservers or self.domain or self.search or self.options)


@dataclass(frozen=True, slots=True)
class CniResult:
    """What ADD answers, whatever version is spoken."""

    interfaces: tuple[Interface, ...] = ()
    ips: tuple[IpConfig, ...] = ()
    routes: tuple[RouteConfig, ...] = ()
    dns: Dns = field(default_factory=Dns)


def parse_dns(node: Node | None) -> Dns:
    """Read a ``dns`` object; absent is empty."""
    if node is None:
        return Dns()
    return Dns(
        nameservers=node.texts("nameservers"),
        domain=node.text("domain"),
        search=node.texts("search"),
        options=node.texts("options"),
    )


def parse_route(node: Node) -> RouteConfig:
    """
    Read one route object.

    Raises:
        ConfigError: ``dst`` missing or not a network, ``gw`` not an address of its family.
    """
    dst = parse_cidr(node.text("dst"), node.at("dst"))
    gw = node.text("gw")
    if gw and parse_ip(gw, node.at("gw")).version != dst.version:
        raise node.fault("gw", f"{gw} is not of the family of {dst}", "write both in one family")

    def number(key: str) -> int:
        return node.integer(key, minimum=0, maximum=_UINT32_MAX)

    return RouteConfig(
        dst=dst,
        gw=gw,
        mtu=number("mtu"),
        advmss=number("advmss"),
        priority=number("priority"),
        table=number("table") if node.has("table") else None,
        scope=node.integer("scope", minimum=0, maximum=255) if node.has("scope") else None,
    )


def parse_routes(node: Node) -> tuple[RouteConfig, ...]:
    """Read the ``routes`` list of ``node``; absent is empty."""
    return tuple(parse_route(each) for each in node.nodes("routes") or ())


def _parse_interface(node: Node) -> Interface:
    return Interface(
        name=node.text("name"),
        mac=node.text("mac").lower(),
        sandbox=node.text("sandbox"),
        mtu=node.integer("mtu", minimum=0, maximum=_UINT32_MAX),
        socket_path=node.text("socketPath"),
        pci_id=node.text("pciID"),
    )


def _parse_ip_config(node: Node) -> IpConfig:
    address, gateway = parse_cidr(node.text("address"), node.at("address")), node.text("gateway")
    if gateway and parse_ip(gateway, node.at("gateway")).version != address.version:
        raise node.fault(
            "gateway", f"{gateway} is not of the family of {address}", "write both in one family"
        )
    index = node.integer("interface", minimum=0, maximum=_UINT32_MAX, default=-1)
    return IpConfig(
        address=address,
        gateway=gateway,
        interface=None if index < 0 else index,
    )


def parse_result(node: Node) -> CniResult:
    """
    Read a result of any version spoken; the shape says which family it is of.

    Raises:
        ConfigError: A malformed field, a version not spoken, or an index out of range.
    """
    version = node.text("cniVersion")
    if version and version not in SUPPORTED:
        raise node.fault(
            "cniVersion", f"version {version} is not spoken", f"one of {', '.join(SUPPORTED)}"
        )
    interfaces = tuple(_parse_interface(each) for each in node.nodes("interfaces") or ())
    ips = tuple(_parse_ip_config(each) for each in node.nodes("ips") or ())
    for number, ip in enumerate(ips):
        if ip.interface is not None and ip.interface >= len(interfaces):
            raise ConfigError(
                f"cannot use 'interface': there is no interface {ip.interface}",
                pointer=f"{node.at('ips')}/{number}/interface",
                hint=f"the list of interfaces has {len(interfaces)} entries, counted from 0",
            )
    return CniResult(interfaces, ips, parse_routes(node), parse_dns(node.node("dns")))


def _without_empty(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    return {key: value for key, value in pairs if value not in ("", 0, (), [], {}, None)}


def _render_interface(interface: Interface, version: str) -> dict[str, object]:
    rendered = _without_empty(
        (("name", interface.name), ("mac", interface.mac), ("sandbox", interface.sandbox))
    )
    if version == "1.1.0":
        rendered |= _without_empty(
            (
                ("mtu", interface.mtu),
                ("socketPath", interface.socket_path),
                ("pciID", interface.pci_id),
            )
        )
    return rendered


def _render_ip(ip: IpConfig, version: str) -> dict[str, object]:
    rendered: dict[str, object] = {}
    if has_ip_version(version):
        rendered["version"] = str(ip.address.version)
    if ip.interface is not None:
        rendered["interface"] = ip.interface
    rendered["address"] = str(ip.address)
    if ip.gateway:
        rendered["gateway"] = ip.gateway
    return rendered


def _render_route(route: RouteConfig) -> dict[str, object]:
    rendered: dict[str, object] = {"dst": str(route.dst)}
    rendered |= _without_empty(
        (
            ("gw", route.gw),
            ("mtu", route.mtu),
            ("advmss", route.advmss),
            ("priority", route.priority),
        )
    )
    # 0 is a table and a scope of its own, so absence and 0 differ here.
    if route.table is not None:
        rendered["table"] = route.table
    if route.scope is not None:
        rendered["scope"] = route.scope
    return rendered


def render_dns(dns: Dns) -> dict[str, object]:
    """Make the ``dns`` object."""
    return _without_empty(
        (
            ("nameservers", list(dns.nameservers)),
            ("domain", dns.domain),
            ("search", list(dns.search)),
            ("options", list(dns.options)),
        )
    )


def render_result(result: CniResult, version: str) -> dict[str, object]:
    """Make the JSON object of ``version``; empty members are left out, as there."""
    rendered: dict[str, object] = {"cniVersion": version}
    rendered |= _without_empty(
        (
            ("interfaces", [_render_interface(each, version) for each in result.interfaces]),
            ("ips", [_render_ip(each, version) for each in result.ips]),
            ("routes", [_render_route(each) for each in result.routes]),
        )
    )
    if result.dns or has_ip_version(version):
        rendered["dns"] = render_dns(result.dns)
    return rendered


def merge_results(previous: CniResult, ours: CniResult) -> CniResult:
    """
    Put what this plugin made behind what earlier plugins of the chain made.

    Source: CNI specification 1.1.0, section 2, ADD: a plugin given prevResult passes
    it on, modified if need be.
    """
    shift = len(previous.interfaces)
    moved = tuple(
        ip if ip.interface is None else replace(ip, interface=ip.interface + shift)
        for ip in ours.ips
    )
    return CniResult(
        interfaces=previous.interfaces + ours.interfaces,
        ips=previous.ips + moved,
        routes=previous.routes + ours.routes,
        dns=ours.dns or previous.dns,
    )
