# SPDX-License-Identifier: Apache-2.0
"""
Frozen dataclasses as JSON and back, driven by their annotations.

For what we write ourselves to be read again, such as a saved observation. A field's key
is its name; fields, types and nesting are checked, and keys that nobody knows are passed
over, so that an older release reads what a newer one has written.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, cast

from spanbridge.base.errors import ConfigError
from spanbridge.model.reader import escape, json_name

T = TypeVar("T")

_PLAIN: Final = (str, int, float, bool)


def render_record(record: object) -> dict[str, Any]:
    """Make the JSON object of a dataclass; tuples become lists."""
    if not dataclasses.is_dataclass(record) or isinstance(record, type):
        raise TypeError(f"{record!r} is no record")
    return {each.name: _render(getattr(record, each.name)) for each in dataclasses.fields(record)}


def _render(value: object) -> object:
    if dataclasses.is_dataclass(value):
        return render_record(value)
    if isinstance(value, tuple):
        return [_render(each) for each in value]
    if isinstance(value, Mapping):
        return {key: _render(each) for key, each in value.items()}
    return value


def parse_record(kind: type[T], value: object, pointer: str = "") -> T:
    """
    Make a dataclass of its JSON object; absent fields take their defaults.

    Raises:
        ConfigError: A field is missing or of the wrong type; ``pointer`` says which.
    """
    if not isinstance(value, dict):
        raise _fault(pointer, value, "an object")
    hints = typing.get_type_hints(kind)
    given = {
        each.name: _parse(hints[each.name], value[each.name], f"{pointer}/{escape(each.name)}")
        for each in dataclasses.fields(cast("Any", kind))
        if each.name in value
    }
    try:
        return kind(**given)
    except TypeError as exc:
        missing = str(exc).rpartition("missing ")[2]
        raise ConfigError(
            f"cannot use the record of {kind.__name__}: {missing}", pointer=pointer
        ) from exc


def _fault(pointer: str, value: object, wanted: str) -> ConfigError:
    return ConfigError(
        f"cannot use the value: it is {json_name(value)}", pointer=pointer, hint=f"write {wanted}"
    )


def _parse(kind: Any, value: object, pointer: str) -> object:  # noqa: ANN401  # a type form
    origin = typing.get_origin(kind)
    if origin in {typing.Union, types.UnionType}:
        return _parse_optional(kind, value, pointer)
    if origin is tuple:
        return _parse_tuple(kind, value, pointer)
    if origin is not None and issubclass(origin, Mapping):
        return _parse_mapping(kind, value, pointer)
    if dataclasses.is_dataclass(kind):
        return parse_record(cast("type[object]", kind), value, pointer)
    return _parse_plain(kind, value, pointer)


def _parse_optional(kind: Any, value: object, pointer: str) -> object:  # noqa: ANN401
    (inner,) = (each for each in typing.get_args(kind) if each is not types.NoneType)
    return None if value is None else _parse(inner, value, pointer)


def _parse_tuple(kind: Any, value: object, pointer: str) -> object:  # noqa: ANN401
    if not isinstance(value, list):
        raise _fault(pointer, value, "a list")
    inner = typing.get_args(kind)[0]
    return tuple(_parse(inner, each, f"{pointer}/{i}") for i, each in enumerate(value))


def _parse_mapping(kind: Any, value: object, pointer: str) -> object:  # noqa: ANN401
    if not isinstance(value, dict):
        raise _fault(pointer, value, "an object")
    inner = typing.get_args(kind)[1]
    return {key: _parse(inner, each, f"{pointer}/{escape(key)}") for key, each in value.items()}


def _parse_plain(kind: Callable[..., Any], value: object, pointer: str) -> object:
    if kind is float and type(value) is int:
        return float(value)
    if kind not in _PLAIN or type(value) is not kind:
        raise _fault(pointer, value, f"a value of type {getattr(kind, '__name__', kind)}")
    return value
