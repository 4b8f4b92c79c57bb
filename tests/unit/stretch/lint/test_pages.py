# SPDX-License-Identifier: Apache-2.0
"""The pages of the reference say what the code does."""

from pathlib import Path

import pytest

from spanbridge.stretch.diagnose.catalogue import CAUSES
from spanbridge.stretch.lint import RULES, scope_of
from spanbridge.stretch.lint.failures import FAILURES, Failure, codes_for, render_failures
from spanbridge.stretch.lint.pages import render_pages, render_rule_json, render_rule_text

REFERENCE = Path(__file__).parents[4] / "docs" / "reference"
AGAIN = "run .venv/bin/python tools/rule_pages.py"

STATIC = (5, 7, 8, 9, 11, 12, 13, 14, 15, 16, 18, 19, 20, 24, 25, 26)
"""Failures that files alone show."""


def test_every_rule_has_an_up_to_date_page_and_no_page_is_left_over() -> None:
    written = {path.name: path.read_text() for path in (REFERENCE / "rules").glob("*.md")}

    assert written == render_pages(), AGAIN


def test_the_page_of_failures_is_up_to_date() -> None:
    assert (REFERENCE / "failures.md").read_text() == render_failures(), AGAIN


def test_thirty_failures_are_numbered_in_order() -> None:
    assert [each.row for each in FAILURES] == list(range(1, 31))


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: str(failure.row))
def test_every_failure_is_found_by_something(failure: object) -> None:
    row = getattr(failure, "row", 0)
    words = [getattr(failure, name, "") for name in ("plan", "doctor", "verify")]

    assert codes_for(row) or any(words)


@pytest.mark.parametrize("row", STATIC)
def test_what_files_show_is_found_by_a_rule(row: int) -> None:
    assert codes_for(row)


def test_failures_name_checks_and_causes_that_are_there() -> None:
    doctor = (REFERENCE / "doctor.md").read_text()

    assert {cause for each in FAILURES for cause in each.causes} <= set(CAUSES)
    for check in {check for each in FAILURES for check in each.checks}:
        assert f"\n### {check}: " in doctor


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: str(failure.row))
def test_codes_stand_beside_words(failure: Failure) -> None:
    assert bool(failure.doctor) == bool(failure.checks)
    assert failure.verify or not failure.causes


def test_rules_name_failures_that_are_there() -> None:
    rows = {each.row for each in FAILURES}

    assert {row for rule in RULES for row in rule.rows} <= rows


def test_a_rule_is_explained_with_both_examples() -> None:
    rule = next(rule for rule in RULES if rule.code == "SB040")
    text = render_rule_text(rule)

    assert '"preserveDefaultVlan": true' in text
    assert '"preserveDefaultVlan": false' in text
    assert render_rule_json(rule)["failures"] == [16]
    assert {scope_of(each) for each in RULES} == {
        "each plugin's configuration",
        "each configuration or list of plugins",
        "all files of a cluster together",
        "several clusters",
    }


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_texts_are_sentences_of_the_agreed_form(rule: object) -> None:
    summary, consequence, remedy = (
        str(getattr(rule, name)) for name in ("summary", "consequence", "remedy")
    )

    assert not summary.endswith(".")
    assert consequence.endswith(".")
    assert remedy
    assert not remedy.endswith(".")
