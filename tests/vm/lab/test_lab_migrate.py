# SPDX-License-Identifier: Apache-2.0
"""A machine crosses from cluster to cluster, over a VLAN and with leased addresses."""

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.vm.lab.conftest import Lab

LEASES = Path("/run/spanbridge-lab/dhcp/dnsmasq.leases")
HANDLERS = ("sb-lab-east-1.virt-handler", "sb-lab-west-1.virt-handler")
MIB = 1 << 20

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module", autouse=True)
def running(lab: Lab) -> Iterator[None]:
    """Have a lab with one machine for all tests: it takes a minute to boot."""
    done = lab.run("up", "--nodes", "1")
    assert done.code == 0, done.stderr
    yield
    assert lab.run("down").code == 0
    assert lab.namespaces() == set()


def _sent(lab: Lab, netns: str, device: str) -> int:
    (link,) = lab.ask(netns, "ip", "-j", "-s", "link", "show", device)
    return int(link["stats64"]["tx"]["bytes"])


def _home(lab: Lab) -> str:
    """Tell on which node the machine's launcher is."""
    (name,) = (each for each in lab.namespaces() if ".virt-launcher-" in each)
    return name.removeprefix("sb-lab-").partition(".")[0]


def _migrate(lab: Lab, *words: str) -> tuple[int, dict[str, Any]]:
    done = lab.run("migrate", "web", *words, "--format", "json")
    assert done.stdout, done.stderr
    return done.code, json.loads(done.stdout)


def _away(lab: Lab) -> tuple[str, str]:
    """Tell where the machine is, and the cluster where it is not."""
    if not any(".virt-launcher-" in each for each in lab.namespaces()):
        return "east-1", "west"
    home = _home(lab)
    return home, "west" if home == "east-1" else "east"


def test_a_machine_crosses_on_the_vlan_with_leased_addresses(lab: Lab) -> None:
    home, target = _away(lab)
    handler, node = f"sb-lab-{home}.virt-handler", f"sb-lab-{home}"
    before = (_sent(lab, handler, "migration0"), _sent(lab, node, "eth1"))
    code, migration = _migrate(lab, "--to", target)
    assert (code, migration["outcome"], migration["error"]) == (0, "completed", "")
    assert (migration["lost_ticks"], migration["session_kept"]) == (0, True)
    assert migration["elsewhere_bytes"] == 0
    assert _home(lab) == f"{target}-1"
    sent = migration["samples"][-1]["transferred_bytes"]
    assert sent > 20 * MIB
    assert migration["migration0_bytes"] > sent
    assert _sent(lab, handler, "migration0") - before[0] > sent
    assert _sent(lab, node, "eth1") - before[1] > sent
    # The uplink carries nothing but VLAN 2, tagged.
    (uplink,) = lab.ask(node, "bridge", "-j", "vlan", "show", "dev", "eth1")
    assert [each["vlan"] for each in uplink["vlans"]] == [2]
    leased = {line.split()[2] for line in LEASES.read_text().splitlines()}
    for netns in HANDLERS:
        (link,) = lab.ask(netns, "ip", "-j", "-4", "address", "show", "migration0")
        assert link["addr_info"][0]["local"] in leased


def test_a_migration_cancelled_at_half_leaves_the_machine_where_it_was(lab: Lab) -> None:
    home, target = _away(lab)
    code, migration = _migrate(lab, "--to", target, "--cancel-at", "50")
    assert (code, migration["outcome"]) == (1, "cancelled")
    assert "of its memory, as asked; it runs on in " in migration["error"]
    assert (migration["session_kept"], migration["elsewhere_bytes"]) == (True, 0)
    assert _home(lab) == home


def test_an_uplink_that_is_cut_on_the_way_leaves_the_machine_where_it_was(lab: Lab) -> None:
    home, target = _away(lab)
    handler = f"sb-lab-{home}.virt-handler"
    limit = _sent(lab, handler, "migration0") + 10 * MIB
    cut = threading.Event()

    def watch() -> None:
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline and _sent(lab, handler, "migration0") < limit:
            time.sleep(0.2)
        _set_port(home, "down")
        cut.set()

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        words = ("--bandwidth", "4", "--stall", "10")
        code, migration = _migrate(lab, "--to", target, *words)
    finally:
        watching.join()
        _set_port(home, "up")
    assert cut.is_set()
    assert (code, migration["outcome"]) == (1, "failed")
    assert ": no byte was transferred for 10 s" in migration["error"]
    assert migration["error"].endswith(f"; it runs on in {home.partition('-')[0]}/{home}")
    assert migration["session_kept"]
    assert _home(lab) == home


def _set_port(node: str, state: str) -> None:
    """Pull or plug the cable between a node and the switch."""
    subprocess.run(
        ["ip", "-netns", "sb-lab-fabric", "link", "set", node, state],
        check=True,
    )
