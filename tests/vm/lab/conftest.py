# SPDX-License-Identifier: Apache-2.0
"""Running the lab's commands, and asking other tools what is in the kernel."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Lab:
    """The command line, and the views of `ip` and `bridge` on what it did."""

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `spanbridge lab ...`."""
        return subprocess.run(
            self.command(*words), capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )

    def command(self, *words: str) -> list[str]:
        """Make the command line of `spanbridge lab ...`."""
        return [sys.executable, "-m", "spanbridge.cli", "lab", *words]

    def ask(self, netns: str, *argv: str) -> Any:  # noqa: ANN401  # JSON of another tool
        """Run a command in a namespace; what it prints as JSON."""
        return json.loads(self.enter(netns, *argv) or "[]")

    def enter(self, netns: str, *argv: str) -> str:
        """Run a command in a namespace."""
        done = subprocess.run(
            ["ip", "netns", "exec", netns, *argv], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def namespaces(self) -> set[str]:
        """Name the lab's namespaces."""
        listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
        names = {line.split()[0] for line in listed.stdout.splitlines()}
        return {name for name in names if name.startswith("sb-lab-")}


@dataclass(frozen=True, slots=True)
class Machine:
    """All that a lab must leave as it was."""

    links: frozenset[str]
    tables: str
    namespaces: frozenset[str]
    files: frozenset[str]


@pytest.fixture(scope="session")
def lab() -> Lab:
    return Lab()


@pytest.fixture(scope="session")
def machine() -> Callable[[], Machine]:
    def look() -> Machine:
        def ask(*argv: str) -> str:
            return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

        links = json.loads(ask("ip", "-j", "link"))
        found = ask("find", "/run", "-maxdepth", "3", "-path", "*span*")
        return Machine(
            links=frozenset(link["ifname"] for link in links),
            tables=ask("nft", "list", "tables"),
            namespaces=frozenset(ask("ip", "netns", "list").split()),
            files=frozenset(found.split()),
        )

    return look
