# SPDX-License-Identifier: Apache-2.0
"""An agent's server in this process, with calls that a test makes up."""

import asyncio
import contextlib
import dataclasses
import io
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import structlog

from spanbridge.agent import logs
from spanbridge.agent.calls import Outcome
from spanbridge.agent.client import receive_answer, send_call
from spanbridge.agent.dispatch import Dispatcher, RunCall
from spanbridge.agent.journal import Attachment, Journal
from spanbridge.agent.listen import open_listener
from spanbridge.agent.parts import NoLeases
from spanbridge.agent.queries import Queries
from spanbridge.agent.receive import Peer, Request, observe_peer
from spanbridge.agent.server import Server
from spanbridge.agent.settings import Limits, Places, Settings
from spanbridge.agent.tally import Tally
from spanbridge.base import log
from spanbridge.model.frames import AnswerFrame, CallFrame
from spanbridge.model.owner import Owner

WAIT_S: Final = 10
OWN_NETNS: Final = "/proc/self/ns/net"


def say_hello(_request: Request, _cancelled: Callable[[], bool]) -> Outcome:
    """Answer every call alike."""
    return Outcome(AnswerFrame(0, b"hello\n", b"a warning\n"), 0, 0.001)


@dataclasses.dataclass(slots=True)
class Desk:
    """
    A running server.

    Attributes:
        path: Of its socket.
        tally: Its figures.
        journal: Its attachments.
        loop: Of the thread that it runs in.
        stop_event: Ends it.
        thread: That thread.
    """

    path: Path
    tally: Tally
    journal: Journal
    loop: asyncio.AbstractEventLoop
    stop_event: asyncio.Event
    thread: threading.Thread

    def connect(self) -> socket.socket:
        """Connect and send nothing."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(WAIT_S)
        sock.connect(str(self.path))
        return sock

    def send(
        self, verb: str = "ADD", *, container: str = "c1", stdin: bytes = b""
    ) -> socket.socket:
        """Send one call with both descriptors."""
        environ = {"CNI_COMMAND": verb, "CNI_CONTAINERID": container, "CNI_IFNAME": "eth0"}
        frame = CallFrame("bridge", environ, stdin, caller=True, sandbox=True)
        with open_namespaces(2) as descriptors:
            return send_call(self.path, frame, descriptors)

    def call(self, verb: str = "ADD", **more: Any) -> AnswerFrame:  # noqa: ANN401  # as of `send`
        """Make one call with both descriptors."""
        with self.send(verb, **more) as sock:
            return receive_answer(sock)

    def request_stop(self) -> None:
        """Ask it to end, as a signal does."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.stop_event.set)

    def stop(self) -> None:
        """Let it end."""
        self.request_stop()
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive()


@contextlib.contextmanager
def open_namespaces(count: int) -> Iterator[list[int]]:
    """Open our network namespace several times."""
    descriptors = [os.open(OWN_NETNS, os.O_RDONLY) for _ in range(count)]
    try:
        yield descriptors
    finally:
        for each in descriptors:
            os.close(each)


StartDesk = Callable[..., Desk]


@pytest.fixture
def start_desk(tmp_path: Path) -> Iterator[StartDesk]:
    """Starts a server that runs calls by a function of the test."""
    started: list[Desk] = []

    def start(
        run: RunCall = say_hello,
        *,
        limits: Limits | None = None,
        peer_of: Callable[[socket.socket], Peer] = observe_peer,
    ) -> Desk:
        desk = _launch(tmp_path, run, limits or Limits(), peer_of)
        started.append(desk)
        return desk

    yield start
    for desk in started:
        desk.stop()


def _launch(
    place: Path, run: RunCall, limits: Limits, peer_of: Callable[[socket.socket], Peer]
) -> Desk:
    settings = Settings(Places(place / "agent.sock", place / "run", place / "state"), limits)
    listener = open_listener(settings.places.socket)
    journal, tally = Journal(place / "attachments"), Tally()
    ready = threading.Event()
    found: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        stop = asyncio.Event()
        found.append((asyncio.get_running_loop(), stop))
        dispatcher = Dispatcher(run, limit=limits.calls, tally=tally)
        queries = Queries(settings, dispatcher, journal=journal, leasing=NoLeases(), tally=tally)
        ready.set()
        await Server(
            listener, dispatcher, queries, limits=limits, tally=tally, peer_of=peer_of
        ).serve(stop)

    thread = threading.Thread(target=lambda: asyncio.run(serve(), debug=True))
    thread.start()
    assert ready.wait(WAIT_S)
    return Desk(settings.places.socket, tally, journal, *found[0], thread)


@pytest.fixture
def desk(start_desk: StartDesk) -> Desk:
    """A server that says hello."""
    return start_desk()


@pytest.fixture
def agent_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """The agent's log as text, every level."""
    for name in ("sink", "relay"):
        monkeypatch.setattr(log, name, getattr(log, name))
    stream = io.StringIO()
    logs.configure("text", "debug", stream=stream)
    yield stream
    structlog.reset_defaults()


@pytest.fixture
def make_attachment() -> Callable[..., Attachment]:
    """A factory of attachments."""

    def make(container: str = "c1", **fields: Any) -> Attachment:  # noqa: ANN401  # of its fields
        base = Attachment(
            owner=Owner.of("net1", container, "eth0"),
            program="bridge",
            netns="/run/netns/pod",
            sandbox=(4, 4026531840),
            visible=True,
            host=(4, 4026531841),
            boot_id="5f0c1c1e",
            attached_s=1700000000.25,
            args="MAC=02:00:00:00:00:01",
            path="/opt/cni/bin",
            config=b'{"name": "net1"}',
            result={"cniVersion": "1.1.0", "ips": [{"address": "10.1.2.3/24"}]},
        )
        return dataclasses.replace(base, **fields)

    return make
