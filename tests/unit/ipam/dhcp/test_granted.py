# SPDX-License-Identifier: Apache-2.0
"""What becomes of a server's options, and of absurd ones."""

import struct
from collections.abc import Callable

import pytest

from spanbridge.ipam.dhcp.options import ClasslessRoute, parse_granted, server_text
from spanbridge.ipam.dhcp.packet import Message, PacketError

Granting = Callable[..., Message]


def u32(*numbers: int) -> bytes:
    return struct.pack(f"!{len(numbers)}I", *numbers)


def ips(*texts: str) -> bytes:
    return b"".join(bytes(map(int, text.split("."))) for text in texts)


def test_the_least_that_is_granted_is_an_address_for_a_time(granting: Granting) -> None:
    found = parse_granted(granting())

    assert (found.address, found.prefix_length, found.server_id) == (
        "192.168.77.20",
        24,
        "192.168.77.1",
    )
    assert (found.routers, found.routes, found.dns, found.search, found.ntp) == ((),) * 5
    assert (found.mtu, found.domain, found.text) == (None, "", "")


@pytest.mark.parametrize(
    ("mask", "length"),
    [("255.255.255.255", 32), ("255.255.255.254", 31), ("255.255.240.0", 20), ("128.0.0.0", 1)],
)
def test_a_mask_is_a_prefix_length(granting: Granting, mask: str, length: int) -> None:
    assert parse_granted(granting({1: ips(mask)})).prefix_length == length


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"],  # noqa: S104
)
def test_an_address_that_no_host_can_have_is_refused(granting: Granting, address: str) -> None:
    with pytest.raises(PacketError, match="no host can have it"):
        parse_granted(granting(yiaddr=address))


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({1: None}, "no subnet mask"),
        ({1: ips("255.0.255.0")}, "subnet mask ff00ff00"),
        ({1: ips("0.0.0.0")}, "subnet mask 00000000"),  # noqa: S104
        ({1: b"\xff\xff\xff"}, "subnet mask ffffff"),
        ({1: ips("255.255.255.0") * 2}, "subnet mask ffffff00ffffff00"),
        ({1: b""}, "subnet mask"),
        ({1: ips("255.255.255.252")}, "it is the network address"),
        ({51: u32(0)}, "its time is 0"),
        ({51: b"\0\0\x0e"}, "no 32-bit number"),
        ({51: u32(1, 1)}, "no 32-bit number"),
        ({54: None}, "names no server"),
        ({54: b"\1\2\3"}, "names no server"),
        ({54: ips("0.0.0.0")}, "names no server"),  # noqa: S104
        ({54: ips("255.255.255.255")}, "names no server"),
        ({53: None}, "neither OFFER nor ACK"),
        ({53: b"\6"}, "neither OFFER nor ACK"),
        ({53: b"\xff"}, "neither OFFER nor ACK"),
    ],
    ids=str,
)
def test_a_grant_that_cannot_be_used_is_refused(
    granting: Granting, changes: dict[int, bytes | None], cause: str
) -> None:
    with pytest.raises(PacketError, match=cause) as caught:
        parse_granted(granting(changes))
    assert caught.value.message.startswith("cannot use ")


def test_the_broadcast_address_of_the_network_is_refused(granting: Granting) -> None:
    with pytest.raises(PacketError, match="it is the broadcast address"):
        parse_granted(granting(yiaddr="192.168.77.255"))


@pytest.mark.parametrize(
    ("changes", "lease", "t1", "t2"),
    [
        ({}, 3600, 1800, 3150),
        ({51: None}, 3600, 1800, 3150),
        ({58: u32(600), 59: u32(1200)}, 3600, 600, 1200),
        ({58: u32(600)}, 3600, 600, 3150),
        ({59: u32(1400)}, 3600, 800, 1400),
        ({59: u32(3600)}, 3600, 1800, 3150),
        ({58: u32(3500), 59: u32(3550)}, 3600, 3500, 3550),
        ({58: u32(3200)}, 3600, 1800, 3150),
        ({58: u32(0), 59: u32(0)}, 3600, 1800, 3150),
        ({58: u32(3000), 59: u32(2100)}, 3600, 1200, 2100),
        ({58: u32(0x80000000), 59: u32(0xFFFFFFFF)}, 3600, 1800, 3150),
        ({58: b"\1", 59: b"\1" * 8}, 3600, 1800, 3150),
        ({51: u32(1)}, 1, 0.5, 0.875),
        ({51: u32(0x80000000)}, 0x80000000, 0x40000000, 0x70000000),
        ({51: u32(0xFFFFFFFE)}, 0xFFFFFFFE, 0x7FFFFFFF, 3758096382.25),
        ({51: u32(0xFFFFFFFF)}, None, None, None),
        ({51: u32(0xFFFFFFFF), 58: u32(60), 59: u32(90)}, None, None, None),
    ],
    ids=str,
)
def test_times_are_unsigned_and_in_order(
    granting: Granting,
    changes: dict[int, bytes | None],
    lease: int | None,
    t1: float | None,
    t2: float | None,
) -> None:
    found = parse_granted(granting(changes))

    assert (found.lease_s, found.t1_s, found.t2_s) == (lease, t1, t2)


@pytest.mark.parametrize(
    ("encoded", "dst"),
    [
        ("00", "0.0.0.0/0"),
        ("08 0a", "10.0.0.0/8"),
        ("18 0a0000", "10.0.0.0/24"),
        ("10 0a11", "10.17.0.0/16"),
        ("18 0a1b81", "10.27.129.0/24"),
        ("19 0a e5 00 80", "10.229.0.128/25"),
        ("20 0a c6 7a 2f", "10.198.122.47/32"),
    ],
)
def test_the_examples_of_rfc_3442_are_decoded(granting: Granting, encoded: str, dst: str) -> None:
    value = bytes.fromhex(encoded) + ips("192.168.77.9")

    assert parse_granted(granting({121: value})).routes == (ClasslessRoute(dst, "192.168.77.9"),)


def test_host_bits_of_a_route_are_cleared(granting: Granting) -> None:
    value = b"\x09\x0a\xff" + ips("192.168.77.9") + b"\x19\x0a\0\0\xff" + ips("192.168.77.9")

    assert [route.dst for route in parse_granted(granting({121: value})).routes] == [
        "10.128.0.0/9",
        "10.0.0.128/25",
    ]


def test_routes_on_the_link_come_before_those_through_routers(granting: Granting) -> None:
    value = b"\0" + ips("10.1.0.1") + b"\x20" + ips("10.1.0.1", "0.0.0.0")  # noqa: S104
    value += b"\x08\x0b" + ips("10.1.0.1") + b"\x08\x0c" + ips("0.0.0.0")  # noqa: S104

    assert parse_granted(granting({121: value})).routes == (
        ClasslessRoute("10.1.0.1/32", ""),
        ClasslessRoute("12.0.0.0/8", ""),
        ClasslessRoute("0.0.0.0/0", "10.1.0.1"),
        ClasslessRoute("11.0.0.0/8", "10.1.0.1"),
    )


def test_a_route_that_is_sent_twice_counts_once(granting: Granting) -> None:
    value = (b"\x08\x0b" + ips("10.1.0.1")) * 2

    assert parse_granted(granting({121: value})).routes == (
        ClasslessRoute("11.0.0.0/8", "10.1.0.1"),
    )


OLDER = {
    3: ips("192.168.77.1", "192.168.77.2"),
    33: ips("172.16.5.0", "192.168.77.8", "10.1.2.3", "192.168.77.7", "192.0.2.9", "192.168.77.6"),
}
OLD_ROUTES = (
    ClasslessRoute("172.16.0.0/16", "192.168.77.8"),
    ClasslessRoute("10.0.0.0/8", "192.168.77.7"),
    ClasslessRoute("192.0.2.0/24", "192.168.77.6"),
    ClasslessRoute("0.0.0.0/0", "192.168.77.1"),
)
NEWER = b"\x08\x0b" + ips("192.168.77.9")
NEW_ROUTES = (ClasslessRoute("11.0.0.0/8", "192.168.77.9"),)
MICROSOFT = b"\x08\x0c" + ips("192.168.77.9")


@pytest.mark.parametrize(
    ("changes", "routes"),
    [
        (OLDER, OLD_ROUTES),
        (OLDER | {121: NEWER}, NEW_ROUTES),
        (OLDER | {121: NEWER, 249: MICROSOFT}, NEW_ROUTES),
        (OLDER | {249: MICROSOFT}, (ClasslessRoute("12.0.0.0/8", "192.168.77.9"),)),
        (OLDER | {121: b""}, OLD_ROUTES),
    ],
    ids=["3 and 33", "121", "121 and 249", "249", "an empty 121"],
)
def test_classless_routes_make_the_older_options_void(
    granting: Granting, changes: dict[int, bytes], routes: tuple[ClasslessRoute, ...]
) -> None:
    found = parse_granted(granting(changes))

    assert found.routes == routes
    assert found.routers == ("192.168.77.1", "192.168.77.2")


@pytest.mark.parametrize(
    "value",
    [b"\x21" + b"\1" * 9, b"\x08", b"\x08\x0a\1\2\3", NEWER + b"\0", b"\0" + ips("224.0.0.1")],
    ids=["33 bits", "no network", "no router", "a second cut short", "a multicast router"],
)
@pytest.mark.parametrize("code", [121, 249])
def test_malformed_classless_routes_are_refused(
    granting: Granting, code: int, value: bytes
) -> None:
    with pytest.raises(PacketError, match="cannot use the classless routes"):
        parse_granted(granting({code: value}))


def test_of_the_older_routes_whole_and_usable_ones_count(granting: Granting) -> None:
    pairs = ips("0.0.0.0", "10.1.0.1", "224.0.0.1", "10.1.0.1", "11.0.0.0", "0.0.0.0")  # noqa: S104
    changes = {33: pairs + ips("12.0.0.0", "10.1.0.1") + ips("13.0.0.0"), 3: b"\0\0\0\0\x0a\1"}

    found = parse_granted(granting(changes))

    assert found.routes == (ClasslessRoute("12.0.0.0/8", "10.1.0.1"),)
    assert found.routers == ()


def test_of_a_list_of_servers_whole_and_usable_ones_count_once(granting: Granting) -> None:
    value = ips("10.0.0.1", "0.0.0.0", "224.0.0.1", "10.0.0.1", "10.0.0.2") + b"\x0a"  # noqa: S104

    found = parse_granted(granting({6: value, 42: value}))

    assert found.dns == found.ntp == ("10.0.0.1", "10.0.0.2")


@pytest.mark.parametrize(
    ("value", "mtu"),
    [
        (b"\0\x44", 68),
        (b"\0\x43", None),
        (b"\xff\xff", 65535),
        (b"\x05", None),
        (b"\0\0\5\x78", None),
    ],
    ids=repr,
)
def test_an_mtu_below_68_counts_as_not_sent(
    granting: Granting, value: bytes, mtu: int | None
) -> None:
    assert parse_granted(granting({26: value})).mtu == mtu


@pytest.mark.parametrize(
    ("value", "domain"),
    [
        (b"lab.example", "lab.example"),
        (b"lab.example.\0\0", "lab.example."),
        (b"a_b-c.example", "a_b-c.example"),
        (b"lab.example\nnameserver 6.6.6.6", ""),
        (b"two words", ""),
        (b"..", ""),
        (b"x" * 64, ""),
        (b"x." * 127, "x." * 127),
        (b"x." * 128, ""),
        (b"\xff", ""),
        (b"", ""),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_a_domain_is_a_host_name(granting: Granting, value: bytes, domain: str) -> None:
    assert parse_granted(granting({15: value})).domain == domain


def test_the_example_of_rfc_3397_is_decoded(granting: Granting) -> None:
    value = b"\3eng\5apple\3com\0\x09marketing\xc0\4"

    assert parse_granted(granting({119: value})).search == (
        "eng.apple.com",
        "marketing.apple.com",
    )


def test_a_pointer_may_lead_to_a_pointer(granting: Granting) -> None:
    value = b"\3com\0\1b\xc0\0\1a\xc0\5\xc0\x09"

    assert parse_granted(granting({119: value})).search == ("com", "b.com", "a.b.com")


@pytest.mark.parametrize(
    "value",
    [
        b"\xc0\0",
        b"\1a\xc0\0",
        b"\1a\xc0\2",
        b"\1a\0\1b\xc0\5\1c\xc0\3",
        b"\1a\xc0\4\1b\xc0\0",
        b"\1a\0\xc0",
        b"\1a",
        b"\5a",
        b"\0",
        b"\1a\0\0",
        b"\x40a\0",
        b"\x80a\0",
        b"\2a \0",
        b"\3a.b\0",
        b"\1\n\0",
        (b"\x3f" + b"x" * 63) * 4 + b"\0",
    ],
    ids=lambda value: value.hex()[:16],
)
def test_a_search_list_that_loops_or_is_malformed_counts_as_not_sent(
    granting: Granting, value: bytes
) -> None:
    assert parse_granted(granting({119: value})).search == ()


def test_a_chain_of_pointers_ends_at_the_length_of_a_name(granting: Granting) -> None:
    # Each name is the one before with a label in front: 1 MB if nothing stopped it.
    value, starts = b"\1x\0", [0]
    for _ in range(2000):
        starts.append(len(value))
        value += b"\1x" + (0xC000 | starts[-2]).to_bytes(2, "big")

    assert parse_granted(granting({119: value})).search[:3] == ("x", "x.x", "x.x.x")
    assert len(parse_granted(granting({119: value})).search) == 64


def test_what_a_server_says_is_made_printable(granting: Granting) -> None:
    message = granting({56: b" no\x1b[2J more\r\n addresses\xff\0"})

    assert server_text(message) == "no[2J more addresses�"
    assert parse_granted(message).text == server_text(message)
