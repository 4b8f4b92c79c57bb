# SPDX-License-Identifier: Apache-2.0
"""What a check answers, before it is given the check's code."""

from dataclasses import dataclass

from spanbridge.model.diagnosis import Status
from spanbridge.model.repair import Paste, Remedy, Step


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    One outcome.

    Attributes:
        status: How it came out.
        subject: What was looked at.
        message: What was seen.
        remedy: What mends it; None where nothing has to be.
    """

    status: Status
    subject: str
    message: str
    remedy: Remedy | None = None


def fine(subject: str, message: str) -> Outcome:
    """Say that it is as it should be."""
    return Outcome(Status.OK, subject, message)


def skipped(subject: str, reason: str) -> Outcome:
    """Say why it was not looked at."""
    return Outcome(Status.SKIPPED, subject, reason)


def wrong(subject: str, message: str, *steps: Step, hazard: str = "") -> Outcome:
    """Say that it will not work so."""
    return Outcome(Status.FAIL, subject, message, Remedy(steps, hazard))


def doubtful(subject: str, message: str, *steps: Step, hazard: str = "") -> Outcome:
    """Say that it works, but not as one would wish."""
    return Outcome(Status.WARN, subject, message, Remedy(steps, hazard))


def advice(*lines: str) -> Paste:
    """Make a remedy of words: comments, to a shell."""
    return Paste(tuple(f"# {line}" for line in lines))
