# SPDX-License-Identifier: Apache-2.0
"""Promises about the project itself: targets, pins, decisions."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]


@pytest.mark.parametrize("target", ["setup", "demo", "test", "bench", "lint", "clean", "help"])
def test_make_knows_the_target(target: str) -> None:
    done = subprocess.run(
        ["make", "--dry-run", target], cwd=PROJECT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


def test_the_gate_can_be_run() -> None:
    assert (PROJECT / ".ci/run").stat().st_mode & 0o111


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_requirements_are_exact_and_name_no_registry(name: str) -> None:
    for line in (PROJECT / name).read_text().splitlines():
        assert re.fullmatch(r"(#.*|-r requirements\.txt|[\w.-]+==[\w.]+|)", line)


def test_what_the_package_needs_is_pinned() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    pins = (PROJECT / "requirements.txt").read_text().lower()

    for dependency in project["dependencies"]:
        assert f"{re.split('[><=]', dependency)[0].lower()}==" in pins


def test_no_two_decisions_have_one_number() -> None:
    numbers = [path.name[:4] for path in (PROJECT / "docs/decisions").glob("[0-9]*.md")]

    assert "0001" in numbers
    assert len(numbers) == len(set(numbers))
