# SPDX-License-Identifier: Apache-2.0
"""A lab read from the files of a plan: what each node is, and what hands out addresses."""

import ipaddress
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spanbridge.base.errors import InputError
from spanbridge.cli import main
from spanbridge.lab.place import Place, Record
from spanbridge.lab.planned import read_planned, render_host_local
from spanbridge.lab.topology import IpamKind, plan_lab

HEAD = """\
apiVersion: spanbridge.io/v1alpha1
kind: MigrationNetwork
metadata: {name: migration-net}
spec:
  vlan: 7
  mtu: 9000
  subnets: [10.88.0.0/24]
"""
TWO = """\
  clusters:
  - {name: east, nodePools: [{uplink: ens3, bridge: br0, count: 9}]}
  - {name: west, nodePools: [{uplink: ens4, count: 9}]}
"""
NAMED = """\
  ipam: {type: host-local}
  defaults: {flavor: kubevirt}
  clusters:
  - name: east
    nodePools:
    - {name: a, uplink: ens3, nodes: [x, y]}
    - {name: b, uplink: ens9, bridge: br0, nodes: [z]}
  - {name: west, nodePools: [{uplink: ens4, nodes: [w], nmstate: true}]}
"""
Planned = Callable[[str], Path]


@pytest.fixture
def planned(tmp_path: Path) -> Planned:
    def plan(rest: str) -> Path:
        (tmp_path / "network.yaml").write_text(HEAD + rest)
        assert main(["plan", str(tmp_path / "network.yaml"), "-o", str(tmp_path / "plan")]) == 0
        return tmp_path / "plan"

    return plan


def test_policies_of_nmstate_say_how_nodes_are_wired(planned: Planned) -> None:
    lab = plan_lab(read_planned(planned(TWO), nodes=2))

    assert [node.name for node in lab.nodes] == ["east-1", "east-2", "west-1", "west-2"]
    assert [(n.wiring.bridge, n.wiring.uplink, n.wiring.vlans) for n in lab.nodes] == [
        ("br0", "ens3", (7,)),
        ("br0", "ens3", (7,)),
        ("br-mig", "ens4", (7,)),
        ("br-mig", "ens4", (7,)),
    ]
    assert (lab.vlan, lab.mtu, str(lab.subnet)) == (7, 9000, "10.88.0.0/24")
    assert not any(node.wiring.command for node in lab.nodes)


def test_named_nodes_have_their_own_configuration_and_their_pools_command(
    planned: Planned,
) -> None:
    lab = plan_lab(read_planned(planned(NAMED), nodes=2))
    commands = [" ".join(node.wiring.command) for node in lab.nodes]

    assert commands == [
        "uplink ensure ens3 --bridge br-mig --vlan 7 --mtu 9000",
        "uplink ensure ens3 --bridge br-mig --vlan 7 --mtu 9000",
        "uplink ensure ens9 --bridge br0 --vlan 7 --mtu 9000",
        "",
    ]
    assert len({node.handler.config for node in lab.nodes}) == 4


def test_our_plugin_makes_the_bridge_itself(planned: Planned) -> None:
    text = TWO.replace("clusters:", "defaults: {flavor: kubevirt, plugin: spanbridge}\n  clusters:")
    lab = plan_lab(read_planned(planned(text), nodes=1))

    assert [(n.wiring.uplink, n.wiring.vlans, n.wiring.command) for n in lab.nodes] == [
        ("ens3", (), ()),
        ("ens4", (), ()),
    ]


def test_the_outsider_has_an_address_of_nobody(planned: Planned) -> None:
    parameters = read_planned(planned(TWO), nodes=2)

    outsider = json.loads(plan_lab(parameters).outsider.config)

    assert outsider["ipam"]["addresses"] == [{"address": "10.88.0.1/24"}]
    assert (outsider["bridge"], "vlan" in outsider) == ("br0", False)


def test_the_dhcp_server_is_the_planned_one(planned: Planned) -> None:
    text = "  ipam: {type: dhcp, server: 10.88.0.9}\n" + TWO
    parameters = read_planned(planned(text), nodes=2)
    lab = plan_lab(parameters)

    assert parameters.ipam is IpamKind.DHCP
    assert lab.dhcp is not None
    assert (str(lab.dhcp.address), str(lab.dhcp.pool)) == ("10.88.0.9", "10.88.0.2 to 10.88.0.254")


@pytest.mark.parametrize("text", [TWO, NAMED], ids=["policies", "commands"])
def test_a_record_of_a_planned_lab_is_read_as_it_was_written(
    planned: Planned, tmp_path: Path, text: str
) -> None:
    place = Place(tmp_path / "state")
    record = Record(read_planned(planned(text), nodes=2), place.bin_dir, complete=True)
    place.write(record)

    assert place.read() == record


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TWO.replace("west", "a-very-long-name"), "is no cluster name"),
        (TWO, "the number of nodes 34"),
    ],
)
def test_what_no_lab_can_be_is_refused(planned: Planned, text: str, message: str) -> None:
    parameters = read_planned(planned(text), nodes=17)
    with pytest.raises(InputError, match=message):
        plan_lab(parameters)


def test_a_directory_without_a_plan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no cluster's network\.yaml is in it"):
        read_planned(tmp_path, nodes=2)


@pytest.mark.parametrize("other", ["--vlan", "--ipam", "--clusters"])
def test_what_the_plan_says_cannot_be_said_again(
    planned: Planned, capsys: pytest.CaptureFixture[str], other: str
) -> None:
    value = {"--vlan": "2", "--ipam": "dhcp", "--clusters": "a,b"}[other]
    assert main(["lab", "demo", "--plan", str(planned(TWO)), other, value]) == 2
    assert f"--plan says what {other} would" in capsys.readouterr().err


def every(ipam: dict[str, Any]) -> list[set[str]]:
    """All addresses of each range set, by the standard library."""
    found = []
    for ranges in ipam["ranges"]:
        ips: set[str] = set()
        for row in ranges:
            first, last = (ipaddress.ip_address(row[key]) for key in ("rangeStart", "rangeEnd"))
            assert first in ipaddress.ip_network(row["subnet"])
            ips |= {str(type(first)(n)) for n in range(int(first), int(last) + 1)}
        found.append(ips)
    return found


def test_host_local_hands_out_what_whereabouts_would() -> None:
    four = {"range": "10.0.0.0/24", "range_start": "10.0.0.5", "range_end": "10.0.0.20",
            "exclude": ["10.0.0.8/30", "10.0.0.12/32", "10.0.0.20/32", "10.0.0.5/32"]}  # fmt: skip
    six = {"range": "fd00::/64", "range_start": "fd00::2", "range_end": "fd00::3"}
    made = render_host_local({"type": "whereabouts", "ipRanges": [four, six]}, "/somewhere")

    assert made["dataDir"] == "/somewhere"
    assert every(made) == [
        {f"10.0.0.{n}" for n in (6, 7, 13, 14, 15, 16, 17, 18, 19)},
        {"fd00::2", "fd00::3"},
    ]
