# SPDX-License-Identifier: Apache-2.0
"""The shim as it is installed, and a stand-in for the agent that says what it is told to say."""

import contextlib
import json
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from spanbridge.cni.install import built_shim, install

HEADER = struct.Struct(">2sBBII")
GOLDEN = Path(__file__).parents[1] / "frames/golden"


def golden(name: str) -> bytes:
    """The bytes of one golden frame."""
    lines = (GOLDEN / f"{name}.hex").read_text().splitlines()
    return bytes.fromhex(" ".join(line for line in lines if not line.startswith("#")))


def frame(stdout: bytes = b"", *, status: int = 0, stderr: bytes = b"") -> bytes:
    """An answer."""
    return HEADER.pack(b"SB", 1, status, len(stdout), len(stderr)) + stdout + stderr


@dataclass(frozen=True)
class Outcome:
    """What one run of the shim left."""

    status: int
    stdout: bytes
    stderr: bytes

    def error(self) -> dict[str, Any]:
        """The one error document of a failed call."""
        document = json.loads(self.stdout)
        assert self.status == 1
        assert set(document) == {"cniVersion", "code", "msg", "details"}
        assert document["msg"].startswith("cannot ")
        assert document["details"]
        return dict(document)

    @property
    def code(self) -> int:
        """The error's code."""
        return int(self.error()["code"])


@dataclass(frozen=True)
class Shim:
    """Installed programs, and the socket that they call."""

    bin_dir: Path
    socket: Path

    def environ(self, verb: str = "ADD", **more: str) -> dict[str, str]:
        """The variables of a call."""
        base = {"CNI_COMMAND": verb, "SPANBRIDGE_SOCKET": str(self.socket)}
        return {**base, "SPANBRIDGE_SHIM_TIMEOUT": "10", **more}

    def call(
        self,
        verb: str = "ADD",
        stdin: bytes = b"{}",
        *,
        program: str | Path = "bridge",
        env: Mapping[str, str] | None = None,
    ) -> Outcome:
        """Run it once."""
        done = subprocess.run(
            [self.bin_dir / program],
            input=stdin,
            env=self.environ(verb, **(env or {})),
            capture_output=True,
            check=False,
            timeout=15,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)


@dataclass
class Heard:
    """One call, as it arrived: all bytes, and device and inode behind each descriptor."""

    data: bytes
    files: list[tuple[int, int]]


def _receive(connection: socket.socket, limit: int) -> tuple[bytes, list[tuple[int, int]]]:
    data, descriptors, _, _ = socket.recv_fds(connection, limit, 4)
    stats = [os.fstat(descriptor) for descriptor in descriptors]
    for descriptor in descriptors:
        os.close(descriptor)
    return data, [(stat.st_dev, stat.st_ino) for stat in stats]


Reply = Callable[[socket.socket], None]


@dataclass
class Agent:
    """What answers on the socket; ``gone`` is set when a caller hangs up unanswered."""

    listener: socket.socket
    reply: bytes | Reply = b""
    heard: list[Heard] = field(default_factory=list)
    gone: threading.Event = field(default_factory=threading.Event)

    def first(self) -> Heard:
        """The first call, which may end a moment after its caller."""
        deadline = time.monotonic() + 10
        while not self.heard and time.monotonic() < deadline:
            time.sleep(0.002)
        return self.heard[0]

    def serve(self) -> None:
        """Take one call after the other until the listener is shut down."""
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(ConnectionError):
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        if callable(self.reply):
            self.reply(connection)
            return
        self.listen(connection)
        connection.sendall(self.reply)

    def listen(self, connection: socket.socket) -> None:
        """Read one call."""
        data, files = _receive(connection, HEADER.size)
        if len(data) == HEADER.size:
            _, _, _, strings, stdin = HEADER.unpack(data)
            while len(data) < HEADER.size + strings + stdin:
                piece, more = _receive(connection, 1 << 16)
                if not piece:
                    break
                data, files = data + piece, files + more
        self.heard.append(Heard(data, files))

    def keep_silent(self, connection: socket.socket) -> None:
        """Read a call, and wait until the caller gives up."""
        self.listen(connection)
        connection.settimeout(15)
        assert connection.recv(1) == b""
        self.gone.set()


@pytest.fixture(scope="session")
def bin_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with shims that know no one-shot program."""
    directory = tmp_path_factory.mktemp("shim-bin")
    shim = built_shim()
    assert shim is not None, "the build of the package made no shim; see: make setup"
    install(directory, shim=shim, oneshot=False)
    return directory


@pytest.fixture
def shim(bin_dir: Path, tmp_path: Path) -> Shim:
    """The shim; nobody listens on its socket yet."""
    return Shim(bin_dir, tmp_path / "agent.sock")


@pytest.fixture
def agent(shim: Shim) -> Iterator[Agent]:
    """A stand-in for the agent, on the shim's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(shim.socket))
        listener.listen(64)
        agent = Agent(listener, frame())
        thread = threading.Thread(target=agent.serve)
        thread.start()
        yield agent
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=15)
        assert not thread.is_alive()
