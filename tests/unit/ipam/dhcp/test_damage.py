# SPDX-License-Identifier: Apache-2.0
"""Whatever is on the link: a value, None or a PacketError."""

import contextlib
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanbridge.ipam.dhcp.ether import parse_udp_frame
from spanbridge.ipam.dhcp.options import Granted, parse_granted, server_text
from spanbridge.ipam.dhcp.packet import (
    Message,
    PacketError,
    is_reply_for,
    parse_message,
    render_message,
)
from spanbridge.model.addresses import edge_fault, parse_cidr
from spanbridge.model.arp import parse_arp

CAPTURES: Final = sorted((Path(__file__).parent / "captures").glob("*/*.hex"))
NAMES = pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
MUTANTS: Final = 1500
"""Per capture and kind of damage; there are 7 captures and 2 kinds: 21000 frames."""

PAYLOAD: Final = 42
"""Ethernet, IPv4 and UDP headers before a DHCP message."""

INTERESTING: Final = (0, 1, 3, 6, 51, 52, 53, 54, 55, 61, 63, 64, 119, 121, 127, 128, 192, 249, 255)


def content(path: Path) -> bytes:
    return bytes.fromhex("".join(path.read_text().splitlines()[1:]))


def check(granted: Granted) -> None:
    """Whatever was let through can be used."""
    address = parse_cidr(f"{granted.address}/{granted.prefix_length}", "")
    assert not edge_fault(address, address.ip)
    assert granted.lease_s is None or granted.lease_s > 0
    if granted.lease_s is not None:
        assert granted.t1_s is not None
        assert granted.t2_s is not None
        assert 0 < granted.t1_s < granted.t2_s < granted.lease_s
    for route in granted.routes:
        dst = parse_cidr(route.dst, "")
        assert dst == dst.network
    assert granted.mtu is None or granted.mtu >= 68
    assert all(text.isprintable() for text in (granted.text, granted.domain, *granted.search))


def read_message(data: bytes) -> None:
    with contextlib.suppress(PacketError):
        message = parse_message(data)
        is_reply_for(message, 0x1001, b"\2\0\0\0\0\1", client_id=b"\0x")
        server_text(message)
        check(parse_granted(message))


def read_frame(data: bytes) -> None:
    parse_arp(data)
    for ready in (True, False):
        frame = parse_udp_frame(data, checksum_ready=ready)
        if frame is not None:
            read_message(frame.payload)


def mutants(data: bytes, seed: str) -> Iterator[bytes]:
    """Damage in 1 to 8 places: a byte changed, a piece cut out, doubled, or put elsewhere."""
    chance = random.Random(seed)  # noqa: S311 - the same frames on every run
    for _ in range(MUTANTS):
        mutant = bytearray(data)
        for _ in range(chance.randint(1, 8)):
            at, length = chance.randrange(len(mutant) + 1), chance.randint(1, 24)
            kind = chance.randrange(5)
            if kind <= 1:
                mutant[at : at + 1] = bytes((chance.choice(INTERESTING),))
            elif kind == 2:
                del mutant[at : at + length]
            elif kind == 3:
                mutant[at:at] = mutant[at : at + length]
            else:
                mutant[at : at + length] = chance.randbytes(length)
        yield bytes(mutant)


@NAMES
def test_a_damaged_frame_hurts_nobody(path: Path) -> None:
    for mutant in mutants(content(path), f"frame {path.stem}"):
        read_frame(mutant)


@NAMES
def test_a_damaged_message_in_a_good_frame_hurts_nobody(path: Path) -> None:
    data = content(path)[PAYLOAD:]
    fixed, options = data[:240], data[240:]
    for mutant in mutants(options, f"options {path.stem}"):
        read_message(fixed + mutant)


@NAMES
def test_a_frame_may_end_anywhere(path: Path) -> None:
    data = content(path)
    for end in range(len(data)):
        read_frame(data[:end])
        read_message(data[PAYLOAD:end])


@given(st.binary(max_size=600))
@settings(max_examples=300)
def test_a_frame_may_be_random(data: bytes) -> None:
    read_frame(data)
    read_message(data)


@given(st.dictionaries(st.sampled_from(INTERESTING), st.binary(max_size=80), max_size=8))
@settings(max_examples=300)
def test_any_option_may_hold_anything(options: dict[int, bytes]) -> None:
    message = Message(op=2, xid=1, chaddr=b"\0" * 6, yiaddr="10.0.0.2", options=options)
    least = {53: b"\5", 54: b"\x0a\0\0\1", 1: b"\xff\0\0\0"}
    with contextlib.suppress(PacketError):
        check(parse_granted(replace(message, options=options | least)))
    with contextlib.suppress(PacketError):
        render_message(message)


@pytest.mark.parametrize(
    "options",
    [b"\x79\xff" + b"\x08\x0a\x0a\0\0\1" * 42 + b"\0\0\0", b"\x77\xff" + b"\1x\0" * 85, b"\x01\0"],
    ids=["routes", "names", "empty options"],
)
def test_the_largest_datagram_is_read_in_no_time(
    options: bytes, granting: Callable[..., Message]
) -> None:
    head = render_message(granting())[:240]
    least = b"\x35\1\5\x36\4\x0a\0\0\1\x01\4\xff\0\0\0"

    read_message(head + least + options * (65000 // len(options)))
