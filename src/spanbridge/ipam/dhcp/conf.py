# SPDX-License-Identifier: Apache-2.0
"""The dhcp section, complete and checked. Pure."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from spanbridge.ipam.dhcp.options import Identity
from spanbridge.model.owner import Owner
from spanbridge.model.reader import Node, UnknownKey


class Probe(enum.Enum):
    """How an address is tried by ARP before it is used."""

    OFF = "off"
    FAST = "fast"
    RFC = "rfc"


class ClientIdMode(enum.Enum):
    """What option 61 is made of."""

    CONTAINER = "container"
    POD = "pod"
    MAC = "mac"


@dataclass(frozen=True, slots=True)
class Provided:
    """
    One entry of ``provide``.

    Attributes:
        option: Code, 1 to 254.
        value: Bytes to send.
        from_arg: Key of CNI_ARGS whose value is sent instead, where it is there.
        pointer: Where it is written.
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
        provide: Options to send.
        priority: Metric of every route; 0 is unset.
        daemon_socket: ``daemonSocketPath``; empty is the default.
        broadcast: Ask the server to answer by broadcast.
        timeout_s: Seconds that ADD may take to get a lease.
        probe: Conflict detection.
        client_id: What option 61 is made of.
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


def parse_dhcp_conf(ipam: Node) -> DhcpConf:
    """
    Read and check the section.

    Raises:
        ConfigError: The first fault found, with its pointer.
    """
    raise NotImplementedError(ipam)


def provided_options(conf: DhcpConf, args: str) -> Mapping[int, bytes]:
    """
    Make the provided options of one call; ``args`` is CNI_ARGS.

    Raises:
        CallError: A value of CNI_ARGS does not fit.
    """
    raise NotImplementedError(conf, args)


def client_id(conf: DhcpConf, owner: Owner, *, args: str, mac: str) -> bytes:
    """
    Make option 61.

    Raises:
        CallError: CNI_ARGS lacks what it is made of.
    """
    raise NotImplementedError(conf, owner, args, mac)


def identity(conf: DhcpConf, client_id: bytes, *, args: str, mac: str) -> Identity:
    """Put together what is the same in every message; ``client_id`` comes from above."""
    raise NotImplementedError(conf, client_id, args, mac)
