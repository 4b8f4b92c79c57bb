# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or absent, and locks that exclude other processes."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from spanbridge.base.files import locked, write_atomic

HOLDER = (
    "import sys; from pathlib import Path; from spanbridge.base.files import locked\n"
    "with locked(Path(sys.argv[1])):\n"
    "    print('held', flush=True)\n"
    "    sys.stdin.read()\n"
)
TRIER = (
    "import fcntl, sys\n"
    "with open(sys.argv[1]) as file:\n"
    "    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
)


def failing(number: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("old", [None, b"old"], ids=["new file", "existing file"])
@pytest.mark.parametrize("data", [b"", b"new", b"x" * 100_000], ids=len)
def test_the_content_is_replaced_and_nothing_else_is_left(
    tmp_path: Path, old: bytes | None, data: bytes
) -> None:
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)
    write_atomic(path, data, mode=0o640)

    assert path.read_bytes() == data
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS], ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_failure_leaves_the_old_content_and_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, call, failing(number))
    # Whichever of the two the code uses for the renaming.
    monkeypatch.setattr(Path, "rename", failing(number) if call == "rename" else Path.rename)
    monkeypatch.setattr(Path, "replace", failing(number) if call == "rename" else Path.replace)

    with pytest.raises(OSError, match=os.strerror(number)):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interruption_leaves_the_old_content_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, b"new")

    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("file", b"old")]


def test_data_is_on_disk_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, bool]] = []

    def watch(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        synced.append((name, (tmp_path / "file").exists()))

    monkeypatch.setattr(os, "fsync", watch)
    write_atomic(tmp_path / "file", b"new")

    assert [exists for _, exists in synced] == [False, True]
    assert synced[1][0] == tmp_path.name


def test_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "missing/file", b"new")


def test_a_lock_excludes_another_process_until_it_is_left(tmp_path: Path) -> None:
    path = tmp_path / "run/lock"

    def can_lock() -> bool:
        done = subprocess.run(
            [sys.executable, "-c", TRIER, path], stderr=subprocess.DEVNULL, check=False
        )
        return done.returncode == 0

    with locked(path):
        assert not can_lock()
    assert can_lock()
    assert path.exists()


def test_a_lock_dies_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.kill()

    with locked(path):
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_lock_is_left_after_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path / "lock"):
        raise KeyError
    # Would wait for ever, if the first one were still held.
    with locked(tmp_path / "lock"):
        pass
