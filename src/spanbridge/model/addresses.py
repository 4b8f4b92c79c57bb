# SPDX-License-Identifier: Apache-2.0
"""
IP addresses and networks as small values.

The standard library's ``ipaddress`` costs 4 ms of import on the one-shot path; what
the plugin needs of it is arithmetic on integers.
"""

import socket
from dataclasses import dataclass
from typing import Final

from spanbridge.base.errors import ConfigError
from spanbridge.base.names import MacAddress

_FAMILIES: Final = {4: (socket.AF_INET, 32), 6: (socket.AF_INET6, 128)}


@dataclass(frozen=True, slots=True, order=True)
class Ip:
    """
    One IP address.

    Attributes:
        version: 4 or 6.
        number: Its value, as an unsigned integer of 32 or 128 bits.
    """

    version: int
    number: int

    @property
    def bits(self) -> int:
        """Width of the address: 32 or 128."""
        return _FAMILIES[self.version][1]

    @property
    def packed(self) -> bytes:
        """Network byte order."""
        return self.number.to_bytes(self.bits // 8, "big")

    def __add__(self, offset: int) -> "Ip":
        """Step by ``offset``; raises ``OverflowError`` beyond the last address."""
        number = self.number + offset
        if not 0 <= number < 1 << self.bits:
            raise OverflowError(f"{self} + {offset} is outside of IPv{self.version}")
        return Ip(self.version, number)

    def __str__(self) -> str:
        if self.version == 6 and self.number >> 32 == 0 and self.number > 0xFFFF:
            # glibc writes ::1:2 as ::0.1.0.2; nobody else does (RFC 5952, section 5).
            return f"::{self.number >> 16:x}:{self.number & 0xFFFF:x}"
        return socket.inet_ntop(_FAMILIES[self.version][0], self.packed)


@dataclass(frozen=True, slots=True)
class Cidr:
    """An address with its prefix length; host bits are kept."""

    ip: Ip
    prefix_length: int

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.ip.version

    @property
    def _host_mask(self) -> int:
        return (1 << (self.ip.bits - self.prefix_length)) - 1

    @property
    def network(self) -> "Cidr":
        """The same with host bits cleared."""
        return Cidr(Ip(self.version, self.ip.number & ~self._host_mask), self.prefix_length)

    @property
    def last(self) -> Ip:
        """Highest address; the broadcast address of an IPv4 network."""
        return Ip(self.version, self.ip.number | self._host_mask)

    @property
    def is_default(self) -> bool:
        """Tell whether this is 0.0.0.0/0 or ::/0."""
        return self.prefix_length == 0

    def __contains__(self, ip: Ip) -> bool:
        return (
            ip.version == self.version
            and ip.number & ~self._host_mask == self.ip.number & ~self._host_mask
        )

    def overlaps(self, other: "Cidr") -> bool:
        """Tell whether the two networks share an address."""
        return other.network.ip in self or self.network.ip in other

    def __str__(self) -> str:
        return f"{self.ip}/{self.prefix_length}"


def ip_from_text(text: str) -> Ip | None:
    """Read an address, or None; IPv4 mapped into IPv6 becomes IPv4."""
    for version, (family, _) in _FAMILIES.items():
        try:
            packed = socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
        if version == 6 and packed[:12] == b"\0" * 10 + b"\xff\xff":
            return Ip(4, int.from_bytes(packed[12:], "big"))
        return Ip(version, int.from_bytes(packed, "big"))
    return None


def parse_ip(text: str, pointer: str) -> Ip:
    """Read an address or raise ``ConfigError``."""
    ip = ip_from_text(text)
    if ip is None:
        raise ConfigError(
            f"cannot use address {text!r}: it is no IP address",
            pointer=pointer,
            hint="write for example 10.88.0.5 or fd00:88::5",
        )
    return ip


def parse_cidr(text: str, pointer: str) -> Cidr:
    """Read ``address/length`` or raise ``ConfigError``; host bits are kept."""
    address, _, length = text.partition("/")
    ip = ip_from_text(address)
    digits = length.isascii() and length.isdigit() and len(length) <= 3
    if ip is None or not digits or int(length) > ip.bits:
        raise ConfigError(
            f"cannot use {text!r}: it is no address with a prefix length",
            pointer=pointer,
            hint="write for example 10.88.0.5/24 or fd00:88::5/64",
        )
    return Cidr(ip, int(length))


def edge_fault(network: Cidr, ip: Ip) -> str:
    """
    Say why ``ip`` names the network or everybody in it, or the empty string.

    Networks of one or two addresses have no such edges. Source: RFC 3021, RFC 6164;
    the first address of an IPv6 network is its routers' anycast address, RFC 4291 2.6.1.
    """
    if ip.bits - network.prefix_length < 2:
        return ""
    if ip == network.network.ip:
        return "it is the network address"
    if ip.version == 4 and ip == network.last:
        return "it is the broadcast address"
    return ""


def parse_mac(text: str, pointer: str) -> MacAddress:
    """
    Read a unicast Ethernet address in any notation that Go's ParseMAC takes.

    Raises:
        ConfigError: Not six octets, or a multicast or zero address.
    """
    plain = text.replace("-", ":")
    parts = plain.split(":")
    if "." in text:
        parts = [half for word in text.split(".") for half in (word[:2], word[2:])]
    octets = [part for part in parts if len(part) == 2 and _is_hex(part)]
    if len(octets) != len(parts) or len(octets) != 6:
        raise ConfigError(
            f"cannot use MAC address {text!r}: it is not six octets in hex",
            pointer=pointer,
            hint="write for example 02:00:5e:10:00:01",
        )
    if int(octets[0], 16) & 1 or not any(int(octet, 16) for octet in octets):
        raise ConfigError(
            f"cannot use MAC address {text!r}: it is not a unicast address",
            pointer=pointer,
            hint="make the first octet even, for example 02:00:5e:10:00:01",
        )
    return MacAddress(":".join(octets).lower())


def _is_hex(text: str) -> bool:
    return all(char in "0123456789abcdefABCDEF" for char in text)
