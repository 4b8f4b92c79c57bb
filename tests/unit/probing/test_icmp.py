# SPDX-License-Identifier: Apache-2.0
"""Echo messages as bytes."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from spanbridge.probing.icmp import Echo, checksum, parse_reply, render_request

ECHOES = st.builds(Echo, st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.binary(max_size=100))


def _answered(echo: Echo, *, header: bytes = b"\x45" + bytes(19)) -> bytes:
    """Make what a host sends back: an IPv4 header, type 0, and everything else as it came."""
    blank = b"\0\0\0\0" + render_request(echo)[4:]
    return header + blank[:2] + struct.pack("!H", checksum(blank)) + blank[4:]


@given(echo=ECHOES)
def test_a_request_carries_a_valid_checksum(echo: Echo) -> None:
    request = render_request(echo)
    assert request[:2] == b"\x08\x00"
    assert checksum(request) == 0


@given(echo=ECHOES)
def test_an_answer_gives_back_what_was_asked(echo: Echo) -> None:
    assert parse_reply(_answered(echo)) == echo


@given(echo=ECHOES)
def test_options_in_the_ip_header_are_skipped(echo: Echo) -> None:
    assert parse_reply(_answered(echo, header=b"\x46" + bytes(23))) == echo


@given(echo=ECHOES)
def test_a_request_is_no_answer(echo: Echo) -> None:
    assert parse_reply(b"\x45" + bytes(19) + render_request(echo)) is None


@given(echo=ECHOES, cut=st.integers(0, 27))
def test_a_packet_cut_short_is_no_answer(echo: Echo, cut: int) -> None:
    assert parse_reply(_answered(echo)[:cut]) is None


@given(packet=st.binary(max_size=200))
def test_no_packet_breaks_the_parser(packet: bytes) -> None:
    parse_reply(packet)


@given(echo=ECHOES, bit=st.integers(0, 63))
def test_a_flipped_bit_in_the_message_is_noticed(echo: Echo, bit: int) -> None:
    packet = bytearray(_answered(echo))
    packet[20 + bit // 8] ^= 1 << bit % 8
    assert parse_reply(bytes(packet)) is None
