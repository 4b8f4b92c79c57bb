# SPDX-License-Identifier: Apache-2.0
"""
The dhcp section, complete and checked, and what option 61 is made of. Pure.

Keys and option names are those of CNI plugins 1.9.1, dhcp; ``timeout``, ``probe`` and
``clientId`` are ours.
"""

import enum
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from spanbridge.base.errors import CallError, ConfigError, InputError
from spanbridge.ipam.dhcp.options import (
    CLASSLESS_ROUTES,
    DNS_SERVERS,
    DOMAIN,
    HOST_NAME,
    LEASE_TIME,
    MAX_SIZE,
    MTU,
    NTP_SERVERS,
    PARAMETERS,
    REQUESTED_IP,
    ROUTERS,
    SEARCH,
    STATIC_ROUTES,
    SUBNET_MASK,
    T1,
    T2,
    USER_CLASS,
    VENDOR_CLASS,
    Identity,
)
from spanbridge.ipam.dhcp.packet import CLIENT_ID, MESSAGE_TYPE, OVERLOAD, SERVER_ID
from spanbridge.model.owner import Owner
from spanbridge.model.reader import Node, UnknownKey, nearest_key, shorten
from spanbridge.model.request import lenient_args

_OPTIONS: Final = {
    "dhcp-client-identifier": CLIENT_ID,
    "subnet-mask": SUBNET_MASK,
    "routers": ROUTERS,
    "host-name": HOST_NAME,
    "user-class": USER_CLASS,
    "vendor-class-identifier": VENDOR_CLASS,
}

_OURS: Final = {REQUESTED_IP, OVERLOAD, MESSAGE_TYPE, SERVER_ID, PARAMETERS, MAX_SIZE}
"""Options that the client sets itself, so ``provide`` may not."""

_WANTED: Final = (
    CLASSLESS_ROUTES,
    SUBNET_MASK,
    STATIC_ROUTES,
    ROUTERS,
    DNS_SERVERS,
    DOMAIN,
    SEARCH,
    MTU,
    NTP_SERVERS,
    LEASE_TIME,
    T1,
    T2,
)
"""Asked for unless ``skipDefault``: all that is made use of."""

_SKIPPED: Final = (SUBNET_MASK, ROUTERS, DOMAIN, DNS_SERVERS)
"""What ``skipDefault`` without any option asks for. Source: as above, observed."""

_TIMEOUT_S: Final = 20.0
_TIMEOUT_MAX_S: Final = 600.0
_VALUE_MAX_BYTES: Final = 255
_PROVIDED_MAX_BYTES: Final = 640
"""All provided options; with our own ones, at most 800 bytes, they fit into one frame."""

_CONTAINER_TEXT_MAX_BYTES: Final = 254
_CLIENT_ID_MIN_BYTES: Final = 2
"""Source: RFC 2132 section 9.14."""

E = TypeVar("E", bound=enum.Enum)


class Probe(enum.Enum):
    """How an address is tried by ARP before it is used."""

    OFF = "off"
    FAST = "fast"
    RFC = "rfc"


class ClientIdMode(enum.Enum):
    """What option 61 is made of: the container, the pod's name, or the Ethernet address."""

    CONTAINER = "container"
    POD = "pod"
    MAC = "mac"


@dataclass(frozen=True, slots=True)
class Provided:
    """
    One entry of ``provide``.

    Attributes:
        option: Code, 1 to 254.
        value: Bytes to send; empty is none.
        from_arg: Key of CNI_ARGS whose value is sent instead, where it is there.
        pointer: Where the entry is written.
    """

    option: int
    value: bytes
    from_arg: str
    pointer: str


@dataclass(frozen=True, slots=True)
class DhcpConf:
    """
    The section.

    Attributes:
        parameters: Option 55, in order.
        provide: Options to send, in order; a later one of the same code wins.
        priority: Metric of every route; 0 is unset.
        daemon_socket: ``daemonSocketPath``; empty is the default.
        broadcast: Ask the server to answer by broadcast.
        timeout_s: Seconds that ADD may take to get a lease.
        probe: Conflict detection.
        client_id: What option 61 is made of where ``provide`` does not give it.
        unknown: Keys that nobody reads.
    """

    parameters: tuple[int, ...]
    provide: tuple[Provided, ...]
    priority: int
    daemon_socket: str
    broadcast: bool
    timeout_s: float
    probe: Probe
    client_id: ClientIdMode
    unknown: tuple[UnknownKey, ...] = ()


def _option(node: Node) -> int:
    """Read ``option``: a name, or a number with or without quotes."""
    value = node.take("option")
    names = ", ".join(_OPTIONS)
    hint = f"write a number from 1 to 254, or one of {names}"
    number = value if type(value) is int else None
    if isinstance(value, str):
        number = _OPTIONS.get(value)
        if number is None and value.isascii() and value.isdigit() and len(value) <= 3:
            number = int(value)
        near = "" if number else nearest_key(value, _OPTIONS)
        hint = f"did you mean {near}? otherwise {hint}" if near else hint
    if number is None:
        cause = "it is missing" if value is None else f"{shorten(value)} is no DHCP option"
        raise node.fault("option", cause, hint)
    if not 1 <= number <= 254:
        raise node.fault("option", f"{shorten(value)} is out of range", hint)
    return number


def _request(ipam: Node) -> tuple[tuple[int, ...], list[Node]]:
    """Read ``request``: option 55, and the entries that were read."""
    entries = list(ipam.nodes("request") or ())
    asked: list[int] = []
    skip_default = False
    for entry in entries:
        skips = entry.flag("skipDefault")
        skip_default |= skips
        if entry.has("option") or not skips:
            asked.append(_option(entry))
    if not skip_default:
        asked += _WANTED
    return _ordered(tuple(dict.fromkeys(asked)) or _SKIPPED), entries


def _ordered(codes: tuple[int, ...]) -> tuple[int, ...]:
    """Put 121 before 3 and 33, as RFC 3442 demands."""
    older = [at for at, code in enumerate(codes) if code in {ROUTERS, STATIC_ROUTES}]
    if CLASSLESS_ROUTES not in codes or not older or codes.index(CLASSLESS_ROUTES) < older[0]:
        return codes
    rest = [code for code in codes if code != CLASSLESS_ROUTES]
    return (*rest[: older[0]], CLASSLESS_ROUTES, *rest[older[0] :])


def _value_fault(option: int, value: bytes) -> str:
    """Say why ``value`` cannot be sent as ``option``, or the empty string."""
    if len(value) > _VALUE_MAX_BYTES:
        return f"it has {len(value)} bytes, more than {_VALUE_MAX_BYTES}"
    if option == CLIENT_ID and 0 < len(value) < _CLIENT_ID_MIN_BYTES:
        return "a client identifier has at least 2 bytes"
    return ""


def _provided(node: Node) -> Provided:
    option = _option(node)
    if option in _OURS:
        hint = "name what is asked for in request" if option == PARAMETERS else "leave it out"
        raise node.fault("option", f"the client sets option {option} itself", hint)
    text, from_arg = node.text("value"), node.text("fromArg")
    if not (node.has("value") or from_arg):
        raise node.fault("value", "it is missing", "write value, or fromArg with a key of CNI_ARGS")
    try:
        value = text.encode()
    except UnicodeEncodeError as exc:
        raise node.fault("value", "it is no Unicode text", "write whole characters") from exc
    fault = _value_fault(option, value)
    if fault:
        raise node.fault("value", fault, "write a shorter or longer one that fits")
    return Provided(option, value, from_arg, node.pointer)


def _timeout_s(ipam: Node) -> float:
    value = ipam.take("timeout")
    if value is None:
        return _TIMEOUT_S
    # NaN is not greater than 0 either; a boolean is an int only to Python.
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else 0
    if not 0 < number <= _TIMEOUT_MAX_S:
        raise ipam.fault(
            "timeout",
            f"{shorten(value)} is no time for ADD",
            f"write seconds, more than 0 and at most {_TIMEOUT_MAX_S:.0f}, without quotes",
        )
    return float(number)


def _choice(ipam: Node, key: str, default: E) -> E:
    kind = type(default)
    text = ipam.text(key) or default.value
    if text not in {each.value for each in kind}:
        known = ", ".join(str(each.value) for each in kind)
        raise ipam.fault(key, f"{shorten(text)} is not known", f"write one of {known}")
    return kind(text)


def _daemon_socket(ipam: Node) -> str:
    path = ipam.text("daemonSocketPath")
    if path and (not path.startswith("/") or "\0" in path):
        raise ipam.fault(
            "daemonSocketPath",
            f"{shorten(path)} is no absolute path",
            "write the agent's socket, or leave it out",
        )
    return path


def parse_dhcp_conf(ipam: Node) -> DhcpConf:
    """
    Read and check the section.

    Raises:
        ConfigError: The first fault found, with its pointer.
    """
    ipam.take("type")
    parameters, asked = _request(ipam)
    given = ipam.nodes("provide") or ()
    conf = DhcpConf(
        parameters=parameters,
        provide=tuple(map(_provided, given)),
        priority=ipam.integer("priority", minimum=0, maximum=2**32 - 1),
        daemon_socket=_daemon_socket(ipam),
        broadcast=ipam.flag("broadcast"),
        timeout_s=_timeout_s(ipam),
        probe=_choice(ipam, "probe", Probe.FAST),
        client_id=_choice(ipam, "clientId", ClientIdMode.CONTAINER),
        unknown=tuple(
            [*ipam.unknown()]
            + [key for node in asked for key in node.unknown("option", "skipDefault")]
            + [key for node in given for key in node.unknown("option", "value", "fromArg")]
        ),
    )
    provided_options(conf, "")
    return conf


def _sent(conf: DhcpConf, args: str) -> Iterator[tuple[int, bytes]]:
    """Pair codes and values; a key that CNI_ARGS lacks leaves the entry's own value."""
    pairs = lenient_args(args)
    for each in conf.provide:
        value = each.value
        if pairs.get(each.from_arg):
            value = pairs[each.from_arg].encode(errors="surrogateescape")
            fault = _value_fault(each.option, value)
            if fault:
                raise CallError(
                    f"cannot send {each.from_arg} of CNI_ARGS as DHCP option {each.option}: {fault}"
                )
        if value:
            yield each.option, value


def provided_options(conf: DhcpConf, args: str) -> dict[int, bytes]:
    """
    Make the provided options of one call, option 61 among them.

    Args:
        conf: The section.
        args: CNI_ARGS.

    Raises:
        CallError: A value of CNI_ARGS does not fit into its option.
        ConfigError: All together do not fit into a packet.
    """
    options = dict(_sent(conf, args))
    size = sum(2 + len(value) for value in options.values())
    if size > _PROVIDED_MAX_BYTES:
        raise ConfigError(
            f"cannot use 'provide': the options take {size} bytes, not {_PROVIDED_MAX_BYTES}",
            pointer=conf.provide[0].pointer.rpartition("/")[0],
            hint="provide fewer or shorter ones",
        )
    return options


def _pod_client_id(owner: Owner, args: str) -> bytes:
    """
    Make an identifier that a pod of the same name gets again.

    u8 255, u32 IAID of network and interface, u16 DUID type 4, 16 bytes of UUID (of
    version 8, made by us) of namespace and name. Unlike a text it has one short length
    for all names, and the same DUID can serve DHCPv6.

    Source: RFC 4361 section 6.1; RFC 6355 section 4; RFC 9562 section 5.8.
    """
    pairs = lenient_args(args)
    missing = [key for key in ("K8S_POD_NAMESPACE", "K8S_POD_NAME") if not pairs.get(key)]
    if missing:
        raise CallError(
            f"cannot make a client identifier of the pod: CNI_ARGS lacks {' and '.join(missing)}",
            hint="Kubernetes gives them; elsewhere set clientId to container or mac",
        )
    pod = f"{pairs['K8S_POD_NAMESPACE']}\0{pairs['K8S_POD_NAME']}"
    uuid = bytearray(hashlib.sha256(pod.encode(errors="surrogateescape")).digest()[:16])
    uuid[6] = 0x80 | uuid[6] & 0x0F
    uuid[8] = 0x80 | uuid[8] & 0x3F
    iaid = hashlib.sha256(f"{owner.network}\0{owner.ifname}".encode()).digest()[:4]
    return b"\xff" + iaid + b"\0\4" + bytes(uuid)


def client_id(conf: DhcpConf, owner: Owner, *, args: str, mac: str) -> bytes:
    """
    Make option 61: the provided one, or by ``clientId``.

    Args:
        conf: The section.
        owner: The attachment.
        args: CNI_ARGS.
        mac: Ethernet address of the sandbox link.

    Raises:
        InputError: CNI_ARGS lacks what it is made of, or holds what does not fit.

    Source: ``container`` is what CNI plugins 1.9.1 send, observed: byte 0 and a text;
    ``mac`` RFC 2132 section 9.14, hardware type 1.
    """
    provided = provided_options(conf, args).get(CLIENT_ID)
    if provided:
        return provided
    if conf.client_id is ClientIdMode.POD:
        return _pod_client_id(owner, args)
    if conf.client_id is ClientIdMode.MAC:
        return b"\1" + _mac_bytes(mac)
    text = f"{owner.container_id}/{owner.network}/{owner.ifname}"
    return b"\0" + text.encode()[:_CONTAINER_TEXT_MAX_BYTES]


def _mac_bytes(mac: str) -> bytes:
    try:
        octets = bytes.fromhex(mac.replace(":", ""))
    except ValueError:
        octets = b""
    if len(octets) != 6:
        raise InputError(f"cannot use {mac!r} as a DHCP client's address: it is not six octets")
    return octets


def identity(conf: DhcpConf, client_id: bytes, *, args: str, mac: str) -> Identity:
    """
    Put together what is the same in every message of one attachment.

    Args:
        conf: The section.
        client_id: Option 61, as it was made for the first message.
        args: CNI_ARGS.
        mac: Ethernet address of the sandbox link.

    Raises:
        InputError: As ``provided_options``; or the address is none.
    """
    provided = provided_options(conf, args)
    provided.pop(CLIENT_ID, None)
    return Identity(
        chaddr=_mac_bytes(mac),
        client_id=client_id,
        parameters=conf.parameters,
        provided=provided,
        broadcast=conf.broadcast,
    )
