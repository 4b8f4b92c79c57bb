# SPDX-License-Identifier: Apache-2.0
"""Start, stop, crash and restart of a real agent."""

import contextlib
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spanbridge.testing.agent import Agent, AgentCni
from spanbridge.testing.plugin import Netns
from spanbridge.testing.runtime import Cni, Conf

StartAgent = Callable[..., Agent]


def test_the_socket_is_for_root_only(agent: Agent) -> None:
    mode = agent.socket.stat().st_mode

    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_readiness_is_told_with_a_status(agent: Agent) -> None:
    assert agent.heard.splitlines() == ["READY=1", "STATUS=0 attachments, 0 calls running"]


def test_a_second_agent_is_refused_and_told_which_one_runs(agent: Agent) -> None:
    argv = [sys.executable, "-m", "spanbridge.cli", "agent", "run", "--socket", str(agent.socket)]
    argv += ["--run-dir", str(agent.run_dir), "--state-dir", str(agent.state_dir)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)

    assert done.returncode == 3
    assert f"another one runs, with pid {agent.process.pid}" in done.stderr
    assert agent.ask("status")["pid"] == agent.process.pid


def test_a_stop_removes_the_socket_and_ends_in_order(agent: Agent) -> None:
    assert agent.stop() == 0
    assert not agent.socket.exists()


def test_the_socket_of_a_killed_agent_is_replaced(start_agent: StartAgent) -> None:
    start_agent().kill()
    successor = start_agent()

    assert successor.ask("status")["pid"] == successor.process.pid


def test_a_socket_that_somebody_listens_on_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        argv = [sys.executable, "-m", "spanbridge.cli", "agent", "run", "--socket", str(path)]
        argv += ["--run-dir", str(tmp_path / "run"), "--state-dir", str(tmp_path / "state")]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)

        assert (done.returncode, path.is_socket()) == (3, True)
        assert "another program does" in done.stderr


def test_an_attachment_outlives_a_kill_of_the_agent(
    start_agent: StartAgent, cni: Cni, node: Netns, pod: Netns, *, conf: Conf
) -> None:
    first = start_agent()
    AgentCni(cni.bin_dir, cni.run_dir, node, first.socket).add(conf, pod)
    first.kill()
    second = start_agent()
    listed = second.ask("attachments")
    AgentCni(cni.bin_dir, cni.run_dir, node, second.socket).delete(conf, pod)

    assert [each["addresses"] for each in listed] == [["10.1.2.2/24"]]
    assert second.ask("attachments") == []


def test_what_the_one_shot_program_made_the_agent_takes_down(
    agent_cni: AgentCni, cni: Cni, pod: Netns, conf: Conf, *, links: Callable[[Netns], Any]
) -> None:
    cni.add(conf, pod)
    agent_cni.delete(conf, pod)

    assert "eth0" not in links(pod)


def test_a_stop_lets_a_running_call_end(
    agent: Agent, agent_cni: AgentCni, pod: Netns, conf: Conf, tmp_path: Path
) -> None:
    plugin = tmp_path / "slow"
    plugin.write_text(
        f"#!/bin/sh\ntouch {tmp_path}/started\nsleep 1\n"
        'echo \'{"cniVersion": "1.1.0", "ips": [{"address": "10.9.9.9/24"}]}\'\n'
    )
    plugin.chmod(0o755)
    environ = agent_cni.environment("ADD", pod, container="c1", ifname="eth0", args="")
    environ["CNI_PATH"] = str(tmp_path)
    with contextlib.closing(_start(agent_cni, environ, conf | {"ipam": {"type": "slow"}})) as sock:
        while not (tmp_path / "started").exists():
            assert agent.process.poll() is None
        status = agent.stop()

        assert (status, sock.recv(4)) == (0, b"SB\x01\x00")


def _start(cni: AgentCni, environ: dict[str, str], conf: Conf) -> socket.socket:
    import json

    return cni.start("bridge", environ, json.dumps(conf).encode())
