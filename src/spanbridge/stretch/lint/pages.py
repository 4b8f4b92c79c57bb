# SPDX-License-Identifier: Apache-2.0
"""What is written about rules: for a terminal, as JSON, and as pages of the reference."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final

from spanbridge.stretch.lint.catalogue import RULES, scope_of
from spanbridge.stretch.lint.examples import marked_place, unmarked
from spanbridge.stretch.lint.registry import Rule

_WIDTH: Final = 100

_LANGUAGES: Final = {"conf": "json", "conflist": "json", "json": "json", "yaml": "yaml"}


def _filled(text: str) -> str:
    return textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _shown(files: Mapping[str, str]) -> Iterator[str]:
    for name, text in unmarked(files).items():
        yield f"  {name}"
        yield from (f"    {line}".rstrip() for line in text.rstrip("\n").split("\n"))


def render_rule_text(rule: Rule[Any]) -> str:
    """Explain a rule at a terminal."""
    lines = [
        f"{rule.code} {rule.name} ({rule.severity.value}; looks at {scope_of(rule)})",
        "",
        _filled(f"{rule.summary}."),
        "",
        _filled(f"In practice: {rule.consequence}"),
        "",
        _filled(f"Instead: {rule.remedy}."),
        "",
        f"Wrong, at {marked_place(rule.wrong)}:",
        *_shown(rule.wrong),
        "",
        "Right:",
        *_shown(rule.right),
    ]
    return "\n".join(lines) + "\n"


def render_rule_json(rule: Rule[Any]) -> dict[str, object]:
    """Render a rule as JSON."""
    return {
        "code": rule.code,
        "name": rule.name,
        "severity": rule.severity.value,
        "scope": scope_of(rule),
        "summary": rule.summary,
        "consequence": rule.consequence,
        "remedy": rule.remedy,
        "wrong": unmarked(rule.wrong),
        "right": unmarked(rule.right),
        "failures": list(rule.rows),
    }


def _blocks(files: Mapping[str, str]) -> Iterator[str]:
    for name, text in unmarked(files).items():
        yield f"`{name}`"
        yield ""
        yield f"```{_LANGUAGES[name.rpartition('.')[2]]}"
        yield text.rstrip("\n")
        yield "```"
        yield ""


def _ignored(rule: Rule[Any]) -> Iterator[str]:
    yield "## Not told here"
    yield ""
    yield f"In YAML, `# spanbridge: ignore[{rule.code}]` on the line or alone on the line above; in"
    yield f'JSON, a member `"spanbridge.io/ignore": ["{rule.code}"]` of the object.'


def _page(rule: Rule[Any]) -> str:
    rows = ", ".join(f"[{row}](../failures.md)" for row in rule.rows)
    lines = [
        f"# {rule.code}: {rule.name}",
        "",
        f"{rule.summary}.",
        "",
        f"- severity: {rule.severity.value}",
        f"- looks at: {scope_of(rule)}",
        *([f"- failures: {rows}"] if rows else []),
        "",
        "## What happens in practice",
        "",
        rule.consequence,
        "",
        "## What to write instead",
        "",
        f"{rule.remedy[0].upper()}{rule.remedy[1:]}.",
        "",
        "## Wrong",
        "",
        f"Found at `{marked_place(rule.wrong)}`.",
        "",
        *_blocks(rule.wrong),
        "## Right",
        "",
        *_blocks(rule.right),
        *_ignored(rule),
    ]
    return "\n".join(lines) + "\n"


def _index() -> str:
    lines = [
        "# Rules of `spanbridge lint`",
        "",
        "Made from the code by `tools/rule_pages.py`; `spanbridge rule CODE` shows the same.",
        "",
        "| code | name | severity | what is looked for |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| [{rule.code}]({rule.code}.md) | {rule.name} | {rule.severity.value} | {rule.summary} |"
        for rule in RULES
    ]
    return "\n".join(lines) + "\n"


def render_pages() -> dict[str, str]:
    """Render the pages of all rules, and one that lists them, by file name."""
    return {"README.md": _index()} | {f"{rule.code}.md": _page(rule) for rule in RULES}
