# SPDX-License-Identifier: Apache-2.0
"""
Addresses of links.

Source: linux/if_addr.h, Linux 6.1.
"""

import socket
import struct
from dataclasses import dataclass
from typing import Final

from spanbridge.base.errors import InputError
from spanbridge.base.names import IfIndex
from spanbridge.rtnl.messages import RTM_DELADDR, RTM_NEWADDR, Message
from spanbridge.rtnl.wire import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Attributes,
    attribute,
    attribute_text,
    attribute_u32,
    pack_address,
    unpack_address,
    unpack_struct,
)

IFADDR: Final = struct.Struct("=BBBBI")
"""ifaddrmsg: u8 family, u8 prefix length, u8 flags, u8 scope, u32 index."""

_CACHEINFO: Final = struct.Struct("=IIII")
"""ifa_cacheinfo: u32 preferred and valid lifetime in s, u32 created and updated."""

_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_IFA_LABEL: Final = 3
_IFA_BROADCAST: Final = 4
_IFA_CACHEINFO: Final = 6
_IFA_FLAGS: Final = 8

_NODAD: Final = 0x02
_DADFAILED: Final = 0x08
_TENTATIVE: Final = 0x40
_PERMANENT: Final = 0x80
_NOPREFIXROUTE: Final = 0x200

FOREVER: Final = 0xFFFFFFFF
"""Lifetime, in seconds by name, that never ends."""

_BITS: Final = {socket.AF_INET: 32, socket.AF_INET6: 128}
_LONGEST_WITH_BROADCAST: Final = 30
"""
Longest IPv4 prefix with a broadcast address.

Source: RFC 3021.
"""


@dataclass(frozen=True, slots=True)
class Address:
    """
    An address of a link.

    Attributes:
        index: Of the link.
        family: AF_INET or AF_INET6.
        address: The link's own, also on a point-to-point link.
        prefix_length: Bits.
        scope: SCOPE_…, as the number that routes use.
        flags: IFA_F_….
        label: Of an IPv4 address, by default the link's name; empty for IPv6.
        broadcast: Empty for none.
        peer: The other side of a point-to-point link; empty for none.
        valid_s: Seconds it stays, ``FOREVER`` for ever.
    """

    index: IfIndex
    family: int
    address: str
    prefix_length: int
    scope: int
    flags: int
    label: str
    broadcast: str
    peer: str
    valid_s: int

    @property
    def tentative(self) -> bool:
        """Whether duplicate detection still runs, or has failed."""
        return bool(self.flags & _TENTATIVE)

    @property
    def dad_failed(self) -> bool:
        """Whether another host has it."""
        return bool(self.flags & _DADFAILED)

    @property
    def permanent(self) -> bool:
        """Whether it was configured to stay."""
        return bool(self.flags & _PERMANENT)


def parse_address(body: bytes) -> Address:
    """
    Decode the body of RTM_NEWADDR.

    Raises:
        WireError: It is cut short, or an attribute has a wrong size.
    """
    family, prefix_length, flags, scope, index = unpack_struct(IFADDR, body)
    found = Attributes(body, IFADDR.size)

    def text(kind: int) -> str:
        data = found.raw.get(kind)
        return "" if data is None else unpack_address(family, data)

    local, address = text(_IFA_LOCAL), text(_IFA_ADDRESS)
    cache = found.raw.get(_IFA_CACHEINFO)
    # The old u8 field lacks the upper flags.
    full = found.u32(_IFA_FLAGS)
    return Address(
        index=IfIndex(index),
        family=family,
        # IPv4 always has both; IPv6 has IFA_LOCAL on point-to-point links only.
        address=local or address,
        prefix_length=prefix_length,
        scope=scope,
        flags=flags if full is None else full,
        label=found.text(_IFA_LABEL),
        broadcast=text(_IFA_BROADCAST),
        peer=address if local and local != address else "",
        valid_s=FOREVER if cache is None else unpack_struct(_CACHEINFO, cache)[1],
    )


def _broadcast_of(packed: bytes, prefix_length: int) -> bytes:
    mask = (1 << (32 - prefix_length)) - 1
    return (int.from_bytes(packed, "big") | mask).to_bytes(4, "big")


def _body(
    index: int, family: int, packed: bytes, *, prefix_length: int, flags: int, scope: int
) -> bytes:
    return (
        IFADDR.pack(family, prefix_length, flags & 0xFF, scope, index)
        + attribute(_IFA_LOCAL, packed)
        + attribute(_IFA_ADDRESS, packed)
    )


def _checked(address: str, prefix_length: int) -> tuple[int, bytes]:
    """Family and bytes of an address whose prefix length fits."""
    packed = pack_address(address)
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    if not 0 <= prefix_length <= _BITS[family]:
        raise InputError(f"cannot use address {address}/{prefix_length}: the prefix is too long")
    return family, packed


def new_address(  # noqa: PLR0913  # one keyword per attribute
    index: int,
    address: str,
    prefix_length: int,
    *,
    broadcast: bool = True,
    nodad: bool = False,
    scope: int = 0,
    label: str | None = None,
    prefix_route: bool = True,
    valid_s: int | None = None,
    preferred_s: int | None = None,
    replace: bool = False,
) -> Message:
    """
    Give a link an address; EEXIST when it has it.

    Args:
        index: The link.
        address: IPv4 or IPv6.
        prefix_length: Bits.
        broadcast: Set the broadcast address, of IPv4 prefixes up to /30.
        nodad: Use an IPv6 address without looking for duplicates first.
        scope: SCOPE_….
        label: Of an IPv4 address; None for the link's name.
        prefix_route: Let the kernel add the route to the prefix.
        valid_s: Seconds it stays; None for ever.
        preferred_s: Seconds it serves new connections; None as long as it is valid.
        replace: Change what is there instead of failing; needed to renew a lifetime.
    """
    family, packed = _checked(address, prefix_length)
    flags = (_NODAD if nodad else 0) | (0 if prefix_route else _NOPREFIXROUTE)
    body = _body(index, family, packed, prefix_length=prefix_length, flags=flags, scope=scope)
    if broadcast and family == socket.AF_INET and prefix_length <= _LONGEST_WITH_BROADCAST:
        body += attribute(_IFA_BROADCAST, _broadcast_of(packed, prefix_length))
    if flags:
        body += attribute_u32(_IFA_FLAGS, flags)
    if label is not None:
        body += attribute_text(_IFA_LABEL, label)
    if valid_s is not None or preferred_s is not None:
        valid = FOREVER if valid_s is None else valid_s
        preferred = valid if preferred_s is None else preferred_s
        body += attribute(_IFA_CACHEINFO, _CACHEINFO.pack(preferred, valid, 0, 0))
    mode = NLM_F_CREATE | (NLM_F_REPLACE if replace else NLM_F_EXCL)
    label_text = f"add address {address}/{prefix_length} to link {index}"
    return Message(RTM_NEWADDR, mode, body, label_text)


def del_address(index: int, address: str, prefix_length: int) -> Message:
    """Take an address from a link; EADDRNOTAVAIL when it has it not."""
    family, packed = _checked(address, prefix_length)
    body = _body(index, family, packed, prefix_length=prefix_length, flags=0, scope=0)
    return Message(
        RTM_DELADDR, 0, body, f"delete address {address}/{prefix_length} from link {index}"
    )
