# SPDX-License-Identifier: Apache-2.0
"""
Findings as SARIF, which code scanning services read.

Source: OASIS Static Analysis Results Interchange Format 2.1.0, with errata 01.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from spanbridge.model.findings import Finding, Position, Severity

_SCHEMA: Final = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_LEVELS: Final = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}


@dataclass(frozen=True, slots=True)
class RuleText:
    """
    What a reader of a finding may want to know about its rule.

    Attributes:
        code: Its code.
        name: Its name, in words joined by dashes.
        severity: How bad it is by default.
        summary: What it looks for.
        help: What happens in practice and what to write instead.
    """

    code: str
    name: str
    severity: Severity
    summary: str
    help: str


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("-"))


def _rule(rule: RuleText) -> dict[str, object]:
    return {
        "id": rule.code,
        "name": _camel(rule.name),
        "shortDescription": {"text": rule.summary},
        "help": {"text": rule.help},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
    }


def _uri(file: str) -> str:
    return Path(file).as_uri() if file.startswith("/") else quote(file)


def _location(position: Position) -> dict[str, object]:
    physical: dict[str, object] = {"artifactLocation": {"uri": _uri(position.file)}}
    if position.line:
        region = {"startLine": position.line}
        if position.column:
            region["startColumn"] = position.column
        physical["region"] = region
    return {"physicalLocation": physical}


def _result(finding: Finding, places: dict[str, int]) -> dict[str, object]:
    parts = (finding.message, finding.consequence, finding.remedy)
    about = f"{finding.subject}: " if finding.subject else ""
    result: dict[str, object] = {
        "ruleId": finding.code,
        "level": _LEVELS[finding.severity],
        "message": {"text": about + ". ".join(part.rstrip(".") for part in parts if part) + "."},
    }
    if finding.code in places:
        result["ruleIndex"] = places[finding.code]
    if finding.position is not None:
        result["locations"] = [_location(finding.position)]
    if finding.related:
        result["relatedLocations"] = [_location(each) for each in finding.related]
    return result


def render_sarif(
    findings: Sequence[Finding], rules: Iterable[RuleText], *, version: str
) -> dict[str, object]:
    """
    Render findings as one run of Spanbridge.

    Args:
        findings: What was found.
        rules: Every rule that was asked; those that found nothing are listed too.
        version: Of Spanbridge.
    """
    listed = list(rules)
    places = {rule.code: place for place, rule in enumerate(listed)}
    driver = {
        "name": "Spanbridge",
        "version": version,
        "rules": [_rule(rule) for rule in listed],
    }
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "columnKind": "unicodeCodePoints",
                "results": [_result(finding, places) for finding in findings],
            }
        ],
    }
