# SPDX-License-Identifier: Apache-2.0
"""A request to the kernel, and the numbers that all families share."""

import struct
from typing import Final, NamedTuple

from spanbridge.rtnl.wire import HEADER, NLM_F_ACK, NLM_F_REQUEST

RTM_NEWLINK: Final = 16
RTM_DELLINK: Final = 17
RTM_GETLINK: Final = 18
RTM_SETLINK: Final = 19
RTM_NEWADDR: Final = 20
RTM_DELADDR: Final = 21
RTM_GETADDR: Final = 22
RTM_NEWROUTE: Final = 24
RTM_DELROUTE: Final = 25
RTM_GETROUTE: Final = 26
RTM_NEWNEIGH: Final = 28
RTM_DELNEIGH: Final = 29
RTM_GETNEIGH: Final = 30
RTM_NEWQDISC: Final = 36
RTM_DELQDISC: Final = 37
RTM_GETVLAN: Final = 114

IFINFO: Final = struct.Struct("=BxHiII")
"""ifinfomsg: u8 family, pad, u16 type, s32 index, u32 flags, u32 change mask."""

_KIND_GET: Final = 2

SCOPE_UNIVERSE: Final = 0
SCOPE_LINK: Final = 253
SCOPE_HOST: Final = 254
"""
Scopes of addresses and routes.

Source: linux/rtnetlink.h, enum rt_scope_t.
"""


class Message(NamedTuple):
    """
    One request.

    Attributes:
        type: RTM_….
        flags: NLM_F_… beyond request and acknowledgement, which the socket adds.
        body: Fixed struct and attributes.
        label: What it does, for error text: ``add bridge br0``.
    """

    type: int
    flags: int
    body: bytes
    label: str


def is_question(message: Message) -> bool:
    """
    Tell whether a message asks for something, and changes nothing.

    Source: net/core/rtnetlink.c, enum rtnl_kinds: the last two bits of a type.
    """
    return message.type & 3 == _KIND_GET


def render(message: Message, *, sequence: int, acknowledged: bool = True) -> bytes:
    """
    Encode a message, padded to 4 bytes.

    Args:
        message: What to encode.
        sequence: Number that the answer will carry.
        acknowledged: Ask for an acknowledgement, also after an answer of another kind.
    """
    body = message.body
    length = HEADER.size + len(body)
    flags = message.flags | NLM_F_REQUEST | (NLM_F_ACK if acknowledged else 0)
    return HEADER.pack(length, message.type, flags, sequence, 0) + body + b"\0" * (-length & 3)
