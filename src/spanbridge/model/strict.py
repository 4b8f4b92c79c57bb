# SPDX-License-Identifier: Apache-2.0
"""
Reading documents that people write by hand: an unknown key is an error here.

CNI configurations are read leniently, as the specification asks; what belongs to
Spanbridge alone is not.
"""

import enum
import re
from typing import Final, TypeVar

from spanbridge.base.errors import ConfigError
from spanbridge.model.reader import Node, nearest_key

_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_HINT: Final = "use lower-case letters, digits and dashes, at most 63, no dot"

T = TypeVar("T", bound=enum.StrEnum)


def refuse_strangers(node: Node, known: tuple[str, ...]) -> None:
    """Raise ``ConfigError`` for the first key that is not, letter by letter, a known one."""
    for key in node.raw:
        if key not in known:
            near = nearest_key(str(key), known)
            hint = f"did you mean {near!r}?" if near else f"known are {', '.join(known)}"
            raise node.fault(str(key), "there is no such key here", hint)


def section(node: Node, key: str, hint: str) -> Node:
    """Read an object that has to be there."""
    found = node.node(key)
    if found is None:
        raise node.fault(key, "it is missing", hint)
    return found


def label(node: Node, key: str, default: str = "") -> str:
    """Read a name of the form that Kubernetes gives to namespaces (RFC 1123)."""
    text = node.text(key, default)
    if not text:
        raise node.fault(key, "it is missing or empty", f"write a name: {_LABEL_HINT}")
    if _LABEL.fullmatch(text) is None:
        raise node.fault(key, f"{text!r} is no Kubernetes name", _LABEL_HINT)
    return text


def choice(node: Node, key: str, kind: type[T], default: T) -> T:
    """Read one value of an enumeration."""
    text = node.text(key, default)
    try:
        return kind(text)
    except ValueError:
        known = [each.value for each in kind]
        near = nearest_key(text, known)
        also = f"did you mean {near!r}? " if near else ""
        raise node.fault(key, f"{text!r} is unknown", f"{also}one of {', '.join(known)}") from None


def as_plain_text(value: object, pointer: str) -> str:
    """Take one list element as text, or raise ``ConfigError``."""
    if not isinstance(value, str):
        raise ConfigError(
            "cannot use the element: it is no text",
            pointer=pointer,
            hint="write an address in quotes",
        )
    return value


def refuse_twins(names: list[tuple[str, str]], what: str) -> None:
    """Raise ``ConfigError`` where one of the names, each with its pointer, is there twice."""
    seen: set[str] = set()
    for name, pointer in names:
        if name in seen:
            raise ConfigError(
                f"cannot use {what} {name!r}: it is there twice",
                pointer=pointer,
                hint=f"give each {what} once",
            )
        seen.add(name)
