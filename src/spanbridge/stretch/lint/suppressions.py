# SPDX-License-Identifier: Apache-2.0
"""
Findings that the author of a file does not want to be told.

In YAML a comment ``# spanbridge: ignore[SB012]`` on the line, or alone on the line
above; in JSON a member ``"spanbridge.io/ignore": ["SB012"]`` of the object or of one
around it; in a manifest an annotation of that name, for all of the object.
"""

import re
from collections.abc import Iterator
from typing import Final

from spanbridge.kube.source import Document, SourceText
from spanbridge.stretch.lint.networks import IGNORE_KEY
from spanbridge.stretch.lint.registry import Spot
from spanbridge.stretch.lint.views import dig

_WORD: Final = "spanbridge: ignore"
_COMMENT: Final = re.compile(r"#\s*spanbridge: ignore\[([^\]]*)\]")


def _codes(text: object) -> frozenset[str]:
    parts = text if isinstance(text, list) else [text]
    words = (word for part in parts if isinstance(part, str) for word in re.split(r"[,\s]+", part))
    return frozenset(word.upper() for word in words if word)


class _Comments:
    """The comments of one file: codes by the line that they are about."""

    def __init__(self, source: SourceText) -> None:
        self.lines: dict[int, frozenset[str]] = {}
        if _WORD not in source.text:
            return
        waiting: frozenset[str] = frozenset()
        for number, line in enumerate(source.text.split("\n"), 1):
            match = _COMMENT.search(line)
            codes = _codes(match[1]) if match else frozenset()
            if line.lstrip().startswith("#"):
                waiting |= codes
                continue
            self.lines[number] = codes | waiting
            waiting = frozenset()


class Suppressions:
    """What is not to be told; reads each file's comments once."""

    def __init__(self) -> None:
        self._comments: dict[int, tuple[SourceText, _Comments]] = {}

    def covers(self, code: str, spot: Spot) -> bool:
        """Tell whether a finding at ``spot`` is not to be told."""
        return any(code in codes for codes in self._around(spot))

    def _around(self, spot: Spot) -> Iterator[frozenset[str]]:
        comments = self._of(spot.document.source)
        if comments.lines:
            yield comments.lines.get(spot.position.line, frozenset())
        yield from _members(spot.document, spot.pointer)
        outer = spot.document.outer
        if outer is not None:
            # Inside of the scalar there is no place for a comment: its key's line stands for it.
            yield from self._around(Spot(outer[0], outer[1], at_key=True))

    def _of(self, source: SourceText) -> _Comments:
        # The text is kept with its comments, so that no other can get its identity.
        return self._comments.setdefault(id(source), (source, _Comments(source)))[1]


def _members(document: Document, pointer: str) -> Iterator[frozenset[str]]:
    value = document.value
    for token in ["", *pointer.split("/")[1:]]:
        if token:
            key = token.replace("~1", "/").replace("~0", "~")
            if isinstance(value, list) and key.isdigit() and int(key) < len(value):
                value = value[int(key)]
            else:
                value = dig(value, key)
        if isinstance(value, dict):
            yield _codes(value.get(IGNORE_KEY))
            yield _codes(dig(value, "metadata", "annotations", IGNORE_KEY))
