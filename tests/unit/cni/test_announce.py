# SPDX-License-Identifier: Apache-2.0
"""
The frames by which a pod tells the link who has its address now.

Golden bytes are laid out by hand from RFC 826, RFC 5227, RFC 4861; checksums are
verified by a sum of their own.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbridge.bridge.announce import arp_announcement, neighbour_advertisement
from spanbridge.model.addresses import Ip, parse_ip

MAC = bytes.fromhex("02005e100001")
ANNOUNCEMENT = (
    "ffffffffffff 02005e100001 0806"  # to everybody, from the pod, ARP
    "0001 0800 06 04 0001"  # Ethernet, IPv4, lengths 6 and 4, request
    "02005e100001 0a580005"  # sender 10.88.0.5
    "000000000000 0a580005"  # target: nobody yet, 10.88.0.5
)
ADVERTISEMENT = (
    "333300000001 02005e100001 86dd"  # to all nodes, from the pod, IPv6
    "60000000 0020 3a ff"  # version 6, 32 bytes, ICMPv6, hop limit 255
    "fd000088000000000000000000000005"  # from the address announced
    "ff020000000000000000000000000001"  # to all nodes
    "88 00 fb72 20000000"  # neighbour advertisement, checksum, override
    "fd000088000000000000000000000005"  # target: the address announced
    "02 01 02005e100001"  # option: target link-layer address
)


def ones_complement_sum(data: bytes) -> int:
    """Add octet pairs the slow way: end-around carry after every addition."""
    total = 0
    for high, low in zip(data[::2], data[1::2], strict=True):
        total += high * 256 + low
        if total > 0xFFFF:
            total -= 0xFFFF
    return total


def pseudo_header(packet: bytes) -> bytes:
    length = len(packet) - 40
    return packet[8:40] + length.to_bytes(4, "big") + b"\0\0\0" + packet[6:7]


def test_an_arp_announcement_is_laid_out_as_the_rfcs_say() -> None:
    assert arp_announcement(MAC, parse_ip("10.88.0.5", "")) == bytes.fromhex(ANNOUNCEMENT)


def test_a_neighbour_advertisement_is_laid_out_as_the_rfcs_say() -> None:
    assert neighbour_advertisement(MAC, parse_ip("fd00:88::5", "")) == bytes.fromhex(ADVERTISEMENT)


@pytest.mark.parametrize("text", ["::", "ff:" * 7 + "ff", "fd00:88::5", "ffff::ffff"])
def test_the_checksum_of_an_edge_case_is_right(text: str) -> None:
    packet = neighbour_advertisement(MAC, parse_ip(text, ""))[14:]

    assert ones_complement_sum(pseudo_header(packet) + packet[40:]) == 0xFFFF


@given(st.binary(min_size=6, max_size=6), st.integers(0, 2**128 - 1))
def test_the_checksum_is_right_for_every_address(mac: bytes, number: int) -> None:
    packet = neighbour_advertisement(mac, Ip(6, number))[14:]

    assert ones_complement_sum(pseudo_header(packet) + packet[40:]) == 0xFFFF
    assert len(packet) == 40 + int.from_bytes(packet[4:6], "big")


@given(st.binary(min_size=6, max_size=6), st.integers(0, 2**32 - 1))
def test_an_arp_announcement_asks_for_its_own_address(mac: bytes, number: int) -> None:
    frame = arp_announcement(mac, Ip(4, number))

    assert frame[6:12] == frame[22:28] == mac
    assert frame[28:32] == frame[38:42] == number.to_bytes(4, "big")
    assert len(frame) == 42
