# SPDX-License-Identifier: Apache-2.0
"""The lab's parts over a plain bridge: what needs no VLAN runs on every kernel."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from spanbridge.agent.client import ask
from spanbridge.base.errors import NodeError
from spanbridge.lab.agents import agent_daemon, start_agents
from spanbridge.lab.arp import ArpSettings, count_naming, open_arp_socket, who_has
from spanbridge.lab.build import find_netns, release_netns
from spanbridge.lab.daemons import Daemon, await_ready, find_daemon, kill, launch
from spanbridge.lab.dhcp import Dnsmasq, start_dnsmasq
from spanbridge.lab.lifecycle import down
from spanbridge.lab.ping import PingResult, PingSettings, open_echo_socket, ping
from spanbridge.lab.place import Place, Record, changing_alone
from spanbridge.lab.processes import find_processes
from spanbridge.lab.topology import DHCP_NETNS, LabParameters, Node, plan_lab
from spanbridge.probing.capture import count_tags, open_capture, read_capture
from spanbridge.rtnl import NetNs
from spanbridge.testing.plugin import MakeNetns, Netns

FAST = PingSettings(rounds=3, reply_s=2, patience_s=1)


@dataclass(frozen=True)
class Segment:
    """Three hosts, 10.9.0.1 to .3, on a bridge in a fourth namespace."""

    switch: Netns
    hosts: tuple[Netns, ...]


@pytest.fixture
def segment(netns: MakeNetns) -> Segment:
    switch = netns("switch")
    switch.run("ip", "link", "add", "br0", "up", "type", "bridge")
    hosts = tuple(netns(f"host{number}") for number in (1, 2, 3))
    for number, host in enumerate(hosts, start=1):
        port = f"port{number}"
        switch.run("ip", "link", "add", port, "type", "veth", "peer", "eth0", "netns", host.name)
        switch.run("ip", "link", "set", port, "master", "br0", "up")
        host.run("ip", "address", "add", f"10.9.0.{number}/24", "dev", "eth0")
        host.run("ip", "link", "set", "eth0", "up")
    return Segment(switch, hosts)


@pytest.fixture(autouse=True)
def no_lab_left() -> Iterator[None]:
    yield
    for name in _listed():
        subprocess.run(["ip", "netns", "delete", name], check=True)


def _listed() -> list[str]:
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    names = [line.split()[0] for line in listed.stdout.splitlines()]
    return [name for name in names if name.startswith("sb-lab-")]


def _ask(host: Netns, *targets: str) -> tuple[PingResult, ...]:
    with NetNs.open(host.name) as entered, entered.run(open_echo_socket) as sock:
        return ping(sock, targets, FAST)


def test_everybody_who_is_there_answers_every_echo(segment: Segment) -> None:
    results = _ask(segment.hosts[0], "10.9.0.2", "10.9.0.3")
    assert [each.target for each in results] == ["10.9.0.2", "10.9.0.3"]
    assert all(each.sent == each.received == FAST.rounds for each in results)
    assert all(each.loss == 0 and each.duplicates == 0 for each in results)
    assert all(0 < rtt < 1000 for each in results for rtt in each.rtts_ms)


def test_who_is_not_there_is_silent_and_harms_nobody_else(segment: Segment) -> None:
    silent, there = _ask(segment.hosts[0], "10.9.0.77", "10.9.0.2")
    assert (silent.received, silent.loss, silent.rtt_median_ms) == (0, 1.0, None)
    assert silent.sent > 1
    assert there.received == FAST.rounds


def test_a_target_without_a_route_is_silent(segment: Segment) -> None:
    (result,) = _ask(segment.hosts[0], "192.0.2.1")
    assert (result.received, result.loss) == (0, 1.0)


def test_the_answers_of_another_pinger_are_not_counted(segment: Segment) -> None:
    host = segment.hosts[0]
    with NetNs.open(host.name) as entered, entered.run(open_echo_socket) as sock:
        assert host.ping("10.9.0.2", count=2)
        (result,) = ping(sock, ["10.9.0.3"], FAST)
    assert (result.received, result.duplicates) == (FAST.rounds, 0)


def test_a_capture_counts_untagged_frames_of_its_port_alone(segment: Segment) -> None:
    with NetNs.open(segment.switch.name) as switch:
        captures = [
            switch.run(lambda port=port: open_capture(port))  # type: ignore[misc]  # a bound default
            for port in ("port1", "port3")
        ]
    segment.hosts[0].run("ip", "neigh", "flush", "all")
    _ask(segment.hosts[0], "10.9.0.2")
    first, third = (count_tags(read_capture(capture)) for capture in captures)
    for capture in captures:
        capture.close()
    assert first.untagged >= 2 * FAST.rounds
    assert first.untagged > third.untagged
    assert set(first.frames) == {0}


def test_a_capture_on_a_device_that_goes_down_keeps_what_came_before(segment: Segment) -> None:
    with NetNs.open(segment.switch.name) as switch:
        capture = switch.run(lambda: open_capture("port1"))
    _ask(segment.hosts[0], "10.9.0.2")
    segment.switch.run("ip", "link", "set", "port1", "down")
    counted = count_tags(read_capture(capture))
    capture.close()
    assert counted.untagged >= 2 * FAST.rounds


def _who_has(host: Netns, *addresses: str) -> dict[str, tuple[str, ...]]:
    with (
        NetNs.open(host.name) as entered,
        entered.run(lambda: open_arp_socket("eth0")) as sock,
    ):
        return who_has(sock, addresses, ArpSettings(probes=2, again_s=0.05, listen_s=0.3))


def _mac(host: Netns) -> str:
    (link,) = json.loads(host.run("ip", "-j", "link", "show", "eth0"))
    return str(link["address"])


def test_the_owner_of_an_address_is_heard_and_nobody_for_a_free_one(segment: Segment) -> None:
    answers = _who_has(segment.hosts[0], "10.9.0.2", "10.9.0.9")
    assert answers == {"10.9.0.2": (_mac(segment.hosts[1]),), "10.9.0.9": ()}


def test_two_owners_of_an_address_are_both_heard(segment: Segment) -> None:
    for host in segment.hosts[1:]:
        host.run("ip", "address", "add", "10.9.0.77/24", "dev", "eth0")
    owners = sorted(_mac(host) for host in segment.hosts[1:])
    assert _who_has(segment.hosts[0], "10.9.0.77") == {"10.9.0.77": tuple(owners)}


def test_a_capture_tells_who_asked_for_an_address_behind_its_port(segment: Segment) -> None:
    with NetNs.open(segment.switch.name) as switch:
        captures = [
            switch.run(lambda port=port: open_capture(port))  # type: ignore[misc]  # a bound default
            for port in ("port1", "port2")
        ]
    _who_has(segment.hosts[0], "10.9.0.2")
    recordings = [read_capture(capture) for capture in captures]
    for capture in captures:
        capture.close()
    # Host 1 asked twice, behind port 1; host 2 answered twice, behind port 2.
    assert [count_naming(each.frames, "10.9.0.2") for each in recordings] == [2, 2]
    assert count_naming(recordings[1].frames, "10.9.0.3") == 0


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Give a lab's directory with a record in it; sockets have to have short paths."""
    made = Place(tmp_path / "s")
    made.write(Record(LabParameters(), made.bin_dir, complete=False))
    return made


@pytest.fixture
def node() -> Node:
    """Make the namespace of the first node; it goes with the other ones of the lab."""
    made = plan_lab(LabParameters()).nodes[0]
    subprocess.run(["ip", "netns", "add", made.netns], check=True)
    return made


def test_an_agent_runs_in_its_nodes_namespace_until_down(place: Place, node: Node) -> None:
    start_agents(place, [node])
    pid = find_daemon(agent_daemon(place, node))
    listed = subprocess.check_output(["ip", "netns", "pids", node.netns], text=True)
    assert listed.split() == [str(pid)]
    assert ask(place.agent_socket(node), "leases") == []
    down(place)
    assert not Path(f"/proc/{pid}/cwd").exists()
    assert _listed() == []


def test_a_killed_agent_is_found_missing_and_started_again(place: Place, node: Node) -> None:
    daemon = agent_daemon(place, node)
    start_agents(place, [node])
    killed = kill(daemon)
    assert find_daemon(daemon) is None
    start_agents(place, [node])
    assert find_daemon(daemon) not in {None, killed}
    down(place)


def test_a_program_that_does_not_start_is_told_with_its_own_words(
    node: Node, tmp_path: Path
) -> None:
    daemon = Daemon("the program", node.netns, tmp_path, "program")
    launch(daemon, ["sh", "-c", "echo out of luck >&2; exit 1"], env={"PATH": os.environ["PATH"]})
    with pytest.raises(
        NodeError, match="cannot start the program: it ended; it wrote: out of luck"
    ):
        await_ready(daemon, lambda: False)


def test_a_process_of_another_namespace_is_not_taken_for_ours(node: Node, tmp_path: Path) -> None:
    daemon = Daemon("the program", node.netns, tmp_path, "program")
    daemon.pid_file.write_text(f"{os.getpid()}\n")
    assert find_daemon(daemon) is None


def test_down_tells_of_a_lease_of_the_dhcp_server_that_nobody_gave_back(
    place: Place, netns: MakeNetns, tmp_path: Path
) -> None:
    lab, client = plan_lab(LabParameters(subnet="10.9.0.0/24")), netns("client")
    assert lab.dhcp is not None
    subprocess.run(["ip", "netns", "add", DHCP_NETNS], check=True)
    client.run(
        "ip", "link", "add", "eth0", "up", "type", "veth", "peer", "eth0", "netns", DHCP_NETNS
    )
    inside = ["ip", "-netns", DHCP_NETNS]
    address = f"{lab.dhcp.address}/24"
    subprocess.run([*inside, "address", "add", address, "dev", "eth0"], check=True)
    subprocess.run([*inside, "link", "set", "eth0", "up"], check=True)
    start_dnsmasq(lab, place)
    script = tmp_path / "script"
    script.write_text('#!/bin/sh\n[ "$1" != bound ] || echo "$ip $router $lease"\n')
    script.chmod(0o755)
    said = client.run("busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-s", str(script))
    given, router, seconds = said.split()[-3:]
    assert (router, seconds) == ("10.9.0.1", "120")
    assert IPv4Address(given) in lab.dhcp.pool
    assert [lease.address for lease in Dnsmasq(place).leases()] == [given]
    removed = down(place)
    assert (removed.leases, removed.released, removed.clean) == (1, 0, False)


def test_namespaces_of_a_crashed_lab_are_found_and_removed() -> None:
    for name in ("sb-lab-east-1", "sb-lab-fabric", "other"):
        subprocess.run(["ip", "netns", "add", name], check=True)
    assert find_netns() == ("sb-lab-east-1", "sb-lab-fabric")
    assert release_netns() == ("sb-lab-east-1", "sb-lab-fabric")
    assert _listed() == []
    assert "other" in subprocess.check_output(["ip", "netns"], text=True)
    subprocess.run(["ip", "netns", "delete", "other"], check=True)


def test_down_removes_a_half_built_lab_and_again_nothing(tmp_path: Path) -> None:
    place = Place(tmp_path / "state")
    place.write(Record(LabParameters(), place.bin_dir, complete=False))
    subprocess.run(["ip", "netns", "add", "sb-lab-east-1"], check=True)
    removed = down(place)
    assert (removed.netns, removed.had_files, removed.clean) == (("sb-lab-east-1",), True, True)
    assert not place.directory.exists()
    assert not down(place)


def test_a_name_that_lost_its_namespace_is_removed_too(tmp_path: Path) -> None:
    subprocess.run(["ip", "netns", "add", "other"], check=True)
    Path("/run/netns/sb-lab-east-1").touch()
    down(Place(tmp_path / "state"))
    assert not Path("/run/netns/sb-lab-east-1").exists()
    subprocess.run(["ip", "netns", "delete", "other"], check=True)


def test_down_ends_what_still_runs_in_a_namespace(tmp_path: Path) -> None:
    subprocess.run(["ip", "netns", "add", "sb-lab-east-1"], check=True)
    command = ["ip", "netns", "exec", "sb-lab-east-1", "sleep", "60"]
    with subprocess.Popen(command) as process:
        while not find_processes(["sb-lab-east-1"]):
            time.sleep(0.01)
        down(Place(tmp_path / "state"))
        assert process.wait(5) == -signal.SIGTERM
    assert _listed() == []


def test_two_commands_cannot_change_the_lab_at_once() -> None:
    refused = pytest.raises(NodeError, match=r"lab command is at work \(in this process\)")
    with changing_alone(), refused, changing_alone():
        pass
    with changing_alone():
        pass
