# SPDX-License-Identifier: Apache-2.0
"""`spanbridge plan`: what it writes, what it says, how it ends."""

import json
from pathlib import Path

import pytest

from spanbridge.cli.program import main

INTENT = """\
apiVersion: spanbridge.io/v1alpha1
kind: MigrationNetwork
metadata: {name: migration-net}
spec:
  vlan: 2
  subnets: [10.88.0.0/24]
  clusters:
  - {name: east, nodePools: [{uplink: eth1, count: 2}]}
  - {name: west, nodePools: [{uplink: eth1, count: 2}]}
"""


@pytest.fixture
def intent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "network.yaml"
    path.write_text(INTENT)
    return path


def content(place: Path) -> dict[str, str]:
    return {str(path.relative_to(place)): path.read_text()
            for path in place.rglob("*") if path.is_file()}  # fmt: skip


def test_a_plan_is_written_and_then_up_to_date(
    intent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = main(["plan", "network.yaml", "-o", "plan"])
    said = capsys.readouterr().out
    check = main(["plan", "network.yaml", "-o", "plan", "--check"])

    assert (first, check) == (0, 0)
    assert "east: 10.88.0.2-10.88.0.7 (5 needed)" in said
    assert "plan is up to date." in capsys.readouterr().out
    assert (intent.parent / "plan/east/network.yaml").exists()


def test_check_and_diff_write_nothing(intent: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["plan", "network.yaml", "-o", "plan"])
    before = content(intent.parent / "plan")
    intent.write_text(INTENT.replace("vlan: 2", "vlan: 3"))
    capsys.readouterr()
    check = main(["plan", "network.yaml", "-o", "plan", "--check"])
    outdated = capsys.readouterr().out
    diff = main(["plan", "network.yaml", "-o", "plan", "--diff"])
    shown = capsys.readouterr().out

    assert (check, diff) == (1, 0)
    assert "plan is out of date" in outdated
    assert '-      "vlan": 2,\n+      "vlan": 3,\n' in shown
    assert content(intent.parent / "plan") == before


def test_check_with_diff_shows_and_judges(intent: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "network.yaml", "-o", "plan", "--check", "--diff"]) == 1
    assert "+++ b/east/network.yaml" in capsys.readouterr().out
    assert not (intent.parent / "plan").exists()


def test_files_of_a_removed_cluster_go_and_those_of_others_stay(intent: Path) -> None:
    main(["plan", "network.yaml", "-o", "plan"])
    (intent.parent / "plan/notes.txt").write_text("mine")
    lines = INTENT.splitlines(keepends=True)
    intent.write_text("".join(line for line in lines if "east" not in line))
    main(["plan", "network.yaml", "-o", "plan"])

    assert not (intent.parent / "plan/east").exists()
    assert (intent.parent / "plan/notes.txt").read_text() == "mine"


def test_a_removed_cluster_is_reclaimed_by_name(
    intent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["plan", "network.yaml", "-o", "plan"])
    intent.write_text(INTENT.replace("east", "north"))
    main(["plan", "network.yaml", "-o", "plan"])
    kept = capsys.readouterr()
    main(["plan", "network.yaml", "-o", "plan", "--reclaim", "east"])
    lock = json.loads((intent.parent / "plan/spanbridge.lock.json").read_text())

    assert "give them back: spanbridge plan --reclaim east" in kept.err
    assert lock["retired"] == {}


def test_without_its_lock_a_written_directory_is_not_replanned(
    intent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["plan", "network.yaml", "-o", "plan"])
    (intent.parent / "plan/spanbridge.lock.json").unlink()
    intent.write_text(INTENT.replace("name: east", "name: a"))
    code = main(["plan", "network.yaml", "-o", "plan"])

    assert code == 2
    assert "bring back the lock file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ("uplnk: eth1", "network.yaml:8:31: cannot use 'uplnk'"),
        ("uplink: eth1, count: 300", "network.yaml:6:13: cannot give east 303 addresses"),
        ("uplink: eth1, count: two", "network.yaml:8:45: cannot use 'count': it is a string"),
    ],
)
def test_a_fault_is_shown_with_line_and_column(
    intent: Path, capsys: pytest.CaptureFixture[str], wrong: str, place: str
) -> None:
    intent.write_text(INTENT.replace("uplink: eth1, count: 2", wrong, 1))

    assert main(["plan", "network.yaml", "-o", "plan"]) == 2
    assert place in capsys.readouterr().err
    assert not (intent.parent / "plan").exists()


def test_a_file_without_an_intent_is_refused(
    intent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    intent.write_text("kind: Pod\n")

    assert main(["plan", "network.yaml", "-o", "plan"]) == 2
    assert "holds no object of kind MigrationNetwork" in capsys.readouterr().err


@pytest.mark.usefixtures("intent")
def test_json_has_the_addresses_and_the_changes(capsys: pytest.CaptureFixture[str]) -> None:
    main(["plan", "network.yaml", "-o", "plan", "--format", "json"])
    said = json.loads(capsys.readouterr().out)

    assert said["clusters"][1]["addresses"] == ["10.88.0.8-10.88.0.13"]
    assert {"path": "west/network.yaml", "kind": "new"} in said["changes"]


@pytest.mark.usefixtures("intent")
def test_a_note_that_concerns_many_clusters_is_said_once(
    intent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = INTENT.replace("count: 2", "count: 2, nmstate: false")
    intent.write_text(text)
    main(["plan", "network.yaml", "-o", "plan"])

    assert capsys.readouterr().err.count("note: east, west: The nodes of nodes have no names") == 1
