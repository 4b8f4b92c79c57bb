# SPDX-License-Identifier: Apache-2.0
"""The frames byte by byte; the shim is held to the same files."""

from pathlib import Path

import pytest

from spanbridge.model.frames import (
    HEADER_BYTES,
    AnswerFrame,
    CallFrame,
    parse_answer_header,
    parse_call,
    parse_call_header,
    render_answer,
    render_call,
)

GOLDEN = Path(__file__).parent / "golden"

CALLS = {
    "call-add": CallFrame(
        program="bridge",
        environ={
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": "c1",
            "CNI_NETNS": "/proc/self/ns/net",
            "CNI_IFNAME": "eth0",
            "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAME=pöd",
            "CNI_PATH": "",
        },
        stdin=b'{"cniVersion": "1.0.0", "name": "net", "type": "bridge"}',
        caller=True,
        sandbox=True,
    ),
    "call-status": CallFrame(
        "host-local", {"CNI_COMMAND": "STATUS"}, b"", caller=True, sandbox=False
    ),
}
ANSWERS = {
    "answer-add": AnswerFrame(0, b'{"cniVersion": "1.0.0", "ips": []}\n', b"a warning\n"),
    "answer-error": AnswerFrame(1, b'{"cniVersion": "1.0.0", "code": 11, "msg": "later"}\n', b""),
    "answer-empty": AnswerFrame(0, b"", b""),
}


def golden(name: str) -> bytes:
    lines = (GOLDEN / f"{name}.hex").read_text().splitlines()
    return bytes.fromhex(" ".join(line for line in lines if not line.startswith("#")))


def test_every_golden_frame_is_compared() -> None:
    assert {path.stem for path in GOLDEN.glob("*.hex")} == {*CALLS, *ANSWERS}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_rendered_to_these_bytes(name: str) -> None:
    assert render_call(CALLS[name]) == golden(name)


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_read_from_these_bytes(name: str) -> None:
    data = golden(name)

    assert parse_call(parse_call_header(data[:HEADER_BYTES]), data[HEADER_BYTES:]) == CALLS[name]


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_rendered_to_these_bytes(name: str) -> None:
    assert render_answer(ANSWERS[name]) == golden(name)


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_read_from_these_bytes(name: str) -> None:
    data, answer = golden(name), ANSWERS[name]

    assert parse_answer_header(data[:HEADER_BYTES]) == (
        answer.status,
        len(answer.stdout),
        len(answer.stderr),
    )
