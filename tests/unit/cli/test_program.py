# SPDX-License-Identifier: Apache-2.0
"""The command line as a shell sees it: exit codes, help, what is imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from spanbridge.base.errors import (
    BugError,
    ConfigError,
    KernelError,
    MismatchError,
    ReleaseError,
    SpanbridgeError,
)
from spanbridge.cli.exits import exit_code

GROUPS = (
    *("agent", "cni", "doctor", "explain", "lab", "lint"),
    *("plan", "rule", "uplink", "verify"),
)
LAB = ("up", "status", "verify", "down", "demo")


def _run(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spanbridge.cli", *words],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )


def _imported(*words: str) -> set[str]:
    code = "import sys; from spanbridge.cli import main; main(sys.argv[1:]); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=15, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("cannot"), 2),
        (MismatchError("cannot"), 1),
        (KernelError("cannot", errno=1), 3),
        (ReleaseError("cannot", []), 3),
        (BugError("cannot"), 3),
    ],
    ids=lambda each: type(each).__name__,
)
def test_the_class_of_an_error_decides_the_exit_code(error: SpanbridgeError, code: int) -> None:
    assert exit_code(error) == code


@pytest.mark.parametrize("words", [(), *((group,) for group in GROUPS)], ids=" ".join)
def test_every_group_has_help_with_examples(words: tuple[str, ...]) -> None:
    done = _run(*words, "--help")
    assert done.returncode == 0
    assert "Examples:" in done.stdout


@pytest.mark.parametrize("name", LAB)
def test_every_lab_command_has_help_with_examples(name: str) -> None:
    done = _run("lab", name, "--help")
    assert done.returncode == 0
    assert f"spanbridge lab {name}" in done.stdout


@pytest.mark.parametrize(
    "words",
    [("nothing",), ("--nothing",), ("lab", "nothing"), ("lab", "up", "--nodes", "many")],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2_and_says_why(words: tuple[str, ...]) -> None:
    done = _run(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Error: " in done.stderr


def test_wrong_input_ends_with_2_and_says_what_to_write_instead() -> None:
    done = _run("lab", "demo", "--vlan", "4095")
    assert done.returncode == 2
    assert done.stderr == "spanbridge: cannot use --vlan 4095\n  give 2 to 4094\n"


def test_a_dhcp_server_and_the_programs_of_others_do_not_go_together(tmp_path: Path) -> None:
    done = _run("lab", "demo", "--ipam", "dhcp", "--bin-dir", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith("spanbridge: cannot use --ipam dhcp with the programs in ")
    assert "--ipam host-local" in done.stderr


def test_a_traceback_is_shown_with_debug_only() -> None:
    assert "Traceback" not in _run("lab", "demo", "--vlan", "4095").stderr
    assert "Traceback" in _run("--debug", "lab", "demo", "--vlan", "4095").stderr


def test_help_imports_no_command_and_no_table_drawing() -> None:
    imported = _imported("--help")
    assert not {"rich", "spanbridge.cli.lab", "spanbridge.lab", "spanbridge.rtnl"} & imported


def test_the_cni_commands_do_not_import_the_lab() -> None:
    assert not any(name.startswith("spanbridge.lab") for name in _imported("cni", "--help"))


def test_cni_install_puts_shims_and_one_one_shot_program(tmp_path: Path) -> None:
    done = _run("cni", "install", "--bin-dir", str(tmp_path))

    assert (done.returncode, done.stderr) == (0, "")
    names = ["bridge", "host-local", "static", "dhcp"]
    assert done.stdout.splitlines() == [str(tmp_path / name) for name in names]
    assert {path.name for path in tmp_path.iterdir()} == {*names, ".spanbridge-oneshot"}
    assert (tmp_path / "dhcp").read_bytes().startswith(b"\x7fELF")


@pytest.mark.parametrize(("option", "start"), [("--no-shim", b"#!"), ("--no-oneshot", b"\x7fELF")])
def test_cni_install_leaves_out_what_is_not_wanted(
    tmp_path: Path, option: str, start: bytes
) -> None:
    assert _run("cni", "install", "--bin-dir", str(tmp_path), option).returncode == 0
    assert len(list(tmp_path.iterdir())) == 4
    assert (tmp_path / "bridge").read_bytes().startswith(start)


def test_cni_install_of_nothing_is_a_usage_error(tmp_path: Path) -> None:
    done = _run("cni", "install", "--bin-dir", str(tmp_path / "bin"), "--no-shim", "--no-oneshot")

    assert done.returncode == 2
    assert not (tmp_path / "bin").exists()


def test_cni_install_says_when_there_is_no_shim(tmp_path: Path) -> None:
    code = (
        "import sys, spanbridge.cni.install as module; module.built_shim = lambda: None;"
        "from spanbridge.cli import main; main(sys.argv[1:])"
    )
    words = ["cni", "install", "--bin-dir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=15, check=True
    )

    assert "one-shot program only" in done.stderr
    assert (tmp_path / "bridge").read_bytes().startswith(b"#!")
