# SPDX-License-Identifier: Apache-2.0
"""
Neighbours: which MAC has an address (ARP, neighbour discovery), or which port has a MAC.

Source: linux/neighbour.h, Linux 6.1.
"""

import socket
import struct
from dataclasses import dataclass
from typing import Final

from spanbridge.base.names import IfIndex
from spanbridge.rtnl.messages import RTM_DELNEIGH, RTM_NEWNEIGH, Message
from spanbridge.rtnl.wire import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Attributes,
    attribute,
    pack_address,
    pack_mac,
    unpack_address,
    unpack_struct,
)

NDMSG: Final = struct.Struct("=BxxxiHBB")
"""ndmsg: u8 family, 3 bytes pad, s32 index, u16 state, u8 flags, u8 type."""

_NDA_DST: Final = 1
_NDA_LLADDR: Final = 2
_NDA_VLAN: Final = 5
NDA_IFINDEX: Final = 8
_NDA_MASTER: Final = 9

STATES: Final = {
    "none": 0x00,
    "incomplete": 0x01,
    "reachable": 0x02,
    "stale": 0x04,
    "delay": 0x08,
    "probe": 0x10,
    "failed": 0x20,
    "noarp": 0x40,
    "permanent": 0x80,
}
"""
By name as ``ip`` spells it, in lower case.

Source: linux/neighbour.h, NUD_….
"""

_STATE_NAMES: Final = {number: name for name, number in STATES.items()}


@dataclass(frozen=True, slots=True)
class Neighbour:
    """
    One entry.

    Attributes:
        index: Of the link.
        family: AF_INET, AF_INET6; AF_BRIDGE for an entry of a bridge's MAC table.
        address: Empty in a MAC table.
        mac: Empty while it is not known.
        state: One of ``STATES``, or the number of a mixture.
        flags: NTF_….
        vlan: In a MAC table of a bridge that filters VLANs; 0 for none.
        master: In a MAC table, the bridge; 0 for none.
    """

    index: IfIndex
    family: int
    address: str
    mac: str
    state: str
    flags: int
    vlan: int
    master: IfIndex


def parse_neighbour(body: bytes) -> Neighbour:
    """
    Decode the body of RTM_NEWNEIGH.

    Raises:
        WireError: It is cut short, or an attribute has a wrong size.
    """
    family, index, state, flags, _ = unpack_struct(NDMSG, body)
    found = Attributes(body, NDMSG.size)
    address = found.raw.get(_NDA_DST)
    return Neighbour(
        index=IfIndex(index),
        family=family,
        address="" if address is None else unpack_address(family, address),
        mac=found.mac(_NDA_LLADDR),
        state=_STATE_NAMES.get(state, str(state)),
        flags=flags,
        vlan=found.u16(_NDA_VLAN) or 0,
        master=IfIndex(found.u32(_NDA_MASTER) or 0),
    )


def new_neighbour(
    index: int, address: str, *, mac: str, state: str = "permanent", replace: bool = False
) -> Message:
    """
    Say which MAC has an address on a link; EEXIST when known, unless ``replace``.

    Args:
        index: The link.
        address: IPv4 or IPv6.
        mac: Its owner.
        state: One of ``STATES``.
        replace: Put in the place of what is known.
    """
    body = _body(index, address, STATES[state]) + attribute(_NDA_LLADDR, pack_mac(mac))
    mode = NLM_F_CREATE | (NLM_F_REPLACE if replace else NLM_F_EXCL)
    return Message(RTM_NEWNEIGH, mode, body, f"add neighbour {address} to link {index}")


def del_neighbour(index: int, address: str) -> Message:
    """Forget which MAC has an address on a link; ENOENT when unknown."""
    body = _body(index, address, 0)
    return Message(RTM_DELNEIGH, 0, body, f"delete neighbour {address} from link {index}")


def _body(index: int, address: str, state: int) -> bytes:
    packed = pack_address(address)
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    return NDMSG.pack(family, index, state, 0, 0) + attribute(_NDA_DST, packed)
