# SPDX-License-Identifier: Apache-2.0
"""Each rule finds exactly itself in its wrong example, and nothing is found in its right one."""

from collections import Counter
from typing import Any

import pytest

from spanbridge.stretch.lint import RULES, Rule, lint
from spanbridge.stretch.lint.examples import as_clusters, marked_place

EVERY = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)


@EVERY
def test_the_wrong_example_breaks_exactly_its_rule(rule: Rule[Any]) -> None:
    findings = lint(as_clusters(rule.wrong)).findings

    assert {each.code for each in findings} == {rule.code, *rule.also}, findings


@EVERY
def test_the_finding_stands_where_the_example_is_marked(rule: Rule[Any]) -> None:
    found = [each.position for each in lint(as_clusters(rule.wrong)).findings
             if each.code == rule.code]  # fmt: skip
    wanted = marked_place(rule.wrong)

    assert wanted is not None
    assert [(at.file, at.line, at.column) for at in found if at] == [
        (wanted.file, wanted.line, wanted.column)
    ]


@EVERY
def test_nothing_at_all_is_found_in_the_right_example(rule: Rule[Any]) -> None:
    assert lint(as_clusters(rule.right)).findings == ()


def test_no_code_and_no_name_is_given_twice() -> None:
    for count in (Counter(rule.code for rule in RULES), Counter(rule.name for rule in RULES)):
        assert max(count.values()) == 1


def test_there_are_at_least_forty_rules() -> None:
    assert len(RULES) >= 40
