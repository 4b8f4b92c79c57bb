# SPDX-License-Identifier: Apache-2.0
"""
Reading JSON strictly: every complaint carries a JSON pointer and a remedy.

Keys match case-insensitively and the last one wins, as in the reference plugin,
whose Go decoder folds case; ``null`` counts as absent.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from spanbridge.base.errors import ConfigError, DecodeError

T = TypeVar("T")

_JSON_NAMES = {dict: "an object", list: "a list", str: "a string", bool: "a boolean",
               int: "an integer", float: "a fraction", type(None): "null"}  # fmt: skip


def json_name(value: object) -> str:
    """Name the JSON type of a decoded value, with its article."""
    return _JSON_NAMES[type(value)]


def escape(key: str) -> str:
    """Escape one reference token. Source: RFC 6901, section 3."""
    return key.replace("~", "~0").replace("/", "~1")


@dataclass(frozen=True, slots=True)
class UnknownKey:
    """
    A key that nobody reads.

    Attributes:
        pointer: JSON pointer to it.
        key: As it was written.
        nearest: The known key it most resembles; empty where none is near.
    """

    pointer: str
    key: str
    nearest: str


def nearest_key(key: str, known: Iterable[str]) -> str:
    """Find the known key that ``key`` most resembles, or the empty string."""
    import difflib  # only mistyped configurations pay for it

    folded = {name.lower(): name for name in known}
    found = difflib.get_close_matches(key.lower(), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else ""


class Node:
    """
    One JSON object being read.

    Every getter names its key, records it as known and returns a checked value, so
    that what was never asked for can be listed afterwards.
    """

    __slots__ = ("_folded", "_known", "pointer", "raw")

    def __init__(self, raw: Mapping[str, object], pointer: str = "") -> None:
        self.raw = raw
        self.pointer = pointer
        # A later null leaves the value that an earlier spelling of the key gave.
        given = sorted(raw.items(), key=lambda pair: pair[1] is not None)
        self._folded = {key.lower(): (key, value) for key, value in given}
        self._known: dict[str, str] = {}

    def at(self, key: str) -> str:
        """Point to ``key`` as it was written here."""
        written = self._folded.get(key.lower(), (key, None))[0]
        return f"{self.pointer}/{escape(written)}"

    def take(self, key: str) -> object:
        """Return the raw value of ``key``; None when absent or null."""
        self._known[key.lower()] = key
        return self._folded.get(key.lower(), (key, None))[1]

    def has(self, key: str) -> bool:
        """Tell whether ``key`` is there and not null."""
        return self.take(key) is not None

    def fault(self, key: str, cause: str, hint: str = "") -> ConfigError:
        """Make the error for a bad value of ``key``."""
        return ConfigError(f"cannot use {key!r}: {cause}", pointer=self.at(key), hint=hint)

    def _typed(self, key: str, kind: type[T], wanted: str) -> T | None:
        value = self.take(key)
        if value is None:
            return None
        if type(value) is not kind:
            raise self.fault(key, f"it is {json_name(value)} ({shorten(value)})", f"write {wanted}")
        return value

    def text(self, key: str, default: str = "") -> str:
        """Read a string."""
        value = self._typed(key, str, "a string in double quotes")
        return default if value is None else value

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Read a boolean."""
        value = self._typed(key, bool, "true or false, without quotes")
        return default if value is None else value

    def integer(self, key: str, *, minimum: int, maximum: int, default: int = 0) -> int:
        """Read an integer between two bounds, both included."""
        wanted = f"an integer from {minimum} to {maximum}, without quotes or fraction"
        value = self._typed(key, int, wanted)
        if value is None:
            return default
        if not minimum <= value <= maximum:
            raise self.fault(key, f"{value} is out of range", f"write {wanted}")
        return value

    def node(self, key: str) -> "Node | None":
        """Read an object."""
        value = self._typed(key, dict, "an object in braces")
        return None if value is None else Node(value, self.at(key))

    def sequence(self, key: str) -> list[object] | None:
        """Read a list without looking at its elements."""
        return self._typed(key, list, "a list in brackets")

    def each(self, key: str, read: Callable[[object, str], T]) -> tuple[T, ...]:
        """Read a list, every element through ``read(value, pointer)``; absent is empty."""
        values = self.sequence(key) or []
        return tuple(read(value, f"{self.at(key)}/{i}") for i, value in enumerate(values))

    def nodes(self, key: str) -> tuple["Node", ...] | None:
        """Read a list of objects; None when absent."""
        return self.each(key, as_node) if self.has(key) else None

    def texts(self, key: str) -> tuple[str, ...]:
        """Read a list of strings; absent is empty."""
        return self.each(key, as_text)

    def other_case(self) -> tuple[tuple[str, str, str], ...]:
        """List keys asked for and written in other case: pointer, as written, as documented."""
        return tuple(
            (f"{self.pointer}/{escape(key)}", key, self._known[key.lower()])
            for key in self.raw
            if self._known.get(key.lower(), key) != key
        )

    def unknown(self, *also_known: str) -> tuple[UnknownKey, ...]:
        """List the keys that nobody asked for, each with its nearest known one."""
        known = dict(self._known) | {key.lower(): key for key in also_known}
        return tuple(
            UnknownKey(f"{self.pointer}/{escape(key)}", key, nearest_key(key, known.values()))
            for folded, (key, _) in self._folded.items()
            if folded not in known
        )


def shorten(value: object, limit: int = 60) -> str:
    """Show a JSON value in at most ``limit`` characters."""
    try:
        text = json.dumps(value)
    except RecursionError:  # it could just be read, from a shallower stack
        return "…"
    return text if len(text) <= limit else text[: limit - 1] + "…"


def as_node(value: object, pointer: str) -> Node:
    """Take one list element as an object, or raise ``ConfigError``."""
    if not isinstance(value, dict):
        raise ConfigError(
            f"cannot use the element: it is {json_name(value)} ({shorten(value)})",
            pointer=pointer,
            hint="write an object in braces",
        )
    return Node(value, pointer)


def as_text(value: object, pointer: str) -> str:
    """Take one list element as a string, or raise ``ConfigError``."""
    if not isinstance(value, str):
        raise ConfigError(
            f"cannot use the element: it is {json_name(value)} ({shorten(value)})",
            pointer=pointer,
            hint="write a string in double quotes",
        )
    return value


def parse_object(data: bytes, what: str = "the network configuration") -> Node:
    """
    Decode bytes to the root object.

    Raises:
        DecodeError: Not UTF-8, not JSON, or not an object; says line and column.
    """
    try:
        value = json.loads(data)
    except json.JSONDecodeError as exc:
        cause = (
            f"{exc.msg} at line {exc.lineno} column {exc.colno}" if data.strip() else "it is empty"
        )
        raise DecodeError(f"cannot decode {what}: {cause}", hint="write one JSON object") from exc
    except (ValueError, RecursionError) as exc:  # not UTF-8, 4301 digits, nested too deep
        raise DecodeError(
            f"cannot decode {what}: {exc}", hint="write one JSON object in UTF-8"
        ) from exc
    if not isinstance(value, dict):
        raise DecodeError(
            f"cannot decode {what}: it is {json_name(value)}",
            hint="write one JSON object in braces",
        )
    return Node(value)
