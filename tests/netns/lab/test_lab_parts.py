# SPDX-License-Identifier: Apache-2.0
"""The lab's parts over a plain bridge: what needs no VLAN runs on every kernel."""

import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from spanbridge.base.errors import NodeError
from spanbridge.lab.build import find_netns, release_netns
from spanbridge.lab.capture import count_tags, open_capture, read_capture
from spanbridge.lab.lifecycle import down
from spanbridge.lab.ping import PingResult, PingSettings, open_echo_socket, ping
from spanbridge.lab.place import Place, Record, changing_alone
from spanbridge.lab.processes import find_processes
from spanbridge.lab.topology import LabParameters
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
