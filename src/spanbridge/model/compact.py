# SPDX-License-Identifier: Apache-2.0
"""
Frozen dataclasses to JSON values and back, by their own type hints.

Made for files with a hundred thousand records: what equals a field's default is left
out, and what is to be done with each field is worked out once a class. Reading is strict:
a wrong type, a missing field or an unknown key raises with the JSON pointer to it.

Fields may be ``str``, ``int``, ``float``, ``bool``, a ``StrEnum``, another such
dataclass, ``tuple[X, ...]`` or ``Mapping[str, X]`` of one of these, or one of these or
None.
"""

import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from spanbridge.base.errors import ConfigError
from spanbridge.model.reader import escape, json_name, nearest_key, shorten

T = TypeVar("T")

Read = Callable[[object, str], object]
Write = Callable[[Any], object]

_WANTED: Final = {
    str: "a string in double quotes",
    int: "an integer",
    float: "a number",
    bool: "true or false",
}


@dataclasses.dataclass(frozen=True, slots=True)
class _Field:
    """One field: how it is read and written, and what leaves it out."""

    name: str
    read: Read
    write: Write
    default: object


def render_compact(record: object) -> dict[str, object]:
    """Make the JSON object of a dataclass."""
    shown = {}
    for field in _fields(type(record)):
        value = getattr(record, field.name)
        if value != field.default:
            shown[field.name] = field.write(value)
    return shown


def parse_compact(kind: type[T], value: object, pointer: str = "") -> T:
    """
    Read a dataclass of ``kind`` from a decoded JSON object.

    Raises:
        ConfigError: A field is missing, unknown or of the wrong type.
    """
    if not isinstance(value, Mapping):
        raise _wrong(value, pointer, "an object in braces")
    fields = _fields(kind)
    given: dict[str, object] = {}
    for field in fields:
        if field.name in value:
            given[field.name] = field.read(value[field.name], f"{pointer}/{field.name}")
        elif field.default is dataclasses.MISSING:
            raise ConfigError(
                f"cannot use the record: {field.name!r} is missing",
                pointer=pointer,
                hint=f"write {field.name!r}",
            )
    if len(given) < len(value):
        raise _unknown(value, [field.name for field in fields], pointer)
    return kind(**given)


def _unknown(value: Mapping[str, object], known: list[str], pointer: str) -> ConfigError:
    key = next(key for key in value if key not in known)
    nearest = nearest_key(key, known)
    return ConfigError(
        f"cannot use {key!r}: it is no known field",
        pointer=f"{pointer}/{escape(key)}",
        hint=f"write {nearest!r}" if nearest else f"known are {', '.join(known)}",
    )


def _wrong(value: object, pointer: str, wanted: str) -> ConfigError:
    return ConfigError(
        f"cannot use the value: it is {json_name(value)} ({shorten(value)})",
        pointer=pointer,
        hint=f"write {wanted}",
    )


_KNOWN: Final[dict[type, tuple[_Field, ...]]] = {}


def _fields(kind: type[Any]) -> tuple[_Field, ...]:
    """Work out, once a class, what to do with each field."""
    if kind not in _KNOWN:
        hints = typing.get_type_hints(kind)
        _KNOWN[kind] = tuple(
            _Field(field.name, *_converters(hints[field.name]), _default(field))
            for field in dataclasses.fields(kind)
        )
    return _KNOWN[kind]


def _default(field: dataclasses.Field[object]) -> object:
    made = field.default_factory
    return field.default if made is dataclasses.MISSING else made()


def _same(value: object) -> object:
    return value


def _converters(hint: Any) -> tuple[Read, Write]:  # noqa: ANN401  # a type hint is anything
    """Choose how a value of this type is read and written."""
    if typing.get_origin(hint) is types.UnionType:
        (inner,) = (each for each in typing.get_args(hint) if each is not types.NoneType)
        read, write = _converters(inner)
        return _optional(read), lambda value: None if value is None else write(value)
    if typing.get_origin(hint) is tuple:
        read, write = _converters(typing.get_args(hint)[0])
        return _listed(read), lambda value: [write(each) for each in value]
    if typing.get_origin(hint) is Mapping:
        read, write = _converters(typing.get_args(hint)[1])
        return _mapped(read), lambda value: {key: write(each) for key, each in value.items()}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return functools.partial(parse_compact, hint), render_compact
    if issubclass(hint, enum.StrEnum):
        return _named(hint), str
    return _plain(hint), _same


def _optional(read: Read) -> Read:
    return lambda value, pointer: None if value is None else read(value, pointer)


def _listed(read: Read) -> Read:
    def read_list(value: object, pointer: str) -> object:
        if not isinstance(value, list):
            raise _wrong(value, pointer, "a list in brackets")
        return tuple(read(each, f"{pointer}/{at}") for at, each in enumerate(value))

    return read_list


def _mapped(read: Read) -> Read:
    def read_mapping(value: object, pointer: str) -> object:
        if not isinstance(value, Mapping):
            raise _wrong(value, pointer, "an object in braces")
        return {key: read(each, f"{pointer}/{escape(key)}") for key, each in value.items()}

    return read_mapping


def _named(kind: type[enum.StrEnum]) -> Read:
    names = {str(each): each for each in kind}

    def read_name(value: object, pointer: str) -> object:
        if not isinstance(value, str) or value not in names:
            raise _wrong(value, pointer, f"one of {', '.join(names)}")
        return names[value]

    return read_name


def _plain(kind: type) -> Read:
    def read_plain(value: object, pointer: str) -> object:
        if kind is float and type(value) is int:
            return float(value)
        if type(value) is not kind:
            raise _wrong(value, pointer, _WANTED[kind])
        return value

    return read_plain
