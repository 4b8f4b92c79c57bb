# SPDX-License-Identifier: Apache-2.0
"""A verdict for a terminal; in a pipe, the same without colour."""

from typing import Final

from rich import box
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from spanbridge.model.findings import Severity
from spanbridge.model.observations import Endpoint, Role
from spanbridge.model.timeline import Migration, Outcome
from spanbridge.model.verdict import Diagnosis, PairState, PairVerdict, Trouble, Verdict
from spanbridge.report.verdict_views import (
    ClusterPair,
    bytes_words,
    headline,
    milliseconds,
    network_words,
    percent,
    sample_words,
    sum_clusters,
)

MATRIX_MAX: Final = 6
"""Virt-handlers up to which each pair is shown; beyond it, each pair of clusters."""

_EVIDENCE_SHOWN: Final = 3
_MARKS: Final = {
    Severity.ERROR: (" FAIL", "bold red"),
    Severity.WARNING: (" warn", "bold yellow"),
    Severity.NOTE: (" note", "bold"),
}
_STYLES: Final = {
    PairState.GOOD: "green",
    PairState.POOR: "yellow",
    PairState.ONE_WAY: "magenta",
    PairState.CUT: "bold red",
    PairState.UNKNOWN: "dim",
}


def view_verdict(verdict: Verdict) -> list[RenderableType]:
    """Show the matrix, the causes, the migrations and the verdict."""
    heading = f" {network_words(verdict)}: round trips in ms, median / 99th percentile"
    shown: list[RenderableType] = [Text(heading, "bold"), Text()]
    for table in _tables(verdict):
        shown += [table, Text()]
    migrations = [_view_migration(each) for each in verdict.observations.migrations]
    *causes, conclusion = view_conclusion(verdict)
    if sampled := sample_words(verdict):
        migrations.append(_line(" note", "bold", sampled))
    return [*shown, *causes, *migrations, conclusion]


def view_conclusion(verdict: Verdict) -> list[RenderableType]:
    """Show the causes, and last the verdict in one line."""
    shown: list[RenderableType] = []
    for each in verdict.diagnoses:
        shown += [*_view_diagnosis(each), Text()]
    mark = (" ok  ", "bold green") if verdict.passed else _MARKS[Severity.ERROR]
    return [*shown, _line(*mark, headline(verdict))]


def _line(mark: str, style: str, text: str) -> Table:
    """Make a line with its mark; a long one goes on below its own beginning."""
    line = Table.grid(padding=(0, 1, 0, 0))
    line.add_row(Text(mark, style), Text(text))
    return line


def _view_diagnosis(diagnosis: Diagnosis) -> list[RenderableType]:
    mark, style = _MARKS[diagnosis.severity]
    rows = Table.grid(padding=(0, 1, 0, 0))
    for line in diagnosis.evidence[:_EVIDENCE_SHOWN]:
        rows.add_row(Text("seen", "dim"), Text(line, "dim"))
    if not diagnosis.certain:
        rows.add_row(Text("how", "dim"), Text("inferred from who reaches whom", "dim"))
    if diagnosis.consequence:
        rows.add_row(Text("then", "dim"), Text(diagnosis.consequence))
    for remedy in diagnosis.remedies:
        rows.add_row(Text("mend", "dim"), Text(remedy, "cyan"))
    return [
        _line(mark, style, f"{diagnosis.code} {diagnosis.message}"),
        Padding(rows, (0, 0, 0, 6), expand=False),
    ]


def _view_migration(migration: Migration) -> Table:
    done = migration.outcome is Outcome.COMPLETED
    mark = (" ok  ", "bold green") if done else _MARKS[Severity.ERROR]
    text = (
        f"{migration.vm} from {migration.source} to {migration.target} ({migration.mode}): "
        f"{migration.outcome} in {migration.total_ms / 1000:.1f} s"
    )
    if migration.downtime_ms is not None:
        text += f", down for {migration.downtime_ms} ms"
    if migration.seen_downtime_ms is not None:
        text += f" (the guest's counter: {migration.seen_downtime_ms} ms)"
    text += f"; {bytes_words(migration.migration0_bytes)} on migration0, "
    text += f"{bytes_words(migration.elsewhere_bytes)} elsewhere"
    return _line(*mark, f"{text}: {migration.error}" if migration.error else text)


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, show_edge=False)


def _tables(verdict: Verdict) -> list[Table]:
    """Show virt-handlers and sync leaders apart: they do not talk to each other."""
    endpoints = verdict.observations.endpoints
    handlers = [each for each in endpoints if each.role is Role.HANDLER]
    if len(handlers) > MATRIX_MAX:
        return [_clusters(verdict)]
    sync = [each for each in endpoints if each.role is not Role.HANDLER]
    tables = (_matrix(verdict, "virt-handler", handlers), _matrix(verdict, "sync", sync))
    return [table for table in tables if table.row_count]


def _matrix(verdict: Verdict, what: str, endpoints: list[Endpoint]) -> Table:
    cells = {each.pair: each for each in verdict.pairs}
    asking = [each for each in endpoints if any(pair[0] == each.name for pair in cells)]
    asked = [each for each in endpoints if any(pair[1] == each.name for pair in cells)]
    table = _table()
    table.add_column(f"{what} on")
    table.add_column("address")
    for each in asked:
        table.add_column(f"to {each.node}", justify="right")
    for source in asking:
        row = [_cell(cells.get((source.name, target.name))) for target in asked]
        table.add_row(source.node, ", ".join(source.addresses) or "none", *row)
    return table


def _cell(pair: PairVerdict | None) -> Text:
    if pair is None:
        return Text("-", "dim")
    style = _STYLES[pair.state]
    if pair.rtt_median_us is None:
        way = f" {pair.lost}" if pair.lost in {"there", "back"} else ""
        return Text(f"{pair.state}{way}", style)
    text = Text(f"{milliseconds(pair.rtt_median_us)} / {milliseconds(pair.rtt_p99_us)}", style)
    for words in _remarks(pair):
        text.append(f"\n{words}", style)
    return text


def _remarks(pair: PairVerdict) -> list[str]:
    """Say in a few words what is wrong with a pair that answers."""
    words = {
        Trouble.LOSS: f"{percent(pair.loss)} lost",
        Trouble.MTU: f"MTU {pair.path_mtu}",
        Trouble.LATENCY: "slow",
        Trouble.WRONG_ROUTE: "wrong route",
        Trouble.SEVERAL_NEIGHBOURS: "two answer",
        Trouble.PORT: "port",
        Trouble.TLS: "TLS",
    }
    return [words[each] for each in pair.troubles if each in words]


def _clusters(verdict: Verdict) -> Table:
    table = _table()
    for heading in ("from", "to"):
        table.add_column(heading)
    for heading in ("good", "worst", "RTT", "lost", "path MTU"):
        table.add_column(heading, justify="right")
    for each in sum_clusters(verdict):
        table.add_row(each.source, each.target, *_cluster_row(each))
    return table


def _cluster_row(each: ClusterPair) -> list[Text]:
    style = _STYLES[each.worst]
    return [
        Text(f"{each.good} of {each.pairs}", style),
        Text(str(each.worst), style),
        Text(f"{milliseconds(each.rtt_median_us)} / {milliseconds(each.rtt_p99_us)}"),
        Text(percent(each.loss)),
        Text("-" if each.path_mtu is None else str(each.path_mtu)),
    ]
