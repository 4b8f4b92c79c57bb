# SPDX-License-Identifier: Apache-2.0
"""
``ipam.type`` static: the addresses that the configuration or the call names.

Keeps nothing. Source: CNI plugins 1.9.1, static documentation; observed behaviour.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from spanbridge.base.errors import (
    CallError,
    ConfigError,
    InputError,
    MismatchError,
)
from spanbridge.base.log import warn
from spanbridge.ipam import IpamCall, IpamPreview
from spanbridge.model.addresses import Cidr, Ip, edge_fault, parse_cidr, parse_ip
from spanbridge.model.reader import Node, UnknownKey, as_text
from spanbridge.model.request import Request, parse_args
from spanbridge.model.result import (
    CniResult,
    Dns,
    IpConfig,
    RouteConfig,
    parse_dns,
    parse_routes,
)

_ARGS: Final = frozenset({"IP", "GATEWAY", "MAC"})
"""Keys of CNI_ARGS: ours, and the main plugin's, which gets the same variable."""

_NEEDS_ADDRESSES: Final = {"ADD", "CHECK"}


class _Named(NamedTuple):
    """One address and where it was named: a pointer, or empty for CNI_ARGS."""

    address: Cidr
    gateway: Ip | None
    pointer: str

    def fault(self, cause: str, hint: str) -> InputError:
        message = f"cannot use address {self.address}: {cause}"
        if self.pointer:
            return ConfigError(message, pointer=self.pointer, hint=hint)
        return CallError(f"{message} (CNI_ARGS)", hint=hint)


def _listed(args: dict[str, str], key: str) -> Iterator[str]:
    return filter(None, (part.strip() for part in args.get(key, "").split(",")))


def _from_config(ipam: Node) -> list[_Named]:
    named = []
    for node in ipam.nodes("addresses") or ():
        address = parse_cidr(node.text("address"), node.at("address"))
        gateway = node.text("gateway")
        if gateway and parse_ip(gateway, node.at("gateway")) not in address:
            raise node.fault(
                "gateway", f"{gateway} is not in {address.network}", "choose one of the network"
            )
        parsed = parse_ip(gateway, node.at("gateway")) if gateway else None
        named.append(_Named(address, parsed, node.at("address")))
    return named


def _from_args(args: dict[str, str]) -> list[_Named]:
    try:
        return [_Named(parse_cidr(text, ""), None, "") for text in _listed(args, "IP")]
    except ConfigError as exc:
        raise CallError(f"{exc.message} (CNI_ARGS IP)", hint=exc.hint) from exc


def _from_list(holder: Node) -> list[_Named]:
    def read(value: object, pointer: str) -> _Named:
        return _Named(parse_cidr(as_text(value, pointer), pointer), None, pointer)

    return list(holder.each("ips", read))


def _with_gateways(named: list[_Named], args: dict[str, str]) -> list[_Named]:
    """Give each GATEWAY of CNI_ARGS to the addresses whose network holds it."""
    for text in _listed(args, "GATEWAY"):
        try:
            gateway = parse_ip(text, "")
        except ConfigError as exc:
            raise CallError(f"{exc.message} (CNI_ARGS GATEWAY)", hint=exc.hint) from exc
        if not any(gateway in each.address for each in named):
            raise CallError(
                f"cannot use GATEWAY={text} of CNI_ARGS: it is in no address's network",
                hint="the addresses are " + (", ".join(str(n.address) for n in named) or "none"),
            )
        named = [
            each._replace(gateway=gateway) if gateway in each.address else each for each in named
        ]
    return named


def _named_addresses(request: Request, call: IpamCall) -> list[_Named]:
    """Collect by precedence: the runtime before ``args``, before configuration and CNI_ARGS."""
    env = parse_args(request.args, _ARGS)
    named = _from_config(call.ipam.node) + _from_args(env)
    args = call.root.node("args")
    for holder in (args.node("cni") if args else None, call.root.node("runtimeConfig")):
        if holder is not None:
            named = _from_list(holder) or named
    return _with_gateways(named, env)


def _refuse_faults(named: list[_Named]) -> None:
    seen: set[Ip] = set()
    for each in named:
        ip = each.address.ip
        fault = edge_fault(each.address, ip)
        if fault:
            raise each.fault(fault, "choose an address between the two edges of the network")
        if ip in seen:
            raise each.fault("it is listed twice", "list each address once")
        seen.add(ip)


def _require_addresses(request: Request, call: IpamCall, named: list[_Named]) -> None:
    capabilities = call.root.node("capabilities")
    promised = capabilities is not None and capabilities.flag("ips")
    if not named and (request.verb in _NEEDS_ADDRESSES or not promised):
        raise call.ipam.node.fault(
            "addresses",
            "there is no address at all",
            'write for example "addresses": [{"address": "10.88.0.5/24"}]',
        )


def _unknown(ipam: Node) -> tuple[UnknownKey, ...]:
    found = list(ipam.unknown())
    for node in ipam.nodes("addresses") or ():
        found += node.unknown("address", "gateway")
    return tuple(found)


def open_static(request: Request, call: IpamCall) -> "Static":
    """
    Read and check everything.

    Raises:
        ConfigError, CallError: The first fault found.
    """
    ipam = call.ipam.node
    ipam.take("type")
    named = _named_addresses(request, call)
    _refuse_faults(named)
    _require_addresses(request, call, named)
    static = Static(
        addresses=tuple(
            IpConfig(each.address, "" if each.gateway is None else str(each.gateway))
            for each in named
        ),
        routes=parse_routes(ipam),
        dns=parse_dns(ipam.node("dns")),
        unknown=_unknown(ipam),
    )
    if request.verb == "ADD":
        for key in static.unknown:
            warn("unknown key in ipam is not read", key=key.pointer, nearest=key.nearest)
    return static


class Static(NamedTuple):
    """
    What was named, handed through.

    Attributes:
        addresses: In the order of the result.
        routes: As configured.
        dns: As configured.
        unknown: Keys that nobody reads.
    """

    addresses: tuple[IpConfig, ...]
    routes: tuple[RouteConfig, ...] = ()
    dns: Dns = Dns()
    unknown: tuple[UnknownKey, ...] = ()

    @property
    def needs_link(self) -> bool:
        """Nothing is sent."""
        return False

    @property
    def releases_by_link(self) -> bool:
        """Nothing is sent."""
        return False

    def add(self) -> CniResult:
        """Answer the configured addresses."""
        return CniResult(ips=self.addresses, routes=self.routes, dns=self.dns)

    def check(self, previous: CniResult | None) -> None:
        """
        Compare with what ADD answered.

        Raises:
            ConfigError: There is no ``prevResult``.
            MismatchError: An address is missing there, or has another gateway.
        """
        if previous is None:
            raise ConfigError(
                "cannot check the addresses: prevResult is missing",
                pointer="/prevResult",
                hint="the runtime hands the result of ADD to CHECK",
            )
        gateways = {each.address: each.gateway for each in previous.ips}
        for each in self.addresses:
            if each.address not in gateways:
                raise MismatchError(
                    f"cannot find {each.address} in prevResult",
                    hint="the configuration changed after ADD: delete and add the attachment",
                )
            found = gateways[each.address]
            # Where none is named, the bridge may have filled in the network's first address.
            if each.gateway and (not found or parse_ip(found, "") != parse_ip(each.gateway, "")):
                raise MismatchError(
                    f"cannot confirm the gateway of {each.address}: prevResult has "
                    f"{found or 'none'}, the configuration {each.gateway}",
                    hint="the configuration changed after ADD: delete and add the attachment",
                )

    def release(self) -> None:
        """Nothing is kept."""

    def collect(self, valid: frozenset[tuple[str, str]]) -> None:
        """Nothing is kept."""

    def status(self) -> None:
        """Nothing can run out."""

    def preview(self) -> IpamPreview:
        """Tell what ADD would answer."""
        if not self.addresses:
            words = ("the addresses come with the call (capability ips)",)
            return IpamPreview(words, None, self.unknown)
        return IpamPreview(tuple(map(_words, self.addresses)), self.add(), self.unknown)


def _words(config: IpConfig) -> str:
    gateway = f"gateway {config.gateway}" if config.gateway else "no gateway"
    return f"the fixed address {config.address}; {gateway}; every attachment gets the same"
