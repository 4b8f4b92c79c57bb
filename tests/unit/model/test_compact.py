# SPDX-License-Identifier: Apache-2.0
"""Dataclasses as JSON and back, and a node's state among them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from tests.unit.stretch.doctor.conftest import WELL

from spanbridge.base.errors import ConfigError, DecodeError
from spanbridge.model.compact import parse_compact, render_compact
from spanbridge.model.node_state import parse_node_state, render_node_state


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
    assert parse_compact(Outer, json.loads(json.dumps(render_compact(FULL)))) == FULL


def test_absent_fields_take_their_defaults() -> None:
    document = {"count": 1, "on": False, "inner": {"name": "a"}}

    assert parse_compact(Outer, document) == Outer(1, on=False, inner=Inner("a"))


def test_defaults_are_not_written() -> None:
    assert render_compact(Outer(1, on=False, inner=Inner("a"))) == {
        "count": 1,
        "on": False,
        "inner": {"name": "a"},
    }


def test_an_unknown_key_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(ConfigError) as refused:
        parse_compact(Outer, {"count": 1, "on": False, "inner": {"name": "a", "sze": 1.0}})

    assert refused.value.pointer == "/inner/sze"
    assert "'size'" in refused.value.hint


def test_an_integer_serves_as_a_fraction() -> None:
    assert parse_compact(Inner, {"name": "a", "size": 3}).size == 3.0


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
        parse_compact(Outer, render_compact(FULL) | change)

    assert refused.value.pointer == pointer


def test_a_saved_state_is_read_back() -> None:
    assert parse_node_state(render_node_state(WELL).encode()) == WELL


def test_a_state_of_another_version_is_refused() -> None:
    document = json.loads(render_node_state(WELL)) | {"version": 2}

    with pytest.raises(DecodeError, match="its version is 2"):
        parse_node_state(json.dumps(document).encode(), "node7.json")
