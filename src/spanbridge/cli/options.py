# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, and how help shows examples."""

from collections.abc import Callable
from typing import Any

import click

FormatOption = Callable[[Callable[..., Any]], Callable[..., Any]]


def format_option(*formats: str) -> FormatOption:
    """Make ``--format``; the first of ``formats`` is the default."""
    return click.option(
        "--format",
        "output_format",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help="How facts are printed.",
    )


def examples(*lines: str) -> str:
    """Make the epilog of a command's help: one example a line, kept as written."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
