# SPDX-License-Identifier: Apache-2.0
"""A lab that is up, as other tools see it, and what its commands say about it."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.vm.lab.conftest import Lab

NODES = ("east-1", "east-2", "west-1", "west-2")
HANDLERS = tuple(f"sb-lab-{node}.virt-handler" for node in NODES)


@pytest.fixture(scope="module", autouse=True)
def _up(lab: Lab) -> Iterator[None]:
    done = lab.run("up")
    assert done.code == 0, done.stderr
    yield
    assert lab.run("down").code == 0
    assert lab.namespaces() == set()


def _vlans(lab: Lab, netns: str) -> dict[str, list[dict[str, object]]]:
    found = lab.ask(netns, "bridge", "-j", "-compressvlans", "vlan", "show")
    return {each["ifname"]: each["vlans"] for each in found}


def _address(lab: Lab, handler: str) -> str:
    (link,) = lab.ask(handler, "ip", "-j", "-4", "addr", "show", "dev", "migration0")
    (info,) = link["addr_info"]
    assert info["prefixlen"] == 24
    return str(info["local"])


@pytest.mark.parametrize("node", NODES)
def test_the_uplink_carries_vlan_2_tagged_and_nothing_else(lab: Lab, node: str) -> None:
    assert _vlans(lab, f"sb-lab-{node}")["eth1"] == [{"vlan": 2}]


@pytest.mark.parametrize("node", NODES)
def test_ports_of_pod_and_gateway_are_in_vlan_2_untagged_and_in_no_other(
    lab: Lab, node: str
) -> None:
    vlans = _vlans(lab, f"sb-lab-{node}")
    ports = set(vlans) - {"eth1", "br-mig"}
    assert len(ports) == 2
    for (entry,) in (vlans[port] for port in ports):
        assert entry["vlan"] == 2
        assert set(entry["flags"]) == {"PVID", "Egress Untagged"}  # type: ignore[call-overload]  # JSON


@pytest.mark.parametrize("node", NODES)
def test_every_node_has_the_gateway_that_the_dhcp_server_names(lab: Lab, node: str) -> None:
    (link,) = lab.ask(f"sb-lab-{node}", "ip", "-j", "-4", "addr", "show", "dev", "br-mig.2")
    assert [info["local"] for info in link["addr_info"]] == ["10.88.0.1"]


def test_nobody_answers_the_dhcp_server_for_the_gateway(lab: Lab) -> None:
    asked = ["busybox", "arping", "-c", "2", "-w", "4", "-I", "eth0"]
    there = lab.enter("sb-lab-dhcp", *asked, _address(lab, HANDLERS[0]))
    nobody = lab.enter("sb-lab-dhcp", "sh", "-c", f"{' '.join(asked)} 10.88.0.1 || true")
    assert "Received 2 " in there
    assert "Received 0 " in nobody


def test_the_fabric_carries_no_untagged_vlan_but_to_the_dhcp_server(lab: Lab) -> None:
    vlans = _vlans(lab, "sb-lab-fabric")
    assert [entry["vlan"] for entry in vlans["dhcp"]] == [2]
    assert [vlans[name] for name in NODES] == [[{"vlan": 2, "vlanEnd": 4094, "flags": []}]] * 4


@pytest.mark.parametrize("netns", ["sb-lab-fabric", "sb-lab-east-1"])
def test_the_bridge_filters_vlans(lab: Lab, netns: str) -> None:
    (bridge,) = lab.ask(netns, "ip", "-j", "-d", "link", "show", "type", "bridge")
    assert bridge["linkinfo"]["info_data"]["vlan_filtering"] == 1


def test_every_handler_has_the_address_that_dnsmasq_gave_to_its_mac(lab: Lab) -> None:
    lines = Path("/run/spanbridge-lab/dhcp/dnsmasq.leases").read_text().splitlines()
    given = {line.split()[1]: line.split()[2] for line in lines}
    macs = [lab.ask(handler, "ip", "-j", "link", "show", "migration0") for handler in HANDLERS]
    assert [given[link["address"]] for (link,) in macs] == [
        _address(lab, handler) for handler in HANDLERS
    ]
    assert len(given) == len(HANDLERS)


def test_ping_agrees_that_the_clusters_reach_each_other(lab: Lab) -> None:
    lab.enter(HANDLERS[0], "ping", "-c", "1", "-W", "10", _address(lab, HANDLERS[3]))


def test_verify_finds_12_of_12_pairs_over_vlan_2(lab: Lab) -> None:
    done = lab.run("verify", "--format", "json")
    verdict = json.loads(done.stdout)
    assert (done.code, verdict["passed"], verdict["reachable"]) == (0, True, 12)
    assert {(pair["sent"], pair["received"]) for pair in verdict["pairs"]} == {(5, 5)}
    assert all(trunk["tagged"] >= 60 and trunk["untagged"] == 0 for trunk in verdict["trunks"])
    assert (verdict["isolation"]["tried"], verdict["isolation"]["reached"]) == (4, 0)
    assert verdict["check_faults"] == []
    assert (verdict["leases"]["passed"], verdict["gateway"]["passed"]) == (True, True)
    assert "sb-lab-east-1.outsider" not in lab.namespaces()


def test_a_node_without_the_vlan_on_its_uplink_is_found(lab: Lab) -> None:
    lab.enter("sb-lab-west-2", "bridge", "vlan", "del", "vid", "2", "dev", "eth1")
    try:
        status = lab.run("status")
        done = lab.run("verify", "--format", "json")
    finally:
        lab.enter("sb-lab-west-2", "bridge", "vlan", "add", "vid", "2", "dev", "eth1")
    assert status.code == done.code == 1
    assert "west-2: uplink does not carry VLAN 2" in status.stdout
    verdict = json.loads(done.stdout)
    silent = {(p["source"], p["target"]) for p in verdict["pairs"] if not p["received"]}
    assert len(silent) == 6
    assert all("west-2" in pair for pair in silent)


def test_status_says_that_all_is_as_built(lab: Lab) -> None:
    done = lab.run("status", "--format", "json")
    status = json.loads(done.stdout)
    assert (done.code, status["up"]) == (0, True)
    assert [node["name"] for node in status["nodes"]] == list(NODES)
    assert {node["handler"]["mtu"] for node in status["nodes"]} == {1500}
    leased = [each["address"] for node in status["nodes"] for each in node["agent"]["leases"]]
    assert leased == [f"{_address(lab, handler)}/24" for handler in HANDLERS]
    assert len(status["dhcp"]["leases"]) == 4


def test_an_agent_that_ended_is_found_and_started_again_by_up(lab: Lab) -> None:
    (pid,) = subprocess.check_output(["ip", "netns", "pids", "sb-lab-west-1"], text=True).split()
    os.kill(int(pid), signal.SIGKILL)
    status = lab.run("status")
    up = lab.run("up")
    assert status.code == 1
    assert "west-1: its agent does not run" in status.stdout
    assert "started again: the agent of west-1" in up.stdout
    kept = json.loads(lab.run("status", "--format", "json").stdout)["nodes"][2]["agent"]["leases"]
    assert [each["address"] for each in kept] == [f"{_address(lab, HANDLERS[2])}/24"]


def test_up_again_changes_nothing(lab: Lab) -> None:
    before = lab.ask("sb-lab-east-1", "ip", "-j", "link")
    done = lab.run("up")
    assert done.code == 0
    assert "was up already" in done.stdout
    assert lab.ask("sb-lab-east-1", "ip", "-j", "link") == before


@pytest.mark.parametrize("words", [("up", "--vlan", "7"), ("demo",)], ids=["another lab", "a demo"])
def test_a_lab_that_is_up_is_not_replaced(lab: Lab, words: tuple[str, ...]) -> None:
    done = lab.run(*words)
    assert done.code == 3
    assert "lab is up" in done.stderr or "another is up" in done.stderr
    assert len(lab.namespaces()) == 10
