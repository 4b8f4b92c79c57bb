# SPDX-License-Identifier: Apache-2.0
"""
What is written down of the faults that a lab has.

What takes a fault back is in the state directory before the fault is made, in
``faults/NAME@PLACE.json``. So a command that was killed in between leaves a fault that is
listed and can be cleared, never one that nobody knows of.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from spanbridge.base.errors import NodeError
from spanbridge.lab.faults.recipes import Kind, Step, parse_step
from spanbridge.lab.place import Place

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """
    A fault that the lab has.

    Attributes:
        name: Of the fault.
        at: Node, cluster or two clusters; empty for the whole lab.
        since: ISO 8601 in UTC.
        undo: What takes it back, in order.
        touches: What it changes.
        sites: Nodes that have to be whole again afterwards.
        done: What was done, as an administrator would say it.
    """

    name: str
    at: str
    since: str
    undo: tuple[Step, ...]
    touches: frozenset[str]
    sites: tuple[str, ...]
    done: tuple[str, ...]

    @property
    def label(self) -> str:
        """Name and place, for messages."""
        return f"{self.name} at {self.at}" if self.at else self.name


def read_entries(place: Place) -> tuple[Entry, ...]:
    """List the faults that a lab has, the oldest first."""
    files = sorted(_directory(place).glob("*.json"))
    return tuple(sorted(map(_parse, files), key=lambda each: (each.since, each.name)))


def held_handlers(place: Place) -> frozenset[str]:
    """Name the nodes whose virt-handler a fault has ended or changed: nobody else starts it."""
    return frozenset(
        step.where
        for entry in read_entries(place)
        for step in entry.undo
        if step.kind is Kind.PART and step.words == ("start-handler",)
    )


def _directory(place: Place) -> Path:
    return place.directory / "faults"


def record_file(place: Place, name: str, at: str) -> Path:
    """Tell where a fault at a place is written down."""
    return _directory(place) / f"{name}@{at}.json"


def _parse(path: Path) -> Entry:
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
        return Entry(
            name=document["name"],
            at=document["at"],
            since=document["since"],
            undo=tuple(map(parse_step, document["undo"])),
            touches=frozenset(document["touches"]),
            sites=tuple(document["sites"]),
            done=tuple(document["done"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NodeError(
            f"cannot read {path}: {error}", hint="take the lab down: `spanbridge lab down`"
        ) from error


def render_entry(entry: Entry) -> bytes:
    """Make the content of its record."""
    document = {
        "version": _VERSION,
        "name": entry.name,
        "at": entry.at,
        "since": entry.since,
        "undo": [step.render() for step in entry.undo],
        "touches": sorted(entry.touches),
        "sites": entry.sites,
        "done": entry.done,
    }
    return json.dumps(document, indent=2).encode()
