# SPDX-License-Identifier: Apache-2.0
"""
A directory of written files beside files of others: compare, write, remove.

Only what a record says that we wrote is replaced or removed, and removed only while it
still is as we wrote it.
"""

import contextlib
import difflib
import enum
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spanbridge.base.errors import InputError
from spanbridge.base.files import write_atomic

_SCRIPT_MODE: Final = 0o755
_TEXT_MODE: Final = 0o644


class ChangeKind(enum.StrEnum):
    """What has to happen to a file."""

    NEW = "new"
    CHANGED = "changed"
    REMOVED = "removed"
    KEPT = "kept"
    """No longer planned, but edited since we wrote it: it stays."""


@dataclass(frozen=True, slots=True)
class Change:
    """
    One file that is not as planned.

    Attributes:
        path: In the directory.
        kind: What has to happen.
        old: What is there.
        new: What shall be there.
        executable: It shall be a script.
    """

    path: str
    kind: ChangeKind
    old: str
    new: str
    executable: bool = False


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """
    A file as it shall be.

    Attributes:
        content: Its text.
        executable: It is a script.
    """

    content: str
    executable: bool = False


def compare(
    directory: Path, files: Mapping[str, PlannedFile], recorded: Mapping[str, str]
) -> tuple[Change, ...]:
    """
    Find what has to change in ``directory``, in the order of ``files``, removals last.

    Args:
        directory: May be absent.
        files: What shall be there, by path.
        recorded: Digest of what we wrote earlier, by path.

    Raises:
        InputError: A file that we did not write is in the way.
        OSError: A file cannot be read.
    """
    found = list(_differing(directory, files, recorded))
    for path in sorted(set(recorded) - set(files)):
        old = _read(directory / path)
        if old is not None:
            ours = digest_of(old) == recorded[path]
            kind = ChangeKind.REMOVED if ours else ChangeKind.KEPT
            found.append(Change(path, kind, old, ""))
    return tuple(found)


def digest_of(content: str) -> str:
    """Fingerprint a file's content, to know it again as ours."""
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _differing(
    directory: Path, files: Mapping[str, PlannedFile], recorded: Mapping[str, str]
) -> Iterator[Change]:
    for path, file in files.items():
        old = _read(directory / path)
        if old is None:
            yield Change(path, ChangeKind.NEW, "", file.content, file.executable)
        elif old != file.content:
            if path not in recorded:
                raise InputError(
                    f"cannot write {directory / path}: a file is there that no plan wrote",
                    hint="move it away, or bring back the lock file that belongs to the directory",
                )
            yield Change(path, ChangeKind.CHANGED, old, file.content, file.executable)
        elif file.executable != os.access(directory / path, os.X_OK):
            yield Change(path, ChangeKind.CHANGED, old, file.content, file.executable)


def _read(path: Path) -> str | None:
    try:
        # As bytes first: newlines must not be translated, and a stranger may be no text.
        return path.read_bytes().decode(errors="surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return None


def apply_changes(directory: Path, changes: Iterable[Change], *, first: str) -> None:
    """
    Bring a directory to what was compared; ended at any point, a second run completes it.

    Removals come first, then the file named ``first``, which records what is written
    after it and reaches the disk before it.

    Raises:
        OSError: A file cannot be written.
    """
    wanted = [one for one in changes if one.kind is not ChangeKind.KEPT]
    removed = [one for one in wanted if one.kind is ChangeKind.REMOVED]
    for change in removed:
        _remove(directory, change.path)
    written = [one for one in wanted if one.kind is not ChangeKind.REMOVED]
    for parent in {(directory / one.path).parent for one in written}:
        parent.mkdir(parents=True, exist_ok=True)
    for change in sorted(written, key=lambda one: one.path != first):
        path = directory / change.path
        mode = _SCRIPT_MODE if change.executable else _TEXT_MODE
        content = change.new.encode()
        write_atomic(path, content, mode=mode, durable=change.path == first)


def _remove(directory: Path, path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        (directory / path).unlink()
    for parent in (directory / path).parents:
        if parent == directory:
            return
        try:
            parent.rmdir()
        except OSError:  # something of others is in it
            return


def render_diff(changes: Iterable[Change]) -> Iterator[str]:
    """Show changes as a unified diff, without the line ends of its lines."""
    for change in changes:
        if change.kind is ChangeKind.KEPT:
            continue
        old = "/dev/null" if change.kind is ChangeKind.NEW else f"a/{change.path}"
        new = "/dev/null" if change.kind is ChangeKind.REMOVED else f"b/{change.path}"
        lines = (change.old.splitlines(), change.new.splitlines())
        yield from difflib.unified_diff(*lines, old, new, lineterm="")
