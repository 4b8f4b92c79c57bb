# SPDX-License-Identifier: Apache-2.0
"""Documents and the places where their values stand."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from spanbridge.kube.source import Document, SourceError, embedded, parse_source, read_source
from spanbridge.model.findings import Position
from spanbridge.model.reader import escape

MANIFEST = """\
# a comment, é
kind: Sample
spec:
  config: |
    {
      "type": "bridge",
      "ipam": {"type": "dhcp"}
    }
  list:
  - a
  - {b: c, "d": 'e'}
---
kind: Second
"""


def pointed(document: Document, pointer: str, length: int = 8) -> str:
    """Show the text that a position names."""
    at = document.position(pointer)
    return document.source.text.split("\n")[at.line - 1][at.column - 1 :][:length]


def key_pointed(document: Document, pointer: str, length: int = 8) -> str:
    at = document.key_position(pointer)
    return document.source.text.split("\n")[at.line - 1][at.column - 1 :][:length]


def test_a_value_and_its_key_are_located() -> None:
    document = parse_source(MANIFEST, "x.yaml")[0]

    assert document.position("/kind") == Position("x.yaml", 2, 7, "/kind")
    assert document.key_position("/kind") == Position("x.yaml", 2, 1, "/kind")
    assert pointed(document, "/spec/list/1/d") == "'e'}"
    assert key_pointed(document, "/spec/list/1/d") == "\"d\": 'e'"
    assert key_pointed(document, "/spec/list/0") == "a"


def test_documents_of_a_stream_are_told_apart() -> None:
    first, second = parse_source("---\n---\n" + MANIFEST, "x.yaml")[:2]

    assert (first.index, second.index) == (1, 2)
    assert second.position("/kind").line == 15


@pytest.mark.parametrize("pointer", ["/spec/nothing", "/spec/nothing/deeper"])
def test_what_is_not_there_is_located_at_its_nearest_ancestor(pointer: str) -> None:
    document = parse_source(MANIFEST, "x.yaml")[0]

    assert document.position(pointer) == Position("x.yaml", 4, 3, pointer)
    assert document.key_position(pointer) == Position("x.yaml", 4, 3, pointer)


def test_json_is_located_too() -> None:
    text = '{\n  "a": [1,\n {"b~/": null, "c": "\\u00e9\\""}\n] }\n'
    document = parse_source(text, "x.json")[0]

    assert document.position("/a/0") == Position("x.json", 2, 9, "/a/0")
    assert pointed(document, "/a/1/b~0~1", 4) == "null"
    assert key_pointed(document, "/a/1/c", 3) == '"c"'


@pytest.mark.parametrize(
    "config",
    [
        '|\n    {"a": "x y",\n\n      "b": [1, {"c": "d\'e"}]}\n',
        '|2-\n      {"a": "x y",\n    "b": [1, {"c": "d\'e"}]}\n',
        '>-\n    {"a":\n    "x y", "b": [1,\n    {"c": "d\'e"}]}\n',
        '\'{"a": "x y", "b": [1, {"c": "d\'\'e"}]}\'\n',
        '"{\\"a\\": \\"x\\u0020y\\",\\n \\"b\\":\\t[1, \\\n   {\\"c\\": \\"d\'e\\"}]}"\n',
        '&here !!str "{\\"a\\": \\"x y\\", \\"b\\": [1, {\\"c\\": \\"d\'e\\"}]}"\n',
    ],
    ids=["literal", "indented", "folded", "single", "double", "anchored"],
)
def test_json_inside_every_kind_of_scalar_is_located_in_the_outer_file(config: str) -> None:
    outer = parse_source(f"# é\nspec:\n  config: {config}", "x.yaml")[0]
    inner = embedded(outer, "/spec/config")

    assert inner.value == {"a": "x y", "b": [1, {"c": "d'e"}]}
    assert pointed(inner, "/b", 3) == "[1,"
    assert pointed(inner, "/b/1/c").strip("\\").startswith('"d')
    assert key_pointed(inner, "/b/1/c").strip("\\").startswith('"c')
    assert (inner.file, inner.position("/b").pointer) == ("x.yaml", "/b")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


def places(value: object, pointer: str = "") -> list[tuple[str, object]]:
    """List every value with its pointer."""
    found = [(pointer, value)]
    members: list[tuple[str, object]] = []
    if isinstance(value, dict):
        members = [(escape(key), each) for key, each in value.items()]
    elif isinstance(value, list):
        members = [(str(number), each) for number, each in enumerate(value)]
    for key, each in members:
        found += places(each, f"{pointer}/{key}")
    return found


@given(st.dictionaries(st.text(max_size=4), JSON_VALUES), st.sampled_from([None, 1]))
def test_every_value_of_a_json_text_begins_where_its_position_says(
    value: dict[str, object], indent: int | None
) -> None:
    text = json.dumps(value, indent=indent)
    document = parse_source(text, "x.json")[0]

    for pointer, each in places(value):
        at = document.source.offset(document.position(pointer))
        assert json.JSONDecoder().raw_decode(text, at)[0] == each


@given(st.dictionaries(st.text("ab: #'\"\\\n\té", max_size=6), JSON_VALUES), st.integers(0, 2))
def test_every_embedded_value_begins_where_its_position_says(
    value: dict[str, object], style: int
) -> None:
    text = json.dumps(value, indent=1)
    outer = yaml.safe_dump(
        {"spec": {"config": text}}, default_style=["'", '"', "|"][style], allow_unicode=True
    )
    inner = embedded(parse_source(outer, "x.yaml")[0], "/spec/config")

    assert inner.value == value
    for pointer, each in places(value):
        # In double quotes of YAML, a quote of JSON stands behind a backslash.
        assert pointed(inner, pointer, 2).removeprefix("\\")[0] == json.dumps(each)[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: yes", True), ("a: Off", False), ("a: ~", None), ("a: ", None), ("a: 0755", 493),
        ("a: 0x1F", 31), ("a: 1_000", 1000), ("a: 1.5", 1.5), ("a: 1e3", 1000.0),
        ("a: 10.88.0.1", "10.88.0.1"), ("a: 2024-05-01", "2024-05-01"), ("a: '5'", "5"),
        ("a: !!str 5", "5"), ("a: 08", 8), ("a:\n-", [None]), ("a: .", "."),
    ],
)  # fmt: skip
def test_scalars_resolve_as_kubectl_does(text: str, value: object) -> None:
    document = parse_source(text, "x")[0]

    assert document.value == {"a": value}


def test_merge_keys_and_aliases_are_followed() -> None:
    text = "base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\nagain: *b\nboth: {<<: [*b, {z: 4}]}\n"
    document = parse_source(text, "x")[0]

    assert document.value == {
        "base": {"x": 1, "y": 2},
        "use": {"y": 3, "x": 1},
        "again": {"x": 1, "y": 2},
        "both": {"x": 1, "y": 2, "z": 4},
    }
    assert document.position("/again/x").line == 5


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ('{"a": 1,\n "a": 2}', 2, 2),
        ("a: 1\nb: 2\na: 3\n", 3, 1),
    ],
)
def test_repeated_keys_are_located_and_the_last_one_counts(
    text: str, line: int, column: int
) -> None:
    document = parse_source(text, "x")[0]

    assert document.repeated() == (Position("x", line, column, "/a"),)
    assert isinstance(document.value, dict)
    assert document.value["a"] == (2 if text[0] == "{" else 3)
    assert document.position("/a").line == line


@pytest.mark.parametrize(
    ("text", "line", "column", "cause"),
    [
        ('{"a": 1,\n b}', 2, 2, "Expecting property name"),
        ("a: b: c\n", 1, 5, "mapping values are not allowed"),
        ("a: &x [*x]", 1, 8, "no value is named x"),
        ("x: 1\n? [a, b]\n: c", 2, 3, "a key must be text"),
        ("x: *nowhere", 1, 4, "no value is named nowhere"),
        ("\ta: 1", 1, 1, "cannot start any token"),
    ],
)
def test_what_cannot_be_decoded_is_located(text: str, line: int, column: int, cause: str) -> None:
    with pytest.raises(SourceError, match=cause) as caught:
        parse_source(text, "x.yaml")

    assert caught.value.position == Position("x.yaml", line, column)
    assert f"x.yaml: {caught.value.cause} at line {line} column {column}" in caught.value.message


def test_a_fault_in_embedded_json_is_located_in_the_outer_file() -> None:
    outer = parse_source('spec:\n  config: |\n    {\n      "a": b\n    }\n', "x.yaml")[0]

    with pytest.raises(SourceError, match="Expecting value") as caught:
        embedded(outer, "/spec/config")

    assert (caught.value.position.line, caught.value.position.column) == (4, 12)
    with pytest.raises(SourceError, match="no text"):
        embedded(outer, "/spec")


def test_a_file_in_another_encoding_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"a: \xe9\n")

    with pytest.raises(SourceError, match="not UTF-8") as caught:
        read_source(path)
    assert caught.value.position == Position(str(path))
