# SPDX-License-Identifier: Apache-2.0
"""Whatever is in a file, lint answers."""

import copy
import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from spanbridge.kube.source import parse_source
from spanbridge.stretch.lint import RULES, lint
from spanbridge.stretch.lint.examples import as_clusters, unmarked

SOMETHING: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(
            None,
            True,
            False,
            0,
            -1,
            1.5,
            4095,
            "",
            "x",
            "a/b",
            "10.88.0.0/24",
            "fd00::1",
            [],
            [None],
        ),
        *({}, {"": None}, [[]], [{}], {"type": "dhcp"}, "1" * 40, "é\n"),
    ]
)

EXAMPLES = [
    {name: [each.value for each in parse_source(text, name)] for name, text in files.items()}
    for rule in RULES
    if rule.code != "SB001"
    for files in (unmarked(rule.wrong), unmarked(rule.right))
]


def places(value: Any) -> list[tuple[Any, Any]]:  # noqa: ANN401  # JSON
    """List every container with each of its keys."""
    keys: list[Any] = []
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = list(range(len(value)))
    return [(value, key) for key in keys] + [pair for key in keys for pair in places(value[key])]


def opened(documents: list[Any]) -> list[Any]:
    """Decode the configurations in manifests, so that they are changed too."""
    for each in documents:
        if each.get("kind") == "NetworkAttachmentDefinition" and "spec" in each:
            each["spec"]["config"] = json.loads(each["spec"]["config"])
    return documents


def closed(documents: list[Any]) -> str:
    for each in documents:
        spec = each.get("spec") if isinstance(each, dict) else None
        if isinstance(spec, dict) and isinstance(spec.get("config"), (dict, list)):
            spec["config"] = json.dumps(spec["config"])
    return str(yaml.safe_dump_all(documents, allow_unicode=True, sort_keys=False))


@settings(max_examples=400)
@given(st.sampled_from(EXAMPLES), st.data())
def test_no_value_anywhere_makes_a_rule_fail(
    example: dict[str, list[Any]], data: st.DataObject
) -> None:
    files = {name: opened(copy.deepcopy(documents)) for name, documents in example.items()}
    where = [pair for documents in files.values() for pair in places(documents)]
    for container, key in data.draw(st.lists(st.sampled_from(where), min_size=1, max_size=3)):
        container[key] = data.draw(SOMETHING)
    verdict = lint(as_clusters({name: closed(each) for name, each in files.items()}))

    assert all(finding.position is not None for finding in verdict.findings)


@pytest.mark.parametrize("text", ["", "{}", "[]", "5", "null", "a: b", "- {}", '{"plugins": [5]}'])
def test_files_of_any_kind_are_answered_for(text: str) -> None:
    codes = {each.code for each in lint(as_clusters({"a.conf": text, "b.yaml": text})).findings}

    assert codes <= {"SB001", "SB003", "SB004", "SB020", "SB021", "SB062"}
