# SPDX-License-Identifier: Apache-2.0
"""Faults of the agent and of what it keeps: attachments and leases."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from spanbridge.testing.agent import Agent, AgentCni
from spanbridge.testing.dhcp import ScriptedServer, StartScripted, wait_until
from spanbridge.testing.plugin import MakeNetns, run

if TYPE_CHECKING:
    from .conftest import Said, Ward
else:
    Said = Ward = Any

MENDED = {"lease_s": 7200, "t1_s": 3600, "t2_s": 6000, "ignore": []}
NEAR_ITS_END = {"lease_s": 40, "t1_s": 1, "t2_s": 30, "ignore": ["renewing"]}


def test_an_agent_that_is_down_is_named_and_started_by_the_command(ward: Ward) -> None:
    ward.agent.kill()
    down = ward.doctor("--no-probe")
    fixed = ward.doctor("--no-probe", "--fix")
    ward.paste(down.faults[0]["commands"])
    wait_until(lambda: ward.execute("spanbridge", "agent", "status").returncode == 0)
    after = ward.doctor("--no-probe")
    run("kill", str(ward.agent.ask("status")["pid"]))

    assert [each["code"] for each in down.faults] == ["SBD21"]
    assert "its journal has 1 attachments" in down.faults[0]["message"]
    assert (fixed.code, fixed.mended) == (1, [])  # a daemon is not doctor's to start
    assert after.code == 0


@pytest.fixture
def stale(ward: Ward, netns: MakeNetns) -> None:
    """A pod that died without DEL."""
    dead = netns("dead")
    ward.cni.add(ward.conf, dead, container="c2")
    run("ip", "netns", "del", dead.name)
    # Left are the uplink and the port of the pod that lives.
    wait_until(lambda: len(ward.ask("bridge", "-j", "link")) == 2, what="its port to go")


@pytest.mark.usefixtures("stale")
def test_a_stale_attachment_is_undone_by_the_command(ward: Ward) -> None:
    first = ward.doctor("--no-probe").faults[0]
    ward.paste(first["commands"])

    assert (first["code"], "container c2" in first["message"]) == ("SBD25", True)
    assert [each["containerId"] for each in ward.agent.ask("attachments")] == ["c1"]
    assert ward.doctor("--no-probe").code == 0


@pytest.mark.usefixtures("stale")
def test_a_stale_attachment_is_undone_by_fix(ward: Ward) -> None:
    fixed = ward.doctor("--no-probe", "--fix")

    assert (fixed.code, [each["code"] for each in fixed.mended]) == (0, ["SBD25"])
    assert [each["containerId"] for each in ward.agent.ask("attachments")] == ["c1"]


@pytest.fixture
def leased(ward: Ward, scripted_dhcp: StartScripted, netns: MakeNetns) -> ScriptedServer:
    """A server that does not renew what it has given to a pod, whose lease nears its end."""
    server = scripted_dhcp(ward.router, "eth0", **NEAR_ITS_END)
    conf = ward.conf | {"name": "leased", "ipam": {"type": "dhcp"}}
    ward.cni.add(conf, netns("leased"), container="c3")
    server.wait_for("renewing")
    return server


def lease_state(agent: Agent) -> tuple[str, bool]:
    (lease,) = agent.ask("leases")
    return lease["state"], lease["expiresInSeconds"] > 60


def test_a_lease_near_its_end_is_renewed_by_the_command(ward: Ward, leased: ScriptedServer) -> None:
    first = ward.doctor("--no-probe").faults[0]
    leased.set(**MENDED)
    ward.paste(first["commands"])

    assert first["code"] == "SBD24"
    assert "renewing, ends in" in first["message"]
    assert lease_state(ward.agent) == ("bound", True)
    assert ward.doctor("--no-probe").code == 0


def test_a_lease_near_its_end_is_renewed_by_fix(ward: Ward, leased: ScriptedServer) -> None:
    leased.set(**MENDED)
    fixed = ward.doctor("--no-probe", "--fix")

    assert (fixed.code, [each["code"] for each in fixed.mended]) == (0, ["SBD24"])
    assert lease_state(ward.agent) == ("bound", True)


def test_what_is_wanted_is_found_in_the_journal_too(ward: Ward, tmp_path: Path) -> None:
    done = ward.execute("spanbridge", "doctor", "--no-probe", "--format", "json")
    (confs,) = (each for each in json.loads(done.stdout)["checks"] if each["code"] == "SBD01")

    assert done.returncode == 0, done.stdout
    assert "bridge-net" in confs["message"]
    assert str(tmp_path) not in confs["message"]


def test_an_agent_of_another_node_is_not_this_nodes_business(ward: Ward, netns: MakeNetns) -> None:
    away, pod = netns("away"), netns("pod")
    away.run("ip", "link", "add", "br7", "type", "bridge")
    calls = AgentCni(ward.cni.bin_dir, ward.cni.run_dir, away, ward.agent.socket)
    calls.add(ward.conf | {"name": "elsewhere", "bridge": "br7"}, pod, container="c7")
    said = ward.doctor()

    assert said.code == 0
    assert "br7" not in json.dumps(said.checks)
