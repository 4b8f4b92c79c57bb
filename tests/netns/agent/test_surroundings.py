# SPDX-License-Identifier: Apache-2.0
"""The agent among others: service manager, shim, monitoring, few capabilities, little memory."""

import dataclasses
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

from spanbridge.agent.client import ask
from spanbridge.agent.journal import Journal
from spanbridge.cni.install import built_shim, install
from spanbridge.model.owner import Owner
from spanbridge.testing import agent as testing_agent
from spanbridge.testing.agent import Agent, AgentCni
from spanbridge.testing.plugin import AskTool, Netns
from spanbridge.testing.runtime import Cni, Conf

UNIT: Final = Path(__file__).parents[3] / "deploy/systemd/spanbridge-agent.service"
RSS_MAX_KIB: Final = 60 << 10
WAIT_S: Final = 20

LAUNCH: Final = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.executable, [sys.executable, "-m", "spanbridge.cli", "agent", "run", *sys.argv[2:]])
"""
"""Starts an agent as systemd does: the listening socket is descriptor 3."""


@pytest.fixture
def waiting_socket(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket that a service manager listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(str(tmp_path / "agent.sock"))
        sock.listen()
        yield sock


def test_a_socket_of_the_service_manager_is_served_and_left_to_it(
    waiting_socket: socket.socket, tmp_path: Path
) -> None:
    path = tmp_path / "agent.sock"
    number = os.dup(waiting_socket.fileno())
    options = ["--run-dir", str(tmp_path / "run"), "--state-dir", str(tmp_path / "state")]
    with subprocess.Popen(
        [sys.executable, "-c", LAUNCH, str(number), *options], pass_fds=[number]
    ) as process:
        os.close(number)
        status = ask(path, "status")
        process.send_signal(signal.SIGTERM)

        assert process.wait(WAIT_S) == 0
    assert isinstance(status, dict)
    assert status["pid"] == process.pid
    assert path.is_socket()


def test_the_shim_reaches_the_agent(
    agent: Agent, cni: Cni, pod: Netns, tmp_path: Path, *, conf: Conf, ip_json: AskTool
) -> None:
    install(tmp_path / "bin", shim=built_shim(), oneshot=False)
    runtime = dataclasses.replace(cni, bin_dir=tmp_path / "bin")
    environ = {"SPANBRIDGE_SOCKET": str(agent.socket)}
    result = runtime.call("ADD", conf, pod, env=environ).result
    listed = agent.ask("attachments")
    assert runtime.call("DEL", conf, pod, env=environ).result is None

    assert listed[0]["addresses"] == [result["ips"][0]["address"]]
    assert agent.ask("status")["calls"]["DEL"] == {"total": 1, "failed": 0}
    assert [each["ifname"] for each in ip_json("link", netns=pod)] == ["lo"]


def test_figures_of_real_calls_can_be_scraped(
    start_agent: Callable[..., Agent], cni: Cni, node: Netns, pod: Netns, *, conf: Conf
) -> None:
    agent = start_agent("--metrics", "127.0.0.1:19471")
    calls = AgentCni(cni.bin_dir, cni.run_dir, node, agent.socket)
    calls.add(conf, pod)
    assert calls.call("ADD", conf | {"vlan": 5000}, pod).code == 7
    connection = http.client.HTTPConnection("127.0.0.1", 19471, timeout=WAIT_S)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    counted = {
        sample.labels["code"]: sample.value
        for sample in samples
        if sample.name == "spanbridge_agent_calls_total"
    }

    assert counted == {"0": 1, "7": 1}


def test_the_capabilities_of_the_unit_are_enough(
    start_agent: Callable[..., Agent],
    cni: Cni,
    node: Netns,
    pod: Netns,
    monkeypatch: pytest.MonkeyPatch,
    *,
    conf: Conf,
) -> None:
    found = re.search(r"^CapabilityBoundingSet=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert found is not None
    names = [name.removeprefix("CAP_").lower() for name in found[1].split()]
    bounding = ",".join(["-all", *(f"+{name}" for name in names)])
    monkeypatch.setattr(
        testing_agent,
        "SPANBRIDGE",
        ("setpriv", "--bounding-set", bounding, "--no-new-privs", *testing_agent.SPANBRIDGE),
    )
    agent = start_agent()
    calls = AgentCni(cni.bin_dir, cni.run_dir, node, agent.socket)
    full = conf | {"ipMasq": True, "macspoofchk": True}
    result = calls.add(full, pod)
    status = Path(f"/proc/{agent.process.pid}/status").read_text()

    assert calls.check(full, pod, result).status == 0
    calls.delete(full, pod)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    # CAP_SYS_MODULE, number 16, is one that root has and the unit does not grant.
    capabilities = re.search(r"^CapEff:\s+(\w+)$", status, re.MULTILINE)
    assert capabilities is not None
    assert not int(capabilities[1], 16) & 1 << 16


def test_a_thousand_attachments_need_little_memory(
    start_agent: Callable[..., Agent],
    tmp_path: Path,
    agent_cni: AgentCni,
    pod: Netns,
    *,
    conf: Conf,
) -> None:
    agent_cni.add(conf, pod)
    real = Journal(tmp_path / "agent/state/attachments").all()[0]
    crowded = Journal(tmp_path / "crowded/state/attachments")
    for number in range(1000):
        owner = Owner.of("net1", f"{number:064x}", "eth0")
        crowded.put(dataclasses.replace(real, owner=owner))
    agent = start_agent("--metrics", f"unix:{tmp_path}/figures.sock", name="crowded")
    listed = agent.ask("attachments")
    rss = re.search(
        r"^VmRSS:\s+(\d+) kB$",
        Path(f"/proc/{agent.process.pid}/status").read_text(),
        re.MULTILINE,
    )
    assert rss is not None

    assert len(listed) == 1000
    assert int(rss[1]) < RSS_MAX_KIB
