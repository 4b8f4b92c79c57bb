# SPDX-License-Identifier: Apache-2.0
"""What the shim answers when the agent does not."""

import contextlib
import json
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.shim.conftest import HEADER, Agent, Outcome, Shim, frame

SHORT = {"SPANBRIDGE_SHIM_TIMEOUT": "0.2"}


def stale(path: Path) -> None:
    """Leave what an agent leaves that was killed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))


def test_without_a_socket_the_call_may_be_tried_later(shim: Shim) -> None:
    error = shim.call().error()

    assert (error["code"], error["cniVersion"]) == (11, "1.1.0")
    assert str(shim.socket) in error["msg"]
    assert "spanbridge agent run" in error["details"]


def test_a_socket_that_nobody_listens_on_counts_as_no_agent(shim: Shim) -> None:
    stale(shim.socket)

    assert "Connection refused" in shim.call().error()["msg"]


@pytest.mark.parametrize("name", ["file", "file/below", "s" * 200], ids=["file", "below", "long"])
def test_a_path_that_can_be_no_socket_counts_as_no_agent(
    shim: Shim, tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").touch()

    assert replace(shim, socket=tmp_path / name).call().code == 11


def test_without_an_agent_status_says_that_an_add_would_fail(shim: Shim) -> None:
    assert shim.call("STATUS").code == 50


def test_without_an_agent_version_is_answered(shim: Shim) -> None:
    outcome = shim.call("VERSION", b"")

    assert outcome.status == 0
    assert json.loads(outcome.stdout) == {
        "cniVersion": "1.1.0",
        "supportedVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"],
    }


@pytest.mark.parametrize("environ", [{}, {"CNI_COMMAND": ""}], ids=["unset", "empty"])
def test_without_a_command_it_says_what_it_is(shim: Shim, environ: dict[str, str]) -> None:
    done = subprocess.run(
        [shim.bin_dir / "host-local"], env=environ, capture_output=True, text=True, check=True
    )

    assert done.stdout == ""
    assert done.stderr.startswith("CNI host-local plugin of Spanbridge ")


def test_a_socket_path_of_odd_bytes_leaves_the_error_valid(shim: Shim, tmp_path: Path) -> None:
    odd = replace(shim, socket=tmp_path / 'a"b\\c\n\tä')

    assert 'a"b\\c\n\t??' in odd.call().error()["msg"]


def test_under_load_every_call_gets_its_error(shim: Shim) -> None:
    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(lambda _: shim.call(), range(200)))

    assert {outcome.code for outcome in outcomes} == {11}


HUNG_UP = {
    "nothing": b"",
    "half a header": frame()[:7],
    "half a body": frame(b"result")[:-3],
    "no log": frame(b"result", stderr=b"log")[:-3],
}
NO_FRAME = {
    "another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "another magic": b"SX" + frame()[2:],
    "another version": b"SB\x02" + frame()[3:],
    "too long": HEADER.pack(b"SB", 1, 0, (4 << 20) + 1, 0),
    "log too long": HEADER.pack(b"SB", 1, 0, 0, (4 << 20) + 1),
    "as long as can be": HEADER.pack(b"SB", 1, 0, 0xFFFFFFFF, 0xFFFFFFFF),
    "longer than there is room": frame(bytes(9 << 20)),
}


@pytest.mark.parametrize("answer", HUNG_UP)
def test_an_agent_that_hangs_up_may_be_tried_later(shim: Shim, agent: Agent, answer: str) -> None:
    agent.reply = HUNG_UP[answer]
    error = shim.call().error()

    assert (error["code"], "hung up" in error["msg"]) == (11, True)


@pytest.mark.parametrize("answer", NO_FRAME)
def test_an_answer_that_is_none_may_be_tried_later(shim: Shim, agent: Agent, answer: str) -> None:
    agent.reply = NO_FRAME[answer]
    error = shim.call().error()

    assert (error["code"], "no frame of version 1" in error["msg"]) == (11, True)


def test_a_broken_answer_to_status_says_that_an_add_would_fail(shim: Shim, agent: Agent) -> None:
    agent.reply = b"nonsense, and more of it"

    assert shim.call("STATUS").code == 50


def test_an_agent_that_resets_the_connection_is_an_agent_that_hung_up(
    shim: Shim, agent: Agent
) -> None:
    agent.reply = lambda connection: connection.close()
    error = shim.call(stdin=bytes(1 << 20)).error()

    assert (error["code"], "hung up" in error["msg"]) == (11, True)


def test_at_the_deadline_the_agent_is_left_alone(shim: Shim, agent: Agent) -> None:
    agent.reply = agent.keep_silent
    error = shim.call(env=SHORT).error()

    assert (error["code"], "no answer in 0.2 s" in error["msg"]) == (11, True)
    assert agent.gone.wait(15)


def test_the_deadline_holds_in_the_middle_of_an_answer(shim: Shim, agent: Agent) -> None:
    def stop_halfway(connection: socket.socket) -> None:
        connection.sendall(frame(b"result")[:-1])
        agent.keep_silent(connection)

    agent.reply = stop_halfway

    assert "no answer in" in shim.call(env=SHORT).error()["msg"]


def test_the_deadline_holds_for_an_agent_that_does_not_read(shim: Shim, agent: Agent) -> None:
    def deaf(_: socket.socket) -> None:
        agent.gone.wait(10)

    agent.reply = deaf
    outcome = shim.call(stdin=bytes(1 << 20), env=SHORT)
    agent.gone.set()

    assert outcome.code == 11


def test_the_deadline_holds_for_an_agent_that_accepts_nobody(shim: Shim) -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.bind(str(shim.socket))
        listener.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                waiting = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                waiting.settimeout(0)
                waiting.connect(str(shim.socket))
        error = shim.call(env=SHORT).error()

    assert (error["code"], "took no call" in error["msg"]) == (11, True)


@pytest.mark.parametrize("value", ["", "0", "-1", "nan", "inf", "1e99", "soon"])
def test_a_deadline_that_is_none_is_not_used(shim: Shim, agent: Agent, value: str) -> None:
    agent.reply = frame(b"in time")

    assert shim.call(env={"SPANBRIDGE_SHIM_TIMEOUT": value}).stdout == b"in time"


def test_standard_input_that_never_ends_is_an_io_failure(shim: Shim, agent: Agent) -> None:
    with subprocess.Popen(
        [shim.bin_dir / "bridge"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=shim.environ(**SHORT),
    ) as running:
        assert running.stdout is not None
        outcome = Outcome(1, running.stdout.read(), b"")

    assert outcome.code == 5
    assert agent.first().data == b""


def test_too_much_standard_input_is_an_io_failure(shim: Shim, agent: Agent) -> None:
    config = b'{"cniVersion": "0.4.0", "name": "' + b"x" * (1 << 20)
    error = shim.call(stdin=config).error()

    assert (error["code"], error["cniVersion"]) == (5, "0.4.0")
    assert agent.first().data == b""


def test_too_long_variables_are_a_bad_environment(shim: Shim, agent: Agent) -> None:
    outcome = shim.call(env={"CNI_ARGS": "x" * (64 << 10)})

    assert outcome.code == 4
    assert agent.first().data == b""


def test_variables_of_just_the_right_length_pass(shim: Shim, agent: Agent) -> None:
    room = (64 << 10) - len("bridge\0CNI_COMMAND=ADD\0CNI_ARGS=\0")
    shim.call(env={"CNI_ARGS": "x" * room})

    assert HEADER.unpack(agent.first().data[: HEADER.size])[3] == 64 << 10


@pytest.mark.parametrize(
    ("config", "version"),
    [
        (b'{"cniVersion": "0.3.1"}', "0.3.1"),
        (b'{"name": "a",\n"cniVersion"\n:\t"1.0.0"}', "1.0.0"),
        (b'{"cniVersion": "9.9.9"}', "1.1.0"),
        (b'{"cniVersion": "1.0.', "1.1.0"),
        (b'{"cniVersion"', "1.1.0"),
        (b"", "1.1.0"),
    ],
)
def test_an_error_repeats_the_version_of_the_configuration(
    shim: Shim, agent: Agent, config: bytes, version: str
) -> None:
    agent.reply = b""

    assert shim.call(stdin=config).error()["cniVersion"] == version
