# SPDX-License-Identifier: Apache-2.0
"""
Findings as workflow commands, which GitHub shows beside the lines of a change.

Source: GitHub documentation, "Workflow commands for GitHub Actions"; the runner's
ActionCommand.cs says what is escaped.
"""

from collections.abc import Sequence
from typing import Final

from spanbridge.model.findings import Finding, Severity

_COMMANDS: Final = {
    Severity.ERROR: "error",
    Severity.WARNING: "warning",
    Severity.NOTE: "notice",
}


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _one(finding: Finding) -> str:
    properties = {"title": f"{finding.code} {finding.subject}".rstrip()}
    if finding.position is not None:
        properties["file"] = finding.position.file
        if finding.position.line:
            properties["line"] = str(finding.position.line)
        if finding.position.column:
            properties["col"] = str(finding.position.column)
    listed = ",".join(f"{name}={_property(text)}" for name, text in properties.items())
    parts = (finding.message, finding.consequence, finding.remedy)
    text = "\n".join(part for part in parts if part)
    return f"::{_COMMANDS[finding.severity]} {listed}::{_data(text)}"


def render_github(findings: Sequence[Finding]) -> str:
    """Render one command a line."""
    return "".join(f"{_one(finding)}\n" for finding in findings)
