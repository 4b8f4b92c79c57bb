# SPDX-License-Identifier: Apache-2.0
"""What is wrong with each pair, by itself: no cause is looked for here."""

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from spanbridge.model.observations import (
    Connection,
    Endpoint,
    Observations,
    PairProbe,
)
from spanbridge.model.verdict import Lost, Pair, PairState, PairVerdict, Trouble

_ANSWERED = {Connection.OK, Connection.REFUSED}


@dataclass(frozen=True, slots=True)
class Thresholds:
    """
    When a pair is poor.

    Attributes:
        loss: Share of lost echo requests from which on it counts, 0 to 1.
        lost: Least lost requests for that: one may be lost by chance.
        rtt_factor: A median so many times that of the best pair of the same clusters is
            an outlier,
        rtt_slack_us: if it is also so much above it, in microseconds.
        rtt_max_us: A median above this is too slow in any case; KubeVirt aborts
            migrations that make no progress.
    """

    loss: float = 0.05
    lost: int = 2
    rtt_factor: float = 5.0
    rtt_slack_us: int = 5_000
    rtt_max_us: int = 100_000


def expected_mtu(observations: Observations) -> int:
    """Tell what every path must carry: the intent's MTU, else what most pods have."""
    if observations.expected.mtu:
        return observations.expected.mtu
    found = Counter(each.mtu for each in observations.endpoints if each.mtu)
    return max(found, key=lambda mtu: (found[mtu], mtu), default=0)


def answered(probe: PairProbe) -> bool:
    """Tell whether anything came back, also only a refusal."""
    echoed = probe.echo is not None and probe.echo.received > 0
    return echoed or any(dial.result in _ANSWERED for dial in probe.dials)


def heard(probe: PairProbe) -> int | None:
    """
    Count what arrived at the target; None where nobody listened there.

    Echo requests, or, where no neighbour answered and none could be sent, the questions
    for the neighbour.
    """
    neighbour = probe.neighbour
    if neighbour is not None and not neighbour.macs:
        return neighbour.heard
    return probe.echo.heard if probe.echo is not None else None


def shares_family(source: Endpoint, target: Endpoint) -> bool:
    """
    Tell whether ``source`` has an address of the family in which ``target`` is dialled.

    KubeVirt advertises the first address only. Source: pkg/virt-handler/migration.go.
    """
    return (":" in target.addresses[0]) in {":" in each for each in source.addresses}


def judge_pairs(observations: Observations, thresholds: Thresholds) -> tuple[PairVerdict, ...]:
    """Judge every pair."""
    judge = _Judge(observations, thresholds)
    return tuple(judge.verdict(probe) for probe in observations.probes)


class _Judge:
    """The run as a whole, against which each pair is held."""

    def __init__(self, observations: Observations, thresholds: Thresholds) -> None:
        self._endpoints = {each.name: each for each in observations.endpoints}
        self._interface = observations.expected.interface
        self._probes = {each.pair: each for each in observations.probes}
        self._thresholds = thresholds
        self._mtu = expected_mtu(observations)
        self._best = _best_medians(observations, self._endpoints)

    def verdict(self, probe: PairProbe) -> PairVerdict:
        troubles = tuple(self._troubles(probe))
        lost = self._lost(probe) if Trouble.NO_ANSWER in troubles else Lost.NEITHER
        echo = probe.echo
        return PairVerdict(
            source=probe.source,
            target=probe.target,
            state=_state(troubles, lost),
            troubles=troubles,
            lost=lost,
            rtt_median_us=_median(probe),
            rtt_p99_us=_percentile(echo.rtt_us, 0.99) if echo and echo.rtt_us else None,
            loss=round(echo.lost / echo.sent, 4) if echo and echo.sent else None,
            path_mtu=probe.path_mtu.passed if probe.path_mtu else None,
            bits_per_s=probe.throughput.bits_per_s if probe.throughput else None,
        )

    def _troubles(self, probe: PairProbe) -> Iterator[Trouble]:
        if probe.error:
            yield Trouble.UNMEASURED
            return
        source, target = self._endpoints[probe.source], self._endpoints[probe.target]
        if not source.addresses or not target.addresses:
            yield Trouble.NO_ADDRESS
        elif not shares_family(source, target):
            yield Trouble.NO_FAMILY
        elif probe.echo is None and not probe.dials:
            yield Trouble.UNMEASURED
        else:
            yield from self._path(probe)
            yield from self._quality(probe)

    def _path(self, probe: PairProbe) -> Iterator[Trouble]:
        """Whether packets go where they must, and come back."""
        if probe.route is not None and probe.route.device != self._interface:
            yield Trouble.WRONG_ROUTE
        neighbour = probe.neighbour
        if neighbour is not None and len(neighbour.macs) != 1:
            yield Trouble.SEVERAL_NEIGHBOURS if neighbour.macs else Trouble.NO_NEIGHBOUR
        if not answered(probe):
            yield Trouble.NO_ANSWER

    def _quality(self, probe: PairProbe) -> Iterator[Trouble]:
        """How good an answering pair is."""
        if not answered(probe):
            return
        if self._lossy(probe):
            yield Trouble.LOSS
        if self._slow(probe):
            yield Trouble.LATENCY
        mtu = probe.path_mtu
        if mtu is not None and mtu.passed < min(self._mtu, mtu.tried):
            yield Trouble.MTU
        if any(dial.result is not Connection.OK for dial in probe.dials):
            yield Trouble.PORT
        if any(dial.tls is not None and not dial.tls.trusted for dial in probe.dials):
            yield Trouble.TLS

    def _lossy(self, probe: PairProbe) -> bool:
        echo = probe.echo
        if echo is None or not echo.sent:
            return False
        enough = echo.lost >= self._thresholds.lost or not echo.received
        return enough and echo.lost / echo.sent >= self._thresholds.loss

    def _slow(self, probe: PairProbe) -> bool:
        median = _median(probe)
        if median is None:
            return False
        best = self._best[_kind(probe, self._endpoints)]
        outlier = median > best * self._thresholds.rtt_factor
        return median > self._thresholds.rtt_max_us or (
            outlier and median > best + self._thresholds.rtt_slack_us
        )

    def _lost(self, probe: PairProbe) -> Lost:
        """Tell, for an unanswered pair, which way packets do not pass."""
        arrived = heard(probe)
        if arrived is not None:
            return Lost.BACK if arrived else self._lost_unheard(probe)
        back = self._probes.get((probe.target, probe.source))
        return Lost.THERE if back is not None and answered(back) else Lost.UNTOLD

    def _lost_unheard(self, probe: PairProbe) -> Lost:
        """Nothing arrives; the other direction may work, or not."""
        back = self._probes.get((probe.target, probe.source))
        other_way = back is not None and (answered(back) or bool(heard(back)))
        return Lost.THERE if other_way else Lost.UNTOLD


def _state(troubles: tuple[Trouble, ...], lost: Lost) -> PairState:
    if Trouble.UNMEASURED in troubles:
        return PairState.UNKNOWN
    if {Trouble.NO_ADDRESS, Trouble.NO_FAMILY} & set(troubles):
        return PairState.CUT
    if Trouble.NO_ANSWER in troubles:
        return PairState.CUT if lost is Lost.UNTOLD else PairState.ONE_WAY
    return PairState.POOR if troubles else PairState.GOOD


def _median(probe: PairProbe) -> int | None:
    if probe.echo is None or not probe.echo.rtt_us:
        return None
    return round(statistics.median(probe.echo.rtt_us))


def _percentile(samples: tuple[int, ...], share: float) -> int:
    """Return the smallest sample that is not below ``share`` of all."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _kind(probe: PairProbe, endpoints: Mapping[str, Endpoint]) -> Pair:
    """
    Name the pairs with which this one is compared: those between the same two clusters.

    Pairs within a cluster are compared over all clusters: in a small one, a slow node
    may be part of every pair.
    """
    first, second = sorted((endpoints[probe.source].cluster, endpoints[probe.target].cluster))
    return ("", "") if first == second else (first, second)


def _best_medians(observations: Observations, endpoints: Mapping[str, Endpoint]) -> dict[Pair, int]:
    best: dict[Pair, int] = {}
    for probe in observations.probes:
        median = _median(probe)
        if median is not None:
            kind = _kind(probe, endpoints)
            best[kind] = min(best.get(kind, median), median)
    return best
