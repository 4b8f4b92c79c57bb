# SPDX-License-Identifier: Apache-2.0
"""Readiness and inherited sockets, as a service manager sees them."""

import contextlib
import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from spanbridge.agent.notify import Notifier

SCRIPT = """
import os, sys
for number, passed in enumerate(map(int, sys.argv[2:]), 3):
    os.dup2(passed, number)
os.environ["LISTEN_PID"] = sys.argv[1] or str(os.getpid())
os.environ |= {"LISTEN_FDS": str(len(sys.argv) - 2), "LISTEN_FDNAMES": "x"}
from spanbridge.agent.notify import inherited_listener
from spanbridge.base.errors import NodeError
try:
    found = inherited_listener(os.environ)
    print("none" if found is None else found.sock.getsockname())
except NodeError as exc:
    print(exc.message)
print(sorted(name for name in os.environ if name.startswith("LISTEN_")))
"""


@pytest.fixture
def manager() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        yield sock


def test_states_arrive_in_one_datagram(manager: socket.socket, tmp_path: Path) -> None:
    manager.bind(str(tmp_path / "notify"))
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")}).send("READY=1", "STATUS=well")

    assert manager.recv(100) == b"READY=1\nSTATUS=well"


def test_an_abstract_address_starts_with_an_at_sign(manager: socket.socket) -> None:
    name = f"spanbridge-test-{os.getpid()}"
    manager.bind("\0" + name)
    Notifier({"NOTIFY_SOCKET": "@" + name}).send("READY=1")

    assert manager.recv(100) == b"READY=1"


def test_no_child_inherits_the_address() -> None:
    environ = {"NOTIFY_SOCKET": "/run/systemd/notify", "PATH": "/bin"}
    Notifier(environ)

    assert environ == {"PATH": "/bin"}


def test_without_a_service_manager_nothing_is_sent() -> None:
    Notifier({}).send("READY=1")


def test_a_manager_that_is_gone_does_not_harm(tmp_path: Path) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).send("READY=1")


def inherit(*sockets: socket.socket, pid: str = "") -> list[str]:
    """Run a process to which sockets were passed as a service manager does."""
    descriptors = [each.fileno() for each in sockets]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, pid, *map(str, descriptors)],
        pass_fds=descriptors,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(str(tmp_path / "agent.sock"))
        sock.listen()
        with _moved(sock) as moved:
            yield moved


def _moved(sock: socket.socket) -> socket.socket:
    """Give a socket a high number, so that making it number 3 overwrites no other."""
    return socket.socket(fileno=fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, 20))


def test_a_listening_socket_is_taken_over(listening: socket.socket, tmp_path: Path) -> None:
    assert inherit(listening) == [str(tmp_path / "agent.sock"), "[]"]


def test_what_was_meant_for_another_process_is_left_alone(listening: socket.socket) -> None:
    assert inherit(listening, pid="1")[0] == "none"


def test_two_sockets_are_refused(listening: socket.socket) -> None:
    assert inherit(listening, listening)[0].endswith("2 were passed")


def test_a_socket_that_does_not_listen_is_refused() -> None:
    with contextlib.ExitStack() as stack:
        pair = [stack.enter_context(each) for each in socket.socketpair()]
        moved = stack.enter_context(_moved(pair[0]))

        assert inherit(moved)[0].endswith("nobody listens on it")


def test_a_socket_of_another_family_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, _moved(server) as moved:
        assert inherit(moved)[0].endswith("it is AF_INET SOCK_STREAM")
