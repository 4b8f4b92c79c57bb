# SPDX-License-Identifier: Apache-2.0
"""Findings for a person at a terminal, and as JSON."""

import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from spanbridge.model.findings import Finding, Position, Severity

WIDTH: Final = 100
_LABEL: Final = 13
_SNIPPET_MAX: Final = 84

Paint = Callable[[str, Severity], str]
"""Colours a word by how bad it is."""


def _plain(text: str, _severity: Severity) -> str:
    return text


def _wrapped(label: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=f"  {label:<{_LABEL}}",
        subsequent_indent=" " * (_LABEL + 2),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _snippet(position: Position | None, sources: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Show the line with a mark under the place."""
    lines = sources.get(position.file, ()) if position else ()
    if position is None or not 0 < position.line <= len(lines):
        return
    line = lines[position.line - 1].replace("\t", " ").rstrip("\r\n")
    at = max(position.column, 1) - 1
    start = max(0, at - _SNIPPET_MAX // 2) if len(line) > _SNIPPET_MAX else 0
    yield f"  {position.line:>5} | {line[start : start + _SNIPPET_MAX]}"
    yield f"        | {' ' * (at - start)}^"


def _one(
    finding: Finding, sources: Mapping[str, Sequence[str]], paint: Paint, *, terse: bool
) -> Iterator[str]:
    place = f"{finding.position}: " if finding.position else ""
    about = f"[{finding.subject}] " if finding.subject else ""
    severity = paint(finding.severity.value, finding.severity)
    yield f"{place}{severity} {finding.code} {about}{finding.message}"
    yield from _snippet(finding.position, sources)
    if not terse:
        yield from _wrapped("in practice", finding.consequence)
    yield from _wrapped("instead", finding.remedy)
    for each in finding.related:
        yield f"  {'see':<{_LABEL}}{each}"


def summarize(findings: Sequence[Finding]) -> str:
    """Count findings by how bad they are, in words."""
    counted = Counter(finding.severity for finding in findings)
    parts = [
        f"{counted[each]} {each.value}{'s' if counted[each] > 1 else ''}"
        for each in Severity
        if counted[each]
    ]
    return ", ".join(parts) or "nothing found"


def render_text(
    findings: Sequence[Finding],
    sources: Mapping[str, Sequence[str]],
    *,
    paint: Paint = _plain,
) -> str:
    """
    Render findings for a terminal; what a rule means in practice is told once.

    Args:
        findings: In the order in which they are shown.
        sources: Lines of the files, by name; a file that is not there shows no line.
        paint: Colours a severity.
    """
    told: set[tuple[str, str]] = set()
    lines: list[str] = []
    for finding in findings:
        key = (finding.code, finding.consequence)
        lines += _one(finding, sources, paint, terse=key in told)
        lines.append("")
        told.add(key)
    return "\n".join([*lines, summarize(findings)]) + "\n"


def _render_position(position: Position) -> dict[str, object]:
    return {
        "file": position.file,
        "line": position.line,
        "column": position.column,
        "pointer": position.pointer,
    }


def render_finding(finding: Finding) -> dict[str, object]:
    """Render one finding as JSON."""
    return {
        "code": finding.code,
        "severity": finding.severity.value,
        "message": finding.message,
        "position": _render_position(finding.position) if finding.position else None,
        "subject": finding.subject,
        "consequence": finding.consequence,
        "remedy": finding.remedy,
        "related": [_render_position(each) for each in finding.related],
    }


def render_json(findings: Sequence[Finding]) -> dict[str, object]:
    """Render findings with their counts as JSON."""
    counted = Counter(finding.severity for finding in findings)
    return {
        "findings": [render_finding(each) for each in findings],
        "summary": {each.value: counted[each] for each in Severity},
    }
