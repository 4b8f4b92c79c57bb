# SPDX-License-Identifier: Apache-2.0
"""
What a server grants, read from its options; and our messages with theirs. Pure.

Rule for what a server sends: what the address stands on (yiaddr, options 1, 51, 54)
and what decides where packets go (3, 33, 121, 249) is right, or the whole message is
refused; anything else that is malformed counts as not sent.

Source: RFC 2132; RFC 3442 (121); RFC 3397 (119).
"""

import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from spanbridge.ipam.dhcp.packet import (
    BOOTREQUEST,
    NO_ADDRESS,
    Message,
    MessageType,
    PacketError,
    pack_ipv4,
)
from spanbridge.model.addresses import Cidr, Ip, edge_fault

SUBNET_MASK: Final = 1
ROUTERS: Final = 3
DNS_SERVERS: Final = 6
HOST_NAME: Final = 12
DOMAIN: Final = 15
MTU: Final = 26
STATIC_ROUTES: Final = 33
NTP_SERVERS: Final = 42
REQUESTED_IP: Final = 50
LEASE_TIME: Final = 51
OVERLOAD: Final = 52
MESSAGE_TYPE: Final = 53
SERVER_ID: Final = 54
PARAMETERS: Final = 55
TEXT: Final = 56
MAX_SIZE: Final = 57
T1: Final = 58
T2: Final = 59
VENDOR_CLASS: Final = 60
CLIENT_ID: Final = 61
USER_CLASS: Final = 77
SEARCH: Final = 119
CLASSLESS_ROUTES: Final = 121
CLASSLESS_ROUTES_MICROSOFT: Final = 249
"""Same layout as 121, from before RFC 3442; read where 121 is missing."""


@dataclass(frozen=True, slots=True)
class ClasslessRoute:
    """
    One route.

    Attributes:
        dst: Network with prefix length, host bits cleared.
        gw: Next hop; empty means on the link.
    """

    dst: str
    gw: str


@dataclass(frozen=True, slots=True)
class Granted:
    """
    What an OFFER or ACK gives.

    Attributes:
        address: Ours, a dotted quad.
        prefix_length: 1 to 32.
        server_id: Option 54.
        routers: Option 3 as sent, also where 121 wins.
        routes: All of them, in the order in which they can be installed: those of 121,
            on-link ones first, or those of 33 and the default route of 3.
        dns: Name servers.
        domain: Option 15; empty where not sent.
        search: Option 119.
        ntp: Time servers.
        mtu: Bytes; None where not sent.
        lease_s: None is for ever.
        t1_s: When to renew; None when the lease is for ever.
        t2_s: When to rebind; later than ``t1_s``, before ``lease_s``.
        text: Option 56, what the server wants a human to read.
    """

    address: str
    prefix_length: int
    server_id: str
    routers: tuple[str, ...] = ()
    routes: tuple[ClasslessRoute, ...] = ()
    dns: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    ntp: tuple[str, ...] = ()
    mtu: int | None = None
    lease_s: int | None = None
    t1_s: float | None = None
    t2_s: float | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """
    What is the same in every message of one client.

    Attributes:
        chaddr: Ethernet address, 6 bytes.
        client_id: Option 61, in every message.
        parameters: Option 55, in every DISCOVER and REQUEST.
        provided: Other options by code, in every DISCOVER and REQUEST.
        broadcast: Ask for broadcast answers while there is no address yet.
        max_size_bytes: Option 57: largest answer with IP and UDP headers, at least 576.
    """

    chaddr: bytes
    client_id: bytes
    parameters: tuple[int, ...] = ()
    provided: Mapping[int, bytes] = field(default_factory=dict)
    broadcast: bool = False
    max_size_bytes: int = 1500


def parse_granted(message: Message) -> Granted:
    """
    Read an OFFER or ACK.

    Raises:
        PacketError: It grants nothing that can be used; no other exception.
    """
    raise NotImplementedError(message)


def server_text(message: Message) -> str:
    """Read option 56, for example why a NAK came; printable characters only."""
    raise NotImplementedError(message)


def discover(who: Identity, *, xid: int, secs: int = 0, address: str = "") -> Message:
    """Ask any server; ``address`` is the one we would like again."""
    raise NotImplementedError(who, xid, secs, address)


def request_selecting(
    who: Identity, *, xid: int, secs: int = 0, address: str, server_id: str
) -> Message:
    """Take an offer; ``xid`` and ``secs`` are those of the DISCOVER. Broadcast."""
    raise NotImplementedError(who, xid, secs, address, server_id)


def request_reboot(who: Identity, *, xid: int, secs: int = 0, address: str) -> Message:
    """Confirm a remembered address (INIT-REBOOT). Broadcast."""
    raise NotImplementedError(who, xid, secs, address)


def request_renew(who: Identity, *, xid: int, secs: int = 0, address: str) -> Message:
    """Extend the lease at its server: unicast, from ``address``."""
    raise NotImplementedError(who, xid, secs, address)


def request_rebind(who: Identity, *, xid: int, secs: int = 0, address: str) -> Message:
    """Extend the lease at any server: broadcast, from ``address``."""
    raise NotImplementedError(who, xid, secs, address)


def release(who: Identity, *, xid: int, address: str, server_id: str, text: str = "") -> Message:
    """Give the address back: unicast to the server, from ``address``."""
    raise NotImplementedError(who, xid, address, server_id, text)


def decline(who: Identity, *, xid: int, address: str, server_id: str, text: str = "") -> Message:
    """Refuse an address that somebody else uses. Broadcast."""
    raise NotImplementedError(who, xid, address, server_id, text)
