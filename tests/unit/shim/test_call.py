# SPDX-License-Identifier: Apache-2.0
"""What the shim says to the agent, and what it makes of the answer."""

import json
import os
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.unit.shim.conftest import HEADER, Agent, Shim, frame, golden

CNI = {
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/proc/self/ns/net",
    "CNI_IFNAME": "eth0",
    "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAME=pöd",
    "CNI_PATH": "",
}
CONFIG = b'{"cniVersion": "1.0.0", "name": "net", "type": "bridge"}'


def identity(path: str | Path) -> tuple[int, int]:
    stat = Path(path).stat()
    return stat.st_dev, stat.st_ino


def test_add_is_sent_as_the_golden_frame(shim: Shim, agent: Agent) -> None:
    shim.call("ADD", CONFIG, env=CNI)

    assert agent.first().data == golden("call-add")


def test_status_is_sent_as_the_golden_frame(shim: Shim, agent: Agent) -> None:
    shim.call("STATUS", b"", program="host-local")

    assert agent.first().data == golden("call-status")


def test_variables_of_others_are_not_sent(shim: Shim, agent: Agent) -> None:
    shim.call("STATUS", b"", program="host-local", env={"PATH": "/bin", "CNX_A": "1", "CNI": "2"})

    assert agent.first().data == golden("call-status")


@pytest.mark.parametrize("name", ["bridge", "host-local", "static", "dhcp"])
def test_the_program_goes_by_the_last_part_of_its_path(shim: Shim, agent: Agent, name: str) -> None:
    shim.call(program=name)

    assert agent.first().data[HEADER.size :].startswith(name.encode() + b"\0CNI_COMMAND=ADD\0")


def test_the_namespace_of_the_caller_and_the_sandbox_come_along(
    shim: Shim, agent: Agent, tmp_path: Path
) -> None:
    sandbox = tmp_path / "netns"
    sandbox.touch()
    shim.call(env={"CNI_NETNS": str(sandbox)})

    assert agent.first().files == [identity("/proc/self/ns/net"), identity(sandbox)]
    assert agent.first().data[3] == 3


@pytest.mark.parametrize("path", ["", "/nowhere/netns"], ids=["empty", "missing"])
def test_without_a_sandbox_the_caller_comes_alone(shim: Shim, agent: Agent, path: str) -> None:
    shim.call("DEL", env={"CNI_NETNS": path})

    assert agent.first().files == [identity("/proc/self/ns/net")]
    assert agent.first().data[3] == 1


def test_a_sandbox_path_that_would_block_does_not(shim: Shim, agent: Agent, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    shim.call("DEL", env={"CNI_NETNS": str(tmp_path / "fifo")})

    assert agent.first().files[1] == identity(tmp_path / "fifo")


@pytest.mark.parametrize("name", ["answer-add", "answer-error", "answer-empty"])
def test_a_golden_answer_is_printed_as_it_is(shim: Shim, agent: Agent, name: str) -> None:
    agent.reply = golden(name)
    outcome = shim.call()
    _, _, status, out, _ = HEADER.unpack(agent.reply[: HEADER.size])
    body = agent.reply[HEADER.size :]

    assert (outcome.status, outcome.stdout, outcome.stderr) == (status, body[:out], body[out:])


@pytest.mark.parametrize("status", [0, 1, 42, 255])
def test_the_exit_status_is_the_agents(shim: Shim, agent: Agent, status: int) -> None:
    agent.reply = frame(status=status)

    assert shim.call().status == status


def test_an_answer_may_come_byte_by_byte(shim: Shim, agent: Agent) -> None:
    def dribble(connection: socket.socket) -> None:
        agent.listen(connection)
        for byte in frame(b"result\n", stderr=b"log\n"):
            connection.send(bytes([byte]))
            time.sleep(0.001)

    agent.reply = dribble
    outcome = shim.call()

    assert (outcome.status, outcome.stdout, outcome.stderr) == (0, b"result\n", b"log\n")


def test_the_largest_answer_is_printed_whole(shim: Shim, agent: Agent) -> None:
    out, err = os.urandom(4 << 20), os.urandom(4 << 20)
    agent.reply = frame(out, stderr=err)
    outcome = shim.call()

    assert (outcome.stdout == out, outcome.stderr == err) == (True, True)


def test_the_largest_standard_input_arrives_at_an_agent_that_reads_late(
    shim: Shim, agent: Agent
) -> None:
    stdin = os.urandom(1 << 20)

    def late(connection: socket.socket) -> None:
        time.sleep(0.1)
        agent.listen(connection)
        connection.sendall(frame(b"ok"))

    agent.reply = late

    assert shim.call(stdin=stdin).stdout == b"ok"
    assert agent.first().data.endswith(stdin)
    assert len(agent.first().files) == 1  # once, not with every piece


def test_an_answer_of_an_agent_that_did_not_read_the_call_is_printed(
    shim: Shim, agent: Agent
) -> None:
    agent.reply = lambda connection: connection.sendall(frame(b"busy", status=1))

    assert shim.call(stdin=bytes(1 << 20)).stdout == b"busy"


def test_version_does_not_wait_for_standard_input(shim: Shim, agent: Agent) -> None:
    agent.reply = frame(b"versions")
    with subprocess.Popen(
        [shim.bin_dir / "bridge"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=shim.environ("VERSION"),
    ) as running:
        assert running.stdout is not None
        assert running.stdout.read() == b"versions"
        assert running.wait(timeout=15) == 0


def test_version_sends_the_configuration_that_it_is_given(shim: Shim, agent: Agent) -> None:
    shim.call("VERSION", b'{"cniVersion": "0.4.0"}')

    assert agent.first().data.endswith(b'{"cniVersion": "0.4.0"}')


def test_a_caller_that_closed_standard_input_is_served(shim: Shim, agent: Agent) -> None:
    agent.reply = frame(b"served")
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" <&-', shim.bin_dir / "bridge"],
        env=shim.environ(),
        capture_output=True,
        check=False,
        timeout=15,
    )

    assert (done.returncode, done.stdout) == (0, b"served")


def test_a_runtime_that_hung_up_gets_status_1_and_no_signal(shim: Shim, agent: Agent) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    agent.reply = frame(b"nobody reads this")
    try:
        done = subprocess.run(
            [shim.bin_dir / "bridge"],
            stdin=subprocess.DEVNULL,
            stdout=writing,
            env=shim.environ(),
            check=False,
            timeout=15,
        )
    finally:
        os.close(writing)

    assert done.returncode == 1


def test_the_agent_sees_when_the_shim_is_killed(shim: Shim, agent: Agent) -> None:
    agent.reply = agent.keep_silent
    with subprocess.Popen(
        [shim.bin_dir / "bridge"], stdin=subprocess.DEVNULL, env=shim.environ()
    ) as running:
        agent.first()
        running.kill()

    assert agent.gone.wait(15)


def test_many_calls_at_a_time_each_get_their_own_answer(shim: Shim, agent: Agent) -> None:
    def echo(connection: socket.socket) -> None:
        agent.listen(connection)
        connection.sendall(frame(agent.heard[-1].data[-8:]))

    agent.reply = echo
    inputs = [json.dumps(number).rjust(8).encode() for number in range(150)]
    with ThreadPoolExecutor(16) as pool:
        answers = [each.stdout for each in pool.map(lambda data: shim.call(stdin=data), inputs)]

    assert answers == inputs
