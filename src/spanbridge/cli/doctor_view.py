# SPDX-License-Identifier: Apache-2.0
"""What doctor found, drawn for a terminal or as JSON; every function is pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.text import Text

from spanbridge.model.diagnosis import Diagnosis, Status

UNICODE: Final = {Status.OK: "✓", Status.WARN: "⚠", Status.FAIL: "✗", Status.SKIPPED: "-"}
ASCII: Final = {Status.OK: "ok", Status.WARN: "!!", Status.FAIL: "XX", Status.SKIPPED: "--"}
_STYLES: Final = {
    Status.OK: "green",
    Status.WARN: "yellow",
    Status.FAIL: "red",
    Status.SKIPPED: "dim",
}


@dataclass(frozen=True, slots=True)
class Mended:
    """
    What became of one remedy that ``--fix`` tried.

    Attributes:
        before: What was wrong.
        error: Why it could not be done; empty when it was.
    """

    before: Diagnosis
    error: str = ""


def symbols(encoding: str) -> Mapping[Status, str]:
    """Choose the signs that an output can show."""
    return UNICODE if encoding.lower().replace("-", "") == "utf8" else ASCII


def diagnosis_lines(diagnosis: Diagnosis, signs: Mapping[Status, str]) -> Iterable[Text]:
    """Draw one outcome; below a fault, what happens in practice and what mends it."""
    style = _STYLES[diagnosis.status]
    line = Text()
    line.append(f"{signs[diagnosis.status]} ", style=style)
    line.append(f"{diagnosis.code} ", style="dim")
    line.append(diagnosis.title, style="bold" if diagnosis.wrong else "")
    seen = f"{diagnosis.subject}: {diagnosis.message}" if diagnosis.subject else diagnosis.message
    line.append(f": {seen}", style="dim" if diagnosis.status is Status.SKIPPED else "")
    yield line
    if diagnosis.finding is not None:
        yield Text(f"        {diagnosis.finding.consequence}", style="dim")
    if diagnosis.remedy is not None:
        yield from _remedy_lines(diagnosis)


def _remedy_lines(diagnosis: Diagnosis) -> Iterable[Text]:
    remedy = diagnosis.remedy
    if remedy is None:
        return
    for command in remedy.commands:
        yield Text(f"        {command}", style="dim" if command.startswith("#") else "cyan")
    if remedy.hazard:
        yield Text(f"        # not done by --fix: {remedy.hazard}", style="dim")


def mended_lines(
    mended: Sequence[Mended], after: Sequence[Diagnosis], signs: Mapping[Status, str]
) -> Iterable[Text]:
    """Draw what was repaired, with the state before and after."""
    if not mended:
        yield Text("nothing that --fix may mend")
        return
    for each in mended:
        before = each.before
        status = status_now(before, after)
        line = Text()
        line.append(f"{signs[before.status]} ", style=_STYLES[before.status])
        line.append("-> ")
        line.append(f"{signs[status]} ", style=_STYLES[status])
        line.append(f"{before.code} ", style="dim")
        line.append(f"{before.subject}: {before.message}")
        yield line
        for command in before.remedy.commands if before.remedy else ():
            yield Text(f"           {command}", style="cyan")
        if each.error:
            yield Text(f"           {each.error}", style="red")


def status_now(before: Diagnosis, after: Iterable[Diagnosis]) -> Status:
    """Find the worst that a check says of the same thing now; OK where it says nothing."""
    order = (Status.OK, Status.SKIPPED, Status.WARN, Status.FAIL)
    same = (before.code, before.subject)
    found = [each.status for each in after if (each.code, each.subject) == same]
    return max(found, key=order.index, default=Status.OK)


def summary(diagnoses: Sequence[Diagnosis]) -> Text:
    """Count the outcomes."""
    numbers = {status: sum(each.status is status for each in diagnoses) for status in Status}
    words = {Status.FAIL: "wrong", Status.WARN: "doubtful", Status.OK: "fine"}
    listed = [f"{numbers[status]} {word}" for status, word in words.items()]
    return Text(", ".join([*listed, f"{numbers[Status.SKIPPED]} not looked at"]))


def diagnosis_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """Show one outcome as JSON."""
    remedy, finding = diagnosis.remedy, diagnosis.finding
    return {
        "code": diagnosis.code,
        "title": diagnosis.title,
        "subject": diagnosis.subject,
        "status": diagnosis.status.value,
        "message": diagnosis.message,
        "severity": finding.severity.value if finding else None,
        "consequence": finding.consequence if finding else None,
        "commands": list(remedy.commands) if remedy else [],
        "fixable": bool(remedy and remedy.safe),
        "hazard": remedy.hazard if remedy else "",
    }


def mended_json(mended: Mended, after: Iterable[Diagnosis]) -> dict[str, Any]:
    """Show what became of one remedy as JSON."""
    before = mended.before
    return {
        "code": before.code,
        "subject": before.subject,
        "message": before.message,
        "before": before.status.value,
        "after": status_now(before, after).value,
        "commands": list(before.remedy.commands) if before.remedy else [],
        "error": mended.error or None,
    }
