# SPDX-License-Identifier: Apache-2.0
"""The files: crash leftovers, changes behind the index's back, disks that refuse."""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbridge.base.errors import AddressError, Code, NodeError, RetryError
from spanbridge.ipam.host_local import store
from spanbridge.ipam.host_local.index import Index
from spanbridge.ipam.host_local.store import Holder, parse_body, render_body

SMALL = {"ranges": [[{"subnet": "10.0.0.0/30"}]]}
MIDDLE = {"ranges": [[{"subnet": "10.0.0.0/29"}]]}

Add = Callable[..., list[str]]
Release = Callable[..., None]
Reserved = Callable[[], dict[str, str]]


@given(st.from_regex(r"[a-z0-9][a-zA-Z0-9_.\-]*", fullmatch=True), st.sampled_from(["eth0", "n1"]))
def test_a_body_is_read_as_it_was_written(container_id: str, ifname: str) -> None:
    holder = Holder(container_id, ifname)
    assert parse_body(render_body(holder)) == holder


@given(st.binary())
def test_any_body_is_read_without_complaint(body: bytes) -> None:
    holder = parse_body(body)
    assert holder is None or body.strip()


@pytest.mark.parametrize("body", [b"", b"  \n", b"\0\0\0\0", b"\xff\xfe"])
def test_a_file_that_names_nobody_is_free(
    add: Add, directory: Path, reserved: Reserved, body: bytes
) -> None:
    directory.mkdir()
    (directory / "10.0.0.2").write_bytes(body)
    assert add("c1", SMALL) == ["10.0.0.2/30"]
    assert reserved() == {"10.0.0.2": "c1\r\neth0"}


def test_a_file_that_names_nobody_can_be_requested(add: Add, directory: Path) -> None:
    directory.mkdir()
    (directory / "10.0.0.4").touch()
    assert add("c1", MIDDLE, runtimeConfig={"ips": ["10.0.0.4"]}) == ["10.0.0.4/29"]


def test_an_unreadable_cursor_begins_anew(add: Add, directory: Path) -> None:
    directory.mkdir()
    (directory / "last_reserved_ip.0").write_bytes(b"10.0.\xff")
    assert add("c1", MIDDLE) == ["10.0.0.2/29"]


def test_a_shorter_cursor_leaves_no_rest_of_the_longer(add: Add, directory: Path) -> None:
    directory.mkdir()
    (directory / "last_reserved_ip.0").write_text("10.0.0.123")
    add("c1", MIDDLE)
    assert (directory / "last_reserved_ip.0").read_text() == "10.0.0.2"


def test_reservations_are_readable_by_their_owner_only(add: Add, directory: Path) -> None:
    add("c1", SMALL)
    assert directory.stat().st_mode & 0o777 == 0o755
    assert (directory / "10.0.0.2").stat().st_mode & 0o777 == 0o600


def test_a_file_removed_by_hand_frees_its_address(add: Add, directory: Path) -> None:
    add("c1", SMALL)
    (directory / "10.0.0.2").unlink()
    assert add("c2", SMALL) == ["10.0.0.2/30"]


def test_a_file_made_by_hand_is_respected(add: Add, directory: Path) -> None:
    add("c1", MIDDLE)
    (directory / "10.0.0.3").write_text("foreign\r\neth0")
    assert add("c2", MIDDLE) == ["10.0.0.4/29"]


def test_a_lease_made_by_hand_serves_its_owner(add: Add, directory: Path) -> None:
    add("c1", MIDDLE)
    (directory / "10.0.0.5").write_text("c2\r\neth0")
    assert add("c2", MIDDLE) == ["10.0.0.5/29"]


def test_a_lease_made_by_hand_is_released(
    add: Add, release: Release, directory: Path, reserved: Reserved
) -> None:
    add("c1", MIDDLE)
    (directory / "10.0.0.5").write_text("c2\r\neth0")
    release("c2")
    assert list(reserved()) == ["10.0.0.2"]


def test_a_lease_that_changed_hands_is_not_released_to_the_old(
    add: Add, release: Release, directory: Path, reserved: Reserved
) -> None:
    add("c1", MIDDLE)
    (directory / "10.0.0.2").write_text("c2\r\neth0")
    release("c1")
    assert list(reserved()) == ["10.0.0.2"]


def test_a_directory_removed_by_hand_begins_anew(add: Add, directory: Path) -> None:
    add("c1", SMALL)
    for each in directory.iterdir():
        each.unlink()
    directory.rmdir()
    assert add("c2", SMALL) == ["10.0.0.2/30"]


def test_an_index_removed_by_hand_is_made_again(add: Add, tmp_path: Path) -> None:
    add("c1", MIDDLE)
    (tmp_path / ".spanbridge/n.index").unlink()
    assert add("c1", MIDDLE) == ["10.0.0.2/29"]
    assert (tmp_path / ".spanbridge/n.index").exists()


def test_an_index_that_lies_never_gives_an_address_twice(
    add: Add, directory: Path, reserved: Reserved
) -> None:
    add("c1", MIDDLE)
    before = directory.stat()
    (directory / "10.0.0.3").write_text("foreign\r\neth0")
    os.utime(directory, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert add("c2", MIDDLE) == ["10.0.0.4/29"]
    assert reserved()["10.0.0.3"] == "foreign\r\neth0"


def test_an_index_that_lies_never_claims_exhaustion(add: Add, directory: Path) -> None:
    add("c1", SMALL)
    before = directory.stat()
    (directory / "10.0.0.2").unlink()
    os.utime(directory, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert add("c2", SMALL) == ["10.0.0.2/30"]


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Record every walk of a directory."""
    walked: list[str] = []
    listdir = os.listdir

    def counting(path: str) -> list[str]:
        walked.append(path)
        return listdir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", counting)
        yield walked


def test_no_call_after_the_first_walks_the_directory(
    add: Add, release: Release, scans: list[str]
) -> None:
    add("c1", MIDDLE)
    scans.clear()
    for owner in ("c2", "c3", "c2"):
        add(owner, MIDDLE)
    release("c2")
    release("c9")
    assert scans == []


def test_a_foreign_change_costs_one_walk(add: Add, directory: Path, scans: list[str]) -> None:
    add("c1", MIDDLE)
    scans.clear()
    (directory / "10.0.0.6").write_text("foreign\r\neth0")
    add("c2", MIDDLE)
    add("c3", MIDDLE)
    assert len(scans) == 1


def _no_space(*_: object, **__: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_fails_an_add_and_leaves_no_file(
    add: Add, reserved: Reserved, monkeypatch: pytest.MonkeyPatch
) -> None:
    add("c1", MIDDLE)
    monkeypatch.setattr(os, "write", _no_space)
    with pytest.raises(NodeError, match="No space left") as caught:
        add("c2", MIDDLE)
    assert caught.value.code == Code.STORE
    assert list(reserved()) == ["10.0.0.2"]


def test_a_full_disk_does_not_stop_a_release(
    add: Add, release: Release, reserved: Reserved, monkeypatch: pytest.MonkeyPatch
) -> None:
    add("c1", MIDDLE)
    monkeypatch.setattr(Index, "_write_header", _no_space)
    release("c1")
    assert reserved() == {}


def test_an_index_that_cannot_be_kept_does_not_stop_anything(
    add: Add, release: Release, tmp_path: Path, reserved: Reserved
) -> None:
    (tmp_path / ".spanbridge").touch()
    assert add("c1", MIDDLE) == ["10.0.0.2/29"]
    assert add("c2", MIDDLE) == ["10.0.0.3/29"]
    release("c1")
    assert list(reserved()) == ["10.0.0.3"]


CHANGES = ("open", "write", "pwrite", "unlink", "utime", "ftruncate", "close", "mkdir")


def _killed_at(call: int, work: Callable[[], object]) -> bool:
    """Do the work in a child that dies, as by SIGKILL, at its n-th system call."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] != 0
    left = [call]

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def run(*args: object, **kwargs: object) -> object:
            left[0] -= 1
            return function(*args, **kwargs) if left[0] else os._exit(9)

        return run

    for name in CHANGES:
        setattr(os, name, counted(getattr(os, name)))
    work()
    os._exit(0)


def test_an_add_killed_at_any_step_converges_when_repeated(
    add: Add, release: Release, reserved: Reserved
) -> None:
    add("c1", SMALL)
    release("c1")
    call = 1
    while _killed_at(call, lambda: add("c2", SMALL)):
        assert add("c2", SMALL) == ["10.0.0.2/30"]
        assert reserved() == {"10.0.0.2": "c2\r\neth0"}
        release("c2")
        assert reserved() == {}
        call += 1
    assert call > len(CHANGES)


def test_an_add_killed_at_any_step_blocks_nobody_else(add: Add, release: Release) -> None:
    add("c1", SMALL)
    release("c1")
    call = 1
    while _killed_at(call, lambda: add("c2", SMALL)):
        release("c2")
        assert add("c3", SMALL) == ["10.0.0.2/30"]
        release("c3")
        call += 1
    assert call > len(CHANGES)


def test_a_release_killed_at_any_step_converges_when_repeated(
    add: Add, release: Release, reserved: Reserved
) -> None:
    call = 1
    add("c1", MIDDLE)
    add("c2", MIDDLE)
    while _killed_at(call, lambda: release("c2")):
        release("c2")
        assert list(reserved()) == ["10.0.0.2"]
        add("c2", MIDDLE)
        call += 1
    assert call > len(CHANGES)


def test_a_lock_that_nobody_lets_go_of_is_reported(
    add: Add, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add("c1", MIDDLE)
    monkeypatch.setattr(store, "LOCK_TIMEOUT_S", 0.05)
    with (directory / "lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(RetryError, match="others hold it"):
            add("c2", MIDDLE)


def test_a_lock_that_cannot_be_had_is_an_error(
    add: Add, reserved: Reserved, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    add("c1", MIDDLE)
    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(NodeError, match="No locks available") as caught:
        add("c2", MIDDLE)
    assert caught.value.code == Code.STORE
    assert list(reserved()) == ["10.0.0.2"]


def test_a_directory_named_like_an_address_counts_as_taken(add: Add, directory: Path) -> None:
    (directory / "10.0.0.2").mkdir(parents=True)
    with pytest.raises(AddressError, match="are taken"):
        add("c1", SMALL)
