# SPDX-License-Identifier: Apache-2.0
"""What text, JSON and HTML show of a verdict alike: sums by pairs of clusters, and words."""

import statistics
from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from spanbridge.model.observations import PairProbe
from spanbridge.model.verdict import PairState, PairVerdict, Verdict

STATES: Final = tuple(PairState)
"""Best first."""


@dataclass(frozen=True, slots=True)
class ClusterPair:
    """
    All pairs from one cluster to another.

    Attributes:
        source: Name of the asking cluster.
        target: Name of the asked one.
        pairs: How many were tried.
        good: How many are good.
        worst: State of the worst.
        rtt_median_us: Median of their medians; None where nothing was answered.
        rtt_p99_us: Highest of their 99th percentiles.
        loss: Share of all their echoes that were lost; None where none was sent.
        path_mtu: Least; None where it was not measured.
    """

    source: str
    target: str
    pairs: int
    good: int
    worst: PairState
    rtt_median_us: int | None
    rtt_p99_us: int | None
    loss: float | None
    path_mtu: int | None


_COMMANDS: Final = ("spanbridge ", "ip ", "bridge ", "kubectl ", "systemctl ", "timedatectl")


def split_remedy(remedy: str) -> tuple[str, str]:
    """Tell what is said, and the command that is to be typed; either may be empty."""
    if remedy.startswith(_COMMANDS):
        return "", remedy
    words, colon, command = remedy.partition(": ")
    return (words, command) if colon and command.startswith(_COMMANDS) else (remedy, "")


def sentence(text: str) -> str:
    """Begin with a capital letter."""
    return text[:1].upper() + text[1:]


def sum_clusters(verdict: Verdict) -> tuple[ClusterPair, ...]:
    """Sum up by ordered pairs of clusters, in the order in which clusters are shown."""
    homes = {each.name: each.cluster for each in verdict.observations.endpoints}
    groups: dict[tuple[str, str], list[tuple[PairVerdict, PairProbe]]] = defaultdict(list)
    for pair, probe in zip(verdict.pairs, verdict.observations.probes, strict=True):
        groups[homes[pair.source], homes[pair.target]].append((pair, probe))
    place = {name: at for at, name in enumerate(cluster_names(verdict))}
    ordered = sorted(groups, key=lambda names: (place[names[0]], place[names[1]]))
    return tuple(_sum(names, groups[names]) for names in ordered)


def _sum(names: tuple[str, str], found: list[tuple[PairVerdict, PairProbe]]) -> ClusterPair:
    pairs = [pair for pair, _ in found]
    echoes = [probe.echo for _, probe in found if probe.echo is not None]
    sent = sum(each.sent for each in echoes)
    medians = [each.rtt_median_us for each in pairs if each.rtt_median_us is not None]
    return ClusterPair(
        source=names[0],
        target=names[1],
        pairs=len(pairs),
        good=sum(each.state is PairState.GOOD for each in pairs),
        worst=max((each.state for each in pairs), key=STATES.index),
        rtt_median_us=round(statistics.median(medians)) if medians else None,
        rtt_p99_us=max((each.rtt_p99_us for each in pairs if each.rtt_p99_us is not None),
                       default=None),
        loss=sum(each.lost for each in echoes) / sent if sent else None,
        path_mtu=min((each.path_mtu for each in pairs if each.path_mtu is not None), default=None),
    )  # fmt: skip


def cluster_names(verdict: Verdict) -> tuple[str, ...]:
    """Name the clusters in the order shown."""
    facts = [each.name for each in verdict.observations.clusters]
    return tuple(dict.fromkeys(facts + [each.cluster for each in verdict.observations.endpoints]))


def milliseconds(microseconds: int | None) -> str:
    """Write a time; a dash where there is none."""
    if microseconds is None:
        return "-"
    value = microseconds / 1000
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def percent(share: float | None) -> str:
    """Write a share; a dash where there is none."""
    if share is None:
        return "-"
    return "0" if not share else f"{share:.1%}"


def bytes_words(count: int) -> str:
    """Write an amount of data in binary units."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError


def headline(verdict: Verdict) -> str:
    """Say in one sentence what came out."""
    counts, total = verdict.counts, len(verdict.pairs)
    good = f"{counts[PairState.GOOD]} of {total} ordered pairs are good"
    if not verdict.observations.measured:
        good = f"none of {verdict.observations.sampled_from} ordered pairs was measured"
        if verdict.passed:
            return f"nothing in the objects stands against it: {good}"
    if verdict.passed:
        return f"virtual machines may move: {good}"
    errors = sum(each.severity == "error" for each in verdict.diagnoses)
    return f"{errors} cause{'s' * (errors != 1)} to mend: {good}"


def sample_words(verdict: Verdict) -> str:
    """Say how many pairs there would have been, or that none was tried; else empty."""
    tried, total = len(verdict.pairs), verdict.observations.sampled_from
    if not verdict.observations.measured:
        return "only objects were read: whether the pods reach each other stays unknown"
    return f"a sample: {tried} of {total} ordered pairs were tried" if total > tried else ""


def network_words(verdict: Verdict) -> str:
    """Name the network."""
    expected = verdict.observations.expected
    vlan = f"VLAN {expected.vlan}" if expected.vlan else "untagged"
    mtu = f", MTU {expected.mtu}" if expected.mtu else ""
    return f"{expected.network}, {vlan}{mtu}"
