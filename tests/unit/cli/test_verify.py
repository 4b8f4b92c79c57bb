# SPDX-License-Identifier: Apache-2.0
"""`spanbridge verify --replay`: files, exit codes, the same verdict each time."""

import io
import json
import random
import sys
from pathlib import Path

import pytest

from spanbridge.cli.program import main
from spanbridge.model.recording import render_observations
from spanbridge.testing.mesh import build_mesh
from spanbridge.testing.mesh_faults import FAULTS, observe


def _seen(path: Path, *names: str) -> Path:
    mesh = build_mesh({"east": 2, "west": 2}, seed=4)
    for name in names:
        FAULTS[name](mesh, random.Random(4))  # noqa: S311  # faults are no secrets
    path.write_text(render_observations(observe(mesh)), encoding="utf-8")
    return path


def test_a_healthy_mesh_ends_with_0_and_a_fault_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", "--replay", str(_seen(tmp_path / "good.json"))]) == 0
    assert "virtual machines may move" in capsys.readouterr().out
    assert main(["verify", "--replay", str(_seen(tmp_path / "bad.json", "filtering-off"))]) == 1
    assert "SBV02" in capsys.readouterr().out


def test_a_warning_alone_ends_with_0(tmp_path: Path) -> None:
    assert main(["verify", "--replay", str(_seen(tmp_path / "slow.json", "latency"))]) == 0


def test_a_replay_gives_the_same_bytes_in_every_format(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = _seen(tmp_path / "seen.json", "link-mtu", "no-uplink")
    results = []
    for run in ("one", "two"):
        files = {name: tmp_path / f"{run}.{name}" for name in ("html", "junit", "save")}
        options = [word for name, path in files.items() for word in (f"--{name}", str(path))]
        printed = []
        for wanted in ("text", "json"):
            main(["verify", "--replay", str(seen), "--format", wanted, *options])
            printed.append(capsys.readouterr().out)
        results.append((printed, [path.read_bytes() for path in files.values()]))
    assert results[0] == results[1]
    assert (tmp_path / "one.save").read_bytes() == seen.read_bytes()


def test_observations_can_come_through_a_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = _seen(tmp_path / "seen.json", "ca-not-exchanged").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert main(["verify", "--replay", "-", "--format", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["diagnoses"][0]["code"] == "SBV60"


def test_a_wrong_file_ends_with_2_and_a_missing_one_with_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text('{"kind": "Verdict"}', encoding="utf-8")
    assert main(["verify", "--replay", str(wrong)]) == 2
    assert "it holds no observations" in capsys.readouterr().err
    assert main(["verify", "--replay", str(tmp_path / "none.json")]) == 3
    assert main(["verify"]) == 2


def test_without_a_lab_nothing_can_be_observed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", "--lab", "--state-dir", str(tmp_path / "none")]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert "cannot" in said.err


@pytest.mark.parametrize(
    "words",
    [
        ["--lab", "--replay", "seen.json"],
        ["--replay", "seen.json", "--throughput"],
        ["--lab", "--static"],
    ],
)
def test_ways_that_exclude_each_other_are_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", *words]) == 2
    assert "Error:" in capsys.readouterr().err
