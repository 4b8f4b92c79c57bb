# SPDX-License-Identifier: Apache-2.0
"""
What `uplink ensure --persist` writes, read by the real managers of a node after a reboot.

Without VLANs, which this kernel may not have; with them: tests/vm/uplink.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from spanbridge.bridge.uplink.managers import Kept, Text, render_networkd, render_networkmanager
from spanbridge.model.uplink import parse_wish
from spanbridge.testing.dhcp import wait_until
from spanbridge.testing.managers import networkd_running, run_networkmanager
from spanbridge.testing.plugin import Netns

FACTS: Final = ("ifname", "master", "mtu", "address")
WAIT_S: Final = 15

MAC: Final = "52:4f:cd:e3:fa:de"
VLANS: Final = (("2", "10-20"), ("1", "2"), ("1-4094",))


def _links(node: Netns) -> list[Any]:
    found = {each["ifname"]: each for each in json.loads(node.run("ip", "-j", "link"))}
    bridge, card = found.get("br-mig", {}), found["eth1"] | {"address": ""}
    return [
        {key: each.get(key) for key in FACTS} | {"up": "UP" in each.get("flags", ())}
        for each in (bridge, card)
    ]


def _reboot(node: Netns) -> None:
    """Take away what a reboot takes away."""
    node.run("ip", "link", "del", "br-mig")
    for words in (("down",), ("mtu", "1500")):
        node.run("ip", "link", "set", "eth1", *words)


@pytest.fixture
def ensured(node: Netns, tmp_path: Path) -> Callable[[str], list[Any]]:
    """Makes eth1 the uplink of br-mig and has a manager keep it; the links then, and a reboot."""

    def ensure(manager: str) -> list[Any]:
        node.run("ip", "link", "add", "eth1", "type", "veth", "peer", "name", "far")
        node.run("ip", "link", "set", "far", "mtu", "4000", "up")
        words = ["ensure", "eth1", "--bridge", "br-mig", "--mtu", "4000", "--persist", manager]
        subprocess.run(
            [
                *("ip", "netns", "exec", node.name, sys.executable, "-m", "spanbridge.cli"),
                *("uplink", *words, "--root", str(tmp_path)),
            ],
            env=os.environ
            | {"SPANBRIDGE_STATE": f"{tmp_path}/s", "SPANBRIDGE_RUN": f"{tmp_path}/r"},
            timeout=WAIT_S,
            check=True,
        )
        seen = _links(node)
        _reboot(node)
        return seen

    return ensure


def test_networkd_makes_the_uplink_again(
    node: Netns, tmp_path: Path, ensured: Callable[[str], list[Any]]
) -> None:
    wanted, log = ensured("networkd"), tmp_path / "log"

    with networkd_running(node, tmp_path, log):
        wait_until(lambda: _links(node) == wanted, timeout_s=WAIT_S)

    assert "gnoring" not in _about_our_files(log)


def test_networkmanager_makes_the_uplink_again(
    node: Netns, tmp_path: Path, ensured: Callable[[str], list[Any]]
) -> None:
    wanted = ensured("networkmanager")

    log = run_networkmanager(node, tmp_path)

    assert _links(node) == wanted, log


def _about_our_files(log: Path) -> str:
    return "".join(line for line in log.read_text().splitlines() if "10-spanbridge" in line)


def _install(texts: tuple[Text, ...], root: Path) -> None:
    for text in texts:
        path = root / text.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.content)
        path.chmod(text.mode)


@pytest.mark.parametrize("vlans", VLANS, ids=" ".join)
def test_networkd_understands_every_line(
    node: Netns, tmp_path: Path, vlans: tuple[str, ...]
) -> None:
    kept = Kept(parse_wish("eth1", "br-mig", vlans, 9000), MAC, "node")
    _install(render_networkd(kept), tmp_path)

    with networkd_running(node, tmp_path, log := tmp_path / "log"):
        wait_until(lambda: 'br-mig: loaded "bridge"' in log.read_text(), timeout_s=WAIT_S)
        wait_until(lambda: "Saved new link" in log.read_text(), timeout_s=WAIT_S)

    assert "gnoring" not in _about_our_files(log)


@pytest.mark.parametrize("vlans", VLANS, ids=" ".join)
def test_networkmanager_understands_every_line(
    node: Netns, tmp_path: Path, vlans: tuple[str, ...]
) -> None:
    kept = Kept(parse_wish("eth1", "br-mig", vlans, 9000), MAC, "node")
    _install(render_networkmanager(kept), tmp_path)

    log = run_networkmanager(node, tmp_path)

    complaints = [line for line in log.splitlines() if "keyfile" in line and "<warn>" in line]
    assert complaints == []
    assert "spanbridge-br-mig" in log
