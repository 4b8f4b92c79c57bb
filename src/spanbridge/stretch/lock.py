# SPDX-License-Identifier: Apache-2.0
"""
The lock: which addresses were given to whom, and which files were written.

It is what keeps a plan stable, so it belongs under version control beside the intent.
A holder is a cluster (``east``) or a node of one (``east/node-1``).
"""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from spanbridge.base.errors import ConfigError
from spanbridge.model.reader import Node, as_text, parse_object
from spanbridge.model.spans import Span, parse_span
from spanbridge.model.strict import refuse_strangers

LOCK_FILE: Final = "spanbridge.lock.json"
VERSION: Final = 1

Blocks = Mapping[str, tuple[Span, ...]]
"""Addresses by holder."""

_KEYS: Final = ("version", "network", "blocks", "retired", "files")


@dataclass(frozen=True, slots=True)
class Lock:
    """
    What earlier plans promised.

    Attributes:
        network: Name of the network that it belongs to; empty before the first plan.
        blocks: Addresses of holders that the intent has.
        retired: Addresses of holders that it had: pods of theirs may still use them, so
            nobody gets them until an administrator says that they are free.
        files: Digest of each written file, by its path in the directory.
    """

    network: str = ""
    blocks: Blocks = field(default_factory=dict)
    retired: Blocks = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


def render_lock(lock: Lock) -> str:
    """Write the lock down: one holder a line, in a fixed order, so that a diff is readable."""
    parts = [f'  "version": {VERSION}', f'  "network": {json.dumps(lock.network)}']
    for name, blocks in (("blocks", lock.blocks), ("retired", lock.retired)):
        lines = {holder: json.dumps([str(span) for span in spans])
                 for holder, spans in blocks.items()}  # fmt: skip
        parts.append(_render_table(name, lines))
    parts.append(_render_table("files", {path: json.dumps(digest)
                                         for path, digest in lock.files.items()}))  # fmt: skip
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _render_table(name: str, lines: Mapping[str, str]) -> str:
    if not lines:
        return f'  "{name}": {{}}'
    rows = ",\n".join(f"    {json.dumps(key)}: {lines[key]}" for key in sorted(lines))
    return f'  "{name}": {{\n{rows}\n  }}'


def parse_lock(text: str, origin: str = LOCK_FILE) -> Lock:
    """
    Read a lock.

    Raises:
        DecodeError: Not JSON.
        ConfigError: Not a lock, one of a later version, or one that gives an address twice.
    """
    root = parse_object(text.encode(), origin)
    refuse_strangers(root, _KEYS)
    version = root.integer("version", minimum=0, maximum=2**31)
    if version != VERSION:
        raise root.fault(
            "version",
            f"{version} is not {VERSION}",
            "restore the file from version control, or use the release that wrote it",
        )
    files = root.node("files") or Node({}, root.at("files"))
    for path in files.raw:
        if path.startswith("/") or ".." in path.split("/"):
            raise files.fault(path, "it leaves the directory", "restore it from version control")
    lock = Lock(
        network=root.text("network"),
        blocks=_parse_blocks(root, "blocks"),
        retired=_parse_blocks(root, "retired"),
        files={path: files.text(path) for path in files.raw},
    )
    _refuse_overlaps(lock)
    return lock


def _parse_blocks(root: Node, key: str) -> Blocks:
    node = root.node(key) or Node({}, root.at(key))

    return {holder: node.each(holder, _as_span) for holder in node.raw}


def _as_span(value: object, pointer: str) -> Span:
    return parse_span(as_text(value, pointer), pointer)


def _refuse_overlaps(lock: Lock) -> None:
    rows = sorted(
        (span.version, span.first.number, span.last.number, holder)
        for blocks in (lock.blocks, lock.retired)
        for holder, spans in blocks.items()
        for span in spans
    )
    for one, other in itertools.pairwise(rows):
        if one[0] == other[0] and other[1] <= one[2]:
            raise ConfigError(
                f"cannot use {LOCK_FILE}: {one[3]} and {other[3]} share addresses",
                hint="restore the file from version control",
            )
