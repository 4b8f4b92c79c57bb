# SPDX-License-Identifier: Apache-2.0
"""
A node with a runtime on it, its pods, and the other tools' view of VLANs.

Python takes seconds to start in an emulated guest, so the tests run by shim and agent;
those marked `in_both_modes`, one for each thing that VLANs do, by the one-shot program
too.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from spanbridge.testing.agent import Agent
from spanbridge.testing.modes import AGENT
from spanbridge.testing.plugin import Netns, run
from spanbridge.testing.runtime import Cni, Conf

NUMBERS: Final = itertools.count()
SETTLE_S: Final = 0.5
"""For a capture to print what it has seen already."""


@dataclasses.dataclass(frozen=True, slots=True)
class Attachment:
    """
    A pod that ADD has attached.

    Attributes:
        pod: Its sandbox.
        conf: What it was attached with.
        container: CNI_CONTAINERID.
        result: What ADD answered.
    """

    pod: Netns
    conf: Conf
    container: str
    result: Any

    @property
    def port(self) -> str:
        """Name of the host port."""
        return str(self.result["interfaces"][1]["name"])


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """
    A node and everything that a test made beside it.

    Attributes:
        node: The node's namespace.
        cni: A runtime on it.
        place: An empty directory.
        made: Namespaces to remove.
    """

    node: Netns
    cni: Cni
    place: Path
    made: list[str]

    def netns(self, role: str = "pod") -> Netns:
        """Make one more namespace."""
        made = make_netns(role)
        self.made.append(made.name)
        return made

    def conf(self, **fields: Any) -> Conf:  # noqa: ANN401  # JSON
        """Write a layer 2 configuration."""
        base = {"cniVersion": "1.1.0", "name": "net1", "type": "bridge", "bridge": "br0"}
        return base | fields

    def host_local(self, *subnets: str, **fields: Any) -> Conf:  # noqa: ANN401  # JSON
        """Write a configuration with one range of addresses for each subnet."""
        ranges = [[{"subnet": subnet}] for subnet in subnets or ("10.9.0.0/24",)]
        ipam = {"type": "host-local", "dataDir": str(self.place / "leases"), "ranges": ranges}
        return self.conf(ipam=ipam, **fields)

    def static(self, *addresses: str, **fields: Any) -> Conf:  # noqa: ANN401  # JSON
        """Write a configuration with fixed addresses."""
        ipam = {"type": "static", "addresses": [{"address": each} for each in addresses]}
        return self.conf(ipam=ipam, **fields)

    def attach(self, conf: Conf, container: str = "c1") -> Attachment:
        """Attach a new pod."""
        pod = self.netns()
        return Attachment(pod, conf, container, self.cni.add(conf, pod, container=container))

    def check(self, attached: Attachment) -> Any:  # noqa: ANN401  # JSON
        """CHECK an attachment; its error document, None when it passed."""
        answer = self.cni.check(
            attached.conf, attached.pod, attached.result, container=attached.container
        )
        return answer.document

    def sh(self, *lines: str) -> None:
        """Run command lines on the node."""
        for line in lines:
            self.node.run(*shlex.split(line))

    def links(self, netns: Netns | None = None) -> dict[str, Any]:
        """Links by name, loopback left out."""
        found = json.loads((netns or self.node).run("ip", "-j", "-d", "link") or "[]")
        return {each["ifname"]: each for each in found if each["ifname"] != "lo"}

    def vlans(self, device: str) -> list[str]:
        """VLANs of a port in the words of ``bridge``: ``1 Egress Untagged``, ``200-203``."""
        text = self.node.run("bridge", "-j", "-compressvlans", "vlan", "show", "dev", device)
        found = json.loads(text or "[]")
        return [_spell(each) for each in (found[0]["vlans"] if found else [])]

    def addresses(self, device: str, netns: Netns | None = None) -> list[str]:
        """Global addresses of a device, with their prefix lengths."""
        text = (netns or self.node).run("ip", "-j", "addr", "show", "dev", device)
        found = json.loads(text)[0]["addr_info"]
        return [f"{it['local']}/{it['prefixlen']}" for it in found if it["scope"] == "global"]


def _spell(vlan: Any) -> str:  # noqa: ANN401  # JSON
    end = f"-{vlan['vlanEnd']}" if "vlanEnd" in vlan else ""
    return " ".join([f"{vlan['vlan']}{end}", *vlan.get("flags", [])])


def make_netns(role: str) -> Netns:
    """Make a namespace with its loopback up."""
    name = f"{role}-{os.getpid()}-v{next(NUMBERS)}"
    run("ip", "netns", "add", name)
    run("ip", "-n", name, "link", "set", "lo", "up")
    return Netns(name, Path("/run/netns") / name)


@contextlib.contextmanager
def _world(cni: Cni, node: Netns, place: Path) -> Iterator[World]:
    world = World(node, cni, place, [node.name])
    try:
        yield world
    finally:
        for name in reversed(world.made):
            run("ip", "netns", "del", name)


@pytest.fixture
def cni_mode() -> str:
    """How calls are made where a test does not say it."""
    return AGENT


@pytest.fixture
def node() -> Netns:
    """The node of `world`, which removes it."""
    return make_netns("node")


@pytest.fixture
def world(cni: Cni, node: Netns, tmp_path: Path) -> Iterator[World]:
    """A node for one test."""
    with _world(cni, node, tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def shared_world(
    shim_bin_dir: Path, shared_agent: Agent, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """A node for the tests of one module; each leaves it as it was."""
    place, node = tmp_path_factory.mktemp("world"), make_netns("node")
    cni = Cni(shim_bin_dir, place / "run", node, shared_agent.socket)
    with _world(cni, node, place) as made:
        yield made


@contextlib.contextmanager
def capture_frames(netns: Netns, device: str, *words: str) -> Iterator[list[str]]:
    """Capture while the block runs; afterwards the list holds tcpdump's lines."""
    argv = ["ip", "netns", "exec", netns.name, "tcpdump", "-nel", "--immediate-mode", "-Z", "root"]
    lines: list[str] = []
    with subprocess.Popen(
        [*argv, "-i", device, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            assert any("listening on" in line for line in process.stderr)
            yield lines
            time.sleep(SETTLE_S)
        finally:
            process.terminate()
            lines += [line for line in process.communicate()[0].splitlines() if line]


@pytest.fixture(scope="session")
def capture() -> Any:  # noqa: ANN401  # a context manager, see capture_frames
    """Gives `capture_frames`."""
    return capture_frames
