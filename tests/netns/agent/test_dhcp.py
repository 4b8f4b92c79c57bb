# SPDX-License-Identifier: Apache-2.0
"""The documentation's example through an agent: leases of a real server, and their end."""

from collections.abc import Callable

import pytest

from spanbridge.testing.agent import Agent, AgentCni, StartAgent
from spanbridge.testing.dhcp import Dnsmasq, StartScripted, wait_until
from spanbridge.testing.plugin import AskTool, Netns, run
from spanbridge.testing.runtime import Cni, Conf

GATEWAY = "10.9.0.1"
"""Of the fixture `router`."""
POOL = ["10.9.0.10", "10.9.0.11", "10.9.0.12"]


@pytest.fixture
def example() -> Conf:
    """As printed, on a bridge that has an uplink."""
    return {
        "cniVersion": "0.3.1",
        "name": "bridge-net",
        "type": "bridge",
        "bridge": "br0",
        "isGateway": True,
        "ipam": {"type": "dhcp"},
    }


@pytest.fixture
def calls(agent: Agent, cni: Cni) -> AgentCni:
    """A runtime whose agents come and go at the same socket."""
    return AgentCni(cni.bin_dir, cni.run_dir, cni.node, agent_socket=agent.socket)


def _address(result: Conf) -> str:
    return str(result["ips"][0]["address"])


def test_the_leased_address_is_on_the_interface_and_the_gateway_on_the_bridge(
    server: Dnsmasq,
    calls: AgentCni,
    example: Conf,
    pod: Netns,
    node: Netns,
    addresses: Callable[[Netns, str], list[str]],
    ip_json: AskTool,
) -> None:
    result = calls.add(example, pod)

    assert addresses(pod, "eth0") == [_address(result)]
    assert [_address(result)] == [f"{each}/24" for each in server.leases().values()]
    assert f"{GATEWAY}/24" in addresses(node, "br0")
    assert ip_json("route", "show", "default", netns=pod)[0]["gateway"] == GATEWAY


def test_delete_releases_also_where_the_node_has_the_servers_address(
    server: Dnsmasq, calls: AgentCni, example: Conf, pod: Netns
) -> None:
    calls.add(example, pod)
    leased = dict(server.leases())
    calls.delete(example, pod)

    assert len(leased) == 1
    wait_until(lambda: server.leases() == {})
    assert len(server.log("DHCPRELEASE")) == 1


def test_what_is_said_of_a_lease_belongs_to_no_call(
    server: Dnsmasq, agent: Agent, calls: AgentCni, example: Conf, pod: Netns
) -> None:
    answer = calls.call("ADD", example, pod)
    calls.delete(example, pod)
    said = [line for line in agent.log.splitlines() if "lease" in line]

    wait_until(lambda: server.leases() == {})
    assert (answer.status, answer.log) == (0, "")
    assert len(said) >= 2
    assert not [line for line in said if "verb=" in line]


def test_a_lease_outlives_its_agent_and_is_released_by_the_next(
    server: Dnsmasq,
    agent: Agent,
    calls: AgentCni,
    start_agent: StartAgent,
    example: Conf,
    pod: Netns,
) -> None:
    result = calls.add(example, pod)
    agent.kill()
    kept = start_agent().ask("leases")
    calls.delete(example, pod)

    assert [each["address"] for each in kept] == [_address(result)]
    wait_until(lambda: server.leases() == {})


def test_a_lease_is_renewed_on_request_by_the_agent_that_took_it_over(
    server: Dnsmasq,
    agent: Agent,
    calls: AgentCni,
    start_agent: StartAgent,
    example: Conf,
    pod: Netns,
) -> None:
    result = calls.add(example, pod)
    agent.kill()
    acknowledged = len(server.log("DHCPACK"))
    (renewed,) = start_agent().ask("leases", "--renew")

    assert (renewed["address"], renewed["asked"]["renewed"]) == (_address(result), True)
    (ack,) = server.log("DHCPACK")[acknowledged:]
    assert _address(result).removesuffix("/24") in ack


def test_a_renewal_that_nobody_answers_is_reported_and_the_lease_lives_on(
    router: Netns,
    scripted_dhcp: StartScripted,
    agent: Agent,
    calls: AgentCni,
    example: Conf,
    pod: Netns,
) -> None:
    server = scripted_dhcp(router, "eth0", pool=POOL, lease_s=600)
    calls.add(example, pod)
    server.set(ignore=["renewing"])
    (lease,) = agent.ask("leases", "--renew")

    assert server.seen("renewing")
    assert lease["asked"] == {"renewed": False, "cause": "its server did not answer within 10 s"}
    assert lease["expiresInSeconds"] > 0


def test_the_lease_of_a_pod_that_went_away_while_no_agent_ran_is_released(
    server: Dnsmasq,
    agent: Agent,
    calls: AgentCni,
    start_agent: StartAgent,
    example: Conf,
    pod: Netns,
    ip_json: AskTool,
    node: Netns,
) -> None:
    calls.add(example, pod)
    agent.kill()
    run("ip", "netns", "del", pod.name)
    successor = start_agent()

    wait_until(lambda: server.leases() == {})
    assert successor.ask("leases") == []
    assert {each["ifname"] for each in ip_json("link", netns=node)} == {"lo", "br0", "up0"}


def test_a_refused_renewal_gives_the_pod_another_address(
    router: Netns,
    scripted_dhcp: StartScripted,
    calls: AgentCni,
    example: Conf,
    pod: Netns,
    addresses: Callable[[Netns, str], list[str]],
) -> None:
    server = scripted_dhcp(router, "eth0", pool=POOL, lease_s=8, t1_s=1, t2_s=6)
    result = calls.add(example, pod)
    server.set(nak=["renewing"], pool=POOL[1:])

    wait_until(lambda: addresses(pod, "eth0") == ["10.9.0.11/24"], timeout_s=12)
    assert _address(result) == "10.9.0.10/24"
    assert calls.check(example | {"cniVersion": "0.4.0"}, pod, result).code == 120


def test_an_address_is_taken_off_when_its_lease_expires(
    router: Netns,
    scripted_dhcp: StartScripted,
    calls: AgentCni,
    example: Conf,
    pod: Netns,
    addresses: Callable[[Netns, str], list[str]],
) -> None:
    server = scripted_dhcp(router, "eth0", pool=POOL, lease_s=3, t1_s=1, t2_s=2)
    calls.add(example, pod)
    server.set(ignore=["discover", "selecting", "renewing", "rebinding", "rebooting"])

    wait_until(lambda: addresses(pod, "eth0") == [], timeout_s=12)
    server.set(ignore=[])
    wait_until(lambda: addresses(pod, "eth0") == ["10.9.0.10/24"], timeout_s=12)


def test_an_add_that_nobody_answers_fails_and_leaves_nothing(
    router: Netns, calls: AgentCni, example: Conf, pod: Netns, node: Netns, ip_json: AskTool
) -> None:
    del router
    ipam = {"type": "dhcp", "timeout": 1}
    answer = calls.call("ADD", example | {"ipam": ipam}, pod)

    assert answer.code == 110
    assert "no DHCP server" in answer.error["msg"]
    assert {each["ifname"] for each in ip_json("link", netns=node)} == {"lo", "br0", "up0"}


def test_the_one_shot_program_has_the_agent_lease_for_it(
    server: Dnsmasq, calls: AgentCni, cni: Cni, example: Conf, pod: Netns
) -> None:
    there = {"SPANBRIDGE_SOCKET": str(calls.agent_socket)}
    result = cni.add(example, pod, env=there)
    leased = list(server.leases().values())
    cni.delete(example, pod, env=there)

    assert [_address(result)] == [f"{each}/24" for each in leased]
    wait_until(lambda: server.leases() == {})


def test_the_one_shot_program_says_that_leases_need_an_agent(
    cni: Cni, example: Conf, pod: Netns, router: Netns
) -> None:
    del router
    error = cni.call("ADD", example, pod, env={"SPANBRIDGE_SOCKET": "/nowhere/sock"}).error

    assert error["code"] == 11
    assert "/nowhere/sock" in error["msg"]
    assert "spanbridge agent run" in error["details"]
