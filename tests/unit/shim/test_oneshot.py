# SPDX-License-Identifier: Apache-2.0
"""What becomes of a call without an agent, where there is a one-shot program."""

import json
import subprocess
from pathlib import Path

import pytest
from tests.unit.shim.conftest import Agent, Shim, frame

from spanbridge.cni.install import built_shim, render_shim

SCRIPT = (
    '#!/bin/sh\nprintf "%s|%s|%s|%s" "$0" "$SPANBRIDGE_PROGRAM" "$CNI_COMMAND" "$(cat)"\nexit 7\n'
)


def script(path: Path) -> Path:
    path.write_text(SCRIPT)
    path.chmod(0o755)
    return path


@pytest.fixture
def patched(shim: Shim, tmp_path: Path) -> Shim:
    """Shims that know a one-shot program."""
    built = built_shim()
    assert built is not None
    path = tmp_path / "dhcp"
    path.write_bytes(render_shim(built.read_bytes(), str(script(tmp_path / "oneshot"))))
    path.chmod(0o755)
    return Shim(tmp_path, shim.socket)


@pytest.mark.parametrize("verb", ["ADD", "STATUS", "VERSION"])
def test_the_one_shot_program_gets_name_variables_and_standard_input(
    patched: Shim, verb: str
) -> None:
    outcome = patched.call(verb, b"the input", program="dhcp")

    assert outcome.stdout.decode() == f"{patched.bin_dir}/oneshot|dhcp|{verb}|the input"
    assert outcome.status == 7


def test_with_an_agent_it_is_not_started(patched: Shim, agent: Agent) -> None:
    agent.reply = frame(b"the agent")

    assert patched.call(program="dhcp").stdout == b"the agent"


def test_another_path_may_be_given(shim: Shim, tmp_path: Path) -> None:
    other = script(tmp_path / "other")

    outcome = shim.call(env={"SPANBRIDGE_ONESHOT": str(other)})

    assert outcome.stdout.decode() == f"{other}|bridge|ADD|{{}}"


@pytest.mark.parametrize("path", ["", "/nowhere/oneshot"], ids=["empty", "missing"])
def test_a_path_that_names_nothing_means_none(patched: Shim, path: str) -> None:
    outcome = patched.call(program="dhcp", env={"SPANBRIDGE_ONESHOT": path})

    assert outcome.code == 11


def test_one_that_cannot_be_started_is_named_as_the_cause(patched: Shim) -> None:
    (patched.bin_dir / "oneshot").chmod(0o644)

    assert "Permission denied" in patched.call(program="dhcp").error()["details"]


def test_version_is_answered_also_when_it_is_missing(patched: Shim) -> None:
    (patched.bin_dir / "oneshot").unlink()

    assert "supportedVersions" in json.loads(patched.call("VERSION", program="dhcp").stdout)


def test_a_broken_pipe_ends_it_as_it_would_end_any_program(patched: Shim) -> None:
    # An ignored SIGPIPE would be inherited.
    (patched.bin_dir / "oneshot").write_text("#!/bin/sh\ngrep SigIgn /proc/self/status\n")
    ignored = patched.call(program="dhcp").stdout.split()[1]

    assert int(ignored, 16) & (1 << 12) == 0


def test_it_inherits_no_descriptor(patched: Shim) -> None:
    (patched.bin_dir / "oneshot").write_text("#!/bin/sh\nexec ls /proc/self/fd\n")
    done = subprocess.run(
        [patched.bin_dir / "dhcp"],
        stdin=subprocess.DEVNULL,
        env=patched.environ(),
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.split() == ["0", "1", "2", "3"]  # 3: the directory that ls reads
