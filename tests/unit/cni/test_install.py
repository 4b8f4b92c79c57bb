# SPDX-License-Identifier: Apache-2.0
"""Installing the programs where a runtime looks for them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from spanbridge.base.errors import NodeError
from spanbridge.base.files import write_atomic
from spanbridge.cni import install as module
from spanbridge.cni.install import BACKUP_SUFFIX, ONESHOT, built_shim, install, render_shim
from spanbridge.cni.program import PROGRAMS

SHIM = b"\x7fELF " + module.SHIM_MARK.ljust(module.SHIM_FIELD_BYTES, b"\0") + b" the end"
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


@pytest.fixture
def shim() -> Path:
    """The shim that the build of the package made."""
    built = built_shim()
    assert built is not None, "the build of the package made no shim; see: make setup"
    return built


def test_with_a_shim_one_one_shot_program_stands_beside_it(tmp_path: Path, shim: Path) -> None:
    written = install(tmp_path, shim=shim)

    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([ONESHOT, *PROGRAMS])
    assert len({path.read_bytes() for path in written}) == 1
    assert written[0].read_bytes().startswith(b"\x7fELF")
    assert {path.stat().st_mode & 0o7777 for path in tmp_path.iterdir()} == {0o755}


def test_without_an_agent_the_installed_shim_becomes_the_one_shot_program(
    tmp_path: Path, shim: Path
) -> None:
    install(tmp_path, shim=shim)
    environ = {"CNI_COMMAND": "VERSION", "SPANBRIDGE_SOCKET": str(tmp_path / "none")}
    done = subprocess.run(
        [tmp_path / "bridge"],
        input=b'{"cniVersion": "0.4.0"}',  # which the shim by itself would not echo
        env=environ,
        capture_output=True,
        check=True,
    )

    assert json.loads(done.stdout)["cniVersion"] == "0.4.0"


def test_a_relative_directory_is_found_from_anywhere(
    tmp_path: Path, shim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    install(Path("bin"), shim=shim)

    assert f"{tmp_path}/bin/{ONESHOT}\0".encode() in (tmp_path / "bin/bridge").read_bytes()


def test_without_one_shot_program_the_shim_names_none(tmp_path: Path, shim: Path) -> None:
    install(tmp_path, shim=shim, oneshot=False)

    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(PROGRAMS)
    assert (tmp_path / "bridge").read_bytes() == shim.read_bytes()


@pytest.mark.parametrize("oneshot", [True, False])
def test_a_shim_of_ours_is_not_kept_as_foreign(
    tmp_path: Path, shim: Path, *, oneshot: bool
) -> None:
    install(tmp_path)
    install(tmp_path, shim=shim)
    install(tmp_path, shim=shim, oneshot=oneshot)
    install(tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(PROGRAMS)
    assert (tmp_path / "bridge").read_text().startswith("#!")


def test_a_foreign_program_is_kept_beside_the_shim(tmp_path: Path, shim: Path) -> None:
    (tmp_path / "dhcp").write_bytes(FOREIGN)
    install(tmp_path, shim=shim)
    install(tmp_path, shim=shim)

    assert (tmp_path / f"dhcp{BACKUP_SUFFIX}").read_bytes() == FOREIGN


def test_neither_shim_nor_one_shot_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="neither"):
        install(tmp_path / "bin", oneshot=False)
    assert not (tmp_path / "bin").exists()


def test_the_path_is_written_into_its_field_and_nowhere_else() -> None:
    patched = render_shim(SHIM, "/opt/cni/bin/one")

    assert len(patched) == len(SHIM)
    assert patched.startswith(b"\x7fELF " + module.SHIM_MARK + b"/opt/cni/bin/one\0")
    assert patched.endswith(b"\0 the end")


def test_an_installed_shim_can_be_patched_again() -> None:
    assert render_shim(render_shim(SHIM, "/a/long/path"), "/b") == render_shim(SHIM, "/b")


@pytest.mark.parametrize("binary", [b"\x7fELF", SHIM + SHIM], ids=["no mark", "two marks"])
def test_what_is_no_shim_of_ours_is_not_patched(tmp_path: Path, binary: bytes) -> None:
    (tmp_path / "shim").write_bytes(binary)

    with pytest.raises(NodeError, match="cannot install the shim"):
        install(tmp_path / "bin", shim=tmp_path / "shim")
    assert not (tmp_path / "bin").exists()


def test_a_path_that_does_not_fit_is_refused() -> None:
    room = module.SHIM_FIELD_BYTES - len(module.SHIM_MARK) - 1

    assert b"x" * room + b"\0" in render_shim(SHIM, "x" * room)
    with pytest.raises(NodeError, match="too long"):
        render_shim(SHIM, "x" * (room + 1))


@pytest.mark.parametrize("wanted", [True, False], ids=["to the shim", "back"])
def test_at_every_moment_every_program_is_whole(
    tmp_path: Path, shim: Path, monkeypatch: pytest.MonkeyPatch, *, wanted: bool
) -> None:
    install(tmp_path, shim=None if wanted else shim)
    seen: list[str] = []

    def watched(path: Path, data: bytes, *, mode: int) -> None:
        seen.extend(about(tmp_path / name) for name in PROGRAMS)
        write_atomic(path, data, mode=mode)

    monkeypatch.setattr(module, "write_atomic", watched)
    install(tmp_path, shim=shim if wanted else None)

    assert len(seen) == len(PROGRAMS) * (5 if wanted else 4)
    assert all("plugin of Spanbridge" in text for text in seen)
