# SPDX-License-Identifier: Apache-2.0
"""A virtual machine of the lab: booted, looked at by other tools, and ended."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.netns.lab.conftest import bare_lab

from spanbridge.base.errors import InputError, NodeError
from spanbridge.lab.runtime import Runtime
from spanbridge.lab.vm.console import Console
from spanbridge.lab.vm.image import ensure_image
from spanbridge.lab.vm.life import start_machine, stop_machine
from spanbridge.lab.vm.machine import (
    Machine,
    Wanted,
    find_machine,
    launcher_of,
    qemu_daemon,
    read_machines,
)
from spanbridge.lab.vm.qemu import find_accelerator

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with bare_lab(tmp_path_factory.mktemp("s")) as made:
        yield made


@pytest.fixture(scope="module")
def machine(runtime: Runtime) -> Machine:
    return start_machine(runtime, Wanted("web", dirty_mib_per_s=5))


def _show(netns: str, *words: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(
        subprocess.check_output(["ip", "-netns", netns, "-j", *words], text=True)
    )
    return found


def test_the_counter_goes_on_without_a_gap_in_its_numbers(
    runtime: Runtime, machine: Machine
) -> None:
    with Console(launcher_of(runtime.place, machine).socket("console")) as console:
        for _ in range(10):
            assert console.await_tick(timeout_s=20) is not None
        ticks = list(console.ticks)
    assert [each.number for each in ticks] == list(
        range(ticks[0].number, ticks[0].number + len(ticks))
    )
    assert ticks[-1].guest_s > ticks[0].guest_s


def test_the_guest_holds_a_tcp_session_that_the_kernel_shows(
    runtime: Runtime, machine: Machine
) -> None:
    assert runtime.lab.nodes[0].name == machine.node
    shown = subprocess.check_output(
        ["ip", "netns", "exec", "sb-lab-vms", "ss", "-Htn", "state", "established"], text=True
    )
    ends = [line.split()[2:4] for line in shown.splitlines()]
    # More than one where a machine of this address was killed before: its peer does not know yet.
    assert {ours for ours, theirs in ends if theirs.startswith(f"{machine.address}:")} == {
        "192.0.2.1:7000"
    }


def test_qemu_runs_in_its_launchers_namespace_and_has_one_tap_there(
    runtime: Runtime, machine: Machine
) -> None:
    launcher = launcher_of(runtime.place, machine)
    assert launcher.netns.startswith("sb-lab-east-1.virt-launcher-web-")
    pids = subprocess.check_output(["ip", "netns", "pids", launcher.netns], text=True).split()
    (pid,) = pids
    assert Path(f"/proc/{pid}/exe").readlink().name == "qemu-system-x86_64"
    kinds = {
        str(link["ifname"]): link.get("linkinfo", {})
        for link in _show(launcher.netns, "-d", "link")
    }
    assert set(kinds) == {"lo", "eth0", "tap0", "k6t-eth0"}
    assert kinds["tap0"]["info_kind"] == "tun"  # type: ignore[index]


def test_the_node_has_a_second_card_on_a_bridge_of_its_own(
    runtime: Runtime, machine: Machine
) -> None:
    launcher = launcher_of(runtime.place, machine)
    links = {str(link["ifname"]): link for link in _show("sb-lab-east-1", "link")}
    assert links["eth2"]["master"] == links[launcher.port]["master"] == "br-vm"
    ports = [str(link["ifname"]) for link in _show("sb-lab-vms", "link", "show", "master", "vms")]
    assert "east-1" in ports


def test_a_machine_that_runs_is_found_and_not_started_again(
    runtime: Runtime, machine: Machine
) -> None:
    assert find_machine(runtime.place, "web") == machine
    with pytest.raises(NodeError, match="cannot start web: it runs already"):
        start_machine(runtime, Wanted("web"))


@pytest.mark.parametrize("name", ["", "Web", "a.b", "-web", "w" * 21])
def test_a_name_that_no_pod_could_have_is_refused(runtime: Runtime, name: str) -> None:
    with pytest.raises(InputError, match="as name of a virtual machine"):
        start_machine(runtime, Wanted(name))


def test_kvm_is_used_only_where_a_kernel_starts_under_it(
    runtime: Runtime, machine: Machine
) -> None:
    image = ensure_image(runtime.place.directory / "vm")
    assert find_accelerator(runtime.place.directory / "vm", image) == machine.accelerator
    pid = subprocess.check_output(
        ["ip", "netns", "pids", launcher_of(runtime.place, machine).netns], text=True
    ).strip()
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    assert words[words.index("-accel") + 1].startswith(machine.accelerator)


def test_a_machine_that_is_stopped_leaves_no_namespace_no_process_and_no_file(
    runtime: Runtime,
) -> None:
    made = start_machine(runtime, Wanted("short-lived", runtime.lab.nodes[1]))
    assert made.node == "west-1"
    launcher = launcher_of(runtime.place, made)
    pid = subprocess.check_output(["ip", "netns", "pids", launcher.netns], text=True).strip()
    assert stop_machine(runtime.place, "short-lived")
    assert not Path(f"/proc/{pid}/cwd").exists()
    assert launcher.netns not in subprocess.check_output(["ip", "netns", "list"], text=True)
    assert not launcher.directory.exists()
    assert "short-lived" not in {each.name for each in read_machines(runtime.place)}
    links = {str(link["ifname"]) for link in _show("sb-lab-west-1", "link")}
    assert links == {"lo", "eth2", "br-vm"}
    assert not stop_machine(runtime.place, "short-lived")


def test_a_machine_whose_qemu_was_killed_is_not_found(runtime: Runtime) -> None:
    made = start_machine(runtime, Wanted("victim", runtime.lab.nodes[1]))
    pid = subprocess.check_output(
        ["ip", "netns", "pids", launcher_of(runtime.place, made).netns], text=True
    ).strip()
    os.kill(int(pid), 9)
    while Path(f"/proc/{pid}/fd").exists() and find_machine(runtime.place, "victim"):
        time.sleep(0.05)
    assert qemu_daemon(launcher_of(runtime.place, made)).pid_file.exists()
    assert find_machine(runtime.place, "victim") is None
    stop_machine(runtime.place, "victim")
