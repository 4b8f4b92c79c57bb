# SPDX-License-Identifier: Apache-2.0
"""The stand-in of the sync controller: state goes both ways, between leaders alone."""

import json

import pytest
from tests.netns.lab.conftest import Segment, Standin, until

from spanbridge.base.errors import NodeError
from spanbridge.lab.kubevirt.sync import SyncSettings
from spanbridge.lab.trust import forget

_INPUT = "add table ip f; add chain ip f in { type filter hook input priority 0; };"


def _send(east: Standin, west: Standin) -> None:
    connect = f"{west.address}:9185"
    east.ask("send", migration="m1", connect=connect, vm="web", node="east-1")


def _receive(west: Standin) -> None:
    west.ask("receive", migration="m1", vm="web", node="west-2")


def _phase(standin: Standin) -> str:
    return str(standin.ask("state", migration="m1")["phase"])


def _dialled(standin: Standin) -> int:
    """Count who has begun to connect to the sync port, by nftables."""
    rules = json.loads(standin.netns.run("nft", "-j", "list", "chain", "ip", "f", "in"))["nftables"]
    (expressions,) = (each["rule"]["expr"] for each in rules if "rule" in each)
    (count,) = (each["counter"]["packets"] for each in expressions if "counter" in each)
    return int(count)


def _both_are(east: Standin, west: Standin, phase: str) -> bool:
    return until(lambda: _phase(east) == _phase(west) == phase)


def test_state_goes_both_ways_and_the_target_dials_back(pods: Segment) -> None:
    east, west = pods.sync("east"), pods.sync("west")
    pods.exchange()
    for each in (east, west):
        each.netns.run(
            "nft", f"{_INPUT} add rule ip f in tcp dport 9185 tcp flags syn / syn,ack counter"
        )
    _receive(west)
    assert _phase(west) == "WaitingForSync"
    _send(east, west)
    assert _both_are(east, west, "Pending")
    seen, told = west.ask("state", migration="m1"), east.ask("state", migration="m1")
    assert (seen["other"], told["other"]) == (told["own"], seen["own"])
    assert seen["other"]["syncAddress"] == "10.9.0.1:9185"
    assert (seen["other"]["node"], told["other"]["node"]) == ("east-1", "west-2")
    assert (_dialled(east), _dialled(west)) == (1, 1)


def test_it_does_not_matter_who_begins(pods: Segment) -> None:
    east, west = pods.sync("east"), pods.sync("west")
    pods.exchange()
    _send(east, west)
    assert until(lambda: "nobody here has begun" in east.ask("state", migration="m1")["error"])
    assert _phase(east) == "Synchronizing"
    _receive(west)
    assert _both_are(east, west, "Pending")
    assert east.ask("state", migration="m1")["error"] == ""


def test_what_is_published_arrives_at_the_other_side(pods: Segment) -> None:
    east, west = pods.sync("east"), pods.sync("west")
    pods.exchange()
    _receive(west)
    _send(east, west)
    assert _both_are(east, west, "Pending")
    ready = {"phase": "TargetReady", "nodeAddress": "10.9.0.7", "ports": {"41233": 49152}}
    west.ask("publish", migration="m1", state=ready)
    assert until(lambda: east.ask("state", migration="m1")["other"].get("phase") == "TargetReady")
    assert east.ask("state", migration="m1")["other"]["ports"] == {"41233": 49152}
    east.ask("publish", migration="m1", state={"phase": "Running"})
    assert until(lambda: west.ask("state", migration="m1")["other"].get("phase") == "Running")


@pytest.mark.parametrize("side", ["source", "target"])
def test_who_cancels_ends_it_on_both_sides(pods: Segment, side: str) -> None:
    east, west = pods.sync("east"), pods.sync("west")
    pods.exchange()
    _receive(west)
    _send(east, west)
    assert _both_are(east, west, "Pending")
    (east if side == "source" else west).ask("cancel", migration="m1")
    assert _both_are(east, west, "Failed")
    assert west.ask("state", migration="m1")["cancelled"]


def test_a_source_that_is_not_trusted_waits_and_says_why(pods: Segment) -> None:
    east, west = pods.sync("east"), pods.sync("west")
    pods.exchange()
    forget(pods.place, "west", "east")
    _receive(west)
    _send(east, west)
    assert until(lambda: bool(east.ask("state", migration="m1")["error"]))
    state = east.ask("state", migration="m1")
    assert state["error"].startswith("cannot call 10.9.0.2:9185: ")
    assert (state["phase"], _phase(west)) == ("Synchronizing", "WaitingForSync")
    pods.exchange()
    assert _both_are(east, west, "Pending")


def test_a_target_that_cannot_dial_back_leaves_it_half_open(pods: Segment) -> None:
    east, west = pods.sync("east"), pods.sync("west")
    pods.exchange()
    east.netns.run("nft", f"{_INPUT} add rule ip f in tcp dport 9185 reject with tcp reset")
    _receive(west)
    _send(east, west)
    assert until(lambda: bool(west.ask("state", migration="m1")["error"]))
    error = west.ask("state", migration="m1")["error"]
    assert error == "cannot connect to 10.9.0.1:9185: Connection refused"
    assert (_phase(east), _phase(west)) == ("Synchronizing", "Pending")
    east.netns.run("nft", "delete", "table", "ip", "f")
    assert _both_are(east, west, "Pending")


def test_the_standby_refuses_the_sync_port_and_is_well(pods: Segment) -> None:
    leader, standby = pods.sync("west"), pods.sync("west", leader=False)
    for pod, ports in ((leader, {"8443", "9185"}), (standby, {"8443"})):
        lines = pod.netns.run("ss", "-Hltn").splitlines()
        assert {line.split()[3].rpartition(":")[2] for line in lines} == ports
    refused = leader.openssl(f"{standby.address}:9185", *leader.identity("sync-client"))
    assert "Connection refused" in refused
    assert leader.netns.run("curl", "-sSk", f"https://{standby.address}:8443/healthz") == "ok"
    with pytest.raises(NodeError, match="this sync controller is on standby"):
        _receive(standby)


def test_a_client_with_another_common_name_is_not_heard(pods: Segment) -> None:
    east, west = pods.sync("east"), pods.sync("west")
    pods.exchange()
    _receive(west)
    call = '{"call": "CancelMigration", "migrationID": "m1"}\n'
    for name in ("migration-client", "sync-client"):
        assert _phase(west) == "WaitingForSync"
        east.openssl(f"{west.address}:9185", *east.identity(name), text=call)
    assert _phase(west) == "Failed"


def test_a_sync_controller_goes_on_without_an_address(pods: Segment) -> None:
    pod = pods.pod("169.254.7.7/16")
    west = pods.launch("west", *pod, SyncSettings, leader=True, pod_address="10.1.0.9")
    assert west.ask("status")["address"] == "10.1.0.9"
    _receive(west)
    assert west.ask("state", migration="m1")["own"]["syncAddress"] == "10.1.0.9:9185"
