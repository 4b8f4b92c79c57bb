# SPDX-License-Identifier: Apache-2.0
"""The runner of the tiers: what it counts and how it ends."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).parents[3]
RUNNER = PROJECT / "tests/run.py"


@pytest.fixture(scope="module")
def runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("spanbridge_tests_run", RUNNER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_a_report_is_counted(runner: ModuleType, tmp_path: Path) -> None:
    report = tmp_path / "unit.xml"
    report.write_text(
        '<testsuites><testsuite tests="9" failures="1" errors="2" skipped="3"/></testsuites>'
    )

    outcome = runner.read_outcome("unit", report, exit_code=1, seconds=1.0)

    assert (outcome.passed, outcome.failed, outcome.skipped) == (3, 3, 3)


def test_a_tier_without_a_report_has_failed(runner: ModuleType, tmp_path: Path) -> None:
    outcome = runner.read_outcome("vm", tmp_path / "none.xml", exit_code=0, seconds=1.0)

    assert outcome.exit_code == 1
    assert outcome.failed == 1


def test_the_last_line_holds_the_total(runner: ModuleType) -> None:
    outcomes = [runner.Outcome("unit", 0, 5, 0, 0, 1.0), runner.Outcome("vm", 1, 2, 1, 0, 2.5)]

    last = runner.render_summary(outcomes, seconds=3.5).splitlines()[-1]

    assert last == "===== all tiers: 1 failed, 7 passed in 3.50s ====="


def test_a_tier_that_broke_off_does_not_read_as_passed(runner: ModuleType) -> None:
    outcome = runner.Outcome("vm", 1, 7, 0, 0, 1.0)
    last = runner.render_summary([outcome], seconds=1.0).splitlines()[-1]

    assert last == "===== all tiers: 7 passed, vm broke off in 1.00s ====="


def test_an_unknown_tier_is_a_usage_error() -> None:
    done = subprocess.run(
        [sys.executable, str(RUNNER), "moon"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert "moon" in done.stderr


def test_every_test_belongs_to_one_tier(runner: ModuleType) -> None:
    found = {tier: _collect(*runner.place_of(tier)) for tier in runner.TIERS}

    assert sum(len(each) for each in found.values()) == len(set().union(*found.values()))
    everything = {str(path.relative_to(PROJECT)) for path in (PROJECT / "tests").rglob("test_*.py")}
    assert set().union(*found.values()) == everything


def _collect(*words: str) -> set[str]:
    """Name the files of tests below some folders, but for those that are left out."""
    left_out = [each.partition("=")[2] for each in words if each.startswith("--ignore=")]
    folders = [PROJECT / each for each in words if not each.startswith("-")]
    found = [path for folder in folders for path in folder.rglob("test_*.py")]
    files = {str(path.relative_to(PROJECT)) for path in found}
    return {each for each in files if not each.startswith(tuple(f"{x}/" for x in left_out))}


def test_tiers_in_guests_share_the_lanes(
    runner: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def run(tier: str, _: list[str], **_output: object) -> object:
        ran.append(tier)
        return runner.Outcome(tier, 0, 1, 0, 0, 0.0)

    monkeypatch.setattr(runner, "REPORTS", tmp_path)
    monkeypatch.setattr(runner, "run", run)

    outcomes = runner.run_all(["unit", "vm", "lab", "verify"], [])

    assert sorted(ran) == ["lab", "unit", "verify", "vm"]
    assert [each.tier for each in outcomes] == ["unit", "vm", "lab", "verify"]
