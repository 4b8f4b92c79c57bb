# SPDX-License-Identifier: Apache-2.0
"""The host-local section, complete and checked. Pure."""

import functools
from typing import Final, NamedTuple

from spanbridge.base.errors import CallError, ConfigError, InputError
from spanbridge.ipam import IpamCall
from spanbridge.ipam.host_local.ranges import RangeSet, describe, parse_sets, set_of
from spanbridge.model.addresses import Ip, ip_from_text
from spanbridge.model.reader import Node, UnknownKey, as_text
from spanbridge.model.request import Request, parse_args
from spanbridge.model.result import RouteConfig, parse_routes

_ARGS: Final = frozenset({"IP", "MAC"})
"""Keys of CNI_ARGS: ours, and the main plugin's, which gets the same variable."""

_NEEDS_RANGES: Final = {"ADD", "CHECK"}


class HostLocalConf(NamedTuple):
    """
    The section and what the call adds to it.

    Attributes:
        data_dir: Absolute path; holds one directory per network.
        sets: One address is taken from each; the number of a set names its cursor.
        requested: For each set the address asked for, or None.
        routes: Handed through.
        resolv_conf: File that DNS settings are read from on ADD; empty is none.
        unknown: Keys that nobody reads.
    """

    data_dir: str
    sets: tuple[RangeSet, ...]
    requested: tuple[Ip | None, ...]
    routes: tuple[RouteConfig, ...]
    resolv_conf: str
    unknown: tuple[UnknownKey, ...]


def parse_data_dir(ipam: Node, default: str) -> str:
    """
    Read ``dataDir``.

    Raises:
        ConfigError: Not an absolute path; a plugin's working directory is anybody's guess.
    """
    path = ipam.text("dataDir") or default
    if not path.startswith("/") or "\0" in path:
        raise ipam.fault("dataDir", f"{path!r} is no absolute path", f"write for example {default}")
    return path.rstrip("/") or "/"


class _Wish(NamedTuple):
    """An address asked for, and where: a pointer, or empty for CNI_ARGS."""

    text: str
    pointer: str

    def fault(self, cause: str, hint: str) -> InputError:
        if self.pointer:
            message = f"cannot use requested address {self.text!r}: {cause}"
            return ConfigError(message, pointer=self.pointer, hint=hint)
        return CallError(f"cannot use IP={self.text} of CNI_ARGS: {cause}", hint=hint)

    def parse(self) -> Ip:
        address, slash, length = self.text.partition("/")
        ip = ip_from_text(address)
        if ip is None or (slash and not (length.isdigit() and int(length) <= ip.bits)):
            raise self.fault("it is no IP address", "write one, for example 10.88.0.5")
        return ip


def _wishes(request: Request, root: Node) -> list[_Wish]:
    text = parse_args(request.args, _ARGS).get("IP", "")
    wishes = [_Wish(text, "")] if text else []
    args = root.node("args")
    for holder in (args.node("cni") if args else None, root.node("runtimeConfig")):
        if holder is not None:
            wishes += holder.each("ips", lambda value, at: _Wish(as_text(value, at), at))
    return wishes


def _assign(sets: tuple[RangeSet, ...], wishes: list[_Wish]) -> tuple[Ip | None, ...]:
    """Give each requested address to the set that holds it; every one must find its set."""
    assigned: list[Ip | None] = [None] * len(sets)
    for wish in wishes:
        ip = wish.parse()
        pools = "; ".join(describe(each) for each in sets)
        found = set_of(sets, ip)
        if found is None:
            raise wish.fault("it is outside of every range", f"the ranges are {pools}")
        number, holder = found
        fault = holder.excluded(ip)
        if fault:
            raise wish.fault(fault, f"choose another of {holder}")
        if assigned[number] not in {None, ip}:
            raise wish.fault(
                f"its set already gives {assigned[number]}",
                "one address is taken per set; put the second range in a set of its own",
            )
        assigned[number] = ip
    return tuple(assigned)


def _require_sets(request: Request, call: IpamCall, sets: tuple[RangeSet, ...]) -> None:
    capabilities = call.root.node("capabilities")
    promised = capabilities is not None and capabilities.flag("ipRanges")
    if not sets and (request.verb in _NEEDS_RANGES or not promised):
        raise call.ipam.node.fault(
            "ranges",
            "there is no range at all",
            'write for example "ranges": [[{"subnet": "10.88.0.0/24"}]]',
        )


def parse_host_local(request: Request, call: IpamCall, default_data_dir: str) -> HostLocalConf:
    """
    Read and check the section.

    Raises:
        ConfigError, CallError: The first fault found.
    """
    runtime = call.root.node("runtimeConfig")
    conf = _parse_section(call.ipam.node, runtime, default_data_dir)
    _require_sets(request, call, conf.sets)
    wishes = _wishes(request, call.root)
    return conf._replace(requested=_assign(conf.sets, wishes)) if wishes else conf


@functools.lru_cache(maxsize=64)
def _parse_section(ipam: Node, runtime: Node | None, default_data_dir: str) -> HostLocalConf:
    """Read what does not depend on the call; once, where the same document comes again."""
    ipam.take("type")
    sets, unknown = parse_sets(ipam, runtime)
    return HostLocalConf(
        data_dir=parse_data_dir(ipam, default_data_dir),
        sets=sets,
        requested=(None,) * len(sets),
        routes=parse_routes(ipam),
        resolv_conf=ipam.text("resolvConf"),
        unknown=unknown + ipam.unknown(),
    )
