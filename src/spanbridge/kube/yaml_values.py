# SPDX-License-Identifier: Apache-2.0
"""
YAML as Kubernetes reads it, by the events of libyaml: values first, positions when asked.

Plain scalars resolve as in the decoder of kubectl (yes, no, on and off are booleans,
0755 is octal); dates stay text, numbers as keys become text, merge keys are followed.
"""

import re
from collections.abc import Iterator
from typing import Final

import yaml

from spanbridge.kube.marks import Mark, MarkTable
from spanbridge.model.reader import escape

# A wheel brings libyaml; a source build without it is slower and otherwise the same.
_LOADER: Final = getattr(yaml, "CLoader", yaml.Loader)

_WORDS: Final[dict[str, bool | None]] = {
    form: value
    for value, words in (
        (None, ("", "~", "null")),
        (True, ("true", "yes", "on")),
        (False, ("false", "no", "off")),
    )
    for word in words
    for form in (word, word.capitalize(), word.upper())
}
"""Source: gopkg.in/yaml.v2, resolve.go, as in sigs.k8s.io/yaml 1.x."""

_INTEGER: Final = re.compile(
    r"[-+]?(?:0[bB][01_]+|0[oO][0-7_]+|0[xX][0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)"
)
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?")
_NUMERIC: Final = frozenset("+-.0123456789")
_OCTAL: Final = re.compile(r"[-+]?0[0-7_]+")
_MERGE: Final = "<<"


class YamlFaultError(ValueError):
    """
    What libyaml accepts and JSON has no place for.

    Attributes:
        offset: Where it stands, in characters.
    """

    def __init__(self, cause: str, event: yaml.Event) -> None:
        super().__init__(cause)
        self.offset = _start(event)


def _start(event: yaml.Event) -> int:
    return event.start_mark.index if event.start_mark else 0


def _end(event: yaml.Event) -> int:
    return event.end_mark.index if event.end_mark else 0


def _number(text: str) -> object:
    if _INTEGER.fullmatch(text):
        digits = text.replace("_", "")
        return int(digits, 8) if _OCTAL.fullmatch(text) else int(digits, 0)
    if _FLOAT.fullmatch(text):
        return float(text.replace("_", ""))
    return text


def _scalar(event: yaml.ScalarEvent) -> object:
    """Resolve a scalar; quoted ones and those tagged as text stay text."""
    text: str = event.value
    if event.style not in {None, ""} or (event.tag or "").endswith(":str"):
        return text
    if text in _WORDS:
        return _WORDS[text]
    return _number(text) if text[0] in _NUMERIC else text


class _Open:
    """A collection being filled; ``key`` is the one whose value comes next."""

    __slots__ = ("anchor", "items", "key", "merged", "value")

    def __init__(self, value: dict[str, object] | list[object], anchor: str | None) -> None:
        self.value = value
        self.anchor = anchor
        self.key: str | None = None
        self.merged: list[object] = []


class _Builder:
    """Fills one document after the other from events."""

    def __init__(self) -> None:
        self.stack: list[_Open] = []
        self.anchors: dict[str, object] = {}
        self.root: object = None
        self.repeats = False

    def put(self, value: object, event: yaml.Event) -> None:
        if not self.stack:
            self.root = value
            return
        top = self.stack[-1]
        into = top.value
        if isinstance(into, list):
            into.append(value)
        elif top.key is None:
            raise YamlFaultError("a key must be text", event)
        else:
            self.put_member(top, into, value)

    def put_member(self, top: _Open, into: dict[str, object], value: object) -> None:
        key, top.key = top.key or "", None
        if key == _MERGE:
            top.merged += value if isinstance(value, list) else [value]
            return
        if key in into:
            self.repeats = True
        into[key] = value

    def scalar(self, event: yaml.ScalarEvent) -> None:
        top = self.stack[-1] if self.stack else None
        if top is not None and top.key is None and isinstance(top.value, dict):
            top.key = event.value
            return
        try:
            value = _scalar(event)
        except ValueError as exc:  # more digits than Python reads
            raise YamlFaultError(str(exc), event) from exc
        if event.anchor:
            self.anchors[event.anchor] = value
        self.put(value, event)

    def close(self, event: yaml.Event) -> None:
        done = self.stack.pop()
        if isinstance(done.value, dict):
            for each in done.merged:
                if isinstance(each, dict):
                    done.value.update({k: v for k, v in each.items() if k not in done.value})
        if done.anchor:
            self.anchors[done.anchor] = done.value
        self.put(done.value, event)

    def alias(self, event: yaml.AliasEvent) -> None:
        if event.anchor not in self.anchors:
            raise YamlFaultError(f"no value is named {event.anchor}", event)
        self.put(self.anchors[event.anchor], event)

    def start(self, event: yaml.CollectionStartEvent) -> None:
        value: dict[str, object] | list[object] = (
            {} if isinstance(event, yaml.MappingStartEvent) else []
        )
        top = self.stack[-1] if self.stack else None
        if top is not None and top.key is None and isinstance(top.value, dict):
            raise YamlFaultError("a key must be text", event)
        self.stack.append(_Open(value, event.anchor))


def yaml_values(text: str) -> Iterator[tuple[object, bool]]:
    """
    Decode every document of a stream.

    Yields:
        The value, and whether one of its objects has a key twice (the last one counts).

    Raises:
        yaml.MarkedYAMLError: Not YAML.
        YamlFaultError: YAML that JSON has no place for.
    """
    builder = _Builder()
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.ScalarEvent):
            builder.scalar(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            builder.start(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            builder.close(event)
        elif isinstance(event, yaml.AliasEvent):
            builder.alias(event)
        elif isinstance(event, yaml.DocumentEndEvent):
            yield builder.root, builder.repeats
            builder = _Builder()


class _Place:
    """A collection being walked: its pointer, where it is in the table, its next member."""

    __slots__ = ("count", "key", "pointer", "row", "seen")

    def __init__(self, pointer: str, row: int, *, mapping: bool) -> None:
        self.pointer = pointer
        self.row = row
        self.key: yaml.ScalarEvent | None = None
        self.count = 0
        self.seen: set[str] | None = set() if mapping else None


class _Walk:
    """Makes the table of one document; see ``yaml_marks``."""

    def __init__(self) -> None:
        self.table: MarkTable = []
        self.stack: list[_Place] = []

    def enter(self, event: yaml.Event) -> str:
        """Write down where a value begins; returns its pointer."""
        start, end = _start(event), _end(event)
        if not self.stack:
            self.table.append(("", Mark(start, end)))
            return ""
        top = self.stack[-1]
        if top.key is None or top.seen is None:
            pointer = f"{top.pointer}/{top.count}"
            mark = Mark(start, end)
            top.count += 1
        else:
            key, top.key = top.key, None
            pointer = f"{top.pointer}/{escape(key.value)}"
            span = (_start(key), _end(key))
            mark = Mark(start, end, *span, key.value in top.seen)
            top.seen.add(key.value)
        self.table.append((pointer, mark))
        return pointer

    def take(self, event: yaml.Event) -> None:
        top = self.stack[-1] if self.stack else None
        if isinstance(event, yaml.ScalarEvent) and top and top.seen is not None and not top.key:
            top.key = event
        elif isinstance(event, (yaml.ScalarEvent, yaml.AliasEvent)):
            self.enter(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            pointer = self.enter(event)
            mapping = isinstance(event, yaml.MappingStartEvent)
            self.stack.append(_Place(pointer, len(self.table) - 1, mapping=mapping))
        elif isinstance(event, yaml.CollectionEndEvent):
            row = self.stack.pop().row
            pointer, mark = self.table[row]
            end = _end(event)
            self.table[row] = (
                pointer,
                Mark(mark.start, end, mark.key_start, mark.key_end, mark.repeated),
            )


def yaml_marks(text: str) -> list[MarkTable]:
    """Find every value of every document of a stream that ``yaml_values`` has accepted."""
    tables: list[MarkTable] = []
    walk = _Walk()
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.DocumentEndEvent):
            tables.append(walk.table)
            walk = _Walk()
        else:
            walk.take(event)
    return tables
