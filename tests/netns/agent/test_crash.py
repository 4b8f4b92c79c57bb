# SPDX-License-Identifier: Apache-2.0
"""
An agent that is killed while many pods come: its successor and the runtime clean up.

The runtime calls the shim. What it gets while no agent runs is code 11, and it repeats
the call; an ADD that had ended when its answer was lost is refused then (code 102).
"""

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from spanbridge.testing.agent import Agent, StartAgent
from spanbridge.testing.dhcp import Dnsmasq, wait_until
from spanbridge.testing.plugin import AskRules, MakeMany, Netns
from spanbridge.testing.runtime import Answer, Cni, Conf

Links = Callable[[Netns], dict[str, Any]]

PODS: Final = 100
LEASED_PODS: Final = 30
AT_ONCE: Final = 16
STEPS: Final = 6
WAIT_S: Final = 60
REPEATED: Final = {0, 102}


@pytest.fixture
def runtime(shim_bin_dir: Path, agent: Agent, cni: Cni) -> Cni:
    """Calls shims that have no one-shot program, on the fixture ``node``."""
    return Cni(shim_bin_dir, cni.run_dir, cni.node, agent.socket)


@pytest.fixture
def full(conf: Conf) -> Conf:
    """A network with everything that an attachment can have."""
    return conf | {"ipMasq": True, "macspoofchk": True}


@pytest.fixture
def leased(conf: Conf) -> Conf:
    """A network with addresses from a DHCP server."""
    return conf | {"ipMasq": True, "ipam": {"type": "dhcp"}}


@pytest.fixture
def spawn(runtime: Cni) -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """Starts an ADD and does not wait for its end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(conf: Conf, pod: Netns) -> "subprocess.Popen[bytes]":
        environ = runtime.environment("ADD", pod, container=pod.name, ifname="eth0", args="")
        process = subprocess.Popen(
            runtime.command("bridge"),
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        started.append(process)
        assert process.stdin is not None
        process.stdin.write(json.dumps(conf).encode())
        process.stdin.close()
        process.stdin = None
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def _code(process: "subprocess.Popen[bytes]") -> int:
    """Wait for a call; its error code, 0 for success."""
    stdout, _ = process.communicate(timeout=WAIT_S)
    return int(json.loads(stdout)["code"]) if process.returncode else 0


def _all(runtime: Cni, verb: str, conf: Conf, pods: Sequence[Netns]) -> list[Answer]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda pod: runtime.call(verb, conf, pod, container=pod.name), pods))


def _codes(answers: Sequence[Answer]) -> set[int]:
    return {answer.code if answer.status else 0 for answer in answers}


def _written(agent: Agent, kind: str) -> list[Path]:
    """Files of a journal."""
    return list((agent.state_dir / kind).glob("[!.]*"))


@pytest.mark.timeout(180)
def test_100_pods_whose_agent_was_killed_come_and_go_and_nothing_is_left(
    runtime: Cni,
    agent: Agent,
    start_agent: StartAgent,
    spawn: Callable[..., "subprocess.Popen[bytes]"],
    full: Conf,
    node: Netns,
    many_netns: MakeMany,
    links: Links,
    rules_left: AskRules,
) -> None:
    pods, store = many_netns(PODS), Path(full["ipam"]["dataDir"]) / "net1"
    calls = [spawn(full, pod) for pod in pods]
    wait_until(lambda: len(_written(agent, "attachments")) > PODS / 10)
    agent.kill()
    assert {_code(call) for call in calls} == {0, 11}

    successor = start_agent()
    assert _codes(_all(runtime, "ADD", full, pods)) <= REPEATED
    held = [each.name for each in store.glob("10.*")]
    assert len(held) == PODS
    assert sum(each.get("master") == "br0" for each in links(node).values()) == PODS
    assert _codes(_all(runtime, "DEL", full, pods)) == {0}

    assert set(links(node)) == {"lo", "br0"}
    assert rules_left(node) == []
    assert list(store.glob("10.*")) == []
    assert successor.ask("attachments") == []
    assert _written(successor, "attachments") == []


@pytest.mark.timeout(180)
def test_leases_of_pods_whose_agent_was_killed_are_all_given_back(
    runtime: Cni,
    agent: Agent,
    start_agent: StartAgent,
    spawn: Callable[..., "subprocess.Popen[bytes]"],
    leased: Conf,
    server: Dnsmasq,
    node: Netns,
    many_netns: MakeMany,
    links: Links,
    rules_left: AskRules,
) -> None:
    pods = many_netns(LEASED_PODS)
    calls = [spawn(leased, pod) for pod in pods]
    wait_until(lambda: len(server.log("DHCPACK")) > LEASED_PODS / 3, timeout_s=WAIT_S)
    agent.kill()
    assert 11 in {_code(call) for call in calls}

    successor = start_agent()
    assert _codes(_all(runtime, "ADD", leased, pods)) <= REPEATED
    assert len(set(server.leases().values())) == LEASED_PODS
    assert len(successor.ask("leases")) == LEASED_PODS
    assert _codes(_all(runtime, "DEL", leased, pods)) == {0}

    wait_until(lambda: server.leases() == {}, what="the server to take all leases back")
    assert set(links(node)) == {"lo", "br0", "up0"}
    assert rules_left(node) == []
    assert successor.ask("leases") == successor.ask("attachments") == []
    assert _written(successor, "attachments") == _written(successor, "leases") == []


@pytest.mark.timeout(180)
def test_an_add_that_is_repeated_after_its_agent_was_killed_at_any_moment_converges(
    runtime: Cni,
    start_agent: StartAgent,
    agent: Agent,
    spawn: Callable[..., "subprocess.Popen[bytes]"],
    full: Conf,
    node: Netns,
    pod: Netns,
    links: Links,
    rules_left: AskRules,
) -> None:
    started = time.monotonic()
    runtime.add(full, pod, container=pod.name)
    whole_s = time.monotonic() - started
    runtime.delete(full, pod, container=pod.name)
    for step in range(STEPS):
        call = spawn(full, pod)
        time.sleep(whole_s * step / STEPS)
        agent.kill()
        assert _code(call) in {0, 11}
        agent = start_agent()
        answer = runtime.call("ADD", full, pod, container=pod.name)
        assert _codes([answer]) <= REPEATED
        if answer.status == 0:
            checked = runtime.check(full, pod, answer.result, container=pod.name)
            assert checked.result is None, f"killed in step {step}"
        runtime.delete(full, pod, container=pod.name)
        assert set(links(node)) == {"lo", "br0"}, f"killed in step {step}"
        assert rules_left(node) == []
        assert _written(agent, "attachments") == []


def _seeks(agent: Agent, number: int) -> bool:
    return len(agent.ask("leases")) == number


def test_adds_that_wait_for_a_server_do_not_hold_up_others(
    runtime: Cni,
    agent: Agent,
    spawn: Callable[..., "subprocess.Popen[bytes]"],
    leased: Conf,
    conf: Conf,
    router: Netns,
    pod: Netns,
    many_netns: MakeMany,
) -> None:
    del router  # on which nobody serves addresses
    waiting = [spawn(leased, each) for each in many_netns(AT_ONCE)]
    wait_until(lambda: _seeks(agent, AT_ONCE))
    other = conf | {"name": "net2"}

    result = runtime.add(other, pod)
    assert runtime.check(other, pod, result).result is None
    runtime.delete(other, pod)

    assert [each.poll() for each in waiting] == [None] * AT_ONCE


def test_an_add_that_is_given_up_before_a_server_answers_leaves_nothing(
    agent: Agent,
    spawn: Callable[..., "subprocess.Popen[bytes]"],
    leased: Conf,
    router: Netns,
    node: Netns,
    pod: Netns,
    links: Links,
) -> None:
    del router
    call = spawn(leased, pod)
    wait_until(lambda: _seeks(agent, 1))
    call.kill()

    wait_until(lambda: set(links(node)) == {"lo", "br0", "up0"})
    assert set(links(pod)) == {"lo"}
    assert agent.ask("leases") == []
    assert _written(agent, "leases") == []


def test_an_add_that_is_given_up_after_a_server_answered_gives_the_lease_back(
    agent: Agent,
    spawn: Callable[..., "subprocess.Popen[bytes]"],
    leased: Conf,
    server: Dnsmasq,
    node: Netns,
    pod: Netns,
    links: Links,
) -> None:
    probed = leased | {"ipam": {"type": "dhcp", "probe": "rfc"}}  # seconds before it is used
    call = spawn(probed, pod)
    wait_until(lambda: bool(server.log("DHCPACK")))
    call.kill()

    wait_until(lambda: server.leases() == {} and set(links(node)) == {"lo", "br0", "up0"})
    assert len(server.log("DHCPRELEASE")) == 1
    assert _written(agent, "leases") == _written(agent, "attachments") == []
