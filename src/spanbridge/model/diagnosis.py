# SPDX-License-Identifier: Apache-2.0
"""What doctor says about a node: one outcome for each check and what it was about."""

import enum
from dataclasses import dataclass

from spanbridge.model.findings import Finding
from spanbridge.model.repair import Remedy


class Status(enum.StrEnum):
    """How a check came out; ``FAIL`` makes the command end with exit code 1."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """
    One outcome of one check.

    Attributes:
        code: Of the check, such as SBD07; stable.
        title: What is right when it is fine, in words.
        subject: What was looked at, such as ``bridge br-mig``; empty for the node.
        status: How it came out.
        message: What was seen, or why it was skipped.
        finding: What is wrong; None when it is fine or was skipped.
        remedy: What mends it; None where there is nothing to mend.
    """

    code: str
    title: str
    subject: str
    status: Status
    message: str
    finding: Finding | None = None
    remedy: Remedy | None = None

    @property
    def wrong(self) -> bool:
        """Whether there is something to mend."""
        return self.finding is not None
