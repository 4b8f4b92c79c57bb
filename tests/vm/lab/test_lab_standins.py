# SPDX-License-Identifier: Apache-2.0
"""KubeVirt's stand-ins in a lab with a VLAN and leases, as openssl sees them across clusters."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.vm.lab.conftest import Lab

from spanbridge.lab.lifecycle import open_lab
from spanbridge.lab.place import Place
from spanbridge.lab.standin import advertised, ensure_standins

pytestmark = pytest.mark.timeout(600)

STATE = Path("/run/spanbridge-lab")
EAST = "sb-lab-east-1.virt-handler"


@pytest.fixture(scope="module", autouse=True)
def _up(lab: Lab) -> Iterator[None]:
    # One node each: there leader and standby share it.
    assert lab.run("up", "--nodes", "1").code == 0
    standins = ensure_standins(open_lab(Place(STATE)), lambda _: None)
    assert len(standins.started) == 6
    yield
    done = lab.run("down")
    assert (done.code, lab.namespaces()) == (0, set()), done.stdout
    assert "dnsmasq logged 6 DHCPRELEASE, no address left" in done.stdout
    assert subprocess.run(["pgrep", "-f", "lab.kubevirt"], check=False).returncode == 1


def _address(lab: Lab, netns: str) -> str:
    (link,) = lab.ask(netns, "ip", "-j", "-4", "addr", "show", "dev", "migration0")
    return str(link["addr_info"][0]["local"])


def _tls(lab: Lab, target: str, identity: str) -> str:
    """Dial from the virt-handler of east, with a certificate of its cluster."""
    trust = STATE / "trust" / "east"
    own = f"-cert {trust}/{identity}.pem -key {trust}/{identity}.pem -CAfile {trust}/ca-bundle"
    command = f"openssl s_client -connect {target} {own} -no-CApath </dev/null 2>&1 || true"
    return lab.enter(EAST, "sh", "-c", command)


def test_every_sync_controller_has_a_lease_of_the_dhcp_server(lab: Lab) -> None:
    lines = (STATE / "dhcp" / "dnsmasq.leases").read_text().splitlines()
    leased = {line.split()[2] for line in lines}
    pods = [name for name in lab.namespaces() if "." in name]
    assert {_address(lab, pod) for pod in pods} == leased
    assert len(leased) == 6


def test_a_handler_reaches_the_other_clusters_handler_by_tls(lab: Lab) -> None:
    target = f"{_address(lab, 'sb-lab-west-1.virt-handler')}:8443"
    said = _tls(lab, target, "migration-client")
    assert "Verify return code: 0 (ok)" in said
    assert "subject=CN = kubevirt.io:system:node:virt-handler" in said


def test_the_advertised_address_is_the_leaders_and_answers(lab: Lab) -> None:
    target = advertised(Place(STATE), "west")
    assert target == f"{_address(lab, 'sb-lab-west-1.sync0')}:9185"
    assert "Verify return code: 0 (ok)" in _tls(lab, target, "sync-client")


def test_the_standby_refuses_the_sync_port(lab: Lab) -> None:
    target = f"{_address(lab, 'sb-lab-west-1.sync1')}:9185"
    assert "Connection refused" in _tls(lab, target, "sync-client")


def test_status_shows_every_stand_in_and_ensuring_again_starts_none(lab: Lab) -> None:
    assert ensure_standins(open_lab(Place(STATE)), lambda _: None).started == ()
    status = json.loads(lab.run("status", "--format", "json").stdout)
    roles = [each["role"] for each in status["standins"]]
    assert roles == ["virt-handler"] * 2 + ["sync-leader", "sync-standby"] * 2
    assert {each["address"] for each in status["standins"]} == {
        _address(lab, each["netns"]) for each in status["standins"]
    }
    shown = lab.run("status")
    assert (shown.code, len(re.findall("sync-leader", shown.stdout))) == (0, 2)
