# SPDX-License-Identifier: Apache-2.0
"""
A verdict as one HTML file that loads nothing: styles, program and data are inside.

What it says can be read without its program, which adds filters, hints and charts. The
same verdict always gives the same bytes.
"""

import functools
import importlib.resources
import json
from typing import Any, Final

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from spanbridge import __version__
from spanbridge.model.observations import Endpoint, Role
from spanbridge.model.timeline import Migration
from spanbridge.model.verdict import PairState, PairVerdict, Trouble, Verdict
from spanbridge.report.topology import BAR_HEIGHT, NODE_WIDTH, draw_topology
from spanbridge.report.verdict_views import (
    ClusterPair,
    bytes_words,
    cluster_names,
    headline,
    milliseconds,
    network_words,
    percent,
    sample_words,
    sentence,
    split_remedy,
    sum_clusters,
)

MATRIX_MAX: Final = 64
"""Endpoints up to which the matrix shows each; beyond it, it shows clusters."""

_ENDPOINTS_MAX: Final = 400
"""Endpoints that the last table lists; those that are to blame come first then."""

_SYMBOLS: Final = {
    PairState.GOOD: "✓",
    PairState.POOR: "!",
    PairState.ONE_WAY: "→",
    PairState.CUT: "✗",
    PairState.UNKNOWN: "?",
}
_MEANINGS: Final = {
    PairState.GOOD: "all as it must be",
    PairState.POOR: "answers, but something is wrong",
    PairState.ONE_WAY: "packets pass in one direction only",
    PairState.CUT: "no answer",
    PairState.UNKNOWN: "could not be measured",
}


def _asset(name: str) -> str:
    return (importlib.resources.files("spanbridge.report") / name).read_text(encoding="utf-8")


def _markup(name: str) -> Markup:
    return Markup(_asset(name))  # noqa: S704  # our own file


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(lambda name: _asset(f"templates/{name}")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "ms": milliseconds,
        "percent": percent,
        "size": bytes_words,
        "remedy": split_remedy,
        "sentence": sentence,
    }
    return environment


def render_html(verdict: Verdict) -> str:
    """Make the file's text."""
    units, cells = _matrix(verdict)
    observations = verdict.observations
    data = {
        "units": units,
        "cells": cells,
        "migrations": [_timeline(each) for each in observations.migrations],
    }
    return _environment().get_template("report.html").render(
        verdict=verdict,
        observations=observations,
        headline=headline(verdict),
        network=network_words(verdict),
        sampled=sample_words(verdict),
        drawing=draw_topology(verdict),
        sizes={"width": NODE_WIDTH, "bar": BAR_HEIGHT},
        units=units,
        cells={(cell["a"], cell["b"]): (at, cell) for at, cell in enumerate(cells)},
        by_cluster=sum_clusters(verdict),
        clusters=cluster_names(verdict),
        listed=_listed(verdict),
        nodes={each.site: each for each in observations.nodes},
        symbols={str(state): symbol for state, symbol in _SYMBOLS.items()},
        meanings={str(state): words for state, words in _MEANINGS.items()},
        codes=sorted({each.code for each in verdict.diagnoses}),
        aggregated=len(observations.endpoints) > MATRIX_MAX,
        version=__version__,
        data=_embed(data),
        styles=[_markup(f"assets/{name}") for name in ("uPlot.min.css", "report.css")],
        programs=[_markup(f"assets/{name}") for name in ("uPlot.iife.min.js", "report.js")],
    )  # fmt: skip


def _listed(verdict: Verdict) -> tuple[Endpoint, ...]:
    """Choose the endpoints that are listed: all, or those of blamed nodes and some more."""
    every = verdict.observations.endpoints
    if len(every) <= _ENDPOINTS_MAX:
        return every
    blamed = {site for each in verdict.diagnoses for site in each.sites}
    return tuple(sorted(every, key=lambda each: each.site not in blamed)[:_ENDPOINTS_MAX])


def _embed(data: object) -> Markup:
    """Make JSON that no HTML parser takes for markup."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    safe = text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return Markup(safe)  # noqa: S704  # nothing in it can end the element


def _matrix(verdict: Verdict) -> tuple[list[dict[str, str]], list[dict[str, Any]]]:
    """Make rows and cells: of endpoints, or of clusters where there are too many."""
    if len(verdict.observations.endpoints) > MATRIX_MAX:
        names = cluster_names(verdict)
        units = [{"label": name, "cluster": name, "more": "cluster", "block": ""} for name in names]
        place = {name: at for at, name in enumerate(names)}
        found = _cluster_causes(verdict)
        return units, [
            _sum_cell(each, place, found.get((each.source, each.target), []))
            for each in sum_clusters(verdict)
        ]
    tried = {name for each in verdict.pairs for name in each.pair}
    shown = [each for each in verdict.observations.endpoints if each.name in tried]
    # Virt-handlers and sync leaders do not talk to each other: two blocks, not a chequer.
    shown.sort(key=lambda each: each.role is not Role.HANDLER)
    place = {each.name: at for at, each in enumerate(shown)}
    causes = _causes(verdict)
    return [_unit(each) for each in shown], [
        _cell(each, place, causes.get(each.pair, [])) for each in verdict.pairs
    ]


def _causes(verdict: Verdict) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for diagnosis in verdict.diagnoses:
        for pair in diagnosis.pairs:
            codes = found.setdefault(pair, [])
            if diagnosis.code not in codes:
                codes.append(diagnosis.code)
    return found


def _unit(endpoint: Endpoint) -> dict[str, str]:
    role = "" if endpoint.role is Role.HANDLER else " sync"
    return {
        "label": f"{endpoint.node}{role}",
        "cluster": endpoint.cluster,
        "more": f"{endpoint.role} {', '.join(endpoint.addresses) or 'no address'}",
        "block": role,
    }


def _cell(pair: PairVerdict, place: dict[str, int], codes: list[str]) -> dict[str, Any]:
    way = {"there": "questions do not arrive", "back": "answers do not come back"}
    words = [str(each).replace("-", " ") for each in pair.troubles if each is not Trouble.NO_ANSWER]
    words += [way.get(pair.lost, "no answer")] if Trouble.NO_ANSWER in pair.troubles else []
    return {
        "a": place[pair.source],
        "b": place[pair.target],
        "state": str(pair.state),
        "rtt": pair.rtt_median_us,
        "p99": pair.rtt_p99_us,
        "loss": pair.loss,
        "mtu": pair.path_mtu,
        "rate": pair.bits_per_s,
        "why": ", ".join(words),
        "codes": codes,
    }


def _cluster_causes(verdict: Verdict) -> dict[tuple[str, str], list[str]]:
    """Name the causes of what is wrong from one cluster to another."""
    homes = {each.name: each.cluster for each in verdict.observations.endpoints}
    found: dict[tuple[str, str], list[str]] = {}
    for diagnosis in verdict.diagnoses:
        for names in dict.fromkeys((homes[a], homes[b]) for a, b in diagnosis.pairs):
            codes = found.setdefault(names, [])
            if diagnosis.code not in codes:
                codes.append(diagnosis.code)
    return found


def _sum_cell(pair: ClusterPair, place: dict[str, int], codes: list[str]) -> dict[str, Any]:
    return {
        "a": place[pair.source],
        "b": place[pair.target],
        "state": str(pair.worst),
        "rtt": pair.rtt_median_us,
        "p99": pair.rtt_p99_us,
        "loss": pair.loss,
        "mtu": pair.path_mtu,
        "rate": None,
        "why": f"{pair.good} of {pair.pairs} pairs are good",
        "codes": codes,
    }


def _timeline(migration: Migration) -> dict[str, Any]:
    """Turn samples into one list a line, as the chart wants them."""
    mib = 1 << 20
    samples = migration.samples
    pause = migration.paused_at_ms
    return {
        "vm": migration.vm,
        "at": [each.at_ms / 1000 for each in samples],
        "transferred": [round(each.transferred_bytes / mib, 2) for each in samples],
        "remaining": [round(each.remaining_bytes / mib, 2) for each in samples],
        "dirty": [round(each.dirty_bytes_per_s / mib, 2) for each in samples],
        "rate": [round(each.bytes_per_s / mib, 2) for each in samples],
        "pause": None if pause is None else [pause / 1000, _resumed(migration, pause) / 1000],
    }


def _resumed(migration: Migration, paused_ms: int) -> int:
    """Tell when the guest ran again: the longer of both ways to see it."""
    return paused_ms + max(migration.downtime_ms or 0, migration.seen_downtime_ms or 0)
