# SPDX-License-Identifier: Apache-2.0
"""`spanbridge agent gc`: attachments whose sandbox died without a DEL."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spanbridge.testing.agent import Agent, AgentCni
from spanbridge.testing.dhcp import wait_until
from spanbridge.testing.plugin import MakeNetns, Netns, run
from spanbridge.testing.runtime import Conf


def _held(conf: Conf) -> list[str]:
    return sorted(each.name for each in (Path(conf["ipam"]["dataDir"]) / "net1").glob("10.1.2.*"))


def test_an_attachment_without_its_sandbox_gives_its_address_back(
    agent: Agent, agent_cni: AgentCni, netns: MakeNetns, *, pod: Netns, conf: Conf
) -> None:
    dead = netns("dead")
    agent_cni.add(conf, pod)
    agent_cni.add(conf, dead, container="c2")
    run("ip", "netns", "del", dead.name)
    done = agent.ask("gc")

    assert [each["containerId"] for each in done["collected"]] == ["c2"]
    assert (done["failed"], done["kept"]) == ([], 1)
    assert _held(conf) == ["10.1.2.2"]
    assert [each["containerId"] for each in agent.ask("attachments")] == ["c1"]


def test_a_sandbox_that_a_process_keeps_alive_stays_attached(
    agent: Agent, agent_cni: AgentCni, netns: MakeNetns, conf: Conf
) -> None:
    kept = netns("kept")
    agent_cni.add(conf, kept)
    argv = ["ip", "netns", "exec", kept.name, "sh", "-c", "echo inside; exec sleep 60"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        run("ip", "netns", "del", kept.name)
        meanwhile = agent.ask("gc")
        process.kill()
    # The kernel takes a namespace down some time after its last process.
    wait_until(lambda: agent.ask("gc")["kept"] == 0)

    assert (meanwhile["collected"], meanwhile["kept"]) == ([], 1)
    assert _held(conf) == []


def test_masquerading_ends_with_the_sandbox(
    agent: Agent,
    agent_cni: AgentCni,
    netns: MakeNetns,
    *,
    node: Netns,
    conf: Conf,
    nft_json: Callable[..., Any],
) -> None:
    dead = netns("dead")
    agent_cni.add(conf | {"ipMasq": True}, dead)
    assert "10.1.2.2" in str(nft_json("list", "ruleset", netns=node))
    run("ip", "netns", "del", dead.name)
    agent.ask("gc")

    assert "10.1.2.2" not in str(nft_json("list", "ruleset", netns=node))


def test_an_attachment_whose_node_is_gone_too_gives_its_address_back(
    agent: Agent, agent_cni: AgentCni, netns: MakeNetns, conf: Conf
) -> None:
    place, dead = netns("place"), netns("dead")
    agent_cni.on(place).add(conf, dead)
    for each in (place, dead):
        run("ip", "netns", "del", each.name)

    assert len(agent.ask("gc")["collected"]) == 1
    assert _held(conf) == []


def test_what_cannot_be_undone_is_said_and_stays(
    agent: Agent, agent_cni: AgentCni, netns: MakeNetns, conf: Conf
) -> None:
    dead = netns("dead")
    agent_cni.add(conf, dead)
    run("ip", "netns", "del", dead.name)
    lock = Path(conf["ipam"]["dataDir"]) / "net1" / "lock"
    lock.unlink()
    lock.mkdir()
    done = agent.ask("gc")

    assert (done["collected"], len(done["failed"])) == ([], 1)
    assert done["failed"][0]["error"]["msg"].startswith("cannot ")
    assert len(agent.ask("attachments")) == 1


def test_gc_of_the_runtime_is_followed_by_the_journal(
    agent: Agent, agent_cni: AgentCni, pod: Netns, conf: Conf
) -> None:
    agent_cni.add(conf, pod)
    agent_cni.add(conf, pod, container="c1", ifname="eth1")
    valid = [{"containerID": "c1", "ifname": "eth1"}]
    agent_cni.call("GC", conf | {"cni.dev/valid-attachments": valid})

    assert [each["ifname"] for each in agent.ask("attachments")] == ["eth1"]
