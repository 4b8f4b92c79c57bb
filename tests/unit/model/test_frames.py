# SPDX-License-Identifier: Apache-2.0
"""The frames between shim and agent."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbridge.base.errors import DecodeError
from spanbridge.model.frames import (
    ANSWER_MAX_BYTES,
    HEADER_BYTES,
    STDIN_MAX_BYTES,
    STRINGS_MAX_BYTES,
    AnswerFrame,
    CallFrame,
    parse_answer_header,
    parse_call,
    parse_call_header,
    render_answer,
    render_call,
)

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
NAME = TEXT.filter(lambda text: text != "" and "=" not in text)
CALLS = st.builds(
    CallFrame,
    program=TEXT.filter(bool),
    environ=st.dictionaries(NAME, TEXT, max_size=5),
    stdin=st.binary(max_size=300),
    caller=st.booleans(),
    sandbox=st.booleans(),
)
CALL = CallFrame("bridge", {"CNI_COMMAND": "ADD"}, b"{}", caller=True, sandbox=True)


def parsed(data: bytes) -> CallFrame:
    return parse_call(parse_call_header(data[:HEADER_BYTES]), data[HEADER_BYTES:])


def call_bytes(strings: bytes, stdin: bytes = b"", *, descriptors: int = 1) -> bytes:
    return struct.pack(">2sBBII", b"SB", 1, descriptors, len(strings), len(stdin)) + strings + stdin


@given(CALLS)
def test_a_call_survives_its_frame(call: CallFrame) -> None:
    assert parsed(render_call(call)) == call


@given(st.integers(0, 255), st.binary(max_size=100), st.binary(max_size=100))
def test_an_answer_survives_its_frame(status: int, stdout: bytes, stderr: bytes) -> None:
    data = render_answer(AnswerFrame(status, stdout, stderr))

    assert parse_answer_header(data[:HEADER_BYTES]) == (status, len(stdout), len(stderr))
    assert data[HEADER_BYTES:] == stdout + stderr


@given(CALLS, st.integers(0))
def test_every_shortened_call_is_refused(call: CallFrame, cut: int) -> None:
    data = render_call(call)

    with pytest.raises(DecodeError):
        parsed(data[: cut % len(data)])


@given(st.binary(max_size=80) | st.binary(max_size=80).map(lambda data: b"SB\x01" + data))
def test_no_bytes_raise_anything_but_a_decode_error(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        parsed(data)
    with contextlib.suppress(DecodeError):
        parse_answer_header(data[:HEADER_BYTES])


@given(st.binary(max_size=60), st.binary(max_size=20))
def test_no_strings_raise_anything_but_a_decode_error(strings: bytes, stdin: bytes) -> None:
    with contextlib.suppress(DecodeError):
        assert parsed(call_bytes(strings, stdin)).stdin == stdin


@pytest.mark.parametrize(
    "strings",
    [b"", b"\0", b"bridge", b"bridge\0A=1", b"bridge\0A\0", b"bridge\0=1\0", b"br\xff\0",
     b"\0A=1\0", b"bridge\0\0"],
    ids=["none", "empty program", "no NUL", "no last NUL", "no equals", "no name", "not UTF-8",
         "variable without program", "empty variable"],
)  # fmt: skip
def test_strings_that_are_no_program_with_variables_are_refused(strings: bytes) -> None:
    with pytest.raises(DecodeError, match="cannot read a call"):
        parsed(call_bytes(strings))


def test_a_value_may_hold_an_equals_sign_and_be_empty() -> None:
    strings = b"bridge\0CNI_ARGS=K=V;L=W\0CNI_PATH=\0"

    assert parsed(call_bytes(strings)).environ == {"CNI_ARGS": "K=V;L=W", "CNI_PATH": ""}


def test_of_two_variables_of_one_name_the_first_counts() -> None:
    assert parsed(call_bytes(b"bridge\0A=1\0A=2\0")).environ == {"A": "1"}


@pytest.mark.parametrize(
    "header",
    [b"SX\x01\x00", b"SB\x00\x00", b"SB\x02\x00", b"HTTP"],
    ids=["magic", "version 0", "version 2", "another protocol"],
)
def test_another_protocol_is_refused_in_both_directions(header: bytes) -> None:
    with pytest.raises(DecodeError):
        parse_call_header(header + bytes(8))
    with pytest.raises(DecodeError):
        parse_answer_header(header + bytes(8))


@pytest.mark.parametrize(("flags", "expected"), [(0, 0), (1, 1), (2, 1), (3, 2)])
def test_a_header_says_how_many_descriptors_come_along(flags: int, expected: int) -> None:
    assert parse_call_header(struct.pack(">2sBBII", b"SB", 1, flags, 7, 0)).descriptors == expected


@pytest.mark.parametrize("flags", [4, 7, 128, 255])
def test_descriptors_that_this_version_does_not_know_are_refused(flags: int) -> None:
    with pytest.raises(DecodeError, match="descriptors"):
        parse_call_header(struct.pack(">2sBBII", b"SB", 1, flags, 7, 0))


@pytest.mark.parametrize(
    ("strings", "stdin"),
    [(STRINGS_MAX_BYTES + 1, 0), (0, STDIN_MAX_BYTES + 1), (0xFFFFFFFF, 0xFFFFFFFF)],
)
def test_a_call_above_a_limit_is_refused_by_its_header(strings: int, stdin: int) -> None:
    with pytest.raises(DecodeError, match="at most"):
        parse_call_header(struct.pack(">2sBBII", b"SB", 1, 1, strings, stdin))


@pytest.mark.parametrize(("out", "err"), [(ANSWER_MAX_BYTES + 1, 0), (0, ANSWER_MAX_BYTES + 1)])
def test_an_answer_above_a_limit_is_refused_by_its_header(out: int, err: int) -> None:
    with pytest.raises(DecodeError, match="at most"):
        parse_answer_header(struct.pack(">2sBBII", b"SB", 1, 0, out, err))


def test_the_limits_themselves_fit() -> None:
    value = "x" * (STRINGS_MAX_BYTES - len("bridge\0A=\0"))
    call = CallFrame("bridge", {"A": value}, b"x" * STDIN_MAX_BYTES, caller=False, sandbox=False)

    assert parsed(render_call(call)) == call


@pytest.mark.parametrize(
    "call",
    [
        CallFrame("", {}, b"", caller=True, sandbox=False),
        CallFrame("bri\0dge", {}, b"", caller=True, sandbox=False),
        CallFrame("bridge", {"A=B": ""}, b"", caller=True, sandbox=False),
        CallFrame("bridge", {"": ""}, b"", caller=True, sandbox=False),
        CallFrame("bridge", {"A": "\udcff"}, b"", caller=True, sandbox=False),
        CallFrame("bridge", {"A": "x" * STRINGS_MAX_BYTES}, b"", caller=True, sandbox=False),
        CallFrame("bridge", {}, bytes(STDIN_MAX_BYTES + 1), caller=True, sandbox=False),
    ],
    ids=["no program", "NUL", "equals", "no name", "surrogate", "long strings", "long stdin"],
)
def test_what_does_not_fit_into_a_call_is_not_rendered(call: CallFrame) -> None:
    with pytest.raises(DecodeError, match="cannot"):
        render_call(call)


@pytest.mark.parametrize(
    "answer",
    [
        AnswerFrame(-1, b"", b""),
        AnswerFrame(256, b"", b""),
        AnswerFrame(0, bytes(ANSWER_MAX_BYTES + 1), b""),
    ],
    ids=["negative", "256", "long"],
)
def test_what_does_not_fit_into_an_answer_is_not_rendered(answer: AnswerFrame) -> None:
    with pytest.raises(DecodeError, match="cannot"):
        render_answer(answer)
