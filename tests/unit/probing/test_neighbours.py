# SPDX-License-Identifier: Apache-2.0
"""Questions for neighbours as bytes, and what is read of a link."""

import ipaddress
import socket
import struct

from hypothesis import given
from hypothesis import strategies as st

from spanbridge.probing.icmp import Echo, render_request, render_request6
from spanbridge.probing.neighbours import Answer, Question, parse_frame, render_question

MAC, TEXT = b"\2\0\0\0\0\1", "02:00:00:00:00:01"
# Composed by hand from RFC 4861 section 4.3, RFC 2464 section 7 and RFC 8200 section 3.
SOLICITATION = bytes.fromhex(
    "3333ff000002020000000001"
    "86dd6000000000203afffd0000880000000000000000000000"
    "01ff0200000000000000000001ff000002"
)


def _spelled(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """Spell it as the kernel's tools do."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return socket.inet_ntop(family, address.packed)


@given(st.ip_addresses().map(_spelled))
def test_a_question_is_read_as_what_it_asks(address: str) -> None:
    assert parse_frame(render_question(MAC, address)) == Question(TEXT, address)


def test_a_solicitation_goes_to_the_group_of_its_target() -> None:
    frame = render_question(MAC, "fd00:88::2", "fd00:88::1")
    assert frame[: len(SOLICITATION)] == SOLICITATION
    assert frame[-8:] == b"\1\1" + MAC
    assert len(frame) == 14 + 40 + 24 + 8


def test_a_solicitation_has_the_checksum_of_its_pseudo_header() -> None:
    frame = render_question(MAC, "fd00:88::2", "fd00:88::1")
    body = frame[54:]
    words = frame[22:54] + struct.pack("!II", len(body), 58) + body
    total = sum(struct.unpack(f"!{len(words) // 2}H", words))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF


def test_who_asks_for_its_own_address_claims_nothing() -> None:
    arp = render_question(MAC, "10.88.0.7")
    assert arp[28:32] == bytes(4)
    solicitation = render_question(MAC, "fd00:88::2")
    assert solicitation[22:38] == bytes(16)
    assert len(solicitation) == 14 + 40 + 24


def test_answers_are_read_with_the_address_that_they_name() -> None:
    arp = b"\xff" * 6 + MAC + bytes.fromhex("08060001080006040002") + MAC + bytes([10, 88, 0, 7])
    assert parse_frame(arp + MAC + bytes(4)) == Answer(TEXT, "10.88.0.7")
    told = b"\2\0\0\0\0\x09"
    head = MAC + told + bytes.fromhex("86dd60000000002 03aff".replace(" ", ""))
    target = bytes.fromhex("fd000088000000000000000000000002")
    advertisement = head + bytes(32) + bytes.fromhex("8800000060000000") + target
    assert parse_frame(advertisement + b"\2\1" + MAC) == Answer(TEXT, "fd00:88::2")
    assert parse_frame(advertisement) == Answer(told.hex(":"), "fd00:88::2")


def test_echo_requests_of_both_families_are_read_also_when_cut_short() -> None:
    echo = Echo(7, 9, b"token---")
    ipv4 = bytes([0x45, *bytes(19)]) + render_request(Echo(7, 9, b"token---and more"))[:16]
    ipv6 = bytes([0x60, *bytes(39)]) + render_request6(echo)
    ipv6 = ipv6[:6] + bytes([58]) + ipv6[7:]
    assert parse_frame(MAC * 2 + b"\x08\x00" + ipv4) == echo
    assert parse_frame(MAC * 2 + b"\x86\xdd" + ipv6) == echo


@given(st.binary(max_size=120))
def test_whatever_a_link_carries_is_no_reason_to_stop(data: bytes) -> None:
    for kind in (b"\x08\x06", b"\x08\x00", b"\x86\xdd"):
        parse_frame(MAC * 2 + kind + data)
    parse_frame(data)
