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
    table = _table("network", "container and interface")
    for heading in ("address and server", "state"):
        table.add_column(heading, no_wrap=True)
    for heading in ("renews in", "expires in", "renewed"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in leases:
        pod = f"{each['containerId']}\n{each['ifname']}"
        address = f"{each['address'] or 'none'}\n{each['server']}"
        times = (_span(each["renewInSeconds"]), _span(each["expiresInSeconds"]))
        state = Text(each["state"], style="" if each["state"] == "bound" else "yellow")
        table.add_row(each["network"], pod, address, state, *times, str(each["renewals"]))
    asked = [each for each in leases if "asked" in each]
    return Group(table, Text(), *_asked(asked)) if asked else table


def _asked(leases: Sequence[Json]) -> list[Text]:
    """Say what became of a renewal that was asked for."""
    failed = [each for each in leases if not each["asked"]["renewed"]]
    renewed = Text(f"{len(leases) - len(failed)} of {len(leases)} leases renewed now")
    return [renewed] + [
        Text(
            f"not renewed: {each['address'] or each['ifname']}: {each['asked']['cause']}",
            style="red",
        )
        for each in failed
    ]


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
