# SPDX-License-Identifier: Apache-2.0
"""Looking into decoded values that may have any shape."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from spanbridge.kube.source import Document
from spanbridge.model.reader import escape
from spanbridge.stretch.lint.registry import Spot

NOTHING: Final[Mapping[str, object]] = {}


def dig(value: object, *keys: str) -> object:
    """Follow keys into objects; None where one is missing."""
    for key in keys:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def as_object(value: object) -> Mapping[str, object]:
    """Take an object; anything else is an empty one."""
    return value if isinstance(value, dict) else NOTHING


def as_list(value: object) -> list[object]:
    """Take a list; anything else is an empty one."""
    return value if isinstance(value, list) else []


def as_text(value: object) -> str:
    """Take a text; anything else is an empty one."""
    return value if isinstance(value, str) else ""


def as_integer(value: object) -> int | None:
    """Take an integer; None for anything else."""
    return value if type(value) is int else None


def join(pointer: str, *keys: str) -> str:
    """Make a JSON pointer deeper."""
    return "".join([pointer, *(f"/{escape(key)}" for key in keys)])


@dataclass(frozen=True, slots=True)
class Item:
    """
    One Kubernetes object.

    Attributes:
        document: Where it stands.
        pointer: Its place in the document; not empty in a List.
        raw: The object.
        kind: Its kind.
        api: Its apiVersion.
        name: ``metadata.name``.
        namespace: ``metadata.namespace``; empty where it is not given.
    """

    document: Document
    pointer: str
    raw: Mapping[str, object]
    kind: str
    api: str
    name: str
    namespace: str

    def get(self, *keys: str) -> object:
        """Follow keys; None where one is missing."""
        return dig(self.raw, *keys)

    def spot(self, *keys: str, at_key: bool = False) -> Spot:
        """Name a place in it."""
        return Spot(self.document, join(self.pointer, *keys), at_key)

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def items_of(document: Document) -> Iterator[Item]:
    """Find the Kubernetes objects of a document; a List is opened."""
    yield from _items(document, document.value, "")


def _items(document: Document, value: object, pointer: str) -> Iterator[Item]:
    if not isinstance(value, dict) or "kind" not in value or "apiVersion" not in value:
        return
    kind, api = as_text(value["kind"]), as_text(value["apiVersion"])
    if kind.endswith("List") and isinstance(value.get("items"), list):
        for number, each in enumerate(value["items"]):
            yield from _items(document, each, f"{pointer}/items/{number}")
        return
    name = as_text(dig(value, "metadata", "name"))
    namespace = as_text(dig(value, "metadata", "namespace"))
    yield Item(document, pointer, value, kind, api, name, namespace)
