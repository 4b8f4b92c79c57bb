# SPDX-License-Identifier: Apache-2.0
"""
One runtime, two ways behind it: the one-shot program, or the shim and a warm agent.

A folder of tests runs in both where its conftest gives the fixture ``cni_mode`` the
parameters `MODES`; `in_one_shot_mode` and its like choose for a single test. One agent
serves the whole session: it works in the namespaces that each call brings along.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from spanbridge.cni.install import built_shim, install
from spanbridge.testing.agent import STOP_TIMEOUT_S, Agent, launch_agent
from spanbridge.testing.plugin import Netns
from spanbridge.testing.runtime import Cni

ONESHOT: Final = "oneshot"
AGENT: Final = "agent"
MODES: Final = (ONESHOT, AGENT)

in_one_shot_mode: Final = pytest.mark.parametrize("cni_mode", [ONESHOT])
"""For what only a process of its own does; say in a comment what that is."""

in_agent_mode: Final = pytest.mark.parametrize("cni_mode", [AGENT])
in_both_modes: Final = pytest.mark.parametrize("cni_mode", MODES)


@pytest.fixture
def cni_mode() -> str:
    """One of `MODES`."""
    return ONESHOT


@pytest.fixture(scope="session")
def cni_bin_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with our programs in it, each of them the one-shot program."""
    bin_dir = tmp_path_factory.mktemp("cni-bin")
    install(bin_dir)
    return bin_dir


@pytest.fixture(scope="session")
def shim_bin_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with our programs in it, each of them a shim that needs an agent."""
    bin_dir = tmp_path_factory.mktemp("shim-bin")
    shim = built_shim()
    assert shim is not None, "the build of the package made no shim; see: make setup"
    # Without the one-shot program: a call that missed the agent must not pass by it.
    install(bin_dir, shim=shim, oneshot=False)
    return bin_dir


@pytest.fixture(scope="session")
def shared_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """The agent of the session."""
    agent = launch_agent(tmp_path_factory.mktemp("agent"))
    yield agent
    agent.process.kill()
    agent.process.wait(STOP_TIMEOUT_S)


@pytest.fixture
def shared_agent_log(shared_agent: Agent) -> Iterator[None]:
    """Shows what the agent of the session has logged in a test, where that test fails."""
    before = shared_agent.log_path.stat().st_size
    yield
    with shared_agent.log_path.open() as log:
        log.seek(before)
        sys.stdout.write(log.read())


@pytest.fixture
def cni(cni_mode: str, tmp_path: Path, node: Netns, request: pytest.FixtureRequest) -> Cni:
    """A runtime on the fixture ``node``, in the mode ``cni_mode``."""
    run_dir = tmp_path / "run"
    if cni_mode == ONESHOT:
        return Cni(request.getfixturevalue("cni_bin_dir"), run_dir, node)
    request.getfixturevalue("shared_agent_log")
    agent: Agent = request.getfixturevalue("shared_agent")
    return Cni(request.getfixturevalue("shim_bin_dir"), run_dir, node, agent.socket)
