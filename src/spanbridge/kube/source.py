# SPDX-License-Identifier: Apache-2.0
"""
Documents with the places where their values stand, also inside JSON embedded in YAML.

Reading is quick, since positions are looked for only when one is asked for.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from sys import intern
from typing import Final

from spanbridge.base.errors import DecodeError
from spanbridge.kube.marks import Mark, MarkTable, json_marks, scalar_offsets
from spanbridge.model.findings import Position

STANDARD_INPUT: Final = "-"
_NEWLINE: Final = re.compile("\n")


class SourceError(DecodeError):
    """
    A text that cannot be decoded.

    Attributes:
        position: Where reading ended.
        cause: What is wrong there, without the place.
    """

    def __init__(self, position: Position, cause: str, *, what: str = "", hint: str = "") -> None:
        place = f" at line {position.line} column {position.column}" if position.line else ""
        super().__init__(
            f"cannot decode {what or position.file}: {cause}{place}",
            pointer=position.pointer,
            hint=hint or "write JSON or YAML",
        )
        self.position = position
        self.cause = cause


class SourceText:
    """
    One file's text; knows line and column of an offset.

    Attributes:
        file: Its path, as it was given.
        text: All of it.
    """

    # No cached_property: among a hundred thousand files, a dictionary each is too much.
    __slots__ = ("_line_starts", "_tables", "file", "text")

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text
        self._line_starts: list[int] = []
        self._tables: list[MarkTable] | None = None

    @property
    def _starts(self) -> list[int]:
        if not self._line_starts:
            self._line_starts = [0, *(match.end() for match in _NEWLINE.finditer(self.text))]
        return self._line_starts

    @property
    def yaml_tables(self) -> list[MarkTable]:
        """Marks of every document of a YAML stream."""
        if self._tables is None:
            from spanbridge.kube.yaml_values import yaml_marks

            self._tables = yaml_marks(self.text)
        return self._tables

    def position(self, offset: int, pointer: str = "") -> Position:
        """Turn an offset in characters into line and column."""
        line = bisect_right(self._starts, offset)
        return Position(self.file, line, offset - self._starts[line - 1] + 1, pointer)

    def offset(self, position: Position) -> int:
        """Turn line and column into an offset; the inverse of ``position``."""
        return self._starts[position.line - 1] + position.column - 1


class _Marks:
    """The marks of one document, found when first asked for."""

    __slots__ = ("_by_pointer", "_find", "_table")

    def __init__(self, find: Callable[[], MarkTable]) -> None:
        self._find = find
        self._table: MarkTable | None = None
        self._by_pointer: dict[str, Mark] = {}

    @property
    def table(self) -> MarkTable:
        if self._table is None:
            self._table = self._find()
        return self._table

    @property
    def last(self) -> dict[str, Mark]:
        """By pointer; of a repeated key the last one, which is the one that counts."""
        if not self._by_pointer:
            self._by_pointer = dict(self.table)
        return self._by_pointer


@dataclass(frozen=True, slots=True)
class Document:
    """
    One decoded document.

    Attributes:
        file: Path as it was given; ``-`` is standard input.
        index: Its place in the file, from 0.
        value: Dictionaries, lists, text, numbers, booleans, None.
        repeats: Whether some object has a key twice.
        source: The file's text.
        outer: For JSON inside of a text: the document around it, and where the text is.
    """

    file: str
    index: int
    value: object
    repeats: bool
    source: SourceText = field(repr=False, compare=False)
    _marks: _Marks = field(repr=False, compare=False)
    outer: "tuple[Document, str] | None" = field(default=None, repr=False, compare=False)

    def mark(self, pointer: str) -> Mark:
        """Find the value at ``pointer``, or its nearest ancestor that is there."""
        return self._marks.last[self._there(pointer)]

    def _there(self, pointer: str) -> str:
        while pointer and pointer not in self._marks.last:
            pointer = pointer.rpartition("/")[0]
        return pointer

    def position(self, pointer: str = "") -> Position:
        """Locate the value at ``pointer``; the nearest ancestor where it is not there."""
        return self.source.position(self.mark(pointer).start, pointer)

    def key_position(self, pointer: str) -> Position:
        """Locate the key of the value at ``pointer``; the value where it has none."""
        mark = self.mark(pointer)
        there = self._there(pointer) == pointer
        start = mark.key_start if there and mark.key_start >= 0 else mark.start
        return self.source.position(start, pointer)

    def repeated(self) -> tuple[Position, ...]:
        """Locate every key that its object has earlier already."""
        if not self.repeats:
            return ()
        return tuple(
            self.source.position(mark.key_start, pointer)
            for pointer, mark in self._marks.table
            if mark.repeated
        )


def _load_json(text: str) -> tuple[object, bool]:
    repeats = False

    def keep(pairs: list[tuple[str, object]]) -> dict[str, object]:
        nonlocal repeats
        # Keys are few and come again in every document.
        kept = {intern(key): value for key, value in pairs}
        repeats = repeats or len(kept) != len(pairs)
        return kept

    return json.loads(text, object_pairs_hook=keep), repeats


def _parse_json(source: SourceText) -> tuple[Document, ...]:
    try:
        value, repeats = _load_json(source.text)
    except json.JSONDecodeError as exc:
        raise SourceError(source.position(exc.pos), exc.msg) from exc
    except (ValueError, RecursionError) as exc:  # 4301 digits, nested too deep
        raise SourceError(Position(source.file), str(exc)) from exc
    marks = _Marks(lambda: json_marks(source.text))
    return (Document(source.file, 0, value, repeats, source, marks),)


def _yaml_document(source: SourceText, index: int, value: object, *, repeats: bool) -> Document:
    marks = _Marks(lambda: source.yaml_tables[index])
    return Document(source.file, index, value, repeats, source, marks)


def _parse_yaml(source: SourceText) -> tuple[Document, ...]:
    from yaml import MarkedYAMLError, YAMLError

    from spanbridge.kube.yaml_values import YamlFaultError, yaml_values

    try:
        return tuple(
            _yaml_document(source, index, value, repeats=repeats)
            for index, (value, repeats) in enumerate(yaml_values(source.text))
            if value is not None
        )
    except MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        position = source.position(mark.index) if mark else Position(source.file)
        cause = ", ".join(part for part in (exc.context, exc.problem) if part)
        raise SourceError(position, cause) from exc
    except YamlFaultError as exc:
        raise SourceError(source.position(exc.offset), str(exc)) from exc
    except (YAMLError, RecursionError, UnicodeError) as exc:
        raise SourceError(Position(source.file), " ".join(str(exc).split())) from exc


def parse_source(text: str, file: str) -> tuple[Document, ...]:
    """
    Decode JSON, or a stream of YAML documents; empty documents are left out.

    Args:
        text: All of the file.
        file: What to call it in positions and messages.

    Raises:
        SourceError: Neither; says line and column.
    """
    source = SourceText(file, text)
    # YAML could read JSON too, but says less about what is wrong in it.
    return _parse_json(source) if text.lstrip()[:1] == "{" else _parse_yaml(source)


def read_text(path: Path | str) -> str:
    """
    Read a file.

    Raises:
        OSError: It cannot be read.
        SourceError: It is not UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as exc:
        raise SourceError(Position(str(path)), "it is not UTF-8 text") from exc


def read_source(path: Path) -> tuple[Document, ...]:
    """
    Read a file and decode it.

    Raises:
        OSError: The file cannot be read.
        SourceError: See ``parse_source``; or the file is not UTF-8.
    """
    return parse_source(read_text(path), str(path))


def _value_at(document: Document, pointer: str) -> object:
    value = document.value
    for token in pointer.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


def embedded(document: Document, pointer: str) -> Document:
    """
    Decode the JSON in a string value; its positions are places in the outer file.

    Args:
        document: The outer document.
        pointer: Where the string is, such as ``/spec/config``.

    Raises:
        SourceError: There is no string, or it holds no JSON; the position is the place
            in the outer file.
    """
    text = _value_at(document, pointer)
    if not isinstance(text, str):
        raise SourceError(document.position(pointer), "it is no text", hint="write JSON as text")

    def place() -> Callable[[int], int]:
        return scalar_offsets(document.source.text, document.mark(pointer), text)

    try:
        value, repeats = _load_json(text)
    except json.JSONDecodeError as exc:
        position = document.source.position(place()(exc.pos), pointer)
        raise SourceError(position, exc.msg, hint="write one JSON object") from exc
    except (ValueError, RecursionError) as exc:
        position = document.position(pointer)
        raise SourceError(position, str(exc), hint="write one JSON object") from exc

    def find() -> MarkTable:
        to_outer = place()
        return [(at, mark.moved(to_outer)) for at, mark in json_marks(text)]

    return Document(
        document.file,
        document.index,
        value,
        repeats,
        document.source,
        _Marks(find),
        outer=(document, pointer),
    )
