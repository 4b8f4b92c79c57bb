# SPDX-License-Identifier: Apache-2.0
"""Files and directories, sorted into the clusters that they belong to."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spanbridge.base.errors import InputError
from spanbridge.kube.source import (
    STANDARD_INPUT,
    Document,
    SourceError,
    parse_source,
    read_text,
)

_ENDINGS: Final = (".yaml", ".yml", ".json", ".conf", ".conflist")
_NOT_ENDINGS: Final = (".lock.json", ".schema.json")
"""Files of tools, which no cluster is told."""

_ABOUT_ALL: Final = "MigrationNetwork"
"""Kind of an object that stands beside the clusters' directories."""


@dataclass(frozen=True, slots=True)
class ClusterFiles:
    """
    What belongs to one cluster.

    Attributes:
        name: Its directory; empty where there is only one.
        documents: In the order of files.
        faults: Files that could not be decoded.
        asked: Files that were given by name, not found in a directory.
    """

    name: str
    documents: tuple[Document, ...]
    faults: tuple[SourceError, ...] = ()
    asked: tuple[str, ...] = ()


def _wanted(name: str) -> bool:
    return name.endswith(_ENDINGS) and not name.startswith(".") and not name.endswith(_NOT_ENDINGS)


def _listing(directory: str) -> tuple[list[str], list[str]]:
    """List the files to read in a directory, and the directories."""
    files, directories = [], []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir() and not entry.name.startswith("."):
                directories.append(entry.path)
            elif _wanted(entry.name) and entry.is_file():
                files.append(entry.path)
    return sorted(files), sorted(directories)


def _files_under(directory: str) -> Iterator[str]:
    files, directories = _listing(directory)
    yield from files
    for each in directories:
        yield from _files_under(each)


class _Found:
    """Documents and files that could not be decoded, in the order of reading."""

    def __init__(self) -> None:
        self.documents: list[Document] = []
        self.faults: list[SourceError] = []

    def read(self, files: Iterable[str]) -> "_Found":
        """Read what was found in a directory."""
        for file in files:
            try:
                text = read_text(file)
                # Many programs call their configuration .conf; ours is in JSON.
                if not file.endswith(".conf") or text.lstrip()[:1] == "{":
                    self.documents += parse_source(text, file)
            except SourceError as exc:
                self.faults.append(exc)
        return self

    def read_asked(self, files: Iterable[str], standard_input: str) -> "_Found":
        """Read what was given by name."""
        for file in files:
            try:
                text = standard_input if file == STANDARD_INPUT else read_text(file)
                self.documents += parse_source(text, file)
            except SourceError as exc:
                self.faults.append(exc)
        return self

    def as_cluster(self, name: str, asked: Iterable[str] = ()) -> ClusterFiles:
        """Say whose they are."""
        return ClusterFiles(name, tuple(self.documents), tuple(self.faults), tuple(asked))


def _is_of_a_cluster(document: Document) -> bool:
    value = document.value
    if not isinstance(value, dict):
        return False
    manifest = "kind" in value and "apiVersion" in value
    return (manifest and value["kind"] != _ABOUT_ALL) or {"cniVersion", "plugins"} & set(value) != (
        set()
    )


def _directory(directory: Path) -> Iterator[ClusterFiles]:
    """Take a directory as one cluster, or each of its directories where it is none itself."""
    files, below = _listing(str(directory))
    own = _Found().read(files)
    deeper = {each: more for each in below if (more := list(_files_under(each)))}
    if any(map(_is_of_a_cluster, own.documents)) or not deeper:
        name = directory.name or directory.resolve().name
        yield own.read(file for more in deeper.values() for file in more).as_cluster(name)
        return
    if own.documents or own.faults:
        yield own.as_cluster("")
    for each, more in deeper.items():
        yield _Found().read(more).as_cluster(Path(each).name)


def _plain(paths: Sequence[Path], standard_input: str) -> Iterator[ClusterFiles]:
    """Take files beside each other as those of one cluster."""
    by_directory: dict[Path, list[str]] = {}
    for path in paths:
        by_directory.setdefault(path.parent, []).append(str(path))
    for directory, files in by_directory.items():
        name = directory.name if len(by_directory) > 1 else ""
        yield _Found().read_asked(files, standard_input).as_cluster(name, files)


def collect(paths: Sequence[Path], *, standard_input: str = "") -> list[ClusterFiles]:
    """
    Read files and directories.

    Args:
        paths: A directory is one cluster, or holds one directory for each cluster; files
            beside each other are of one cluster; ``-`` is standard input.
        standard_input: Its text.

    Raises:
        InputError: A path is not there, or a directory holds nothing to read.
        OSError: A file cannot be read.
    """
    found: list[ClusterFiles] = []
    for path in paths:
        if path.is_dir():
            clusters = list(_directory(path))
            if not any(each.documents or each.faults for each in clusters):
                raise InputError(
                    f"cannot lint {path}: it holds no file to read",
                    hint=f"files end in {', '.join(_ENDINGS)}",
                )
            found += clusters
        elif str(path) != STANDARD_INPUT and not path.exists():
            raise InputError(f"cannot lint {path}: there is no such file")
    found += _plain([path for path in paths if not path.is_dir()], standard_input)
    return _with_different_names(found)


def _with_different_names(clusters: list[ClusterFiles]) -> list[ClusterFiles]:
    """Number clusters whose directories have one name."""
    seen: dict[str, int] = {}
    result = []
    for each in clusters:
        count = seen[each.name] = seen.get(each.name, 0) + 1
        name = each.name if count == 1 else f"{each.name}#{count}"
        result.append(ClusterFiles(name, each.documents, each.faults, each.asked))
    if len(result) == 1:
        only = result[0]
        return [ClusterFiles("", only.documents, only.faults, only.asked)]
    return result
