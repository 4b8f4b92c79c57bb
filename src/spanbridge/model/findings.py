# SPDX-License-Identifier: Apache-2.0
"""
Findings: what lint, doctor and verify have to say, as data.

A finding tells an administrator what is wrong, where, what happens in practice, and
what to write or run instead. How it looks is the business of ``report``.
"""

import enum
from dataclasses import dataclass


class Severity(enum.StrEnum):
    """How bad it is; an ``ERROR`` makes a command end with exit code 1."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Position:
    """
    A place in a file.

    Attributes:
        file: Path as it was given; ``-`` is standard input.
        line: From 1; 0 means the file as a whole.
        column: From 1, in characters; 0 means the line as a whole.
        pointer: JSON pointer inside the document, or inside the JSON that is embedded
            in it; empty where there is none. Source: RFC 6901.
    """

    file: str
    line: int = 0
    column: int = 0
    pointer: str = ""

    def __str__(self) -> str:
        return ":".join([self.file, *(str(each) for each in (self.line, self.column) if each)])


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One thing that is wrong.

    Attributes:
        code: Stable code of the rule or check, such as SB012.
        severity: How bad it is.
        message: What is wrong, one sentence without a full stop at its end.
        position: Where it stands; None for what stands in no file (a node's state).
        subject: The object it is about, such as ``cluster east`` or ``bridge br-mig``.
        consequence: What happens in practice if it stays.
        remedy: What to write instead, or the command that mends it.
        related: Other places that belong to it, such as the second of two equal ranges.
    """

    code: str
    severity: Severity
    message: str
    position: Position | None = None
    subject: str = ""
    consequence: str = ""
    remedy: str = ""
    related: tuple[Position, ...] = ()
