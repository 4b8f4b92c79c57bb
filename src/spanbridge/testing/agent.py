# SPDX-License-Identifier: Apache-2.0
"""
Runs real agents, and calls the plugin through them.

`AgentCni` speaks to an agent's socket itself, for tests of the agent alone; a runtime
that goes by the shim is in `spanbridge.testing.modes`.
"""

import contextlib
import dataclasses
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from spanbridge.agent.client import receive_answer, send_call
from spanbridge.model.frames import CallFrame
from spanbridge.testing.plugin import Netns
from spanbridge.testing.runtime import Answer, Cni, Conf

START_TIMEOUT_S: Final = 60
STOP_TIMEOUT_S: Final = 30
SPANBRIDGE: Final = (sys.executable, "-m", "spanbridge.cli")
"""The command line, and what a test puts before it."""

OWN_NETNS: Final = "/proc/thread-self/ns/net"


@dataclasses.dataclass(frozen=True, slots=True)
class Agent:
    """
    A running agent.

    Attributes:
        process: Its process; ``ip netns exec`` leaves no other one in between.
        socket: What clients connect to.
        run_dir: Its locks.
        state_dir: Its journals.
        log_path: Its standard error.
        heard: What it told the service manager until it was ready.
    """

    process: "subprocess.Popen[bytes]"
    socket: Path
    run_dir: Path
    state_dir: Path
    log_path: Path
    heard: str

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self.log_path.read_text()

    def ask(self, query: str, *options: str) -> Any:  # noqa: ANN401  # a JSON document
        """Ask it by the command line, as an operator does."""
        argv = [*SPANBRIDGE, "agent", query, *options]
        argv += ["--socket", str(self.socket), "--format", "json"]
        done = subprocess.run(argv, capture_output=True, timeout=START_TIMEOUT_S, check=False)
        assert done.returncode in {0, 1}, done.stderr.decode()
        return json.loads(done.stdout)

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()
        self.process.wait(STOP_TIMEOUT_S)

    def stop(self) -> int:
        """End it as a service manager does; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT_S)


StartAgent = Callable[..., Agent]
"""``start_agent(*options, netns=None, name="agent")``; equal names share their directories."""


@pytest.fixture
def start_agent(tmp_path: Path) -> Iterator[StartAgent]:
    """Starts agents and waits until they are ready; they end with the test."""
    started: list[Agent] = []

    def start(*options: str, netns: Netns | None = None, name: str = "agent") -> Agent:
        agent = launch_agent(tmp_path / name, options, netns=netns)
        started.append(agent)
        return agent

    yield start
    for agent in started:
        with contextlib.suppress(ProcessLookupError):
            agent.process.kill()
        agent.process.wait(STOP_TIMEOUT_S)


@pytest.fixture
def agent(start_agent: StartAgent) -> Agent:
    """An agent in the namespace that the test runs in."""
    return start_agent()


def launch_agent(place: Path, options: Sequence[str] = (), *, netns: Netns | None = None) -> Agent:
    """Start an agent with its files in ``place``, and wait until it is ready."""
    place.mkdir(exist_ok=True)
    paths = {name: place / name for name in ("agent.sock", "run", "state", "log", "notify")}
    paths["notify"].unlink(missing_ok=True)
    argv = [
        *(["ip", "netns", "exec", netns.name] if netns else []),
        *(*SPANBRIDGE, "agent", "run", "--socket", str(paths["agent.sock"])),
        *("--run-dir", str(paths["run"]), "--state-dir", str(paths["state"]), *options),
    ]
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        paths["log"].open("ab") as log,
    ):
        manager.bind(str(paths["notify"]))
        environ = dict(os.environ) | {"NOTIFY_SOCKET": str(paths["notify"])}
        process = subprocess.Popen(argv, stderr=log, env=environ)
        heard = _wait_ready(manager, process, paths["log"])
    return Agent(
        process, paths["agent.sock"], paths["run"], paths["state"], paths["log"], heard=heard
    )


def _wait_ready(manager: socket.socket, process: "subprocess.Popen[bytes]", log: Path) -> str:
    gone = os.pidfd_open(process.pid)
    try:
        ready, _, _ = select.select([manager.fileno(), gone], [], [], START_TIMEOUT_S)
    finally:
        os.close(gone)
    if manager.fileno() not in ready:
        process.kill()
        process.wait(STOP_TIMEOUT_S)
        raise AssertionError(f"the agent did not become ready: {log.read_text()}")
    return manager.recv(4096).decode()


@dataclasses.dataclass(frozen=True, slots=True)
class AgentCni(Cni):
    """A runtime whose calls go to the agent at ``agent_socket``, as those of the shim do."""

    def call(  # noqa: PLR0913  # as of Cni
        self,
        verb: str,
        conf: Conf | bytes,
        pod: Netns | str | None = None,
        *,
        container: str = "c1",
        ifname: str = "eth0",
        args: str = "",
        program: str = "bridge",
        env: Mapping[str, str] | None = None,
    ) -> Answer:
        """Make one call; only CNI variables travel."""
        environ = self.environment(verb, pod, container=container, ifname=ifname, args=args)
        stdin = conf if isinstance(conf, bytes) else json.dumps(conf).encode()
        with self.start(program, environ | dict(env or {}), stdin) as sock:
            answer = receive_answer(sock)
        text = answer.stdout.decode()
        return Answer(
            answer.status, json.loads(text) if text.strip() else None, answer.stderr.decode()
        )

    def start(self, program: str, environ: Mapping[str, str], stdin: bytes) -> socket.socket:
        """Send one call; the answer can be read from what is returned."""
        assert self.agent_socket is not None
        sent = {name: value for name, value in environ.items() if name.startswith("CNI_")}
        with contextlib.ExitStack() as stack:
            caller = _open(str(self.node.path) if self.node else OWN_NETNS, stack)
            sandbox = _open(environ.get("CNI_NETNS", ""), stack)
            frame = CallFrame(
                program, sent, stdin, caller=caller is not None, sandbox=sandbox is not None
            )
            descriptors = [each for each in (caller, sandbox) if each is not None]
            return send_call(self.agent_socket, frame, descriptors)


def _open(path: str, stack: contextlib.ExitStack) -> int | None:
    """Open a namespace as the shim does; None where there is nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    stack.callback(os.close, descriptor)
    return descriptor


@pytest.fixture
def agent_cni(agent: Agent, cni: Cni) -> AgentCni:
    """A runtime on the fixture ``node`` whose calls go to the fixture ``agent``."""
    return AgentCni(cni.bin_dir, cni.run_dir, cni.node, agent.socket)
