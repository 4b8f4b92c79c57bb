# SPDX-License-Identifier: Apache-2.0
"""Every cause is documented, can be found, and its sentences are complete."""

import re
import string
from pathlib import Path

import pytest

from spanbridge.stretch.diagnose.catalogue import CAUSES, Cause

PROJECT = Path(__file__).parents[3]
PAGE = PROJECT / "docs/reference/verify.md"
CHECKS = PROJECT / "src/spanbridge/stretch/diagnose"


def _rows() -> dict[str, list[str]]:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in rows if re.fullmatch(r"SBV\d\d", row[0])}


def test_the_page_lists_exactly_the_causes_there_are() -> None:
    expected = {code: [each.title, str(each.severity)] for code, each in CAUSES.items()}
    assert {code: row[:2] for code, row in _rows().items()} == expected


@pytest.mark.parametrize("cause", CAUSES.values(), ids=lambda each: each.code)
def test_some_check_finds_each_cause(cause: Cause) -> None:
    checks = (path for path in CHECKS.glob("*.py") if path.name != "catalogue.py")
    assert any(f'"{cause.code}"' in path.read_text(encoding="utf-8") for path in checks)


@pytest.mark.parametrize("cause", CAUSES.values(), ids=lambda each: each.code)
def test_a_cause_says_what_happens_and_what_mends_it(cause: Cause) -> None:
    assert cause.consequence
    assert cause.remedies
    texts = [cause.message, cause.consequence, *cause.remedies]
    fields = {name for text in texts for _, name, _, _ in string.Formatter().parse(text) if name}
    assert all(name.isidentifier() for name in fields)
    assert not any(text.endswith(".") for text in texts)
