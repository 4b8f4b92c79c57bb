# SPDX-License-Identifier: Apache-2.0
"""What a runtime is told where neither an agent runs nor a one-shot program is installed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spanbridge.testing.plugin import AskTool, Netns
from spanbridge.testing.runtime import Cni, Conf

CONF: Conf = {"cniVersion": "1.1.0", "name": "net1", "type": "bridge", "bridge": "br0"}


@pytest.fixture
def runtime(shim_bin_dir: Path, cni: Cni, tmp_path: Path) -> Cni:
    """Calls shims on the fixture ``node``; nobody listens on their socket."""
    return Cni(shim_bin_dir, cni.run_dir, cni.node, tmp_path / "agent.sock")


@pytest.mark.parametrize(
    ("verb", "code"), [("ADD", 11), ("DEL", 11), ("CHECK", 11), ("GC", 11), ("STATUS", 50)]
)
def test_every_verb_is_to_be_repeated_and_nothing_is_made(
    runtime: Cni, node: Netns, pod: Netns, ip_json: AskTool, verb: str, code: int
) -> None:
    error = runtime.call(verb, CONF, pod).error

    assert error["code"] == code
    assert str(runtime.agent_socket) in error["msg"]
    assert "spanbridge agent run" in error["details"]
    assert [link["ifname"] for link in ip_json("link", netns=node)] == ["lo"]


def test_the_next_call_finds_the_agent_that_was_started_meanwhile(
    runtime: Cni, start_agent: Callable[..., Any], pod: Netns
) -> None:
    assert runtime.call("STATUS", CONF).code == 50
    agent = start_agent()

    found = Cni(runtime.bin_dir, runtime.run_dir, runtime.node, agent.socket)

    assert found.call("STATUS", CONF).result is None
    assert found.add(CONF, pod)["interfaces"]
