# SPDX-License-Identifier: Apache-2.0
"""
VLANs of bridge ports.

In messages of family AF_BRIDGE the VLAN entries lie directly in IFLA_AF_SPEC, while
other families nest per address family there. RTM_GETVLAN, since Linux 5.6, can be asked
about a single port.

Source: linux/if_bridge.h, struct bridge_vlan_info and struct br_vlan_msg;
net/bridge/br_netlink.c, net/bridge/br_vlan.c.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from spanbridge.base.errors import InputError
from spanbridge.base.names import VLAN_MAX
from spanbridge.rtnl.messages import IFINFO, RTM_DELLINK, RTM_GETVLAN, RTM_SETLINK, Message
from spanbridge.rtnl.wire import (
    NLM_F_DUMP,
    Attributes,
    WireError,
    attribute,
    attribute_u16,
    split_attributes,
    unpack_struct,
)

_AF_BRIDGE: Final = 7
_IFLA_AF_SPEC: Final = 26
_IFLA_BRIDGE_FLAGS: Final = 0
_IFLA_BRIDGE_VLAN_INFO: Final = 2
_BRIDGE_FLAGS_SELF: Final = 2

_PVID: Final = 0x2
_UNTAGGED: Final = 0x4
_RANGE_BEGIN: Final = 0x8
_RANGE_END: Final = 0x10

_VLAN_INFO: Final = struct.Struct("=HH")
"""bridge_vlan_info: u16 flags, u16 VLAN id."""

_VLAN_MSG: Final = struct.Struct("=BBHI")
"""br_vlan_msg: u8 family, u8 and u16 reserved, u32 index of the port or bridge."""

_VLANDB_ENTRY: Final = 1
_ENTRY_INFO: Final = 1
_ENTRY_RANGE: Final = 2
"""BRIDGE_VLANDB_ENTRY, and in it BRIDGE_VLANDB_ENTRY_INFO and …_RANGE, the u16 last VLAN."""


@dataclass(frozen=True, slots=True)
class PortVlan:
    """
    Consecutive VLANs of a port that are treated alike.

    Attributes:
        vid: The first.
        vid_end: The last; the same as ``vid`` for one VLAN.
        pvid: Untagged frames that come in belong to it.
        untagged: Frames go out without a tag.
    """

    vid: int
    vid_end: int
    pvid: bool
    untagged: bool


def parse_af_spec(data: bytes) -> tuple[PortVlan, ...]:
    """
    Decode the IFLA_AF_SPEC of an AF_BRIDGE message; ascending, ranges kept as ranges.

    Raises:
        WireError: An entry has a wrong size, or a range has no beginning or no end.
    """
    found: list[PortVlan] = []
    first: int | None = None
    for kind, entry in split_attributes(data):
        if kind != _IFLA_BRIDGE_VLAN_INFO:
            continue
        if len(entry) != _VLAN_INFO.size:
            raise WireError(f"cannot decode a VLAN: it has {len(entry)} bytes")
        flags, vid = _VLAN_INFO.unpack(entry)
        if flags & _RANGE_BEGIN:
            first = vid
            continue
        if bool(flags & _RANGE_END) != (first is not None):
            raise WireError(f"cannot decode VLAN {vid}: half a range")
        begin = vid if first is None else first
        found.append(PortVlan(begin, vid, bool(flags & _PVID), bool(flags & _UNTAGGED)))
        first = None
    if first is not None:
        raise WireError(f"cannot decode VLAN {first}: half a range")
    return tuple(found)


def list_vlans(index: int) -> Message:
    """Ask for the VLANs of one port, or of a bridge itself; to be sent as a dump."""
    body = _VLAN_MSG.pack(_AF_BRIDGE, 0, 0, index)
    return Message(RTM_GETVLAN, NLM_F_DUMP, body, f"list VLANs of link {index}")


def parse_vlan_entries(body: bytes) -> tuple[int, tuple[PortVlan, ...]]:
    """
    Decode the body of RTM_NEWVLAN: the index of the port, and its VLANs.

    Raises:
        WireError: It is cut short, or an entry is.
    """
    index = unpack_struct(_VLAN_MSG, body)[3]
    found = []
    for kind, data in split_attributes(body, _VLAN_MSG.size):
        if kind != _VLANDB_ENTRY:
            continue
        entry = Attributes(data)
        flags, vid = unpack_struct(_VLAN_INFO, entry.raw.get(_ENTRY_INFO, b""))
        last = entry.u16(_ENTRY_RANGE) or vid
        found.append(PortVlan(vid, last, bool(flags & _PVID), bool(flags & _UNTAGGED)))
    return index, tuple(found)


def add_vlan(
    index: int,
    vid: int,
    *,
    vid_end: int | None = None,
    pvid: bool = False,
    untagged: bool = False,
    on_self: bool = False,
) -> Message:
    """Allow one VLAN, or ``vid`` to ``vid_end``, on a port; see `add_vlans`."""
    ranges = [(vid, vid if vid_end is None else vid_end)]
    return add_vlans(index, ranges, pvid=pvid, untagged=untagged, on_self=on_self)


def add_vlans(
    index: int,
    ranges: Iterable[tuple[int, int]],
    *,
    pvid: bool = False,
    untagged: bool = False,
    on_self: bool = False,
) -> Message:
    """
    Allow ranges of VLANs on a port, all in one message.

    Args:
        index: The port; with ``on_self`` the bridge.
        ranges: First and last VLAN of each.
        pvid: Untagged frames that come in belong to it; for a single VLAN only.
        untagged: Frames go out without a tag.
        on_self: The VLANs of the bridge device itself, by which the host takes part.
    """
    flags = (_PVID if pvid else 0) | (_UNTAGGED if untagged else 0)
    return _change(RTM_SETLINK, index, list(ranges), flags=flags, on_self=on_self)


def del_vlan(index: int, vid: int, *, vid_end: int | None = None, on_self: bool = False) -> Message:
    """Take one VLAN, or ``vid`` to ``vid_end``, from a port."""
    return del_vlans(index, [(vid, vid if vid_end is None else vid_end)], on_self=on_self)


def del_vlans(index: int, ranges: Iterable[tuple[int, int]], *, on_self: bool = False) -> Message:
    """Take ranges of VLANs from a port, all in one message; absent ones do not matter."""
    return _change(RTM_DELLINK, index, list(ranges), flags=0, on_self=on_self)


def _change(
    kind: int, index: int, ranges: list[tuple[int, int]], *, flags: int, on_self: bool
) -> Message:
    verb = "add" if kind == RTM_SETLINK else "delete"
    label = f"{verb} VLAN {_spell(ranges)} on link {index}"
    spec = [attribute_u16(_IFLA_BRIDGE_FLAGS, _BRIDGE_FLAGS_SELF)] if on_self else []
    for first, last in ranges:
        if not 1 <= first <= last <= VLAN_MAX:
            raise InputError(f"cannot {label}: VLANs are 1 to {VLAN_MAX}, the first not above")
        if first == last:
            spec.append(_entry(flags, first))
        else:
            spec += [_entry(flags | _RANGE_BEGIN, first), _entry(flags | _RANGE_END, last)]
    body = IFINFO.pack(_AF_BRIDGE, 0, index, 0, 0) + attribute(_IFLA_AF_SPEC, b"".join(spec))
    return Message(kind, 0, body, label)


def _entry(flags: int, vid: int) -> bytes:
    return attribute(_IFLA_BRIDGE_VLAN_INFO, _VLAN_INFO.pack(flags, vid))


def _spell(ranges: list[tuple[int, int]]) -> str:
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)
