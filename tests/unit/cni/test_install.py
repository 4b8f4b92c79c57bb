# SPDX-License-Identifier: Apache-2.0
"""Installing the programs where a runtime looks for them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from spanbridge.base.errors import NodeError
from spanbridge.cni import install as module
from spanbridge.cni.install import BACKUP_SUFFIX, install
from spanbridge.cni.program import PROGRAMS

FOREIGN = b"\x7fELF of somebody else"


def about(program: Path) -> str:
    done = subprocess.run([program], env={}, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr


def test_every_program_is_written_executable_for_all(tmp_path: Path) -> None:
    written = install(tmp_path / "opt/cni/bin")

    assert [path.name for path in written] == list(PROGRAMS)
    assert {path.stat().st_mode & 0o7777 for path in written} == {0o755}
    assert set((tmp_path / "opt/cni/bin").iterdir()) == set(written)


def test_a_strict_umask_does_not_matter(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        written = install(tmp_path)
    finally:
        os.umask(before)

    assert {path.stat().st_mode & 0o7777 for path in written} == {0o755}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_knows_by_which_name_it_is_called(tmp_path: Path, name: str) -> None:
    install(tmp_path)

    assert about(tmp_path / name).startswith(f"CNI {name} plugin of Spanbridge ")


@pytest.mark.parametrize(
    "directory", ["with space", "it's", "x" * 250], ids=["space", "quote and space", "long"]
)
def test_a_python_whose_path_a_shebang_cannot_hold_works(tmp_path: Path, directory: str) -> None:
    python = tmp_path / directory / "a b" / "python3"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    install(tmp_path / "bin", python=python)

    assert (tmp_path / "bin/bridge").read_text().startswith("#!/bin/sh\n")
    assert "CNI bridge plugin" in about(tmp_path / "bin/bridge")


def test_a_plain_python_is_started_without_a_shell(tmp_path: Path) -> None:
    install(tmp_path, python=Path("/usr/bin/python3"))

    assert (tmp_path / "bridge").read_text().startswith("#!/usr/bin/python3 -IS\n")


def test_a_foreign_program_is_kept_beside_ours(tmp_path: Path) -> None:
    foreign = tmp_path / "bridge"
    foreign.write_bytes(FOREIGN)
    foreign.chmod(0o755)
    install(tmp_path)
    install(tmp_path)
    backup = tmp_path / f"bridge{BACKUP_SUFFIX}"

    assert (backup.read_bytes(), backup.stat().st_mode & 0o777) == (FOREIGN, 0o755)
    assert foreign.read_bytes().startswith(b"#!")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*PROGRAMS, backup.name])


def test_installing_again_changes_nothing(tmp_path: Path) -> None:
    install(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    install(tmp_path)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_foreign_program_stays_in_place_when_ours_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bridge").write_bytes(FOREIGN)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_atomic", full)
    with pytest.raises(NodeError, match="No space left"):
        install(tmp_path)
    assert (tmp_path / "bridge").read_bytes() == FOREIGN


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_where_no_directory_can_be_the_error_says_so(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(NodeError, match="cannot install into") as caught:
        install(tmp_path / place)
    assert caught.value.hint
