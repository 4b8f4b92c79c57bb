# SPDX-License-Identifier: Apache-2.0
"""
Public pytest plugin: network namespaces, and the other tools' view of the kernel.

Namespaces are named ones (``ip netns``), so every tool can be pointed at them; their
names are unique, and they and the processes in them are gone when the test ends. The
tests have to run as root of their network namespace: see `spanbridge.testing.sandbox`.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import pytest

pytest_plugins = [
    "spanbridge.testing.modes",
    "spanbridge.testing.dhcp",
    "spanbridge.testing.agent",
]

Facts = list[dict[str, Any]]
"""What ``ip -j`` and its like print: objects whose keys depend on the command."""

_TIMEOUT_S: Final = 60
_END_TIMEOUT_S: Final = 5
_NUMBERS: Final = itertools.count()


@dataclasses.dataclass(frozen=True, slots=True)
class Netns:
    """
    A named network namespace.

    Attributes:
        name: As ``ip netns`` lists it.
        path: Of the bind mount that holds it; what a runtime passes as CNI_NETNS.
    """

    name: str
    path: Path

    def run(self, *argv: str) -> str:
        """Run a command in the namespace; its standard output."""
        return run("ip", "netns", "exec", self.name, *argv)

    def ping(self, address: str, *, count: int = 1, wait_s: int = 2) -> bool:
        """Tell whether an address answers from inside the namespace."""
        done = subprocess.run(
            [
                *("ip", "netns", "exec", self.name, "ping", "-n", "-q"),
                *("-c", str(count), "-W", str(wait_s), address),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        return done.returncode == 0


class MakeNetns(Protocol):
    """The factory that the fixture `netns` gives."""

    def __call__(self, role: str = "pod") -> Netns:
        """Make a namespace; ``role`` shows in its name."""


class MakeMany(Protocol):
    """The factory that the fixture `many_netns` gives."""

    def __call__(self, number: int) -> list[Netns]:
        """Make so many."""


class AskTool(Protocol):
    """A fixture that asks a tool for JSON."""

    def __call__(self, *arguments: str, netns: Netns | None = None) -> Facts:
        """Ask in a namespace; None: the one the test runs in."""


class AskRules(Protocol):
    """The fixture `rules_left`."""

    def __call__(self, netns: Netns | None = None) -> Facts:
        """Ask in a namespace; None: the one the test runs in."""


def run(*argv: str, stdin: str = "") -> str:
    """Run a command; its standard output. A failure carries what it said."""
    done = subprocess.run(
        argv,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        pytest.fail(f"`{' '.join(argv)}` ended with {done.returncode}: {said}")
    return done.stdout


@pytest.fixture
def netns() -> Iterator[MakeNetns]:
    """A factory of named network namespaces with their loopback up."""
    made: list[Netns] = []

    def make(role: str = "pod") -> Netns:
        name = f"{role}-{os.getpid()}-{next(_NUMBERS)}"
        run("ip", "netns", "add", name)
        made.append(Netns(name, Path("/run/netns") / name))
        run("ip", "-n", name, "link", "set", "lo", "up")
        return made[-1]

    yield make
    # A test of a vanished namespace may have removed it itself.
    left = [each for each in reversed(made) if each.path.exists()]
    _end_processes(left)
    _in_one_go(f"netns del {each.name}" for each in left)


def _in_one_go(lines: Iterable[str]) -> None:
    """Run many commands of `ip` in one process, which costs as much as one of them."""
    text = "".join(f"{line}\n" for line in lines)
    if text:
        run("ip", "-force", "-batch", "-", stdin=text)


@pytest.fixture
def many_netns() -> Iterator[MakeMany]:
    """
    A factory of many namespaces, made and removed by one process each.

    Their loopback is down, and a process in one of them keeps it alive.
    """
    names: list[str] = []

    def make(number: int) -> list[Netns]:
        made = [f"many-{os.getpid()}-{next(_NUMBERS)}" for _ in range(number)]
        names.extend(made)
        _in_one_go(f"netns add {name}" for name in made)
        return [Netns(name, Path("/run/netns") / name) for name in made]

    yield make
    _in_one_go(f"netns del {name}" for name in names)


def _end_processes(places: Sequence[Netns]) -> None:
    """End what still runs in some namespaces: politely, then surely."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        pids = _pids(places)
        deadline = time.monotonic() + _END_TIMEOUT_S
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        while pids and time.monotonic() < deadline:
            time.sleep(0.02)
            pids = _pids(places)


def _pids(places: Sequence[Netns]) -> list[int]:
    """
    The processes in some namespaces, ours left out: a test's threads may stand in one.

    A zombie is in none: it holds nothing, and only its parent can remove it.
    """
    wanted = {_identity(each.path) for each in places} - {None}
    processes = (int(each) for each in os.listdir("/proc") if each.isdecimal())  # noqa: PTH208
    return [
        pid
        for pid in processes
        if pid != os.getpid() and _identity(f"/proc/{pid}/ns/net") in wanted
    ]


def _identity(path: Path | str) -> tuple[int, int] | None:
    try:
        seen = os.stat(path)  # noqa: PTH116  # for every process, after every test
    except OSError:
        return None
    return seen.st_dev, seen.st_ino


@pytest.fixture
def node(netns: MakeNetns) -> Netns:
    """A namespace that stands for a node, and forwards nothing yet."""
    made = netns("node")
    # A new namespace takes it from the machine's first, where containers may run.
    made.run("sysctl", "-qw", "net.ipv4.ip_forward=0")
    return made


@pytest.fixture
def pod(netns: MakeNetns) -> Netns:
    """A namespace that stands for a pod's sandbox."""
    return netns("pod")


@pytest.fixture
def ip_json() -> AskTool:
    """Asks ``ip -j``: ``ip_json("addr", "show", "dev", "eth0", netns=pod)``."""
    return _asker(["ip", "-j", "-d"])


@pytest.fixture
def bridge_json() -> AskTool:
    """Asks ``bridge -j``: ``bridge_json("vlan", "show", netns=node)``."""
    return _asker(["bridge", "-j", "-d"])


@pytest.fixture
def nft_json() -> AskTool:
    """Asks ``nft -j``: the objects of ``nft_json("list", "ruleset")``, metainfo left out."""
    ask = _asker(["nft", "-j"])

    def objects(*arguments: str, netns: Netns | None = None) -> Facts:
        return [each for each in ask(*arguments, netns=netns) if "metainfo" not in each]

    return objects


@pytest.fixture
def rules_left(nft_json: AskTool) -> AskRules:
    """
    Asks for what nft lists, apart from what keeps the gateway of no pod on the node.

    DEL leaves a gateway's address on the bridge, and with it what keeps it there.
    """

    def ask(netns: Netns | None = None) -> Facts:
        listed = nft_json("list", "ruleset", netns=netns)
        sets = [each["set"] for each in listed if _is_in(each, "bridge") and "set" in each]
        comments = [one["elem"]["comment"] for each in sets for one in each.get("elem", [])]
        gateways = all(each["name"].startswith("gateway") for each in sets)
        if not gateways or not all(each.startswith("sb1:gateway") for each in comments):
            return listed
        return [each for each in listed if not _is_in(each, "bridge")]

    return ask


def _is_in(listed: dict[str, Any], family: str) -> bool:
    """Tell whether an object is our table of a family, or in it."""
    fields = next(iter(listed.values()))
    return (fields["family"], fields.get("table") or fields["name"]) == (family, "spanbridge")


def _asker(tool: Sequence[str]) -> AskTool:
    def ask(*arguments: str, netns: Netns | None = None) -> Facts:
        argv = [*tool, *arguments]
        text = netns.run(*argv) if netns else run(*argv)
        # Tools print nothing at all where there is nothing to list.
        found = json.loads(text or "[]")
        if isinstance(found, dict):
            found = found["nftables"]
        # ip leaves empty objects where a filter dropped one.
        return [each for each in found if each]

    return ask
