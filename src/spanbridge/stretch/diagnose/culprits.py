# SPDX-License-Identifier: Apache-2.0
"""From what a check found to a diagnosis in words; equal ones of a cluster become one."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from spanbridge.model.findings import Severity
from spanbridge.model.verdict import Diagnosis, Pair
from spanbridge.stretch.diagnose.catalogue import CAUSES

_NAMED_MAX: Final = 3
_EVIDENCE_MAX: Final = 8
_SEVERITIES: Final = (Severity.ERROR, Severity.WARNING, Severity.NOTE)


@dataclass(frozen=True, slots=True)
class Culprit:
    """
    A cause at one place.

    Attributes:
        code: Of the catalogue.
        fields: What fills the catalogue's sentences, as (name, value).
        sites: Blamed nodes.
        links: Blamed pairs of clusters.
        pairs: Pairs whose trouble it explains.
        evidence: Observations that say so, one a line.
        certain: Whether the blamed part says so itself.
        void: Pairs whose observations tell nothing, good or bad, because of it.
        apart: Set where it must stay by itself although another reads the same.
    """

    code: str
    fields: tuple[tuple[str, str], ...] = ()
    sites: tuple[str, ...] = ()
    links: tuple[Pair, ...] = ()
    pairs: tuple[Pair, ...] = ()
    evidence: tuple[str, ...] = ()
    certain: bool = True
    void: tuple[Pair, ...] = field(default=(), kw_only=True)
    apart: str = field(default="", kw_only=True)


def fields(**values: object) -> tuple[tuple[str, str], ...]:
    """Make the fields of a culprit."""
    return tuple((name, str(value)) for name, value in sorted(values.items()))


def site_words(site: str) -> str:
    """Name a node; with its cluster where its own name does not tell it."""
    cluster, _, node = site.partition("/")
    return node if cluster in node else site


def listed(names: Iterable[str]) -> str:
    """List up to three names, and how many more there are."""
    every = list(dict.fromkeys(names))
    shown = every if len(every) <= _NAMED_MAX + 1 else every[:_NAMED_MAX]
    rest = len(every) - len(shown)
    if rest:
        return f"{', '.join(shown)} and {rest} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _cluster(site: str) -> str:
    return site.partition("/")[0]


def build_diagnoses(culprits: Sequence[Culprit]) -> tuple[Diagnosis, ...]:
    """
    Make diagnoses, the one to mend first in front.

    Errors first, then what explains most; a cause at several nodes of a cluster that reads
    the same is one diagnosis.
    """
    groups: dict[tuple[object, ...], list[Culprit]] = defaultdict(list)
    for each in culprits:
        clusters = tuple(sorted({_cluster(site) for site in each.sites}))
        groups[each.code, each.fields, clusters, each.links, each.apart].append(each)
    found = [_merge(group) for group in groups.values()]
    return tuple(sorted(found, key=_rank))


def _rank(diagnosis: Diagnosis) -> tuple[object, ...]:
    return (
        _SEVERITIES.index(diagnosis.severity),
        not diagnosis.certain,
        -len(diagnosis.pairs),
        diagnosis.code,
        diagnosis.message,
    )


def _merge(group: list[Culprit]) -> Diagnosis:
    first, cause = group[0], CAUSES[group[0].code]
    sites = tuple(sorted({site for each in group for site in each.sites}))
    words = dict(first.fields) | {"who": listed(map(site_words, sites)) or "the nodes"}
    evidence = list(dict.fromkeys(line for each in group for line in each.evidence))
    return Diagnosis(
        code=cause.code,
        severity=cause.severity,
        title=cause.title,
        message=cause.message.format(**words),
        evidence=tuple(_shorten(evidence)),
        consequence=cause.consequence.format(**words),
        remedies=tuple(each.format(**words) for each in cause.remedies),
        pairs=tuple(sorted({pair for each in group for pair in each.pairs})),
        sites=sites,
        links=first.links,
        certain=all(each.certain for each in group),
    )


def _shorten(lines: list[str]) -> list[str]:
    if len(lines) <= _EVIDENCE_MAX:
        return lines
    return [*lines[: _EVIDENCE_MAX - 1], f"and {len(lines) - _EVIDENCE_MAX + 1} more like these"]
