# SPDX-License-Identifier: Apache-2.0
"""Address arithmetic against the standard library's `ipaddress`, which is not ours."""

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spanbridge.base.errors import ConfigError
from spanbridge.model.addresses import (
    Cidr,
    Ip,
    edge_fault,
    ip_from_text,
    parse_cidr,
    parse_ip,
)

NUMBERS = st.one_of(
    st.tuples(st.just(4), st.integers(0, 2**32 - 1)),
    st.tuples(st.just(6), st.integers(0, 2**128 - 1)),
    # Zeros in the middle and small numbers: where text forms differ.
    st.tuples(st.just(6), st.integers(0, 2**20)),
    st.tuples(st.just(6), st.lists(st.sampled_from([0, 0, 1, 0xFFFF]), min_size=8, max_size=8).map(
        lambda groups: int("".join(f"{group:04x}" for group in groups), 16))),
).filter(lambda pair: pair[0] == 4 or pair[1] >> 32 != 0xFFFF)  # fmt: skip
IPS = NUMBERS.map(lambda pair: Ip(*pair))
CIDRS = IPS.flatmap(lambda ip: st.integers(0, ip.bits).map(lambda length: Cidr(ip, length)))


def theirs(ip: Ip) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    if ip.version == 4:
        return ipaddress.IPv4Address(ip.number)
    return ipaddress.IPv6Address(ip.number)


def network(cidr: Cidr) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    kind = ipaddress.IPv4Network if cidr.version == 4 else ipaddress.IPv6Network
    return kind((cidr.ip.number, cidr.prefix_length), strict=False)


@given(IPS)
@example(Ip(6, 0x10002))
@example(Ip(6, 0))
@example(Ip(6, 1))
@example(Ip(6, 0xFFFF))
@example(Ip(6, 0x10000))
def test_an_address_prints_and_parses_as_the_standard_library_does(ip: Ip) -> None:
    assert str(ip) == str(theirs(ip))
    assert ip.packed == theirs(ip).packed
    assert ip_from_text(theirs(ip).exploded) == ip_from_text(str(theirs(ip))) == ip


@given(st.text(alphabet="0123456789abcdef:./ %x", max_size=24))
def test_a_text_is_an_address_exactly_where_the_standard_library_says_so(text: str) -> None:
    try:
        expected = ipaddress.ip_address(text)
    except ValueError:
        assert ip_from_text(text) is None
        return
    if not getattr(expected, "scope_id", None) and not getattr(expected, "ipv4_mapped", None):
        assert str(ip_from_text(text)) == str(expected)


def test_ipv4_mapped_into_ipv6_is_ipv4() -> None:
    assert ip_from_text("::ffff:10.0.0.1") == Ip(4, 0x0A000001)


@given(CIDRS)
def test_network_and_last_address_agree(cidr: Cidr) -> None:
    assert str(cidr.network) == str(network(cidr))
    assert theirs(cidr.last) == network(cidr).broadcast_address
    assert cidr.is_default is (network(cidr).prefixlen == 0)


@given(CIDRS, IPS)
def test_contains_agrees(cidr: Cidr, ip: Ip) -> None:
    assert (ip in cidr) is (theirs(ip) in network(cidr))
    assert cidr.ip in cidr
    assert cidr.last in cidr


@given(CIDRS, CIDRS)
@example(Cidr(Ip(4, 0), 0), Cidr(Ip(4, 5), 32))
def test_overlaps_agrees_and_is_symmetric(one: Cidr, other: Cidr) -> None:
    if one.version == other.version:
        assert one.overlaps(other) is network(one).overlaps(network(other))
    assert one.overlaps(other) is other.overlaps(one)


def test_families_never_overlap() -> None:
    assert not Cidr(Ip(4, 0), 0).overlaps(Cidr(Ip(6, 0), 0))
    assert Ip(6, 5) not in Cidr(Ip(4, 0), 0)


@given(IPS, st.integers(-(2**33), 2**33))
@example(Ip(4, 2**32 - 1), 1)
@example(Ip(6, 2**128 - 1), 1)
@example(Ip(4, 0), -1)
@example(Ip(4, 255), 1)
def test_stepping_agrees_and_never_leaves_the_family(ip: Ip, offset: int) -> None:
    try:
        expected = theirs(ip) + offset
    except ValueError:
        with pytest.raises(OverflowError):
            ip + offset
        return
    assert theirs(ip + offset) == expected


@given(IPS, IPS)
def test_addresses_of_a_family_sort_by_number(one: Ip, other: Ip) -> None:
    if one.version == other.version:
        assert (one < other) is (one.number < other.number)


@given(CIDRS)
def test_a_cidr_survives_printing_and_parsing(cidr: Cidr) -> None:
    assert parse_cidr(str(cidr), "") == cidr


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("10.88.0.5/24", "10.88.0.5/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("FD00:88::0:5/064", "fd00:88::5/64"),
        ("::/0", "::/0"),
        ("::ffff:10.0.0.1/24", "10.0.0.1/24"),
    ],
)
def test_a_cidr_keeps_its_host_bits(text: str, printed: str) -> None:
    assert str(parse_cidr(text, "")) == printed


@pytest.mark.parametrize(
    "text",
    ["", "/", "10.0.0.1", "10.0.0.1/", "10.0.0.1/33", "10.0.0.1/-1", "10.0.0.1/ 8", "10.0.0.1/+8",
     "10.0.0.1/8/8", "10.0.0.1/255.0.0.0", "10.0.0.1/٨", "10.0.0/8", "fd00::1/129", "fd00::1%1/64",
     "::ffff:10.0.0.1/120", "010.0.0.1/8", "10.0.0.1\0/8", "\ud800/8", "10.0.0.1/0008"],
    ids=repr,
)  # fmt: skip
def test_a_bad_cidr_is_refused_with_pointer_and_example(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_cidr(text, "/ipam/x")

    assert caught.value.pointer == "/ipam/x"
    assert "10.88.0.5/24" in caught.value.hint


@pytest.mark.parametrize("text", ["", "10.0.0.1/8", "x", "10.0.0.256", "fe80::1%eth0"], ids=repr)
def test_a_bad_address_is_refused_with_pointer_and_example(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_ip(text, "/gw")

    assert (caught.value.pointer, "10.88.0.5" in caught.value.hint) == ("/gw", True)


@pytest.mark.parametrize(
    ("cidr", "ip", "fault"),
    [
        ("10.0.0.0/24", "10.0.0.0", "network"),
        ("10.0.0.0/24", "10.0.0.255", "broadcast"),
        ("10.0.0.0/24", "10.0.0.1", ""),
        ("10.0.0.0/30", "10.0.0.3", "broadcast"),
        ("10.0.0.0/31", "10.0.0.0", ""),
        ("10.0.0.0/31", "10.0.0.1", ""),
        ("10.0.0.0/32", "10.0.0.0", ""),
        ("fd00::/64", "fd00::", "network"),
        ("fd00::/64", "fd00::ffff:ffff:ffff:ffff", ""),
        ("fd00::/127", "fd00::", ""),
    ],
)
def test_the_edges_of_a_network_are_named(cidr: str, ip: str, fault: str) -> None:
    found = edge_fault(parse_cidr(cidr, ""), parse_ip(ip, ""))

    assert fault in found if fault else not found
