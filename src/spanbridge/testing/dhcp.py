# SPDX-License-Identifier: Apache-2.0
"""
Fixtures: DHCP servers in a network namespace, a real one and one that misbehaves.

Both have a log of what they saw, so that they can say what a client really sent.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import pytest

from spanbridge.testing import dhcp_program
from spanbridge.testing.plugin import Netns

_START_S: Final = 10.0
_END_S: Final = 5.0
_POLL_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class Dnsmasq:
    """
    A running dnsmasq.

    Attributes:
        pid: Of its process.
        log_file: What it says.
        lease_file: What it has given.
    """

    pid: int
    log_file: Path
    lease_file: Path

    def log(self, word: str = "") -> list[str]:
        """Lines of its log that hold a word, for example ``DHCPRELEASE``."""
        return [line for line in self.log_file.read_text().splitlines() if word in line]

    def leases(self) -> dict[str, str]:
        """Addresses that it has given, by the client's MAC."""
        lines = self.lease_file.read_text().splitlines() if self.lease_file.exists() else []
        return {words[1]: words[2] for words in map(str.split, lines) if len(words) >= 4}


class StartDnsmasq(Protocol):
    """The factory that the fixture `dhcp_server` gives."""

    def __call__(
        self, netns: Netns, device: str, *, first: str, last: str, options: tuple[str, ...] = ()
    ) -> Dnsmasq:
        """
        Start dnsmasq on a device that has an address; it runs until the test ends.

        Args:
            netns: Where.
            device: On which.
            first: First address of its pool.
            last: Last one.
            options: More of its command line.
        """


@pytest.fixture
def dhcp_server(tmp_path: Path) -> Iterator[StartDnsmasq]:
    """A factory of real DHCP servers; leases last two minutes, the least that dnsmasq gives."""
    started: list[subprocess.Popen[bytes]] = []

    def start(
        netns: Netns, device: str, *, first: str, last: str, options: tuple[str, ...] = ()
    ) -> Dnsmasq:
        stem = tmp_path / f"dnsmasq-{len(started)}"
        log_file, lease_file = stem.with_suffix(".log"), stem.with_suffix(".leases")
        command = [
            *("ip", "netns", "exec", netns.name, "dnsmasq", "--keep-in-foreground"),
            *("--conf-file=/dev/null", "--port=0", f"--interface={device}", "--bind-interfaces"),
            *("--user=root", "--no-ping", "--log-dhcp", "--log-facility=-"),
            *(f"--dhcp-leasefile={lease_file}", "--pid-file=", "--dhcp-authoritative"),
            *(f"--dhcp-range={first},{last},120", *options),
        ]
        with log_file.open("wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        started.append(process)
        made = Dnsmasq(process.pid, log_file, lease_file)
        wait_until(lambda: bool(made.log("DHCP, sockets bound")), what="dnsmasq to start")
        return made

    yield start
    _end(started)


class ScriptedServer:
    """
    A running `spanbridge.testing.dhcp_program`.

    Attributes:
        pid: Of its process.
    """

    def __init__(self, process: "subprocess.Popen[str]", log_file: Path) -> None:
        self.pid: Final = process.pid
        self._process: Final = process
        self._log_file: Final = log_file
        self._expect("ready")

    def _expect(self, word: str) -> None:
        assert self._process.stdout is not None
        said = self._process.stdout.readline().strip()
        assert said == word, f"the scripted server said {said!r} instead of {word!r}"

    def set(self, **settings: Any) -> None:  # noqa: ANN401  # JSON
        """Change its settings from now on."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(settings) + "\n")
        self._process.stdin.flush()
        self._expect("ok")

    def seen(self, kind: str = "") -> list[dict[str, Any]]:
        """Messages that came, of one kind or all, in order."""
        lines = self._log_file.read_text().splitlines() if self._log_file.exists() else []
        return [each for each in map(json.loads, lines) if kind in {"", each["kind"]}]

    def wait_for(self, kind: str, *, count: int = 1, timeout_s: float = 10.0) -> dict[str, Any]:
        """Wait for a message; the one that makes the count full."""
        wait_until(lambda: len(self.seen(kind)) >= count, what=f"a {kind}", timeout_s=timeout_s)
        return self.seen(kind)[count - 1]


class StartScripted(Protocol):
    """The factory that the fixture `scripted_dhcp` gives."""

    def __call__(self, netns: Netns, device: str, **settings: Any) -> ScriptedServer:  # noqa: ANN401
        """Start it on a device that has the server's address; settings as in its program."""


@pytest.fixture
def scripted_dhcp(tmp_path: Path) -> Iterator[StartScripted]:
    """A factory of DHCP servers that ignore, refuse, delay, move and flood on request."""
    started: list[subprocess.Popen[Any]] = []

    def start(netns: Netns, device: str, **settings: Any) -> ScriptedServer:  # noqa: ANN401
        log_file = tmp_path / f"scripted-{len(started)}.log"
        process = subprocess.Popen(
            [
                *("ip", "netns", "exec", netns.name, sys.executable, "-IS"),
                *(dhcp_program.__file__, device, str(log_file), json.dumps(settings)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PATH": os.environ["PATH"]},
        )
        started.append(process)
        return ScriptedServer(process, log_file)

    yield start
    _end(started)


def _end(started: list["subprocess.Popen[Any]"]) -> None:
    for process in started:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)
        process.kill()
        process.communicate()


def wait_until(
    happened: Callable[[], bool], *, what: str = "it", timeout_s: float = _START_S
) -> None:
    """Look again and again until something is so; fails the test when it takes too long."""
    deadline = time.monotonic() + timeout_s
    while not happened():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {timeout_s:.0f} s for {what} in vain")
        time.sleep(_POLL_S)
