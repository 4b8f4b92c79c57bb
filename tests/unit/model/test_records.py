# SPDX-License-Identifier: Apache-2.0
"""Dataclasses as JSON and back, and a node's state among them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from tests.unit.stretch.doctor.conftest import WELL

from spanbridge.base.errors import ConfigError, DecodeError
from spanbridge.model.node_state import parse_node_state, render_node_state
from spanbridge.model.records import parse_record, render_record


@dataclass(frozen=True, slots=True)
class Inner:
    name: str
    size: float = 0.5


@dataclass(frozen=True, slots=True)
class Outer:
    count: int
    on: bool
    inner: Inner
    several: tuple[Inner, ...] = ()
    maybe: Inner | None = None
    by_name: Mapping[str, int] = field(default_factory=dict)


FULL = Outer(1, on=True, inner=Inner("a"), several=(Inner("b", 2.0),), by_name={"x": 7})


def test_what_is_rendered_is_read_back() -> None:
    assert parse_record(Outer, json.loads(json.dumps(render_record(FULL)))) == FULL


def test_absent_fields_take_their_defaults_and_unknown_ones_are_passed_over() -> None:
    document = {"count": 1, "on": False, "inner": {"name": "a"}, "from a later release": 3}

    assert parse_record(Outer, document) == Outer(1, on=False, inner=Inner("a"))


def test_an_integer_serves_as_a_fraction() -> None:
    assert parse_record(Inner, {"name": "a", "size": 3}).size == 3.0


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"count": "1"}, "/count"),
        ({"count": True}, "/count"),
        ({"on": 1}, "/on"),
        ({"inner": []}, "/inner"),
        ({"inner": {"name": None}}, "/inner/name"),
        ({"several": [{"name": "a"}, {"name": 1}]}, "/several/1/name"),
        ({"several": {}}, "/several"),
        ({"maybe": "a"}, "/maybe"),
        ({"by_name": {"a/b": "7"}}, "/by_name/a~1b"),
        ({"by_name": [7]}, "/by_name"),
        ({"inner": {}}, "/inner"),
    ],
    ids=str,
)
def test_what_is_of_another_type_is_refused_with_its_place(
    change: dict[str, object], pointer: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_record(Outer, render_record(FULL) | change)

    assert refused.value.pointer == pointer


def test_what_is_no_record_is_not_rendered() -> None:
    with pytest.raises(TypeError):
        render_record({"a": 1})


def test_a_saved_state_is_read_back() -> None:
    assert parse_node_state(render_node_state(WELL).encode()) == WELL


def test_a_state_of_another_version_is_refused() -> None:
    document = json.loads(render_node_state(WELL)) | {"version": 2}

    with pytest.raises(DecodeError, match="its version is 2"):
        parse_node_state(json.dumps(document).encode(), "node7.json")
