# SPDX-License-Identifier: Apache-2.0
"""Asking every rule, and turning what they find into findings."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from spanbridge.kube.collect import ClusterFiles
from spanbridge.model.findings import Finding, Position
from spanbridge.stretch.lint.catalogue import (
    BY_CODE,
    CLUSTER_RULES,
    CLUSTERS_RULES,
    NETWORK_RULES,
    PLUGIN_RULES,
)
from spanbridge.stretch.lint.cluster import Cluster, read_cluster
from spanbridge.stretch.lint.registry import Edit, Hit, Rule, Spot
from spanbridge.stretch.lint.stretched import Fleet, read_fleet
from spanbridge.stretch.lint.suppressions import Suppressions


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    What lint has to say.

    Attributes:
        findings: By file and line.
        edits: Changes that mend some of them, in the same order.
    """

    findings: tuple[Finding, ...]
    edits: tuple[Edit, ...]


def _hits_of(cluster: Cluster, codes: frozenset[str]) -> Iterator[tuple[Rule[Any], Hit]]:
    plugin_rules = [rule for rule in PLUGIN_RULES if rule.code in codes]
    network_rules = [rule for rule in NETWORK_RULES if rule.code in codes]
    for network in cluster.networks:
        for rule in network_rules:
            for hit in rule.check(network):
                yield rule, hit
        for plugin in network.plugins:
            for each in plugin_rules:
                for hit in each.check(plugin):
                    yield each, hit
    for one in CLUSTER_RULES:
        if one.code in codes:
            for hit in one.check(cluster):
                yield one, hit


def _finding(rule: Rule[Any], hit: Hit, subject: str) -> Finding:
    return Finding(
        code=rule.code,
        severity=hit.severity or rule.severity,
        message=hit.message,
        position=hit.spot.position if isinstance(hit.spot, Spot) else hit.spot,
        subject=subject,
        consequence=hit.consequence or rule.consequence,
        remedy=hit.remedy or rule.remedy,
        related=tuple(spot.position for spot in hit.related),
    )


def _order(pair: tuple[Finding, tuple[Edit, ...]]) -> tuple[str, int, int, str]:
    position = pair[0].position or Position("")
    return position.file, position.line, position.column, pair[0].code


def lint(files: Iterable[ClusterFiles], *, codes: Iterable[str] = BY_CODE) -> Verdict:
    """
    Ask every rule of every cluster, and of all clusters together.

    Args:
        files: One entry for each cluster.
        codes: Rules to ask.
    """
    wanted = frozenset(codes)
    clusters = [read_cluster(each) for each in files]
    suppressed = Suppressions()
    told: list[tuple[Finding, tuple[Edit, ...]]] = []

    def tell(pairs: Iterable[tuple[Rule[Any], Hit]], subject: str) -> None:
        for rule, hit in pairs:
            if not isinstance(hit.spot, Spot) or not suppressed.covers(rule.code, hit.spot):
                told.append((_finding(rule, hit, subject), hit.edits))

    for cluster in clusters:
        tell(_hits_of(cluster, wanted), f"cluster {cluster.name}" if cluster.name else "")
    if len(clusters) > 1:
        tell(_across(read_fleet(clusters), wanted), "")
    told.sort(key=_order)
    edits = tuple(edit for _, mine in told for edit in mine)
    return Verdict(tuple(finding for finding, _ in told), edits)


def _across(fleet: Fleet, codes: frozenset[str]) -> Iterator[tuple[Rule[Any], Hit]]:
    for rule in CLUSTERS_RULES:
        if rule.code in codes:
            for hit in rule.check(fleet):
                yield rule, hit
