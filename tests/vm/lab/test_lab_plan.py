# SPDX-License-Identifier: Apache-2.0
"""Labs brought up from the files of a plan alone: their pairs reach each other."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.vm.lab.conftest import Lab

from spanbridge.cli import main

pytestmark = pytest.mark.timeout(300)

HEAD = """\
apiVersion: spanbridge.io/v1alpha1
kind: MigrationNetwork
metadata: {name: migration-net}
spec:
  vlan: 2
"""
# As short as an intent can be.
TEN_LINES = """\
  subnets: [10.88.0.0/24]
  clusters:
  - {name: east, nodePools: [{uplink: eth1, count: 2}]}
  - {name: west, nodePools: [{uplink: ens4, bridge: br0, count: 2}]}
"""
COMMANDS = """\
  mtu: 9000
  subnets: [10.88.0.0/24, "fd00:88::/64"]
  ipam: {type: host-local}
  defaults: {flavor: kubevirt}
  clusters:
  - name: east
    nodePools:
    - {name: new, uplink: ens3, nodes: [n1]}
    - {name: old, uplink: eth9, bridge: br0, nodes: [o1]}
  - {name: west, nodePools: [{uplink: eth1, nodes: [w1]}]}
"""
OUR_PLUGIN_AND_DHCP = """\
  subnets: [10.88.0.0/24]
  ipam: {type: dhcp, leaseSeconds: 3600}
  defaults: {flavor: kubevirt, plugin: spanbridge}
  clusters:
  - {name: east, nodePools: [{uplink: eth1, count: 1}]}
  - {name: west, nodePools: [{uplink: ens4, count: 1}]}
"""


def addresses(lab: Lab) -> dict[str, str]:
    """The address of every virt-handler, by node, as `ip` has it."""
    handlers = [name for name in lab.namespaces() if name.endswith(".virt-handler")]
    found = {}
    for name in handlers:
        (link,) = lab.ask(name, "ip", "-j", "-4", "addr", "show", "dev", "migration0")
        node = name.removeprefix("sb-lab-").removesuffix(".virt-handler")
        found[node] = str(link["addr_info"][0]["local"])
    return found


def bring_up(lab: Lab, place: Path, intent: str, nodes: int) -> tuple[dict[str, Any], str]:
    """
    Plan, bring the lab up from the files, verify it, take it down.

    The verdict, with every address under "addresses", and what `lab status` printed.
    """
    (place / "network.yaml").write_text(HEAD + intent)
    assert main(["plan", str(place / "network.yaml"), "-o", str(place / "plan")]) == 0
    (place / "network.yaml").unlink()
    up = lab.run("up", "--plan", str(place / "plan"), "--nodes", str(nodes))
    try:
        assert up.code == 0, up.stderr
        status = lab.run("status")
        assert status.code == 0, status.stdout
        verdict = lab.run("verify", "--format", "json")
        assert verdict.stdout, verdict.stderr
        given = addresses(lab)
    finally:
        down = lab.run("down")
    assert (down.code, lab.namespaces()) == (0, set()), down.stdout
    return json.loads(verdict.stdout) | {"addresses": given}, status.stdout


def planned_addresses(place: Path, cluster: str) -> list[str]:
    """The first and the last address of a cluster, by the page of the plan."""
    page = (place / "plan/README.md").read_text()
    (found,) = re.findall(rf"\[{cluster}\].*\| ([0-9.]+)-([0-9.]+)[ ,|]", page)
    return list(found)


def test_ten_lines_are_enough_for_two_clusters_that_reach_each_other(
    lab: Lab, tmp_path: Path
) -> None:
    verdict, status = bring_up(lab, tmp_path, TEN_LINES, 2)
    given = verdict["addresses"]

    assert (verdict["passed"], verdict["reachable"]) == (True, 12), verdict
    assert all(trunk["tagged"] and not trunk["untagged"] for trunk in verdict["trunks"])
    assert verdict["isolation"]["reached"] == 0
    # Lowest first, as whereabouts does; which node comes first is not said.
    assert planned_addresses(tmp_path, "east")[0] in {given["east-1"], given["east-2"]}
    assert planned_addresses(tmp_path, "west")[0] in {given["west-1"], given["west-2"]}
    assert len(set(given.values())) == 4
    assert "br0" in status


def test_nodes_without_nmstate_are_prepared_by_the_planned_commands(
    lab: Lab, tmp_path: Path
) -> None:
    verdict, status = bring_up(lab, tmp_path, COMMANDS, 2)

    assert (verdict["passed"], verdict["reachable"]) == (True, 6), verdict
    assert all(name in status for name in ("ens3", "eth9", "br0"))


def test_our_plugin_prepares_the_uplink_and_the_planned_server_gives_addresses(
    lab: Lab, tmp_path: Path
) -> None:
    verdict, _ = bring_up(lab, tmp_path, OUR_PLUGIN_AND_DHCP, 1)

    assert (verdict["passed"], verdict["reachable"]) == (True, 2), verdict
    assert verdict["leases"]["passed"]
    assert verdict["leases"]["server"] == "10.88.0.254"
