# SPDX-License-Identifier: Apache-2.0
"""
Elements of our sets and maps as the kernel takes them, in one transaction; pure.

An attachment comes and goes by elements alone. libnftables reads the ruleset before each
change to find out of what type a set is; of our own sets that is known.

A transaction is a datagram: a message that begins it, one for each element, one that ends
it. Integers inside are big-endian, headers are not. ::

    nfgenmsg    0 u8 family | 1 u8 version 0 | 2 be16 resource, of begin and end: nftables
    element     table, set, elements [ element: key [value], data [verdict], user data ]
    user data   0 u8 type 0, a comment | 1 u8 length | 2 text with NUL

Source: linux/netfilter/nfnetlink.h, nf_tables.h, Linux 6.1; libnftnl udata.h.
"""

import os
import struct
from typing import Final

from spanbridge.firewall.ruleset import BRIDGE, INET, Command, Json
from spanbridge.rtnl.wire import (
    HEADER,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    attribute,
    attribute_text,
    pack_address,
    pack_mac,
)

_BEGIN: Final = 0x10
_END: Final = 0x11
_NFTABLES: Final = 10
_NEW_ELEMENT: Final = _NFTABLES << 8 | 12
_DEL_ELEMENT: Final = _NFTABLES << 8 | 14

_VERBS: Final = {
    "create": (_NEW_ELEMENT, NLM_F_CREATE | NLM_F_EXCL),
    "add": (_NEW_ELEMENT, NLM_F_CREATE),
    "delete": (_DEL_ELEMENT, 0),
}
_FAMILIES: Final = {INET: 1, BRIDGE: 7}

_GENERIC: Final = struct.Struct(">BBH")
_VERDICT: Final = struct.Struct(">i")
_COMMENT: Final = struct.Struct("BB")
_GOTO: Final = -4
_NESTED: Final = 0x8000

_LIST_TABLE: Final = 1
_LIST_SET: Final = 2
_LIST_ELEMENTS: Final = _NESTED | 3
_ONE: Final = _NESTED | 1
_KEY: Final = _NESTED | 1
_DATA: Final = _NESTED | 2
_USER_DATA: Final = 6
_VALUE: Final = 1
_DATA_VERDICT: Final = _NESTED | 2
_VERDICT_CODE: Final = 1
_VERDICT_CHAIN: Final = 2

_IFNAME_BYTES: Final = 16
_MAC_PADDING: Final = b"\0\0"
"""A part of a key that is put together fills whole registers of 4 bytes."""


def are_elements(commands: list[Command]) -> bool:
    """Tell whether a transaction changes nothing but elements."""
    return bool(commands) and all("element" in next(iter(each.values())) for each in commands)


def render_batch(commands: list[Command], *, first: int) -> bytes:
    """
    Encode changes of elements as one transaction.

    Args:
        commands: As libnftables would read them; see `are_elements`.
        first: Sequence number of the message that begins the transaction; each element
            has the next one. The last of them is acknowledged.
    """
    last = first + len(commands)
    parts = [_message(_BEGIN, first, _GENERIC.pack(0, 0, _NFTABLES))]
    for sequence, command in enumerate(commands, first + 1):
        ((verb, what),) = command.items()
        kind, flags = _VERBS[verb]
        flags |= NLM_F_ACK if sequence == last else 0
        parts.append(_message(kind, sequence, _body(what["element"]), flags=flags))
    parts.append(_message(_END, last + 1, _GENERIC.pack(0, 0, _NFTABLES)))
    return b"".join(parts)


def _message(kind: int, sequence: int, body: bytes, *, flags: int = 0) -> bytes:
    # Attributes are padded, so a body always is.
    header = HEADER.pack(HEADER.size + len(body), kind, flags | NLM_F_REQUEST, sequence, 0)
    return header + body


def _body(element: dict[str, Json]) -> bytes:
    (value,) = element["elem"]
    return (
        _GENERIC.pack(_FAMILIES[element["family"]], 0, 0)
        + attribute_text(_LIST_TABLE, element["table"])
        + attribute_text(_LIST_SET, element["name"])
        + attribute(_LIST_ELEMENTS, attribute(_ONE, _element(element["family"], value)))
    )


def _element(family: str, value: Json) -> bytes:
    """Encode the inside of one element: a key, or of a map a pair of key and verdict."""
    key, verdict = value if isinstance(value, list) else (value, None)
    comment = ""
    if isinstance(key, dict) and "elem" in key:
        key, comment = key["elem"]["val"], key["elem"]["comment"]
    parts = attribute(_KEY, attribute(_VALUE, _key(family, key)))
    if verdict is not None:
        chain = attribute(_VERDICT_CODE, _VERDICT.pack(_GOTO))
        chain += attribute_text(_VERDICT_CHAIN, verdict["goto"]["target"])
        parts += attribute(_DATA, attribute(_DATA_VERDICT, chain))
    if comment:
        text = os.fsencode(comment) + b"\0"
        parts += attribute(_USER_DATA, _COMMENT.pack(0, len(text)) + text)
    return parts


def _key(family: str, value: Json) -> bytes:
    if family == INET:
        return pack_address(value)
    if isinstance(value, dict):
        port, mac = value["concat"]
        return _ifname(port) + pack_mac(mac) + _MAC_PADDING
    return _ifname(value)


def _ifname(name: str) -> bytes:
    return os.fsencode(name).ljust(_IFNAME_BYTES, b"\0")
