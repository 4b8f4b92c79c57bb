# SPDX-License-Identifier: Apache-2.0
"""Frames: checksums, lengths, tags, and what is passed over."""

import struct
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbridge.ipam.dhcp.ether import (
    UdpFrame,
    arp_announcement,
    arp_probe,
    is_conflict,
    parse_udp_frame,
    render_udp_frame,
)
from spanbridge.ipam.dhcp.packet import PacketError
from spanbridge.model.arp import Arp, parse_arp

MAC, OTHER = b"\2\0\0\0\0\1", b"\2\0\0\0\0\2"
ADDRESSES = st.ip_addresses(v=4).map(str)
MACS = st.binary(min_size=6, max_size=6)
PORTS = st.integers(0, 0xFFFF)
FRAMES = st.builds(
    UdpFrame,
    src_mac=MACS,
    dst_mac=MACS,
    src_ip=ADDRESSES,
    dst_ip=ADDRESSES,
    payload=st.binary(max_size=400),
    sport=PORTS,
    dport=PORTS,
)
HELLO = UdpFrame(OTHER, MAC, "192.168.77.1", "192.168.77.20", b"hello", 67, 68)
ETHERNET, IP = 14, 20


def patched(data: bytes, at: int, value: bytes, *, resum: bool = True) -> bytes:
    """Overwrite bytes of the frame; the IPv4 header's checksum is made right again."""
    data = data[:at] + value + data[at + len(value) :]
    if not resum:
        return data
    header = data[14:24] + b"\0\0" + data[26:34]
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    return data[:24] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + data[26:]


@given(FRAMES)
def test_a_frame_comes_back(frame: UdpFrame) -> None:
    assert parse_udp_frame(render_udp_frame(frame)) == frame


def test_the_bytes_of_a_frame_are_those_that_the_rfcs_give() -> None:
    data = render_udp_frame(UdpFrame(MAC, b"\xff" * 6, "0.0.0.0", "255.255.255.255", b"a"))  # noqa: S104

    assert data[:14].hex() == "ffffffffffff" + "020000000001" + "0800"
    assert data[14:34].hex() == "4500001d000000004011" + "7ad1" + "00000000ffffffff"
    assert data[34:].hex() == "00440043" + "0009" + "9e55" + "61"


def test_padding_behind_the_packet_is_not_payload() -> None:
    assert parse_udp_frame(render_udp_frame(HELLO) + b"\0" * 18) == HELLO


def test_one_vlan_tag_is_passed_over() -> None:
    data = render_udp_frame(HELLO)

    assert parse_udp_frame(data[:12] + b"\x81\0\0\2" + data[12:]) == HELLO
    assert parse_udp_frame(data[:12] + b"\x81\0\0\2" * 2 + data[12:]) is None


def test_header_options_of_ipv4_are_passed_over() -> None:
    data = render_udp_frame(HELLO)
    longer = data[:34] + b"\1\1\1\0" + data[34:]
    longer = (
        longer[:14] + b"\x46\0" + struct.pack("!H", 24 + 13) + longer[18:24] + b"\0\0" + longer[26:]
    )
    total = sum(struct.unpack("!12H", longer[14:38]))
    total = (total & 0xFFFF) + (total >> 16)
    longer = longer[:24] + struct.pack("!H", ~total & 0xFFFF) + longer[26:]

    assert parse_udp_frame(longer) == HELLO


def test_a_datagram_without_checksum_is_taken() -> None:
    assert parse_udp_frame(patched(render_udp_frame(HELLO), 40, b"\0\0")) == HELLO


def test_a_checksum_of_zero_is_sent_as_ones() -> None:
    # By this payload all words add up to ffff; its complement would say "no checksum".
    bare = render_udp_frame(replace(HELLO, payload=b"\0\0"))
    data = render_udp_frame(replace(HELLO, payload=bare[40:42]))

    assert data[40:42] == b"\xff\xff"
    assert parse_udp_frame(data) is not None


def test_a_wrong_checksum_counts_only_when_it_is_ready() -> None:
    wrong = patched(render_udp_frame(HELLO), 40, b"\x12\x34")

    assert parse_udp_frame(wrong) is None
    assert parse_udp_frame(wrong, checksum_ready=False) == HELLO


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (12, b"\x86\xdd"),
        (14, b"\x65"),
        (14, b"\x44"),
        (14, b"\x4f"),
        (16, b"\0\x1b"),
        (16, b"\0\x18"),
        (16, b"\xff\xff"),
        (20, b"\x20\0"),
        (20, b"\0\1"),
        (23, b"\6"),
        (38, b"\0\7"),
        (38, b"\0\x0e"),
    ],
    ids=[
        "IPv6", "version 6", "short header", "long header", "total below UDP's header",
        "total of 24", "total beyond the frame", "more fragments", "a later fragment", "TCP",
        "UDP length 7", "UDP length beyond the packet",
    ],
)  # fmt: skip
def test_what_is_no_whole_udp_datagram_is_none(at: int, value: bytes) -> None:
    data = patched(render_udp_frame(HELLO), at, value)

    assert parse_udp_frame(data, checksum_ready=False) is None


def test_a_wrong_header_checksum_is_none() -> None:
    wrong = patched(render_udp_frame(HELLO), 22, b"\x01", resum=False)

    assert parse_udp_frame(wrong, checksum_ready=False) is None


def test_the_frame_that_kills_the_reference_is_none(captured: Callable[[str], bytes]) -> None:
    offer = patched(captured("dnsmasq-2.90/offer")[:74], 16, b"\0\x18")

    assert parse_udp_frame(offer, checksum_ready=False) is None


@pytest.mark.parametrize(
    "frame",
    [
        replace(HELLO, src_ip="10.0.0"),
        replace(HELLO, dst_ip="::1"),
        replace(HELLO, sport=65536),
        replace(HELLO, payload=b"\0" * 65536),
    ],
    ids=["source", "destination", "port", "payload"],
)
def test_a_frame_that_cannot_be_sent_is_refused(frame: UdpFrame) -> None:
    with pytest.raises(PacketError, match="cannot encode"):
        render_udp_frame(frame)


def test_a_probe_claims_nothing() -> None:
    data = arp_probe(MAC, "192.168.77.20")

    assert data[:14].hex() == "ffffffffffff" + "020000000001" + "0806"
    assert data[14:22].hex() == "0001080006040001"
    assert data[22:].hex() == "020000000001" + "00000000" + "000000000000" + "c0a84d14"


def test_an_announcement_names_its_address_twice() -> None:
    data = arp_announcement(MAC, "192.168.77.20")

    assert data[22:].hex() == "020000000001" + "c0a84d14" + "000000000000" + "c0a84d14"


@given(mac=MACS, ip=ADDRESSES)
def test_arp_comes_back(mac: bytes, ip: str) -> None:
    assert parse_arp(arp_probe(mac, ip)) == Arp(1, mac, "0.0.0.0", b"\0" * 6, ip)  # noqa: S104
    assert parse_arp(arp_announcement(mac, ip) + b"\0" * 18) == Arp(1, mac, ip, b"\0" * 6, ip)


def test_no_address_can_be_probed_that_is_none() -> None:
    with pytest.raises(PacketError, match="no IPv4 address"):
        arp_probe(MAC, "fe80::1")


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (12, b"\x08\0"),
        (14, b"\0\6"),
        (16, b"\x86\xdd"),
        (18, b"\x08"),
        (19, b"\x10"),
        (20, b"\0\3"),
    ],
    ids=["IPv4", "hardware", "protocol", "address length", "protocol length", "operation"],
)
def test_other_arp_is_none(at: int, value: bytes) -> None:
    assert parse_arp(patched(arp_probe(MAC, "10.0.0.1"), at, value, resum=False)) is None


def test_arp_that_is_cut_short_is_none() -> None:
    assert all(parse_arp(arp_probe(MAC, "10.0.0.1")[:end]) is None for end in range(42))


IN_USE, PROBED, ZERO = "10.0.0.1", "10.0.0.9", "0.0.0.0"  # noqa: S104


@pytest.mark.parametrize(
    ("arp", "conflict"),
    [
        (Arp(2, OTHER, PROBED, MAC, ZERO), True),
        (Arp(1, OTHER, PROBED, b"\0" * 6, IN_USE), True),
        (Arp(1, OTHER, ZERO, b"\0" * 6, PROBED), True),
        (Arp(1, OTHER, IN_USE, b"\0" * 6, PROBED), False),
        (Arp(1, MAC, ZERO, b"\0" * 6, PROBED), False),
        (Arp(1, OTHER, ZERO, b"\0" * 6, IN_USE), False),
        (Arp(2, OTHER, IN_USE, MAC, PROBED), False),
    ],
    ids=[
        "answer", "request of its owner", "another's probe", "question of a third", "our own probe",
        "probe for another", "answer of another",
    ],
)  # fmt: skip
def test_a_conflict_is_a_sender_with_the_address_or_another_probe(arp: Arp, conflict: bool) -> None:  # noqa: FBT001
    assert is_conflict(arp, mac=MAC, ip=PROBED) is conflict
