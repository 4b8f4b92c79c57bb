# SPDX-License-Identifier: Apache-2.0
"""The one-shot program asks the agent for a lease; a stand-in answers."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spanbridge.base.errors import DelegateError, NotReadyError, RetryError
from spanbridge.ipam import Ipam

HEADER_BYTES = 12
RESULT = {"cniVersion": "1.1.0", "ips": [{"address": "10.9.0.50/24"}]}
FULL = {"code": 110, "msg": "the pool is dry", "details": "make it larger"}

Opened = Callable[..., Ipam]


def _frame(status: int, document: object) -> bytes:
    text = json.dumps(document).encode()
    return b"SB\1" + bytes([status]) + len(text).to_bytes(4, "big") + bytes(4) + text


@contextmanager
def _answering(path: Path, answer: bytes, *, reads: int) -> Iterator[None]:
    """Take one call, read so many bytes of it, answer and hang up."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(reads)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join(10)


@pytest.fixture
def dhcp(opened: Opened, tmp_path: Path) -> Callable[..., Ipam]:
    """Opens the section for an agent at ``agent.sock``."""

    def make(**top: object) -> Ipam:
        return opened({"type": "dhcp", "daemonSocketPath": str(tmp_path / "agent.sock")}, **top)

    return make


def test_the_agents_addresses_are_used(dhcp: Callable[..., Ipam], tmp_path: Path) -> None:
    with _answering(tmp_path / "agent.sock", _frame(0, RESULT), reads=1 << 16):
        result = dhcp().add()

    assert [str(ip.address) for ip in result.ips] == ["10.9.0.50/24"]


def test_an_agent_that_answers_before_it_has_read_everything_is_understood(
    dhcp: Callable[..., Ipam], tmp_path: Path
) -> None:
    with (
        _answering(tmp_path / "agent.sock", _frame(1, FULL), reads=HEADER_BYTES),
        pytest.raises(DelegateError, match="the pool is dry") as caught,
    ):
        dhcp(padding="x" * 900_000).add()

    assert (caught.value.delegate_code, caught.value.hint) == (110, "make it larger")


def test_an_agent_that_hangs_up_unanswered_is_to_be_asked_again(
    dhcp: Callable[..., Ipam], tmp_path: Path
) -> None:
    with (
        _answering(tmp_path / "agent.sock", b"SB", reads=1 << 16),
        pytest.raises(RetryError, match="hung up"),
    ):
        dhcp().add()


def test_without_an_agent_a_release_succeeds_and_the_rest_says_what_to_start(
    dhcp: Callable[..., Ipam],
) -> None:
    dhcp().release()
    dhcp().collect(frozenset())

    with pytest.raises(RetryError) as adding:
        dhcp().add()
    with pytest.raises(NotReadyError) as asking:
        dhcp().status()
    assert all("spanbridge agent run" in each.value.hint for each in (adding, asking))
