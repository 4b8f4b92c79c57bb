# SPDX-License-Identifier: Apache-2.0
"""
The frames between the shim and the agent: one call, one answer, one connection.

Integers are big-endian; docs/reference/wire.md is the whole agreement. ::

    call    0 2s "SB" | 2 u8 version | 3 u8 descriptors | 4 u32 strings | 8 u32 stdin | 12 body
    answer  0 2s "SB" | 2 u8 version | 3 u8 exit status | 4 u32 stdout  | 8 u32 stderr | 12 body

A call's strings end with NUL each: the program's name, then one ``NAME=value`` per
variable. Whatever the bytes, a parser here answers or raises ``DecodeError``.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from spanbridge.base.errors import DecodeError

MAGIC: Final = b"SB"
VERSION: Final = 1
HEADER_BYTES: Final = 12
STRINGS_MAX_BYTES: Final = 64 << 10
STDIN_MAX_BYTES: Final = 1 << 20
ANSWER_MAX_BYTES: Final = 4 << 20
"""For standard output and for standard error, each: what the shim is ready to hold."""

QUERY_PROGRAM: Final = "agent"
"""The program's name in a call that asks the agent about itself."""

QUERY_VARIABLE: Final = "SPANBRIDGE_QUERY"
"""Which question it is: one of `QUERIES`."""

QUERIES: Final = ("status", "attachments", "leases", "renew", "gc")

_HEADER: Final = struct.Struct(">2sBBII")
_CALLER: Final = 1
_SANDBOX: Final = 2

_HINT: Final = "install shim and agent of one release: spanbridge cni install"


@dataclass(frozen=True, slots=True)
class CallFrame:
    """
    One call of a CNI program.

    Attributes:
        program: Base name of the shim's ``argv[0]``.
        environ: The variables that were sent, by name.
        stdin: What the runtime wrote to standard input.
        caller: The descriptor of the caller's network namespace travels along.
        sandbox: So does the one of the sandbox, after the caller's.
    """

    program: str
    environ: Mapping[str, str]
    stdin: bytes
    caller: bool
    sandbox: bool


@dataclass(frozen=True, slots=True)
class AnswerFrame:
    """
    What the shim prints, and its exit status.

    Attributes:
        status: 0 to 255.
        stdout: The CNI document, or nothing.
        stderr: What belongs into the runtime's log, or nothing.
    """

    status: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, slots=True)
class CallHeader:
    """
    The first ``HEADER_BYTES`` of a call.

    Attributes:
        caller: A descriptor of the caller's network namespace came along.
        sandbox: So did one of the sandbox, after the caller's.
        strings_bytes: Length of the strings.
        stdin_bytes: Length of standard input, which follows them.
    """

    caller: bool
    sandbox: bool
    strings_bytes: int
    stdin_bytes: int

    @property
    def body_bytes(self) -> int:
        """How many bytes follow the header."""
        return self.strings_bytes + self.stdin_bytes

    @property
    def descriptors(self) -> int:
        """How many file descriptors came along."""
        return self.caller + self.sandbox


def _limited(what: str, length: int, limit: int) -> int:
    if length > limit:
        raise DecodeError(f"cannot pass {what}: {length} bytes, at most {limit} fit into a frame")
    return length


def _strings(frame: CallFrame) -> bytes:
    texts = [frame.program, *(f"{name}={value}" for name, value in frame.environ.items())]
    if not frame.program or any("\0" in text for text in texts):
        raise DecodeError("cannot render a call: an empty program name or a NUL in a string")
    if any(not name or "=" in name for name in frame.environ):
        raise DecodeError("cannot render a call: a variable without a name, or '=' in one")
    try:
        return b"".join(text.encode() + b"\0" for text in texts)
    except UnicodeEncodeError as exc:
        raise DecodeError(f"cannot render a call: {exc}") from exc


def render_call(frame: CallFrame) -> bytes:
    """Make the bytes of a call; the descriptors travel with the first of them."""
    strings = _strings(frame)
    _limited("the strings of a call", len(strings), STRINGS_MAX_BYTES)
    _limited("standard input", len(frame.stdin), STDIN_MAX_BYTES)
    descriptors = (_CALLER if frame.caller else 0) | (_SANDBOX if frame.sandbox else 0)
    header = _HEADER.pack(MAGIC, VERSION, descriptors, len(strings), len(frame.stdin))
    return header + strings + frame.stdin


def _parse_header(data: bytes, what: str) -> tuple[int, int, int]:
    if len(data) != HEADER_BYTES:
        raise DecodeError(
            f"cannot read {what}: its header has {len(data)} bytes, not {HEADER_BYTES}"
        )
    magic, version, flags, first, second = _HEADER.unpack(data)
    if magic != MAGIC:
        raise DecodeError(f"cannot read {what}: it starts with {data[:2]!r}, not {MAGIC!r}")
    if version != VERSION:
        raise DecodeError(
            f"cannot read {what}: frame version {version}, only {VERSION} is spoken", hint=_HINT
        )
    return flags, first, second


def parse_call_header(data: bytes) -> CallHeader:
    """
    Read the first ``HEADER_BYTES`` of a call.

    Raises:
        DecodeError: Another protocol, another version, or a length above its limit.
    """
    descriptors, strings, stdin = _parse_header(data, "a call")
    if descriptors & ~(_CALLER | _SANDBOX):
        raise DecodeError(f"cannot read a call: unknown descriptors {descriptors:#04x}", hint=_HINT)
    return CallHeader(
        caller=bool(descriptors & _CALLER),
        sandbox=bool(descriptors & _SANDBOX),
        strings_bytes=_limited("the strings of a call", strings, STRINGS_MAX_BYTES),
        stdin_bytes=_limited("standard input", stdin, STDIN_MAX_BYTES),
    )


def _parse_strings(data: bytes) -> tuple[str, dict[str, str]]:
    if not data.endswith(b"\0"):
        raise DecodeError("cannot read a call: its strings do not end with NUL")
    try:
        program, *pairs = data[:-1].decode().split("\0")
    except UnicodeDecodeError as exc:
        raise DecodeError(f"cannot read a call: its strings are not UTF-8: {exc.reason}") from exc
    if not program:
        raise DecodeError("cannot read a call: no program name")
    environ: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise DecodeError(f"cannot read a call: {pair[:40]!r} is not NAME=value")
        environ.setdefault(name, value)  # the first one counts, as for getenv(3)
    return program, environ


def parse_call(header: CallHeader, body: bytes) -> CallFrame:
    """
    Read what follows a call's header.

    Raises:
        DecodeError: ``body`` is not as long as the header says, or its strings are
            not a program name and ``NAME=value`` pairs in UTF-8.
    """
    if len(body) != header.body_bytes:
        raise DecodeError(
            f"cannot read a call: {len(body)} of {header.body_bytes} bytes arrived",
        )
    program, environ = _parse_strings(body[: header.strings_bytes])
    return CallFrame(program, environ, body[header.strings_bytes :], header.caller, header.sandbox)


def render_answer(frame: AnswerFrame) -> bytes:
    """Make the bytes of an answer."""
    if not 0 <= frame.status <= 255:  # an exit status is one byte
        raise DecodeError(f"cannot render an answer: exit status {frame.status}")
    for what, part in (("standard output", frame.stdout), ("standard error", frame.stderr)):
        _limited(what, len(part), ANSWER_MAX_BYTES)
    header = _HEADER.pack(MAGIC, VERSION, frame.status, len(frame.stdout), len(frame.stderr))
    return header + frame.stdout + frame.stderr


def parse_answer_header(data: bytes) -> tuple[int, int, int]:
    """
    Read the first ``HEADER_BYTES`` of an answer.

    Returns:
        The exit status, the length of standard output and that of standard error;
        both follow, in this order.

    Raises:
        DecodeError: Another protocol, another version, or a length above its limit.
    """
    status, stdout, stderr = _parse_header(data, "an answer")
    _limited("standard output", stdout, ANSWER_MAX_BYTES)
    _limited("standard error", stderr, ANSWER_MAX_BYTES)
    return status, stdout, stderr
