# SPDX-License-Identifier: Apache-2.0
"""What the agent tells, drawn for a terminal; every function is pure."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

Json = Mapping[str, Any]
"""One JSON object of the agent's answer."""


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _pairs(pairs: Mapping[str, object]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, value in pairs.items():
        table.add_row(Text(f" {name}", style="bold"), Text(str(value)))
    return table


def _moment(seconds: object) -> str:
    if not isinstance(seconds, int | float):
        return ""
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(counts.items())) or "none"


def status_view(status: Json) -> RenderableType:
    """Draw the answer of ``status``."""
    about = _pairs(
        {
            "agent": f"Spanbridge {status['version']}, pid {status['pid']}",
            "up": timedelta(seconds=round(status["uptimeSeconds"])),
            "socket": status["socket"],
            "state": status["stateDir"],
            "figures": status["metrics"] or "not served",
            "attachments": status["attachments"],
            "leases": _counts(status["leases"]),
            "running calls": status["inFlight"],
            "not calls": _counts({key: status[key] for key in _REFUSALS if status[key]}),
        }
    )
    calls = _table("verb")
    calls.add_column("calls", justify="right")
    calls.add_column("failed", justify="right")
    for verb, numbers in status["calls"].items():
        failed = Text(str(numbers["failed"]), style="red" if numbers["failed"] else "")
        calls.add_row(verb, str(numbers["total"]), failed)
    return Group(about, Text(), calls) if status["calls"] else about


_REFUSALS = ("malformed", "late", "refused", "overloads", "abandoned")


def attachments_view(attachments: Sequence[Json]) -> RenderableType:
    """Draw the answer of ``attachments``."""
    if not attachments:
        return Text("no attachments")
    table = _table("network", "container", "interface", "addresses", "since")
    for each in attachments:
        names = (each["network"], each["containerId"], each["ifname"])
        table.add_row(*names, ", ".join(each["addresses"]), _moment(each["attached"]))
    return table


def leases_view(leases: Sequence[Json]) -> RenderableType:
    """Draw the answer of ``leases``, or of ``renew``."""
    if not leases:
        return Text("no leases")
    table = _table("network", "container", "interface", "address", "server", "state")
    for heading in ("renews in", "expires in", "renewed"):
        table.add_column(heading, justify="right")
    asked = any("asked" in each for each in leases)
    if asked:
        table.add_column("just now", overflow="fold")
    for each in leases:
        names = (each["network"], each["containerId"], each["ifname"])
        times = (_span(each["renewInSeconds"]), _span(each["expiresInSeconds"]))
        state = Text(each["state"], style="" if each["state"] == "bound" else "yellow")
        cells = [each["address"], each["server"], state, *times, str(each["renewals"])]
        table.add_row(*names, *cells, *([_asked(each["asked"])] if asked else []))
    return table


def _asked(outcome: Json) -> Text:
    if outcome["renewed"]:
        return Text("renewed", style="green")
    return Text(f"not renewed: {outcome['cause']}", style="red")


def _span(seconds: float | None) -> str:
    """Spell a time from now; what is over counts as now."""
    return "never" if seconds is None else str(timedelta(seconds=max(0, round(seconds))))


def gc_view(done: Json) -> RenderableType:
    """Draw the answer of ``gc``."""
    summary = Text(
        f"{len(done['collected'])} collected, {len(done['failed'])} failed, {done['kept']} kept"
    )
    if not done["collected"] and not done["failed"]:
        return summary
    table = _table("network", "container", "interface", "cause", "outcome")
    for each in [*done["collected"], *done["failed"]]:
        error = each.get("error")
        outcome = Text(error["msg"], style="red") if error else Text("undone", style="green")
        names = (each["network"], each["containerId"], each["ifname"])
        table.add_row(*names, each["cause"], outcome)
    return Group(table, Text(), summary)
