# SPDX-License-Identifier: Apache-2.0
"""One agent a node, and the socket that it listens on."""

import os
import socket
import stat
from pathlib import Path

import pytest

from spanbridge.agent.listen import hold_lock, open_listener
from spanbridge.base.errors import InputError, NodeError


def test_a_second_agent_is_told_who_runs(tmp_path: Path) -> None:
    lock = hold_lock(tmp_path / "run")
    with pytest.raises(NodeError, match=f"another one runs, with pid {os.getpid()}"):
        hold_lock(tmp_path / "run")
    os.close(lock)


def test_the_lock_ends_with_its_holder(tmp_path: Path) -> None:
    os.close(hold_lock(tmp_path))
    os.close(hold_lock(tmp_path))

    assert (tmp_path / "agent.lock").read_text() == f"{os.getpid()}\n"


def test_the_socket_is_for_its_owner_only_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        listener = open_listener(tmp_path / "run/agent.sock")
    finally:
        os.umask(before)
    listener.sock.close()

    assert stat.S_IMODE((tmp_path / "run/agent.sock").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o755


def test_a_socket_nobody_listens_on_is_replaced(tmp_path: Path) -> None:
    open_listener(tmp_path / "agent.sock").sock.close()
    listener = open_listener(tmp_path / "agent.sock")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "agent.sock"))
    listener.sock.close()


def test_a_socket_somebody_listens_on_is_left_alone(tmp_path: Path) -> None:
    listener = open_listener(tmp_path / "agent.sock")
    with pytest.raises(NodeError, match="another program does"):
        open_listener(tmp_path / "agent.sock")
    listener.sock.close()


def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "agent.sock").write_text("precious")
    with pytest.raises(NodeError, match="there is no socket there"):
        open_listener(tmp_path / "agent.sock")

    assert (tmp_path / "agent.sock").read_text() == "precious"


def test_a_path_that_the_kernel_would_cut_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="more than 107 bytes"):
        open_listener(tmp_path / ("x" * 108))
