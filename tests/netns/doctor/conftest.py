# SPDX-License-Identifier: Apache-2.0
"""A node with an uplink to a router, an agent, a pod, and doctor run on it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from spanbridge.testing.agent import Agent, AgentCni, StartAgent
from spanbridge.testing.dhcp import wait_until
from spanbridge.testing.plugin import MakeNetns, Netns
from spanbridge.testing.runtime import Cni

TIMEOUT_S: Final = 60
GATEWAY: Final = "10.9.0.1"
BINARIES: Final = Path(sys.executable).parent
"""Where the program `spanbridge` is, for commands that are pasted."""


@dataclass(frozen=True, slots=True)
class Said:
    """
    What doctor said.

    Attributes:
        code: Its exit code.
        checks: Its outcomes.
        mended: What ``--fix`` did.
    """

    code: int
    checks: list[dict[str, Any]]
    mended: list[dict[str, Any]]

    def of(self, code: str) -> list[dict[str, Any]]:
        """Outcomes of one check."""
        return [each for each in self.checks if each["code"] == code]

    @property
    def faults(self) -> list[dict[str, Any]]:
        """What is wrong, in its order."""
        return [each for each in self.checks if each["status"] == "fail"]


@dataclass(frozen=True, slots=True)
class Ward:
    """
    A node that is looked at.

    Attributes:
        node: Its namespace; ``up0`` is its uplink, ``br0`` its bridge.
        router: The namespace behind the uplink, with the gateway's address on ``eth0``.
        pod: A sandbox that is attached.
        agent: Its agent.
        cni: A runtime whose calls go to that agent.
        conf: The network of the pod.
        conf_file: The same in a file.
    """

    node: Netns
    router: Netns
    pod: Netns
    agent: Agent
    cni: AgentCni
    conf: dict[str, Any]
    conf_file: Path

    @property
    def environ(self) -> dict[str, str]:
        """Where the agent's files are, and our programs."""
        return dict(os.environ) | {
            "PATH": f"{BINARIES}:{os.environ['PATH']}",
            "SPANBRIDGE_SOCKET": str(self.agent.socket),
            "SPANBRIDGE_STATE": str(self.agent.state_dir),
            "SPANBRIDGE_RUN": str(self.agent.run_dir),
        }

    def execute(self, *argv: str) -> "subprocess.CompletedProcess[str]":
        """Run a command on the node."""
        return subprocess.run(
            ["ip", "netns", "exec", self.node.name, *argv],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self.environ,
            timeout=TIMEOUT_S,
            check=False,
        )

    def doctor(self, *words: str, bridge: str = "br0", uplink: str = "up0") -> Said:
        """Run doctor on the node."""
        options = ["--bridge", bridge, "--uplink", uplink, "--bin-dir", str(self.cni.bin_dir)]
        argv = [str(BINARIES / "spanbridge"), "doctor", *options, "--format", "json", *words]
        done = self.execute(*argv, str(self.conf_file))
        assert done.stdout, done.stderr
        document = json.loads(done.stdout)
        return Said(done.returncode, document["checks"], document.get("mended", []))

    def paste(self, commands: list[str]) -> None:
        """Paste commands into a shell on the node."""
        done = self.execute("sh", "-ec", "\n".join(commands))
        assert done.returncode == 0, done.stderr

    def ask(self, *argv: str) -> Any:  # noqa: ANN401  # JSON of another tool
        """Ask a tool for JSON, on the node."""
        return json.loads(self.node.run(*argv) or "[]")

    def link(self, name: str) -> dict[str, Any]:
        """Give a link of the node in the words of ``ip``."""
        (found,) = self.ask("ip", "-j", "-d", "link", "show", "dev", name)
        return dict(found)


@pytest.fixture
def router(netns: MakeNetns) -> Netns:
    """A host with the gateway's address, not connected yet."""
    return netns("router")


@pytest.fixture
def ward(
    router: Netns,
    node: Netns,
    pod: Netns,
    start_agent: StartAgent,
    cni: Cni,
    *,
    tmp_path: Path,
) -> Ward:
    """A node on which all is well."""
    connect(node, router)
    agent = start_agent()
    conf = {
        "cniVersion": "1.0.0",
        "name": "bridge-net",
        "type": "bridge",
        "bridge": "br0",
        "ipam": {
            "type": "host-local",
            "dataDir": str(tmp_path / "addresses"),
            "ranges": [[{"subnet": "10.9.0.0/24", "rangeStart": "10.9.0.20", "gateway": GATEWAY}]],
        },
    }
    conf_file = tmp_path / "bridge-net.conf"
    conf_file.write_text(json.dumps(conf))
    calls = AgentCni(cni.bin_dir, cni.run_dir, node, agent.socket)
    calls.add(conf, pod)
    return Ward(node, router, pod, agent, calls, conf, conf_file)


def connect(node: Netns, router: Netns) -> None:
    """Make the bridge and its uplink."""
    node.run("ip", "link", "add", "br0", "type", "bridge")
    node.run("ip", "link", "set", "br0", "up")
    node.run("ip", "link", "add", "up0", "type", "veth", "peer", "eth0", "netns", router.name)
    node.run("ip", "link", "set", "up0", "master", "br0", "up")
    router.run("ip", "addr", "add", f"{GATEWAY}/24", "dev", "eth0")
    router.run("ip", "link", "set", "eth0", "up")
    wait_until(lambda: '"state":"forwarding"' in node.run("bridge", "-j", "link"), what="a port")
