# SPDX-License-Identifier: Apache-2.0
"""Writes docs/reference/rules, failures.md and lab-faults.md; run it with .venv/bin/python."""

from pathlib import Path

from spanbridge.lab.faults.page import render_page
from spanbridge.stretch.lint.failures import render_failures
from spanbridge.stretch.lint.pages import render_pages


def main() -> None:
    """Write every page, and remove those of rules that are gone."""
    reference = Path(__file__).parent.parent / "docs" / "reference"
    folder = reference / "rules"
    folder.mkdir(exist_ok=True)
    pages = render_pages()
    for path in folder.glob("*.md"):
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")
    (reference / "failures.md").write_text(render_failures(), encoding="utf-8")
    (reference / "lab-faults.md").write_text(render_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
