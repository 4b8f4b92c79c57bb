# SPDX-License-Identifier: Apache-2.0
"""
Netlink framing, pure: headers, attributes, acknowledgements, addresses as text.

A message is a 16-byte header and a body; a body is a fixed struct of its family and
attributes. Everything is in host byte order and padded to 4 bytes.

Source: linux/netlink.h, Linux 6.1.
"""

import os
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Final, NamedTuple

from spanbridge.base.errors import InputError, NodeError

HEADER: Final = struct.Struct("=IHHII")
"""nlmsghdr: u32 length with header, u16 type, u16 flags, u32 sequence, u32 port id."""

_ATTRIBUTE: Final = struct.Struct("=HH")
"""nlattr: u16 length with header, u16 type; the payload follows, then padding."""

_ACKNOWLEDGEMENT: Final = struct.Struct("=IHHIIi")
_ACKNOWLEDGEMENT_BYTES: Final = HEADER.size + 4 + HEADER.size
"""nlmsghdr, s32 negative error number; with NETLINK_CAP_ACK the request's header follows."""

_U32: Final = struct.Struct("=I")
_I32: Final = struct.Struct("=i")

NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLM_F_REQUEST: Final = 0x1
NLM_F_ACK: Final = 0x4
NLM_F_DUMP_INTR: Final = 0x10
NLM_F_CAPPED: Final = 0x100
NLM_F_ACK_TLVS: Final = 0x200
NLM_F_REPLACE: Final = 0x100
NLM_F_EXCL: Final = 0x200
NLM_F_DUMP: Final = 0x300
NLM_F_CREATE: Final = 0x400
NLM_F_APPEND: Final = 0x800

_NLMSGERR_ATTR_MSG: Final = 1
_NLMSGERR_ATTR_MISS_TYPE: Final = 5
_TYPE_MASK: Final = 0x3FFF
"""Without NLA_F_NESTED and NLA_F_NET_BYTEORDER."""

_ENCODING: Final = sys.getfilesystemencoding()
_ERRORS: Final = sys.getfilesystemencodeerrors()
_ATTRIBUTE_MAX_BYTES: Final = 0xFFFF
_PADDING: Final = (b"", b"\0\0\0", b"\0\0", b"\0")
"""Padding bytes by the payload's length modulo 4."""


class WireError(NodeError):
    """Bytes that are no valid netlink message, for example cut short."""


def attribute(kind: int, data: bytes) -> bytes:
    """
    Encode one attribute with its padding.

    Raises:
        InputError: ``data`` is longer than a 16-bit length can say.
    """
    length = len(data)
    if length > _ATTRIBUTE_MAX_BYTES - 4:
        raise InputError(f"cannot encode attribute {kind}: {length} bytes do not fit")
    return _ATTRIBUTE.pack(length + 4, kind) + data + _PADDING[length & 3]


def attribute_u8(kind: int, value: int) -> bytes:
    """Encode a u8 attribute."""
    return attribute(kind, _ranged(kind, value, 1))


def attribute_u16(kind: int, value: int) -> bytes:
    """Encode a u16 attribute."""
    return attribute(kind, _ranged(kind, value, 2))


def attribute_u32(kind: int, value: int) -> bytes:
    """Encode a u32 attribute."""
    return attribute(kind, _ranged(kind, value, 4))


def attribute_text(kind: int, text: str) -> bytes:
    """Encode a string attribute with its closing NUL."""
    if "\0" in text:
        raise InputError(f"cannot encode {text!r}: it holds a NUL character")
    return attribute(kind, os.fsencode(text) + b"\0")


def _ranged(kind: int, value: int, size: int) -> bytes:
    try:
        return value.to_bytes(size, sys.byteorder)
    except OverflowError as exc:
        raise InputError(f"cannot encode {value} in {size} bytes (attribute {kind})") from exc


def split_attributes(data: bytes, at: int = 0) -> list[tuple[int, bytes]]:
    """
    Cut into type and payload of every attribute from offset ``at`` to the end, in order.

    Raises:
        WireError: An attribute is cut short.
    """
    end = len(data)
    found = []
    while at < end:
        kind, stop = _head(data, at, end)
        found.append((kind, data[at + 4 : stop]))
        at += (stop - at + 3) & ~3
    return found


def _head(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Read the header of the attribute at ``at``: its type, and where its payload ends."""
    if end - at < 4:
        raise WireError("cannot decode an attribute: its header is cut short")
    length, kind = _ATTRIBUTE.unpack_from(data, at)
    if length < 4 or at + length > end:
        raise WireError(
            f"cannot decode attribute {kind & _TYPE_MASK}: its length {length} is wrong"
        )
    return kind & _TYPE_MASK, at + length


def _by_type(data: bytes, at: int) -> dict[int, bytes]:
    """
    Cut as `split_attributes` does, straight into a dictionary.

    Every call reads some 300 attributes. A list of pairs made on the way takes more than
    twice the time, and so does a call for each of them.
    """
    end = len(data)
    last = end - 3
    found = {}
    unpack = _ATTRIBUTE.unpack_from
    while at < last:
        length, kind = unpack(data, at)
        stop = at + length
        if length < 4 or stop > end:
            break
        found[kind & _TYPE_MASK] = data[at + 4 : stop]
        at += (length + 3) & ~3
    if at < end:
        _head(data, at, end)  # says what is wrong
    return found


class Attributes:
    """
    Attributes of one message or nest, by type; of repeated ones the last counts.

    Attributes:
        raw: Payload by type, also of types that nobody here knows.
    """

    __slots__ = ("raw",)

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.raw: Final = _by_type(data, at)

    def _number(self, kind: int, size: int, *, signed: bool = False) -> int | None:
        data = self.raw.get(kind)
        if data is None:
            return None
        if len(data) != size:
            raise WireError(f"cannot decode attribute {kind}: it has {len(data)} bytes, not {size}")
        return int.from_bytes(data, sys.byteorder, signed=signed)

    def u8(self, kind: int) -> int | None:
        """Decode a u8; None where it is absent."""
        return self._number(kind, 1)

    def u16(self, kind: int) -> int | None:
        """Decode a u16; None where it is absent."""
        return self._number(kind, 2)

    def u32(self, kind: int) -> int | None:
        """Decode a u32; None where it is absent."""
        return self._number(kind, 4)

    def i32(self, kind: int) -> int | None:
        """Decode an s32; None where it is absent."""
        return self._number(kind, 4, signed=True)

    def flag(self, kind: int) -> bool:
        """Decode a u8 that is a truth; False where it is absent."""
        return bool(self._number(kind, 1))

    def text(self, kind: int) -> str:
        """Decode a string; empty where it is absent."""
        data = self.raw.get(kind)
        # As os.fsdecode() does, without its calls inside.
        return "" if data is None else data.split(b"\0", 1)[0].decode(_ENCODING, _ERRORS)

    def mac(self, kind: int) -> str:
        """Decode a link-layer address as hex octets joined by colons; empty where absent."""
        data = self.raw.get(kind)
        return data.hex(":") if data else ""

    def nest(self, kind: int) -> "Attributes":
        """Decode nested attributes; without any where the nest is absent."""
        return Attributes(self.raw.get(kind, b""))


def family_of(address: str) -> int:
    """Tell AF_INET from AF_INET6 by how an address is written."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def pack_address(address: str) -> bytes:
    """
    Encode an IPv4 or IPv6 address, 4 or 16 bytes in network order.

    Raises:
        InputError: It is neither.
    """
    try:
        return socket.inet_pton(family_of(address), address)
    except (OSError, ValueError) as exc:
        raise InputError(
            f"cannot encode {address!r}: it is no IP address", hint="write 10.0.0.1 or fd00::1"
        ) from exc


def unpack_address(family: int, data: bytes) -> str:
    """
    Decode an address as text, in the kernel's own notation.

    Raises:
        WireError: The length does not fit the family, or the family is unknown.
    """
    try:
        return socket.inet_ntop(family, data)
    except (OSError, ValueError) as exc:
        raise WireError(f"cannot decode an address of family {family}: {exc}") from exc


def pack_mac(mac: str) -> bytes:
    """
    Encode an Ethernet address, 6 bytes.

    Raises:
        InputError: It is not six hex octets.
    """
    octets = mac.split(":")
    if len(octets) == 6 and all(len(octet) == 2 for octet in octets):
        try:
            return bytes.fromhex("".join(octets))
        except ValueError:
            pass
    raise InputError(f"cannot encode {mac!r}: it is no MAC", hint="write 02:00:00:00:00:01")


def unpack_struct(layout: struct.Struct, body: bytes) -> tuple[int, ...]:
    """
    Decode the fixed struct at the start of a body.

    Raises:
        WireError: The body is shorter than the struct.
    """
    if len(body) < layout.size:
        raise WireError(f"cannot decode a message: {len(body)} bytes, at least {layout.size} due")
    fields: tuple[int, ...] = layout.unpack_from(body)
    return fields


class Reply(NamedTuple):
    """
    One message from the kernel.

    Attributes:
        type: RTM_…, or NLMSG_ERROR, NLMSG_DONE.
        flags: NLM_F_….
        sequence: Of the request it answers.
        body: Without header and padding.
    """

    type: int
    flags: int
    sequence: int
    body: bytes


def is_success(data: bytes, sequence: int) -> bool:
    """Tell whether a datagram is nothing but the acknowledgement of one message."""
    if len(data) != _ACKNOWLEDGEMENT_BYTES:
        return False
    _, kind, _, seen, _, number = _ACKNOWLEDGEMENT.unpack_from(data)
    return (kind, seen, number) == (NLMSG_ERROR, sequence, 0)


def parse_replies(data: bytes) -> Iterator[Reply]:
    """
    Yield the messages of one datagram.

    Raises:
        WireError: A message is cut short.
    """
    at, end = 0, len(data)
    while at < end:
        if end - at < HEADER.size:
            raise WireError("cannot decode a message: its header is cut short")
        length, kind, flags, sequence, _ = HEADER.unpack_from(data, at)
        if length < HEADER.size or at + length > end:
            raise WireError(f"cannot decode a message of type {kind}: its length {length} is wrong")
        yield Reply(kind, flags, sequence, data[at + HEADER.size : at + length])
        at += (length + 3) & ~3


def parse_error(reply: Reply) -> tuple[int, str]:
    """
    Decode NLMSG_ERROR or NLMSG_DONE.

    Returns:
        The positive errno, 0 for success, and the kernel's own words, empty where it
        gave none.

    Raises:
        WireError: It is cut short.

    Source: linux/netlink.h, struct nlmsgerr and enum nlmsgerr_attrs.
    """
    if len(reply.body) < 4:
        raise WireError("cannot decode an acknowledgement: it is cut short")
    number = -_I32.unpack_from(reply.body)[0]
    if not reply.flags & NLM_F_ACK_TLVS:
        return number, ""
    at = 4
    if reply.type == NLMSG_ERROR:
        if len(reply.body) < 4 + HEADER.size:
            raise WireError("cannot decode an acknowledgement: the request's header is cut short")
        # The request follows: its header alone when capped, else all of it.
        length = HEADER.size if reply.flags & NLM_F_CAPPED else _U32.unpack_from(reply.body, 4)[0]
        at += (length + 3) & ~3
    found = Attributes(reply.body, at)
    missing = found.u32(_NLMSGERR_ATTR_MISS_TYPE)
    text = found.text(_NLMSGERR_ATTR_MSG)
    return number, text or ("" if missing is None else f"attribute {missing} is missing")
