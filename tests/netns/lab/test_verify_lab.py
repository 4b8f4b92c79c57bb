# SPDX-License-Identifier: Apache-2.0
"""`spanbridge verify --lab`, from the command line to its files, in a lab over plain bridges."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from spanbridge.cli import main
from spanbridge.lab.place import Place
from spanbridge.lab.topology import IpamKind, LabParameters
from spanbridge.testing.flat_lab import flat_lab
from spanbridge.testing.plugin import run

pytestmark = pytest.mark.timeout(120)  # dozens of programs start, and a mesh is measured

INTENT = """\
apiVersion: spanbridge.io/v1alpha1
kind: MigrationNetwork
metadata: {name: migration-net}
spec:
  vlan: 0
  subnets: [10.88.0.0/24]
  clusters:
  - {name: east, nodePools: [{uplink: eth1, count: 1}]}
  - {name: west, nodePools: [{uplink: eth1, count: 1}]}
"""


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """What has to be said for a lab that is up, and of which no VLAN is expected."""
    home = tmp_path_factory.mktemp("lab")
    intent = home / "network.yaml"
    intent.write_text(INTENT)
    parameters = LabParameters(("east", "west"), 1, ipam=IpamKind.HOST_LOCAL)
    with flat_lab(Place(home / "state"), parameters):
        yield ["verify", str(intent), "--lab", "--state-dir", str(home / "state")]


def test_a_healthy_lab_ends_with_0_and_a_replay_gives_the_same_bytes(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = tmp_path / "seen.json"
    assert main([*words, "--format", "json", "--save", str(seen)]) == 0
    live = capsys.readouterr()
    assert live.err == ""
    verdict = json.loads(live.out)
    assert verdict["diagnoses"] == []
    assert len(verdict["pairs"]) == 4
    for _ in range(2):
        assert main(["verify", "--replay", str(seen), "--format", "json"]) == 0
        assert capsys.readouterr().out == live.out


def test_what_is_broken_ends_with_1_and_is_in_every_file(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    html, junit = tmp_path / "report.html", tmp_path / "verify.xml"
    run("ip", "-n", "sb-lab-west-1", "link", "set", "eth1", "down")
    try:
        assert main([*words, "--html", str(html), "--junit", str(junit)]) == 1
    finally:
        run("ip", "-n", "sb-lab-west-1", "link", "set", "eth1", "up")
    said = capsys.readouterr().out
    assert "uplink eth1 of west-1 is down" in said
    assert "SBV04" in html.read_text()
    assert "SBV04" in junit.read_text()


def test_throughput_is_in_what_was_seen_where_it_is_asked_for(
    words: list[str], tmp_path: Path
) -> None:
    seen = tmp_path / "seen.json"
    main([*words, "--throughput", "--save", str(seen)])
    measured = [each for each in json.loads(seen.read_bytes())["probes"] if "throughput" in each]
    assert measured
    assert all(each["throughput"]["bits_per_s"] > 1_000_000 for each in measured)


def test_an_intent_that_the_lab_is_not_is_told(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(INTENT.replace("vlan: 0", "vlan: 0\n  mtu: 9000"))
    assert main(["verify", str(other), *words[2:]]) == 1
    assert "not 9000" in capsys.readouterr().out
