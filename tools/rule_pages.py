# SPDX-License-Identifier: Apache-2.0
"""Writes the pages of docs/reference/rules from the rules; run it with .venv/bin/python."""

from pathlib import Path

from spanbridge.stretch.lint.pages import render_pages


def main() -> None:
    """Write every page, and remove those of rules that are gone."""
    folder = Path(__file__).parent.parent / "docs" / "reference" / "rules"
    folder.mkdir(exist_ok=True)
    pages = render_pages()
    for path in folder.glob("*.md"):
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
