# SPDX-License-Identifier: Apache-2.0
"""A node with a network card and a bridge in many states, and `spanbridge uplink` on it."""

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from spanbridge.testing.plugin import Netns

TIMEOUT_S: Final = 15

HISTORY: Final = ("operstate", "tso_max_size")
"""What the kernel derives from a bridge's ports, and keeps when the last live one has left."""


@dataclass(frozen=True, slots=True)
class Said:
    """What one command answered: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Host:
    """
    A node, its records, and what other tools say about it.

    Attributes:
        netns: The node's namespace; ``eth1`` in it leads to ``far``.
        place: Directory of state and locks.
    """

    netns: Netns
    place: Path

    @property
    def environ(self) -> dict[str, str]:
        """Variables for our programs."""
        return {
            "SPANBRIDGE_STATE": str(self.place / "state"),
            "SPANBRIDGE_RUN": str(self.place / "run"),
            "COLUMNS": "120",
        }

    def uplink(self, line: str) -> Said:
        """Run ``spanbridge uplink …``."""
        enter = ["ip", "netns", "exec", self.netns.name]
        done = subprocess.run(
            [*enter, sys.executable, "-m", "spanbridge.cli", "uplink", *shlex.split(line)],
            env=os.environ | self.environ,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def sh(self, *lines: str) -> None:
        """Run command lines on the node."""
        for line in lines:
            self.netns.run(*shlex.split(line))

    def links(self) -> dict[str, Any]:
        """Everything that ``ip`` knows of each link, by name."""
        found = json.loads(self.netns.run("ip", "-d", "-j", "link"))
        for each in found:
            info = each.get("linkinfo", {})
            for data in (info.get("info_data", {}), info.get("info_slave_data", {})):
                # What a bridge and its ports count all the time.
                for name in [name for name in data if name.endswith("_timer")]:
                    del data[name]
        return {each["ifname"]: each for each in found}

    def settings(self) -> dict[str, Any]:
        """The links without what follows from carrier, and from the ports that were there."""
        found = self.links()
        for each in found.values():
            each["flags"] = sorted({*each["flags"]} - {"LOWER_UP", "NO-CARRIER", "M-DOWN"})
            each.update(dict.fromkeys(HISTORY))
        return found

    def picture(self) -> tuple[str, str, str]:
        """The settings of links, what ``bridge vlan`` prints, and the files on record."""
        links = json.dumps(self.settings())
        vlans = self.netns.run("bridge", "-j", "vlan")
        records = self.place / "state/uplinks"
        left = sorted(os.listdir(records)) if records.is_dir() else []  # noqa: PTH208
        return links, vlans, str(left)


@pytest.fixture
def host(node: Netns, tmp_path: Path) -> Host:
    """A node with a card that was never up, and a cable in it."""
    made = Host(node, tmp_path)
    made.sh(
        "ip link add eth1 address 02:00:00:00:00:01 type veth peer name far",
        "ip link set far up",
    )
    return made
