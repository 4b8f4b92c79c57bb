# SPDX-License-Identifier: Apache-2.0
"""CNI calls through a real agent, read back from the kernel."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spanbridge.testing.agent import Agent, AgentCni
from spanbridge.testing.plugin import MakeNetns, Netns
from spanbridge.testing.runtime import Cni, Conf

Links = Callable[[Netns], dict[str, Any]]


def test_add_makes_the_attachment_in_the_callers_namespace(
    agent_cni: AgentCni, node: Netns, pod: Netns, *, conf: Conf, links: Links
) -> None:
    result = agent_cni.add(conf, pod)
    port = result["interfaces"][1]["name"]

    assert links(node)["br0"]["linkinfo"]["info_kind"] == "bridge"
    assert links(node)[port]["master"] == "br0"
    assert "eth0" in links(pod)


def test_the_address_of_the_result_is_on_the_interface(
    agent_cni: AgentCni, pod: Netns, conf: Conf, addresses: Callable[[Netns, str], list[str]]
) -> None:
    result = agent_cni.add(conf, pod)

    assert addresses(pod, "eth0") == [result["ips"][0]["address"]]


def test_del_removes_it_and_the_address_is_free_again(
    agent_cni: AgentCni, node: Netns, pod: Netns, *, conf: Conf, links: Links
) -> None:
    first = agent_cni.add(conf, pod)
    agent_cni.delete(conf, pod)
    port = first["interfaces"][1]["name"]

    assert port not in links(node)
    assert "eth0" not in links(pod)
    assert not list((Path(conf["ipam"]["dataDir"]) / "net1").glob("10.1.2.*"))


def test_del_without_a_sandbox_succeeds(agent_cni: AgentCni, pod: Netns, conf: Conf) -> None:
    agent_cni.add(conf, pod)

    agent_cni.delete(conf, "/run/netns/gone")


def test_check_passes_after_add_and_fails_when_the_link_is_gone(
    agent_cni: AgentCni, pod: Netns, conf: Conf
) -> None:
    result = agent_cni.add(conf, pod)
    assert agent_cni.check(conf, pod, result).status == 0
    pod.run("ip", "link", "del", "eth0")

    assert agent_cni.check(conf, pod, result).code == 120


def test_one_agent_serves_many_nodes(
    agent_cni: AgentCni, netns: MakeNetns, conf: Conf, *, links: Links
) -> None:
    nodes, pods = [netns("n1"), netns("n2")], [netns("p1"), netns("p2")]
    for number, (place, pod) in enumerate(zip(nodes, pods, strict=True)):
        agent_cni.on(place).add(conf, pod, container=f"c{number}")

    assert all("br0" in links(place) for place in nodes)
    assert all("eth0" in links(pod) for pod in pods)


def test_the_agent_may_live_in_another_namespace_than_its_callers(
    start_agent: Callable[..., Agent],
    cni: Cni,
    netns: MakeNetns,
    node: Netns,
    pod: Netns,
    *,
    conf: Conf,
    links: Links,
) -> None:
    home = netns("home")
    agent = start_agent(netns=home, name="elsewhere")
    AgentCni(cni.bin_dir, cni.run_dir, node, agent.socket).add(conf, pod)

    assert "br0" in links(node)
    assert set(links(home)) == {"lo"}


def test_version_is_answered(agent_cni: AgentCni) -> None:
    answer = agent_cni.call("VERSION", {"cniVersion": "1.0.0"})

    assert answer.result["cniVersion"] == "1.0.0"
    assert "1.1.0" in answer.result["supportedVersions"]


def test_an_error_reads_as_the_one_shot_program_prints_it(
    agent_cni: AgentCni, cni: Cni, pod: Netns, conf: Conf
) -> None:
    wrong = conf | {"vlan": "2"}

    assert agent_cni.call("ADD", wrong, pod).error == cni.call("ADD", wrong, pod).error


def test_a_warning_is_in_the_answer_and_in_the_log(
    agent: Agent, agent_cni: AgentCni, cni: Cni, *, pod: Netns, conf: Conf
) -> None:
    mistyped = conf | {"isGatway": True}
    answer = agent_cni.call("ADD", mistyped, pod)
    line = next(each for each in agent.log.splitlines() if "isGatway" in each)
    agent_cni.delete(mistyped, pod)

    assert answer.log == cni.call("ADD", mistyped, pod).log
    assert "container=c1" in line
    assert "interface=eth0" in line
    assert "verb=ADD" in line


def test_host_local_runs_as_a_program_of_its_own(
    agent: Agent, agent_cni: AgentCni, pod: Netns, conf: Conf
) -> None:
    result = agent_cni.call("ADD", conf, pod, program="host-local").result

    assert result["ips"][0]["address"] == "10.1.2.2/24"
    assert agent.ask("attachments") == []


def test_a_namespace_that_came_as_descriptor_is_let_go_of(
    agent: Agent, agent_cni: AgentCni, pod: Netns, conf: Conf
) -> None:
    agent_cni.add(conf, pod)
    agent_cni.check(conf, pod, {})
    process = Path(f"/proc/{agent.process.pid}")
    opened = set()
    for path in (process / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            opened.add(str(path.readlink()))

    own = str((process / "ns/net").readlink())
    assert {each for each in opened if each.startswith("net:")} <= {own}
