# SPDX-License-Identifier: Apache-2.0
"""
Where the values of a JSON text stand, and where a scalar's characters stand in YAML. Pure.

Values are decoded without positions, which is fast; these tables are made only for
documents that something is said about.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]  # the decoder's own scanner
from typing import Final

from spanbridge.model.reader import escape


@dataclass(frozen=True, slots=True)
class Mark:
    """
    Where one value stands, as offsets in characters; an end is one behind the last.

    Attributes:
        start: First character of the value.
        end: End of the value.
        key_start: First character of its key; -1 for a list's element and for the root.
        key_end: End of its key.
        repeated: The object has the same key earlier.
    """

    start: int
    end: int
    key_start: int = -1
    key_end: int = -1
    repeated: bool = False

    def moved(self, by: Callable[[int], int]) -> "Mark":
        """Apply ``by`` to every offset."""
        end = by(self.end - 1) + 1
        if self.key_start < 0:
            return Mark(by(self.start), end, repeated=self.repeated)
        key_end = by(self.key_end - 1) + 1
        return Mark(by(self.start), end, by(self.key_start), key_end, self.repeated)


MarkTable = list[tuple[str, Mark]]
"""JSON pointers with their marks, parents before children; a repeated key comes twice."""

_BLANK: Final = re.compile(r"[ \t\n\r]*")
_ATOM: Final = re.compile(r"[^,\]}\s]*")


class _JsonScan:
    """Walks a text that is known to be valid JSON."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.table: MarkTable = []

    def skip(self, at: int) -> int:
        match = _BLANK.match(self.text, at)
        return match.end() if match else at

    def value(self, at: int, pointer: str, key: tuple[int, int], *, repeated: bool = False) -> int:
        place = len(self.table)
        self.table.append((pointer, Mark(at, at)))
        first = self.text[at]
        if first == "{":
            end = self.members(at, pointer)
        elif first == "[":
            end = self.elements(at, pointer)
        elif first == '"':
            end = scanstring(self.text, at + 1, False)[1]  # noqa: FBT003  # positional only
        else:
            match = _ATOM.match(self.text, at)
            end = match.end() if match else at
        self.table[place] = (pointer, Mark(at, end, *key, repeated))
        return end

    def members(self, at: int, pointer: str) -> int:
        seen: set[str] = set()
        at = self.skip(at + 1)
        while self.text[at] != "}":
            key, key_end = scanstring(self.text, at + 1, False)  # noqa: FBT003  # positional only
            value_at = self.skip(self.skip(key_end) + 1)
            inside = f"{pointer}/{escape(key)}"
            end = self.value(value_at, inside, (at, key_end), repeated=key in seen)
            seen.add(key)
            at = self.after(end)
        return at + 1

    def elements(self, at: int, pointer: str) -> int:
        at = self.skip(at + 1)
        number = 0
        while self.text[at] != "]":
            at = self.after(self.value(at, f"{pointer}/{number}", (-1, -1)))
            number += 1
        return at + 1

    def after(self, end: int) -> int:
        at = self.skip(end)
        return self.skip(at + 1) if self.text[at] == "," else at


def json_marks(text: str) -> MarkTable:
    """Find every value of a text that ``json.loads`` has accepted."""
    scan = _JsonScan(text)
    scan.value(scan.skip(0), "", (-1, -1))
    return scan.table


_PROPERTIES: Final = re.compile(r"(?:[&!]\S*\s+)*")
"""An anchor or a tag in front of a scalar. Source: YAML 1.2, section 6.9."""

_ESCAPE: Final = re.compile(
    r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|\r?\n[ \t]*|(?P<short>.))"
)
_BLANK_ESCAPES: Final = frozenset("ntrfve N_LP\t")
"""Escapes that stand for white space. Source: YAML 1.2, section 5.7."""

_SURROGATES: Final = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")


def _in_double_quotes(raw: str, at: int, end: int) -> Iterator[int]:
    while at < end:
        if raw[at] != "\\":
            if not raw[at].isspace():
                yield at
            at += 1
            continue
        match = _SURROGATES.match(raw, at) or _ESCAPE.match(raw, at)
        if match is None:
            return
        if not _is_blank_escape(match[0]):
            yield at
        at = match.end()


def _is_blank_code(digits: str) -> bool:
    return chr(int(digits, 16)).isspace()


def _is_blank_escape(text: str) -> bool:
    if text[1] in "xuU" and len(text) > 2:
        # Two of them are half each of one character, which is no white space.
        return len(text) != 12 and _is_blank_code(text[2:])
    return text[1] in _BLANK_ESCAPES or text[1] in "\r\n"


def _in_single_quotes(raw: str, at: int, end: int) -> Iterator[int]:
    while at < end:
        if not raw[at].isspace():
            yield at
        at += 2 if raw[at] == "'" else 1


def _visible(raw: str, start: int, end: int) -> list[int]:
    """List the places of a scalar's characters that are no white space."""
    match = _PROPERTIES.match(raw, start)
    at = match.end() if match else start
    style = raw[at : at + 1]
    if style == '"':
        return list(_in_double_quotes(raw, at + 1, end - 1))
    if style == "'":
        return list(_in_single_quotes(raw, at + 1, end - 1))
    if style in {"|", ">"}:
        at = raw.find("\n", at, end) + 1 or end
    return [place for place in range(at, end) if not raw[place].isspace()]


def scalar_offsets(raw: str, mark: Mark, value: str) -> Callable[[int], int]:
    """
    Map offsets in a decoded scalar to offsets in the text around it.

    White space is folded, indented and escaped in many ways; the other characters keep
    their order, which is enough: no JSON token that is pointed at begins with a blank.

    Args:
        raw: The text around.
        mark: Where the scalar stands in it.
        value: The decoded scalar.
    """
    inside = [at for at, char in enumerate(value) if not char.isspace()]
    outside = _visible(raw, mark.start, mark.end)
    if len(inside) != len(outside) or not inside:
        return lambda _: mark.start

    def place(offset: int) -> int:
        return outside[min(bisect_left(inside, offset), len(outside) - 1)]

    return place
