# SPDX-License-Identifier: Apache-2.0
"""Asking an agent: what the shim does in C, for our own command line and for tests."""

import array
import contextlib
import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from spanbridge.base.errors import NodeError, RetryError, SpanbridgeError
from spanbridge.model.frames import (
    HEADER_BYTES,
    QUERY_PROGRAM,
    QUERY_VARIABLE,
    AnswerFrame,
    CallFrame,
    parse_answer_header,
    render_call,
)

TIMEOUT_S: Final = 60.0


def send_call(path: Path, frame: CallFrame, descriptors: Sequence[int] = ()) -> socket.socket:
    """
    Connect and send one call; the answer is read from what is returned.

    Args:
        path: The agent's socket.
        frame: What is asked.
        descriptors: Those that the frame announces, the caller's first.

    Raises:
        OSError: Nobody listens, or the connection broke.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(TIMEOUT_S)
        sock.connect(str(path))
        _send(sock, render_call(frame), descriptors)
    except BaseException:
        sock.close()
        raise
    return sock


def _send(sock: socket.socket, data: bytes, descriptors: Sequence[int]) -> None:
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
    # An agent that refuses answers, and hangs up, before it has read everything.
    with contextlib.suppress(BrokenPipeError):
        sent = sock.sendmsg([data], [rights] if descriptors else [])
        if sent < len(data):
            sock.sendall(data[sent:])


def receive_answer(sock: socket.socket) -> AnswerFrame:
    """
    Read the answer of a call.

    Raises:
        OSError: The connection broke, or nothing came in ``TIMEOUT_S``.
        DecodeError: What came is no answer.
    """
    status, out, err = parse_answer_header(_read(sock, HEADER_BYTES))
    body = _read(sock, out + err)
    return AnswerFrame(status, body[:out], body[out:])


def _read(sock: socket.socket, wanted: int) -> bytes:
    data = bytearray()
    while len(data) < wanted:
        chunk = sock.recv(wanted - len(data))
        if not chunk:
            raise ConnectionResetError("the agent hung up before its answer was complete")
        data += chunk
    return bytes(data)


def ask(path: Path, query: str) -> object:
    """
    Ask the agent about itself.

    Args:
        path: Its socket.
        query: One of `spanbridge.model.frames.QUERIES`.

    Returns:
        The JSON document of its answer.

    Raises:
        NodeError: No agent runs there, or it does not answer.
        SpanbridgeError: The agent refuses; its own words.
    """
    frame = CallFrame(QUERY_PROGRAM, {QUERY_VARIABLE: query}, b"", caller=False, sandbox=False)
    try:
        with send_call(path, frame) as sock:
            answer = receive_answer(sock)
    except (FileNotFoundError, ConnectionRefusedError) as exc:
        raise NodeError(
            f"cannot ask the agent: none runs at {path}",
            hint="start one with `spanbridge agent run`, or name its socket by --socket",
        ) from exc
    except OSError as exc:
        raise NodeError(f"cannot ask the agent at {path}: {exc}") from exc
    document: object = json.loads(answer.stdout)
    if answer.status and isinstance(document, dict):
        error = RetryError if document.get("code") == RetryError.code else SpanbridgeError
        raise error(str(document.get("msg", "")), hint=str(document.get("details", "")))
    return document
