# SPDX-License-Identifier: Apache-2.0
"""
A lab node with faults in it: doctor names each first, and what it proposes mends it.

The faults are made by `ip` and `bridge`, whose word it also is that they are gone.
"""

import contextlib
import dataclasses
import io
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.vm.lab.conftest import Lab

from spanbridge.agent.client import ask
from spanbridge.cli import main
from spanbridge.rtnl import NetNs
from spanbridge.testing.agent import AgentCni
from spanbridge.testing.dhcp import wait_until
from spanbridge.testing.plugin import Netns

NODES = ("east-1", "east-2", "west-1", "west-2")
PLACE = Path("/run/spanbridge-lab")
BINARIES = Path(sys.executable).parent
GATEWAY = "10.88.0.1"
GUEST_WAIT_S = 60.0
AGENT_WAIT_S = 150.0


@dataclasses.dataclass(frozen=True, slots=True)
class Said:
    """What doctor said: its exit code, what is wrong in its order, what it mended."""

    code: int
    checks: list[dict[str, Any]]
    mended: list[dict[str, Any]]

    @property
    def faults(self) -> list[dict[str, Any]]:
        return [each for each in self.checks if each["status"] == "fail"]


@dataclasses.dataclass(frozen=True, slots=True)
class Ward:
    """A node of the lab."""

    lab: Lab
    name: str

    @property
    def netns(self) -> str:
        return f"sb-lab-{self.name}"

    @property
    def directory(self) -> Path:
        return PLACE / "nodes" / self.name

    @property
    def environ(self) -> dict[str, str]:
        return {
            "PATH": f"{BINARIES}:{os.environ['PATH']}",
            "SPANBRIDGE_SOCKET": str(self.directory / "agent.sock"),
            "SPANBRIDGE_STATE": str(self.directory / "lib"),
            "SPANBRIDGE_RUN": str(self.directory / "run"),
        }

    def doctor(self, *words: str) -> Said:
        """Run doctor in the node's namespace, in this process: imports take seconds here."""
        argv = ["doctor", "--bridge", "br-mig", "--uplink", "eth1", "--format", "json"]
        argv += ["--bin-dir", str(PLACE / "bin"), *words]
        stdout = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(stdout):
            for key, value in self.environ.items():
                patch.setenv(key, value)
            with NetNs.open(self.netns) as there:
                code = there.run(lambda: main(argv))
        document = json.loads(stdout.getvalue())
        return Said(code, document["checks"], document.get("mended", []))

    def paste(self, commands: list[str]) -> None:
        """Paste commands into a shell on the node."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.netns, "sh", "-ec", "\n".join(commands)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=dict(os.environ) | self.environ,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def agent_listens(self) -> bool:
        time.sleep(0.5)
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as asking:
            asking.connect(self.environ["SPANBRIDGE_SOCKET"])
            return True
        return False

    def sh(self, *lines: str) -> None:
        for line in lines:
            self.lab.enter(self.netns, *shlex.split(line))

    def link(self, name: str) -> dict[str, Any]:
        (found,) = self.lab.ask(self.netns, "ip", "-j", "-d", "link", "show", "dev", name)
        return dict(found)

    def names(self) -> set[str]:
        return {each["ifname"] for each in self.lab.ask(self.netns, "ip", "-j", "link")}

    def vlans(self, name: str) -> list[dict[str, Any]]:
        found = self.lab.ask(self.netns, "bridge", "-j", "vlan", "show", "dev", name)
        return list(found[0]["vlans"]) if found else []

    @property
    def pod_port(self) -> str:
        """Host port of the virt-handler, by its alias."""
        links = self.lab.ask(self.netns, "ip", "-j", "-d", "link")
        return next(
            str(each["ifname"]) for each in links if "virt-handler" in each.get("ifalias", "")
        )


@pytest.fixture(scope="module", autouse=True)
def _up(lab: Lab) -> Iterator[None]:
    done = lab.run("up")
    assert done.code == 0, done.stderr
    yield
    assert lab.run("down").code == 0


@pytest.fixture
def ward(lab: Lab) -> Iterator[Ward]:
    """The node that gets the faults; afterwards it must be well again."""
    made = Ward(lab, "east-1")
    # Leases of the lab last two minutes: none shall fall due in the middle of a fault.
    renew(made)
    yield made
    renew(made)
    assert made.doctor("--no-probe").faults == []


def renew(ward: Ward) -> None:
    ask(ward.directory / "agent.sock", "renew")


TAGGED, ACCESS = [{"vlan": 2}], [{"vlan": 2, "flags": ["PVID", "Egress Untagged"]}]


def filters(ward: Ward) -> bool:
    return bool(ward.link("br-mig")["linkinfo"]["info_data"]["vlan_filtering"])


def uplink_is_whole(ward: Ward) -> bool:
    link = ward.link("eth1")
    return link.get("master") == "br-mig" and "UP" in link["flags"] and is_tagged(ward)


def is_tagged(ward: Ward) -> bool:
    return [{"vlan": each["vlan"]} for each in ward.vlans("eth1")] == TAGGED


def port_is_right(ward: Ward) -> bool:
    return ward.vlans(ward.pod_port) == ACCESS


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """
    One fault.

    Attributes:
        code: Of the check that finds it.
        inject: Command lines that make it; PORT stands for the pod's port.
        mended: Asks another tool whether it is gone.
        fixable: ``--fix`` mends it too.
    """

    code: str
    inject: tuple[str, ...]
    mended: Callable[[Ward], bool]
    fixable: bool = True

    def make(self, ward: Ward) -> None:
        port = ward.pod_port
        ward.sh(*(line.replace("PORT", port) for line in self.inject))
        assert not self.mended(ward)


FAULTS = {
    "filtering is off": Fault(
        "SBD04", ("ip link set br-mig type bridge vlan_filtering 0",), filters
    ),
    "the uplink is no port": Fault("SBD05", ("ip link set eth1 nomaster",), uplink_is_whole),
    "the uplink is down": Fault("SBD06", ("ip link set eth1 down",), uplink_is_whole),
    "the uplink lacks the VLAN": Fault(
        "SBD07", ("bridge vlan del dev eth1 vid 2",), uplink_is_whole
    ),
    "a VLAN interface steals": Fault(
        "SBD08",
        ("ip link add link eth1 name eth1.2 type vlan id 2", "ip link set eth1.2 up"),
        lambda ward: "eth1.2" not in ward.names(),
        fixable=False,
    ),
    "the uplink is narrow": Fault(
        "SBD10", ("ip link set eth1 mtu 1400",), lambda ward: ward.link("eth1")["mtu"] == 1500
    ),
    "the pod's port lost its VLAN": Fault(
        "SBD11", ("bridge vlan del dev PORT vid 2",), port_is_right
    ),
    "the pod's port kept VLAN 1": Fault(
        "SBD12", ("bridge vlan add dev PORT vid 1 untagged",), port_is_right
    ),
}
FIXABLE = {name: fault for name, fault in FAULTS.items() if fault.fixable}


@pytest.mark.parametrize("name", NODES)
def test_a_node_of_the_lab_is_green(lab: Lab, name: str) -> None:
    said = Ward(lab, name).doctor()
    probed = [each for each in said.checks if each["code"] in {"SBD14", "SBD15"}]

    assert (said.code, said.faults) == (0, [])
    assert [each["status"] for each in probed] == ["ok", "ok"]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_the_command_that_doctor_proposes_mends_the_fault(ward: Ward, fault: Fault) -> None:
    fault.make(ward)
    said = ward.doctor("--no-probe")
    first = said.faults[0]
    ward.paste(first["commands"])

    assert (said.code, first["code"], first["fixable"]) == (1, fault.code, fault.fixable)
    assert fault.mended(ward)


@pytest.mark.parametrize("fault", FIXABLE.values(), ids=FIXABLE)
def test_fix_mends_the_fault(ward: Ward, fault: Fault) -> None:
    fault.make(ward)
    said = ward.doctor("--no-probe", "--fix")

    assert (said.code, said.faults) == (0, [])
    assert said.mended[0]["code"] == fault.code
    assert fault.mended(ward)


def test_fix_leaves_a_vlan_interface_of_somebody_else_alone(ward: Ward) -> None:
    FAULTS["a VLAN interface steals"].make(ward)
    said = ward.doctor("--no-probe", "--fix")
    there = "eth1.2" in ward.names()
    ward.sh("ip link del eth1.2")

    assert (said.code, said.mended, there) == (1, [], True)


def test_an_agent_that_is_down_is_started_by_the_command(ward: Ward) -> None:
    (pid,) = subprocess.check_output(["ip", "netns", "pids", ward.netns], text=True).split()
    os.kill(int(pid), signal.SIGKILL)
    wait_until(lambda: bool(ward.doctor("--no-probe").faults), what="the end of the agent")
    first = ward.doctor("--no-probe").faults[0]
    ward.paste(first["commands"])

    assert first["code"] == "SBD21"
    assert "bridge-net leases its addresses through it" in first["message"]
    # Doctor itself would leave it little of an emulated processor to start with.
    wait_until(ward.agent_listens, what="the agent", timeout_s=AGENT_WAIT_S)
    wait_until(
        lambda: not ward.doctor("--no-probe").faults, what="its lease", timeout_s=GUEST_WAIT_S
    )
    # For `lab down`, which ends what it does not know, the lab has to have its own again.
    (pasted,) = subprocess.check_output(["ip", "netns", "pids", ward.netns], text=True).split()
    os.kill(int(pasted), signal.SIGKILL)
    assert ward.lab.run("up").code == 0


def stale_pod(ward: Ward) -> list[str]:
    """Attach a pod on a VLAN of its own that then dies without DEL; what is attached."""
    name = "sb-lab-east-1.dead"
    conf = {
        "cniVersion": "1.0.0",
        "name": "short-lived",
        "type": "bridge",
        "bridge": "br-mig",
        "vlan": 2,
        "ipam": {
            "type": "host-local",
            "dataDir": str(ward.directory / "short"),
            "subnet": "10.99.0.0/24",
        },
    }
    node = Netns(ward.netns, Path("/run/netns") / ward.netns)
    calls = AgentCni(PLACE / "bin", ward.directory / "run", node, ward.directory / "agent.sock")
    subprocess.run(["ip", "netns", "add", name], check=True)
    before = ward.names()
    calls.add(conf, Netns(name, Path("/run/netns") / name), container="dead")
    subprocess.run(["ip", "netns", "del", name], check=True)
    wait_until(lambda: ward.names() == before, what="its port to go", timeout_s=GUEST_WAIT_S)
    return attached(ward)


def attached(ward: Ward) -> list[str]:
    files = (ward.directory / "lib" / "attachments").glob("*.json")
    return sorted(json.loads(each.read_text())["containerId"] for each in files)


@pytest.mark.parametrize("by_fix", [False, True], ids=["pasted", "by fix"])
def test_a_stale_attachment_is_undone(ward: Ward, *, by_fix: bool) -> None:
    before = stale_pod(ward)
    said = ward.doctor("--no-probe", *(["--fix"] if by_fix else []))
    if not by_fix:
        assert [each["code"] for each in said.faults] == ["SBD25"]
        ward.paste(said.faults[0]["commands"])

    assert "dead" in before
    assert [each["code"] for each in said.mended] == (["SBD25"] if by_fix else [])
    assert "dead" not in attached(ward)


@pytest.fixture
def rival(lab: Lab) -> Iterator[str]:
    """One more host in VLAN 2, on an access port of the fabric."""
    name = "sb-lab-rival"
    subprocess.run(["ip", "netns", "add", name], check=True)
    fabric = ["ip", "-n", "sb-lab-fabric", "link"]
    subprocess.run([*fabric, "add", "rival", "type", "veth", "peer", "eth0", "netns", name],
                   check=True)  # fmt: skip
    subprocess.run([*fabric, "set", "rival", "master", "fabric", "up"], check=True)
    lab.enter("sb-lab-fabric", *shlex.split("bridge vlan add dev rival vid 2 pvid untagged"))
    lab.enter(name, *shlex.split("ip link set eth0 up"))
    yield name
    subprocess.run(["ip", "netns", "del", name], check=True)


def test_a_gateway_on_two_hosts_of_the_vlan_is_named(ward: Ward, rival: str) -> None:
    hosts = ((rival, "eth0"), ("sb-lab-dhcp", "eth0"))
    macs = set()
    for netns, device in hosts:
        ward.lab.enter(netns, "ip", "addr", "add", f"{GATEWAY}/32", "dev", device)
        (link,) = ward.lab.ask(netns, "ip", "-j", "link", "show", "dev", device)
        macs.add(link["address"])
    said = ward.doctor()
    for netns, device in hosts:
        ward.lab.enter(netns, "ip", "addr", "del", f"{GATEWAY}/32", "dev", device)

    assert [each["code"] for each in said.faults] == ["SBD14"]
    assert all(mac in said.faults[0]["message"] for mac in macs)
    assert ward.doctor().faults == []
