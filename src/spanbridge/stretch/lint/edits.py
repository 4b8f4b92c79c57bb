# SPDX-License-Identifier: Apache-2.0
"""Changes of a text that keep everything else of it, and how they are applied."""

from collections.abc import Iterable

from spanbridge.kube.source import Document
from spanbridge.stretch.lint.registry import Edit, Spot


def rename_key(spot: Spot, key: str) -> tuple[Edit, ...]:
    """Write another key of the same meaning at ``spot``."""
    mark = spot.document.mark(spot.pointer)
    source = spot.document.source
    written = source.text[mark.key_start : mark.key_end]
    old = spot.pointer.rpartition("/")[2]
    at = written.find(old)
    if mark.key_start < 0 or at < 0:
        return ()
    start = mark.key_start + at
    return (Edit(source.file, start, start + len(old), key),)


def replace_value(document: Document, pointer: str, text: str) -> tuple[Edit, ...]:
    """Write another value in place of the scalar at ``pointer``."""
    mark = document.mark(pointer)
    source = document.source
    if source.text[mark.start : mark.start + 1] in {"\\", "|", ">", "&", "!"}:
        return ()
    return (Edit(source.file, mark.start, mark.end, text),)


def insert_after(document: Document, pointer: str, text: str) -> tuple[Edit, ...]:
    """
    Write another member behind the one at ``pointer``, in JSON.

    Args:
        document: A document in JSON, be it inside of YAML.
        pointer: A member of an object.
        text: The new member, key and value.
    """
    mark = document.mark(pointer)
    source = document.source
    if mark.key_start < 0 or source.text[mark.key_start] != '"':
        return ()
    return (Edit(source.file, mark.end, mark.end, f", {text}"),)


def apply_edits(text: str, edits: Iterable[Edit]) -> str:
    """Apply edits of one file; of two that overlap, the first one by place counts."""
    pieces, at = [], 0
    for edit in sorted(set(edits), key=lambda one: (one.start, one.end)):
        if edit.start < at:
            continue
        pieces += [text[at : edit.start], edit.text]
        at = edit.end
    return "".join([*pieces, text[at:]])
