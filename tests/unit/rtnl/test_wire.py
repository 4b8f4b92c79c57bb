# SPDX-License-Identifier: Apache-2.0
"""Framing: attributes, addresses, and what may not be encoded."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbridge.base.errors import InputError
from spanbridge.rtnl import Message, WireError
from spanbridge.rtnl.messages import render
from spanbridge.rtnl.wire import (
    Attributes,
    Reply,
    attribute,
    attribute_text,
    attribute_u8,
    attribute_u16,
    attribute_u32,
    pack_address,
    pack_mac,
    parse_error,
    parse_replies,
    split_attributes,
    unpack_address,
)

KINDS = st.integers(0, 0x3FFF)


@given(pairs=st.lists(st.tuples(KINDS, st.binary(max_size=300))))
def test_attributes_come_back_in_order(pairs: list[tuple[int, bytes]]) -> None:
    encoded = b"".join(attribute(kind, data) for kind, data in pairs)

    assert len(encoded) % 4 == 0
    assert split_attributes(encoded) == pairs


@given(kind=KINDS, inner=st.dictionaries(KINDS, st.binary(max_size=20)))
def test_nested_attributes_come_back(kind: int, inner: dict[int, bytes]) -> None:
    encoded = attribute(kind, b"".join(attribute(*each) for each in inner.items()))

    assert Attributes(encoded).nest(kind).raw == inner


@given(small=st.integers(0, 0xFF), middle=st.integers(0, 0xFFFF), large=st.integers(0, 0xFFFFFFFF))
def test_numbers_come_back(small: int, middle: int, large: int) -> None:
    found = Attributes(attribute_u8(1, small) + attribute_u16(2, middle) + attribute_u32(3, large))

    assert (found.u8(1), found.u16(2), found.u32(3)) == (small, middle, large)
    assert found.flag(1) == bool(small)


@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_text_comes_back(text: str) -> None:
    assert Attributes(attribute_text(7, text)).text(7) == text


def test_text_that_is_no_utf8_comes_back() -> None:
    name = Attributes(attribute(3, b"eth\xff\0")).text(3)

    assert attribute_text(3, name) == attribute(3, b"eth\xff\0")


def test_absent_attributes_have_no_value() -> None:
    found = Attributes(b"")

    assert (found.u8(1), found.u16(1), found.u32(1), found.i32(1)) == (None, None, None, None)
    assert (found.text(1), found.mac(1), found.flag(1), found.nest(1).raw) == ("", "", False, {})


def test_unknown_attributes_stay_as_bytes() -> None:
    assert Attributes(attribute(4711, b"new")).raw == {4711: b"new"}


def test_the_bits_beside_a_type_are_ignored() -> None:
    assert Attributes(attribute(0x8000 | 5, b"x")).raw == {5: b"x"}


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_a_number_of_a_wrong_size_is_refused(size: int) -> None:
    with pytest.raises(WireError, match=f"attribute 4: it has {size} bytes, not 4"):
        Attributes(attribute(4, bytes(size))).u32(4)


def test_a_negative_number_keeps_its_sign() -> None:
    assert Attributes(attribute(1, struct.pack("=i", -7))).i32(1) == -7


@pytest.mark.parametrize(("value", "size"), [(256, "u8"), (-1, "u8"), (65536, "u16")])
def test_a_number_that_does_not_fit_is_refused(value: int, size: str) -> None:
    encode = attribute_u8 if size == "u8" else attribute_u16
    with pytest.raises(InputError, match=f"cannot encode {value}"):
        encode(1, value)


def test_an_attribute_that_is_too_long_is_refused() -> None:
    with pytest.raises(InputError, match="65532 bytes do not fit"):
        attribute(1, bytes(65532))


def test_text_with_a_nul_is_refused() -> None:
    with pytest.raises(InputError, match="NUL"):
        attribute_text(3, "br0\0x")


@given(address=st.ip_addresses())
def test_addresses_come_back(address: object) -> None:
    packed = pack_address(str(address))
    family = 2 if len(packed) == 4 else 10

    assert pack_address(unpack_address(family, packed)) == packed


@pytest.mark.parametrize("text", ["", "10.0.0", "10.0.0.256", "fd00:::1", "10.0.0.1/24", "é"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="no IP address"):
        pack_address(text)


@pytest.mark.parametrize(
    "text",
    ["", "02:00", "02:00:00:00:00:0g", "2:0:0:0:0:1", "02:00:00:00:00:00:01", "0 :00:00:00:00:01"],
)
def test_what_is_no_mac_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="no MAC"):
        pack_mac(text)


@given(mac=st.binary(min_size=6, max_size=6))
def test_macs_come_back(mac: bytes) -> None:
    assert Attributes(attribute(1, pack_mac(mac.hex(":")))).mac(1) == mac.hex(":")


@given(body=st.binary(max_size=100), sequence=st.integers(0, 0xFFFFFFFF))
def test_messages_come_back(body: bytes, sequence: int) -> None:
    encoded = render(Message(16, 0x600, body, "x"), sequence=sequence)

    # 5: a request that wants an acknowledgement.
    assert list(parse_replies(encoded + encoded)) == [Reply(16, 0x605, sequence, body)] * 2


def test_a_missing_attribute_is_named_when_the_kernel_gives_no_text() -> None:
    request = struct.pack("=IHHII", 16, 16, 5, 1, 0)
    body = struct.pack("=i", -22) + request + attribute_u32(5, 3)

    assert parse_error(Reply(2, 0x300, 1, body)) == (22, "attribute 3 is missing")
