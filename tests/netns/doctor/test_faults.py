# SPDX-License-Identifier: Apache-2.0
"""
Faults made by `ip` on a node: doctor names each first, and what it proposes mends it.

Faults that need VLANs are in tests/vm/doctor.
"""

import json
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from spanbridge.testing.dhcp import wait_until

if TYPE_CHECKING:
    from .conftest import Ward
else:
    Ward = Any


@dataclass(frozen=True, slots=True)
class Fault:
    """
    One fault.

    Attributes:
        code: Of the check that finds it.
        inject: Command lines that make it, on the node.
        mended: Asks another tool whether it is gone.
    """

    code: str
    inject: tuple[str, ...]
    mended: Callable[[Ward], bool]


def is_up(ward: Ward, name: str) -> bool:
    return "UP" in ward.link(name)["flags"]


def is_port(ward: Ward) -> bool:
    return ward.link("up0").get("master") == "br0"


FAULTS = {
    "the bridge is down": Fault(
        "SBD03", ("ip link set br0 down",), lambda ward: is_up(ward, "br0")
    ),
    "the uplink is no port": Fault("SBD05", ("ip link set up0 nomaster",), is_port),
    "the uplink is no port and down": Fault(
        "SBD05",
        ("ip link set up0 nomaster down",),
        lambda ward: is_port(ward) and is_up(ward, "up0"),
    ),
    "the uplink is down": Fault(
        "SBD06", ("ip link set up0 down",), lambda ward: is_up(ward, "up0")
    ),
    "the uplink is narrow": Fault(
        "SBD10", ("ip link set up0 mtu 1400",), lambda ward: ward.link("up0")["mtu"] == 1500
    ),
    "the bridge is narrow": Fault(
        "SBD10", ("ip link set br0 mtu 1280",), lambda ward: ward.link("br0")["mtu"] == 1500
    ),
}


def test_a_node_that_is_well_is_green(ward: Ward) -> None:
    said = ward.doctor()

    assert (said.code, said.faults) == (0, [])
    assert [each["status"] for each in said.of("SBD14") + said.of("SBD15")] == ["ok", "ok"]
    assert "10.9.0.1 is at" in said.of("SBD14")[0]["message"]


def inject(ward: Ward, fault: Fault) -> None:
    for line in fault.inject:
        ward.node.run(*shlex.split(line))


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_the_command_that_doctor_proposes_mends_the_fault(ward: Ward, fault: Fault) -> None:
    inject(ward, fault)
    assert not fault.mended(ward)
    said = ward.doctor("--no-probe")
    first = said.faults[0]
    ward.paste(first["commands"])

    assert (said.code, first["code"]) == (1, fault.code)
    assert fault.mended(ward)
    wait_until(lambda: ward.link("up0")["operstate"] == "UP", what="the uplink")
    assert ward.doctor("--no-probe").code == 0


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_fix_mends_the_fault(ward: Ward, fault: Fault) -> None:
    inject(ward, fault)
    said = ward.doctor("--no-probe", "--fix")

    assert (said.code, said.faults) == (0, [])
    told = [(each["code"], each["before"], each["after"]) for each in said.mended]
    assert told == [(fault.code, "fail", "ok")]
    assert fault.mended(ward)


def test_a_node_without_bridge_gets_one_with_its_uplink(ward: Ward) -> None:
    ward.cni.delete(ward.conf, ward.pod)
    ward.node.run("ip", "link", "del", "br0")
    said = ward.doctor("--no-probe", "--fix")

    assert (said.code, [each["code"] for each in said.mended]) == (0, ["SBD02"])
    assert is_port(ward)


def test_without_fix_nothing_is_changed(ward: Ward) -> None:
    ward.node.run("ip", "link", "set", "up0", "nomaster", "down")

    def seen() -> list[Any]:
        links, addresses = ward.ask("ip", "-j", "link"), ward.ask("ip", "-j", "-4", "addr")
        return [links, addresses, ward.node.run("nft", "list", "ruleset")]

    before = seen()
    ward.doctor()

    assert seen() == before


def test_forwarding_that_was_turned_off_is_turned_on_again(ward: Ward) -> None:
    gateway = ward.conf | {"name": "routed", "isGateway": True}
    gateway["ipam"]["ranges"][0][0]["gateway"] = "10.9.0.9"
    ward.conf_file.write_text(json.dumps(gateway))
    ward.cni.add(gateway, ward.pod, ifname="eth1")
    ward.node.run("sysctl", "-w", "net.ipv4.ip_forward=0")
    first = ward.doctor("--no-probe").faults[0]
    ward.paste(first["commands"])
    pasted = ward.node.run("sysctl", "-n", "net.ipv4.ip_forward").strip()
    ward.node.run("sysctl", "-w", "net.ipv4.ip_forward=0")
    fixed = ward.doctor("--no-probe", "--fix")

    assert (first["code"], pasted) == ("SBD16", "1")
    assert fixed.code == 0
    assert ward.node.run("sysctl", "-n", "net.ipv4.ip_forward").strip() == "1"


def test_programs_that_are_missing_are_installed_by_the_command(ward: Ward, tmp_path: Path) -> None:
    empty = tmp_path / "bin"
    first = ward.doctor("--no-probe", "--bin-dir", str(empty)).faults[0]
    ward.paste(first["commands"])
    after = ward.doctor("--no-probe", "--bin-dir", str(empty))

    assert (first["code"], first["subject"]) == ("SBD19", f"directory {empty}")
    assert os.access(empty / "bridge", os.X_OK)
    assert after.code == 0
    assert [each["status"] for each in after.of("SBD20")] == ["skipped", "ok"]
