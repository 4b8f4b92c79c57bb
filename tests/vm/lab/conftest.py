# SPDX-License-Identifier: Apache-2.0
"""Running the lab's commands, and asking other tools what is in the kernel."""

import contextlib
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from spanbridge.cli import main

TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Done:
    """What a command of the lab did."""

    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Lab:
    """The command line, and the views of `ip` and `bridge` on what it did."""

    def run(self, *words: str) -> Done:
        """Run `spanbridge lab ...` in this process: imports take seconds in a guest."""
        stdout, stderr = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            code = main(["lab", *words])
        return Done(code, stdout.getvalue(), stderr.getvalue())

    def start(self, *words: str, until: Callable[[], bool]) -> subprocess.Popen[str]:
        """Start `spanbridge lab ...` as a process and wait until it has come so far."""
        process = subprocess.Popen(
            [sys.executable, "-m", "spanbridge.cli", "lab", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + TIMEOUT_S
        while not until() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert process.poll() is None, process.communicate()
        return process

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
