# SPDX-License-Identifier: Apache-2.0
"""Files and directories, sorted into the clusters that they belong to."""

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
    read_source,
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


def _wanted(path: Path) -> bool:
    if path.name.startswith(".") or not path.name.endswith(_ENDINGS):
        return False
    return not path.name.endswith(_NOT_ENDINGS)


def _files_under(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.iterdir()):
        if path.is_dir() and not path.name.startswith("."):
            yield from _files_under(path)
        elif path.is_file() and _wanted(path):
            yield path


def _read(paths: Iterable[Path], *, standard_input: str = "") -> tuple[
    list[Document], list[SourceError]
]:  # fmt: skip
    documents: list[Document] = []
    faults: list[SourceError] = []
    for path in paths:
        try:
            if str(path) == STANDARD_INPUT:
                documents += parse_source(standard_input, STANDARD_INPUT)
            else:
                documents += read_source(path)
        except SourceError as exc:
            faults.append(exc)
    return documents, faults


def _looks_like_conf(path: Path) -> bool:
    """Tell whether a .conf file is in JSON; many programs use that ending."""
    with path.open("rb") as stream:
        return stream.read(64).lstrip()[:1] == b"{"


def _found(directory: Path) -> list[Path]:
    paths = _files_under(directory)
    return [path for path in paths if path.suffix != ".conf" or _looks_like_conf(path)]


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
    own = [path for path in _found(directory) if path.parent == directory]
    documents, faults = _read(own)
    below = [path for path in sorted(directory.iterdir())
             if path.is_dir() and not path.name.startswith(".")]  # fmt: skip
    deeper = {path: files for path in below if (files := _found(path))}
    if any(map(_is_of_a_cluster, documents)) or not deeper:
        more, more_faults = _read(path for files in deeper.values() for path in files)
        name = directory.name or directory.resolve().name
        yield ClusterFiles(name, (*documents, *more), (*faults, *more_faults))
        return
    if documents or faults:
        yield ClusterFiles("", tuple(documents), tuple(faults))
    for path, files in deeper.items():
        documents, faults = _read(files)
        yield ClusterFiles(path.name, tuple(documents), tuple(faults))


def _plain(paths: Sequence[Path], standard_input: str) -> Iterator[ClusterFiles]:
    """Take files beside each other as those of one cluster."""
    by_directory: dict[Path, list[Path]] = {}
    for path in paths:
        by_directory.setdefault(path.parent, []).append(path)
    for directory, files in by_directory.items():
        documents, faults = _read(files, standard_input=standard_input)
        name = directory.name if len(by_directory) > 1 else ""
        yield ClusterFiles(name, tuple(documents), tuple(faults), tuple(map(str, files)))


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
