# SPDX-License-Identifier: Apache-2.0
"""DHCP messages: layout, long options, overload, and what is refused."""

import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbridge.ipam.dhcp.packet import (
    BOOTREPLY,
    BOOTREQUEST,
    MESSAGE_MIN_BYTES,
    Message,
    MessageType,
    PacketError,
    is_reply_for,
    parse_message,
    render_message,
)

MAC = b"\2\0\0\0\0\1"
ADDRESSES = st.ip_addresses(v=4).map(str)
# 52 is resolved away, and 53 comes first: neither would come back as it was.
CODES = st.integers(1, 254).filter(lambda code: code not in {52, 53})
MESSAGES = st.builds(
    Message,
    op=st.sampled_from([BOOTREQUEST, BOOTREPLY]),
    xid=st.integers(0, 2**32 - 1),
    chaddr=st.binary(min_size=6, max_size=6),
    secs=st.integers(0, 0xFFFF),
    broadcast=st.booleans(),
    ciaddr=ADDRESSES,
    yiaddr=ADDRESSES,
    siaddr=ADDRESSES,
    giaddr=ADDRESSES,
    options=st.dictionaries(CODES, st.binary(max_size=600), max_size=2).map(
        lambda options: {53: b"\1"} | options
    ),
)


def raw(
    options: bytes, *, sname: bytes = b"", file: bytes = b"", cookie: int = 0x63825363
) -> bytes:
    """Lay out a reply by hand. Source: RFC 2131, figure 1."""
    head = bytes((2, 1, 6, 0)) + struct.pack("!IHH", 7, 0, 0) + b"\0" * 16 + MAC + b"\0" * 10
    return (
        head + sname.ljust(64, b"\0") + file.ljust(128, b"\0") + struct.pack("!I", cookie) + options
    )


def option(code: int, value: bytes) -> bytes:
    return bytes((code, len(value))) + value


@given(MESSAGES)
def test_a_message_comes_back(message: Message) -> None:
    assert parse_message(render_message(message)) == message


@given(MESSAGES)
def test_the_order_of_options_comes_back_with_the_type_first(message: Message) -> None:
    shuffled = replace(message, options=dict(reversed(list(message.options.items()))))

    found = list(parse_message(render_message(shuffled)).options)

    assert found[0] == 53
    assert found[1:] == [code for code in shuffled.options if code != 53]


def test_every_field_is_where_the_rfc_puts_it() -> None:
    message = Message(
        op=1, xid=0x01020304, chaddr=MAC, secs=0x0506, broadcast=True,
        ciaddr="10.0.0.1", yiaddr="10.0.0.2", siaddr="10.0.0.3", giaddr="10.0.0.4",
        options={12: b"pod", 53: b"\1"},
    )  # fmt: skip

    data = render_message(message)

    assert data[:28].hex() == "010106000102030405068000" + "0a0000010a0000020a0000030a000004"
    assert data[28:44] == MAC + b"\0" * 10
    assert data[44:236] == b"\0" * 192
    assert data[236:].rstrip(b"\0").hex() == "63825363" + "350101" + "0c03706f64" + "ff"


def test_a_short_message_is_padded_to_the_size_that_relays_demand() -> None:
    data = render_message(Message(op=1, xid=1, chaddr=MAC, options={53: b"\1"}))

    assert len(data) == MESSAGE_MIN_BYTES == 300


@pytest.mark.parametrize(
    ("size", "lengths"), [(255, [255]), (256, [255, 1]), (600, [255, 255, 90])]
)
def test_a_long_option_is_split(size: int, lengths: list[int]) -> None:
    value = bytes(at % 251 for at in range(size))

    data = render_message(Message(op=1, xid=1, chaddr=MAC, options={121: value}))[240:]

    for length in lengths:
        assert data[:2] == bytes((121, length))
        assert data[2 : 2 + length] == value[:length]
        data, value = data[2 + length :], value[length:]
    assert data[0] == 255


def test_parts_of_an_option_are_joined_also_with_others_between() -> None:
    data = raw(
        option(53, b"\5") + option(121, b"ab") + option(12, b"x") + option(121, b"c") + b"\xff"
    )

    assert parse_message(data).options == {53: b"\5", 121: b"abc", 12: b"x"}


@pytest.mark.parametrize(
    ("overload", "expected"),
    [(1, b"fields-file"), (2, b"fields-sname"), (3, b"fields-file-sname")],
    ids=["file", "sname", "both"],
)
def test_overload_goes_on_in_file_and_then_in_sname(overload: int, expected: bytes) -> None:
    data = raw(
        option(52, bytes((overload,))) + option(56, b"fields") + b"\xff",
        sname=option(56, b"-sname") + b"\xff",
        file=b"\0" + option(56, b"-file") + b"\xff",
    )

    assert parse_message(data).options == {56: expected}


def test_without_overload_the_names_are_no_options() -> None:
    data = raw(option(53, b"\5") + b"\xff", sname=option(56, b"x"), file=option(56, b"y"))

    assert parse_message(data).options == {53: b"\5"}


def test_overload_within_an_overloaded_field_means_nothing() -> None:
    data = raw(
        option(52, b"\1") + b"\xff",
        sname=option(56, b"s"),
        file=option(52, b"\3") + option(56, b"f"),
    )

    assert parse_message(data).options == {56: b"f"}


def test_options_may_end_without_the_end_code() -> None:
    assert parse_message(raw(b"\0\0" + option(53, b"\6"))).type is MessageType.NAK


def test_what_follows_the_end_code_does_not_count() -> None:
    assert parse_message(raw(option(53, b"\6") + b"\xff" + option(56, b"x"))).options == {53: b"\6"}


GOOD = raw(option(53, b"\5") + b"\xff")


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "0 bytes are too short"),
        (GOOD[:239], "239 bytes are too short"),
        (b"\3" + GOOD[1:], "op is 3"),
        (GOOD[:1] + b"\6" + GOOD[2:], "htype 6"),
        (GOOD[:2] + b"\x10" + GOOD[3:], "hlen 16"),
        (raw(b"\xff", cookie=0x63825364), "magic cookie is 63825364"),
        (raw(b"\x35"), "option 53 in options: it is cut short"),
        (raw(b"\x35\x02\x05"), "option 53 in options: it is cut short"),
        (raw(option(52, b"\1") + b"\xff", file=b"\x01" * 128), "option 1 in file: it is cut short"),
        (raw(option(52, b"\0") + b"\xff"), "option 52: 00 is not 1 to 3"),
        (raw(option(52, b"\4") + b"\xff"), "option 52: 04 is not 1 to 3"),
        (raw(option(52, b"") + b"\xff"), "option 52: nothing is not 1 to 3"),
        (raw(option(52, b"\1") * 2 + b"\xff"), "option 52: 0101 is not 1 to 3"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_malformed_message_is_refused(data: bytes, cause: str) -> None:
    with pytest.raises(PacketError, match=cause) as caught:
        parse_message(data)
    assert caught.value.message.startswith("cannot decode ")


FINE = Message(op=1, xid=1, chaddr=MAC, options={53: b"\1"})


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (replace(FINE, chaddr=b"\1"), "it is not 6 bytes"),
        (replace(FINE, ciaddr="10.0.0"), "it is no IPv4 address"),
        (replace(FINE, ciaddr="10.0.0.1\0"), "it is no IPv4 address"),
        (replace(FINE, xid=2**32), "cannot encode the message"),
        (replace(FINE, secs=-1), "cannot encode the message"),
        (replace(FINE, options={0: b""}), "codes are 1 to 254"),
        (replace(FINE, options={255: b""}), "codes are 1 to 254"),
        (replace(FINE, options={77: b"x" * 1300}), "1553 bytes are more than 1472"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_sent_is_refused(message: Message, cause: str) -> None:
    with pytest.raises(PacketError, match=cause):
        render_message(message)


@pytest.mark.parametrize("value", [None, b"", b"\0", b"\x09", b"\xff", b"\1\1"], ids=repr)
def test_an_unknown_type_is_no_type(value: bytes | None) -> None:
    options = {} if value is None else {53: value}

    assert replace(FINE, options=options).type is None


@pytest.mark.parametrize("value", [None, b"", b"\1\2\3", b"\1" * 8], ids=repr)
def test_a_malformed_server_id_is_none(value: bytes | None) -> None:
    options = {} if value is None else {54: value}

    assert replace(FINE, options=options).server_id is None


REPLY = Message(
    op=BOOTREPLY, xid=9, chaddr=MAC, options={53: b"\5", 54: b"\xc0\xa8\x4d\x01", 61: b"\0us"}
)


def test_an_answer_to_our_request_is_for_us() -> None:
    assert is_reply_for(REPLY, 9, MAC)
    assert is_reply_for(REPLY, 9, MAC, client_id=b"\0us")
    assert REPLY.server_id == "192.168.77.1"


def test_a_server_need_not_echo_the_client_id() -> None:
    silent = replace(REPLY, options={53: b"\2"})

    assert is_reply_for(silent, 9, MAC, client_id=b"\0us")


@pytest.mark.parametrize(
    "message",
    [
        replace(REPLY, op=BOOTREQUEST),
        replace(REPLY, xid=8),
        replace(REPLY, chaddr=b"\2\0\0\0\0\2"),
        replace(REPLY, options={}),
        replace(REPLY, options={53: b"\x0d"}),
        replace(REPLY, options={53: b"\3"}),
        replace(REPLY, options={53: b"\5", 61: b"\0them"}),
    ],
    ids=["request", "xid", "chaddr", "no type", "unknown type", "client's type", "client id"],
)
def test_what_answers_somebody_else_is_not_for_us(message: Message) -> None:
    assert not is_reply_for(message, 9, MAC, client_id=b"\0us")
