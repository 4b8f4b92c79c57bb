# SPDX-License-Identifier: Apache-2.0
"""Telling the VLAN of a frame, from beside it or from within it."""

import struct

import pytest

from spanbridge.probing.capture import UNTAGGED, TagCount, frame_vlan

SOL_PACKET, AUXDATA = 263, 8
ADDRESSES = bytes(12)
VLAN_VALID = 1 << 4


def _beside(status: int, tci: int) -> list[tuple[int, int, bytes]]:
    return [(SOL_PACKET, AUXDATA, struct.pack("IIIHHHH", status, 60, 18, 0, 14, tci, 0x8100))]


@pytest.mark.parametrize(
    ("frame", "ancillary", "vlan"),
    [
        (ADDRESSES + b"\x08\x00\x45\x00", _beside(VLAN_VALID, 2), 2),
        (ADDRESSES + b"\x08\x00\x45\x00", _beside(VLAN_VALID, 0xE002), 2),
        (ADDRESSES + b"\x08\x00\x45\x00", _beside(0, 2), UNTAGGED),
        (ADDRESSES + b"\x81\x00\x00\x07", [], 7),
        (ADDRESSES + b"\x81\x00", [], UNTAGGED),
        (ADDRESSES + b"\x08\x06\x00\x01", [], UNTAGGED),
        (b"", [(SOL_PACKET, AUXDATA, b"short")], UNTAGGED),
    ],
    ids=["beside", "priority bits", "not valid", "within", "cut short", "none", "nothing"],
)
def test_the_vlan_of_a_frame_is_found(
    frame: bytes, ancillary: list[tuple[int, int, bytes]], vlan: int
) -> None:
    assert frame_vlan(frame, ancillary) == vlan


def test_frames_are_told_apart_by_tag() -> None:
    count = TagCount({2: 24, UNTAGGED: 3, 7: 1})
    assert (count.tagged(2), count.untagged, count.others(2)) == (24, 3, 1)
