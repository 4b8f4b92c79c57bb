# SPDX-License-Identifier: Apache-2.0
"""
Which ordered pairs to probe, and in which order.

All pairs, up to a size. Beyond it a covering design: every endpoint asks and is asked
the same few times, by its own cluster and by others, and every ordered pair of clusters
is tried. The same seed always gives the same plan.

KubeVirt lets virt-handlers talk to virt-handlers, and sync leaders to the sync leaders
of other clusters; nothing else is probed, but a standby that is advertised as leader.
"""

import itertools
import math
import random
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from spanbridge.model.observations import Endpoint, Role

Pair = tuple[str, str]
"""Names of the source and the target."""

ALL_PAIRS_MAX: Final = 2_500
"""Pairs up to which all are tried: 50 virt-handlers, two minutes at 20 pairs a second."""

ROUNDS_ACROSS: Final = 3
"""How often each endpoint asks, and is asked by, an endpoint of another cluster."""

ROUNDS_WITHIN: Final = 2
"""The same within its cluster: tells a node that is cut off from a cluster that is."""

PER_CLUSTER_PAIR: Final = 3
"""Least pairs tried for each ordered pair of clusters, where there are as many."""

_REACH: Final = 256
"""How far ahead of its turn a pair may be begun when earlier ones have to wait."""


@dataclass(frozen=True, slots=True)
class SamplingPlan:
    """
    What to probe.

    Attributes:
        pairs: In the order in which to begin; neighbours in it share no node where that
            can be had.
        total: Ordered pairs that there are.
    """

    pairs: tuple[Pair, ...]
    total: int

    @property
    def complete(self) -> bool:
        """Whether every pair is tried."""
        return len(self.pairs) == self.total


def plan_sampling(
    endpoints: Sequence[Endpoint], *, all_pairs_max: int = ALL_PAIRS_MAX, seed: int = 0
) -> SamplingPlan:
    """
    Choose pairs among ``endpoints``.

    Sync leaders are few, and each pair of them matters: all of theirs are tried.
    """
    handlers = [each for each in endpoints if each.role is Role.HANDLER]
    leaders = [each for each in endpoints if each.role is Role.LEADER]
    asked = [each for each in endpoints if each.role is Role.STANDBY and each.advertised]
    sync = [(a.name, b.name) for a in leaders for b in leaders + asked if a.cluster != b.cluster]
    total = len(handlers) * (len(handlers) - 1)
    chance = random.Random(seed)  # noqa: S311  # a sample, not a secret
    if total <= all_pairs_max:
        mesh = [(a.name, b.name) for a in handlers for b in handlers if a is not b]
    else:
        mesh = list(_cover(handlers, chance))
    sites = {each.name: each.site for each in endpoints}
    return SamplingPlan(_spread(sync + mesh, sites, chance), len(sync) + total)


def _cover(handlers: Sequence[Endpoint], chance: random.Random) -> dict[Pair, None]:
    """Choose pairs so that each endpoint and each pair of clusters is covered."""
    clusters: dict[str, list[str]] = defaultdict(list)
    for each in handlers:
        clusters[each.cluster].append(each.name)
    # A dict keeps the order in which pairs were found; a set would not.
    chosen: dict[Pair, None] = {}
    for _ in range(ROUNDS_ACROSS if len(clusters) > 1 else 0):
        chosen.update(dict.fromkeys(_round_across(clusters, chance)))
    for _ in range(ROUNDS_WITHIN):
        chosen.update(dict.fromkeys(_round_within(clusters, chance)))
    _fill_cluster_pairs(chosen, handlers, clusters)
    return chosen


def _round_across(clusters: dict[str, list[str]], chance: random.Random) -> Iterator[Pair]:
    """
    Let everybody ask once and be asked once, by another cluster wherever possible.

    Clusters stand in a circle one after the other; who asks the endpoint that is at least
    the largest cluster's size away leaves its own cluster.
    """
    names = list(clusters)
    chance.shuffle(names)
    circle = [each for name in names for each in chance.sample(clusters[name], len(clusters[name]))]
    largest, count = max(map(len, clusters.values())), len(circle)
    step = chance.randint(largest, max(largest, count - largest)) % count or 1
    for at, source in enumerate(circle):
        yield source, circle[(at + step) % count]


def _round_within(clusters: dict[str, list[str]], chance: random.Random) -> Iterator[Pair]:
    """Let everybody ask once and be asked once, within its cluster."""
    for members in clusters.values():
        circle = chance.sample(members, len(members))
        if len(circle) > 1:
            yield from zip(circle, [*circle[1:], circle[0]], strict=True)


def _fill_cluster_pairs(
    chosen: dict[Pair, None], handlers: Sequence[Endpoint], clusters: dict[str, list[str]]
) -> None:
    """Add pairs until every ordered pair of clusters has enough, least used endpoints first."""
    home = {each.name: each.cluster for each in handlers}
    have: dict[Pair, int] = defaultdict(int)
    for source, target in chosen:
        have[home[source], home[target]] += 1
    turn: dict[str, int] = defaultdict(int)
    for a, of_a in clusters.items():
        for b, of_b in clusters.items():
            if a == b:
                continue
            wanted = min(PER_CLUSTER_PAIR, len(of_a) * len(of_b)) - have[a, b]
            fresh = (pair for pair in _couples(of_a, of_b, turn[a], turn[b]) if pair not in chosen)
            for pair in itertools.islice(fresh, max(0, wanted)):
                chosen[pair] = None
                turn[a] += 1
                turn[b] += 1


def _couples(of_a: list[str], of_b: list[str], from_a: int, from_b: int) -> Iterator[Pair]:
    """Walk through all couples of two clusters, each time with both members changed."""
    again = math.lcm(len(of_a), len(of_b))
    for at in range(len(of_a) * len(of_b)):
        shifted = at + at // again
        yield of_a[(from_a + at) % len(of_a)], of_b[(from_b + shifted) % len(of_b)]


def _spread(pairs: list[Pair], sites: dict[str, str], chance: random.Random) -> tuple[Pair, ...]:
    """Order pairs so that those begun at about the same time share no node."""
    chance.shuffle(pairs)
    by_source: dict[str, deque[Pair]] = defaultdict(deque)
    for pair in pairs:
        by_source[sites[pair[0]]].append(pair)
    ordered = []
    turns = deque(by_source.values())
    while turns:
        queue = turns.popleft()
        ordered.append(queue.popleft())
        if queue:
            turns.append(queue)
    return tuple(ordered)


class Turns:
    """
    Hands out pairs so that no node has more than ``per_node`` probes at a time.

    Args:
        pairs: In the order in which to begin.
        sites: Node of each endpoint.
        per_node: Probes that a node takes part in at a time, as source or as target.
    """

    def __init__(self, pairs: Iterable[Pair], sites: dict[str, str], *, per_node: int) -> None:
        self._waiting = deque(pairs)
        self._sites = sites
        self._per_node = per_node
        self._busy: dict[str, int] = defaultdict(int)

    def __len__(self) -> int:
        return len(self._waiting)

    def begin(self) -> Pair | None:
        """Take the next pair whose nodes both have room; None where all have to wait."""
        passed: list[Pair] = []
        found = None
        while self._waiting and found is None and len(passed) < _REACH:
            pair = self._waiting.popleft()
            if all(self._busy[site] < self._per_node for site in self._nodes(pair)):
                found = pair
            else:
                passed.append(pair)
        self._waiting.extendleft(reversed(passed))
        for site in self._nodes(found) if found else ():
            self._busy[site] += 1
        return found

    def end(self, pair: Pair) -> None:
        """Make room again."""
        for site in self._nodes(pair):
            self._busy[site] -= 1

    def _nodes(self, pair: Pair) -> set[str]:
        return {self._sites[name] for name in pair}
