# SPDX-License-Identifier: Apache-2.0
"""The reference page of doctor against its checks and its options."""

import re
from pathlib import Path

import pytest

from spanbridge.cli.doctor import doctor
from spanbridge.stretch.doctor import CHECKS
from spanbridge.stretch.doctor.checks import Check

PAGE = (Path(__file__).parents[4] / "docs/reference/doctor.md").read_text()
SECTIONS: dict[str, str] = dict(
    re.findall(r"^### (SBD\d\d: [^\n]+)\n\n(.+?)(?=\n### |\Z)", PAGE, re.MULTILINE | re.DOTALL)
)


def test_the_page_has_the_checks_of_the_code_in_their_order() -> None:
    assert list(SECTIONS) == [f"{check.code}: {check.title}" for check in CHECKS]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.code)
def test_a_check_is_described_with_what_happens_and_what_mends_it(check: Check) -> None:
    body = SECTIONS[f"{check.code}: {check.title}"]

    assert f"- Otherwise: {check.consequence}." in body
    assert re.search(r"^- Mended by: .{10,}\.$", body, re.MULTILINE)
    assert re.search(r"^- `--fix`: (yes|no|where)", body, re.MULTILINE)


def test_every_option_that_changes_what_is_looked_at_is_described() -> None:
    options = {name for each in doctor.params for name in each.opts if name.startswith("--")}
    obvious = {"--socket"}

    assert {name for name in options - obvious if name not in PAGE} == set()
