# SPDX-License-Identifier: Apache-2.0
"""However a lab ends, it leaves nothing."""

import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.vm.lab.conftest import TIMEOUT_S, Lab, Machine

from spanbridge.lab.place import changing_alone

FEW = ("--nodes", "1")
"""An agent takes seconds to start where the processor is emulated."""


def _building(lab: Lab) -> Callable[[], bool]:
    return lambda: "sb-lab-east-1" in lab.namespaces()


def _attaching() -> bool:
    """Tell whether a first address was leased: at least one ADD is under way."""
    leases = Path("/run/spanbridge-lab/dhcp/dnsmasq.leases")
    return leases.exists() and bool(leases.read_text())


@pytest.fixture(autouse=True)
def _nothing_left(lab: Lab, machine: Callable[[], Machine]) -> Iterator[None]:
    before = machine()
    yield
    assert lab.run("down").code == 0
    assert machine() == before


@pytest.mark.timeout(900)
def test_the_demo_proves_everything_and_leaves_nothing_but_the_report(
    lab: Lab, machine: Callable[[], Machine], tmp_path: Path
) -> None:
    before = machine()
    done = lab.run("demo", "--report", str(tmp_path / "report.html"))
    assert done.code == 0, done.stderr
    assert "12 of 12 directed pairs reachable over VLAN 2" in done.stdout
    assert "802.1Q VLAN 2, 0 untagged" in done.stdout
    assert "reaches 0 of 4, as expected" in done.stdout
    assert "FAIL" not in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    assert len(done.stdout.splitlines()) <= 36
    assert '"isGateway": true, "vlan": 2, "ipam": {"type": "dhcp"}}' in done.stdout
    assert "4 of 4 addresses are leases of the DHCP server 10.88.0.254" in done.stdout
    assert "4 of 4 pods get the gateway 10.88.0.1 from their own node alone" in done.stdout
    assert "0 answers; 0 frames of it on the uplinks" in done.stdout
    (request, ack) = re.findall(r"DHCP(?:REQUEST|ACK)\(eth0\) (10\.88\.0\.\d+) ", done.stdout)
    assert request == ack
    assert "web: east/east-1 to west/west-1, pre-copy: completed after" in done.stdout
    assert re.search(r"elsewhere +0 bytes *\n", done.stdout)
    assert re.search(r"TCP session +of the guest goes on *\n", done.stdout)
    assert "dnsmasq logged 8 DHCPRELEASE, no address left; 16 namespaces" in done.stdout
    assert "west/west-1" in (tmp_path / "report.html").read_text()
    assert machine() == before


def test_a_demo_with_other_choices_uses_them(lab: Lab) -> None:
    done = lab.run(
        "demo", "--clusters", "a,b", "--nodes", "1", "--vlan", "4094", "--subnet", "10.1.0.0/28",
        "--mtu", "9000", "--ipam", "host-local", "--no-migration",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert "web" not in done.stdout
    assert "2 of 2 directed pairs reachable over VLAN 4094" in done.stdout
    assert "a and b, 1 node each, VLAN 4094, 10.1.0.0/28 by host-local, MTU 9000" in done.stdout
    assert "DHCP" not in done.stdout


def _assert_ends_in_order(process: subprocess.Popen[str], number: signal.Signals) -> None:
    process.send_signal(number)
    _, said = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 128 + number, said
    assert "Traceback" not in said


def test_ctrl_c_in_the_middle_of_an_add_leaves_nothing(
    lab: Lab, machine: Callable[[], Machine]
) -> None:
    before = machine()
    _assert_ends_in_order(lab.start("demo", *FEW, until=_attaching), signal.SIGINT)
    assert machine() == before


def test_sigterm_while_nodes_are_built_leaves_nothing(
    lab: Lab, machine: Callable[[], Machine]
) -> None:
    before = machine()
    _assert_ends_in_order(lab.start("demo", until=_building(lab)), signal.SIGTERM)
    assert machine() == before


def test_down_removes_what_a_killed_lab_left(lab: Lab) -> None:
    process = lab.start("up", *FEW, until=_attaching)
    process.kill()
    process.communicate(timeout=TIMEOUT_S)
    assert lab.namespaces()
    done = lab.run("down")
    assert done.code == 0, done.stdout + done.stderr
    assert lab.namespaces() == set()


def test_up_starts_over_what_a_killed_one_began(lab: Lab) -> None:
    process = lab.start("up", *FEW, until=_building(lab))
    process.kill()
    process.communicate(timeout=TIMEOUT_S)
    done = lab.run("up", *FEW)
    assert done.code == 0, done.stderr
    assert lab.run("status").code == 0


def test_down_with_nothing_to_remove_is_fine(lab: Lab) -> None:
    done = lab.run("down")
    assert (done.code, done.stdout) == (0, "No lab is up; there was nothing to remove.\n")


@pytest.mark.parametrize("word", ["status", "verify"])
def test_without_a_lab_there_is_nothing_to_look_at(lab: Lab, word: str) -> None:
    done = lab.run(word)
    assert done.code == 3
    assert (
        done.stderr
        == "spanbridge: cannot find a lab: none is up\n  run `spanbridge lab up` first\n"
    )


def test_an_attachment_that_fails_takes_the_lab_down_and_says_why(lab: Lab, tmp_path: Path) -> None:
    program = tmp_path / "bridge"
    program.write_text(
        """#!/bin/sh\necho '{"cniVersion":"1.0.0","code":11,"msg":"busy"}'; exit 1\n"""
    )
    program.chmod(0o755)
    done = lab.run("up", "--bin-dir", str(tmp_path))
    assert done.code == 3
    assert "busy (code 11)" in done.stderr
    assert lab.namespaces() == set()


def test_two_changes_at_once_are_refused(lab: Lab) -> None:
    with changing_alone():
        done = lab.run("down")
    assert done.code == 3
    assert "another lab command is at work" in done.stderr
