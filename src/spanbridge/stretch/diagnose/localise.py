# SPDX-License-Identifier: Apache-2.0
"""
Where the fault is, from who reaches whom.

Every part of the network that a failed pair depends on is a suspect: the pod, its node,
its cluster's way to the others, the way between the two clusters, the whole mesh, the
pair alone; each in one direction or in both. A suspect is cleared by pairs that depend on
it and are fine. Of those left, the cheapest set that explains every failed pair is the
answer: a node is likelier broken than two pairs of it are by themselves.
"""

import enum
import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from spanbridge.model.observations import Endpoint
from spanbridge.model.verdict import Pair


class Scope(enum.StrEnum):
    """How much of the network a fault concerns."""

    POD = "pod"
    NODE = "node"
    CLUSTER = "cluster"
    """One cluster's way to all others."""
    LINK = "link"
    """The way between two clusters."""
    PAIR = "pair"
    MESH = "mesh"


class Way(enum.StrEnum):
    """In which direction nothing passes, as seen from the first name of a suspect."""

    BOTH = "both"
    OUT = "out"
    IN = "in"


@dataclass(frozen=True, slots=True, order=True)
class Suspect:
    """
    A part of the network, and a direction.

    Attributes:
        scope: What kind of part.
        names: Of the pod, the site, the cluster; two of them for a link or a pair.
        way: Direction.
    """

    scope: Scope
    names: tuple[str, ...]
    way: Way = Way.BOTH


@dataclass(frozen=True, slots=True)
class Fault:
    """
    A suspect that was found guilty.

    Attributes:
        suspect: Who.
        pairs: Failed pairs that depend on it, sorted.
    """

    suspect: Suspect
    pairs: tuple[Pair, ...]


_COST: Final = {
    Scope.NODE: 1.0,
    Scope.POD: 1.05,
    Scope.CLUSTER: 1.1,
    Scope.LINK: 1.2,
    Scope.MESH: 1.5,
    Scope.PAIR: 2.0,
}
"""How unlikely each is. Two nodes are likelier than a link and a pair."""

_ONE_WAY_COST: Final = 0.3
"""A part that fails in one direction only is rarer; both directions apart are two faults."""

_EXACT_MAX: Final = 400
"""Failed pairs up to which the cheapest set is looked for; beyond it, a greedy one."""

_STEPS_MAX: Final = 20_000
"""Steps of that search; what was found by then is good enough, and the same every time."""


def localise(
    failed: Iterable[Pair],
    fine: Iterable[Pair],
    endpoints: Mapping[str, Endpoint],
    *,
    share: float = 1.0,
) -> tuple[Fault, ...]:
    """
    Explain failed pairs by the cheapest set of faults.

    Args:
        failed: Ordered pairs that do not work in that direction.
        fine: Ordered pairs that do.
        endpoints: Of both, by name.
        share: Least share of a suspect's pairs that have failed; less than 1 where a
            symptom shows by chance, such as loss.
    """
    broken = sorted(set(failed))
    if not broken:
        return ()
    suspects = _suspects(broken, sorted(set(fine) - set(broken)), endpoints, share)
    choose = _cheapest if len(broken) <= _EXACT_MAX else _greedy
    chosen = choose(suspects, len(broken))
    return tuple(
        Fault(suspect, tuple(broken[at] for at in sorted(suspects[suspect])))
        for suspect in sorted(chosen, key=lambda each: (-len(suspects[each]), each))
    )


def _parts(pair: Pair, endpoints: Mapping[str, Endpoint]) -> Iterator[Suspect]:
    """Name every part, without direction, that the pair depends on; direction as it goes."""
    source, target = (endpoints[name] for name in pair)
    yield Suspect(Scope.MESH, ())
    for end, way in ((source, Way.OUT), (target, Way.IN)):
        yield Suspect(Scope.POD, (end.name,), way)
        if source.site != target.site:
            yield Suspect(Scope.NODE, (end.site,), way)
        if source.cluster != target.cluster:
            yield Suspect(Scope.CLUSTER, (end.cluster,), way)
    if source.cluster != target.cluster:
        yield _directed(Scope.LINK, source.cluster, target.cluster)
    yield _directed(Scope.PAIR, *pair)


def _directed(scope: Scope, source: str, target: str) -> Suspect:
    """Name a part between two in the order of their names, so that both directions meet."""
    if source < target:
        return Suspect(scope, (source, target), Way.OUT)
    return Suspect(scope, (target, source), Way.IN)


def _both(suspect: Suspect) -> Suspect:
    return Suspect(suspect.scope, suspect.names)


def _suspects(
    failed: list[Pair], fine: list[Pair], endpoints: Mapping[str, Endpoint], share: float
) -> dict[Suspect, set[int]]:
    """Find who is not cleared, and which failed pairs each would explain."""
    explains: dict[Suspect, set[int]] = defaultdict(set)
    for at, pair in enumerate(failed):
        for part in _parts(pair, endpoints):
            explains[part].add(at)
            explains[_both(part)].add(at)
    cleared: dict[Suspect, int] = defaultdict(int)
    for pair in fine:
        for part in _parts(pair, endpoints):
            for suspect in {part, _both(part)}:
                if suspect in explains:
                    cleared[suspect] += 1
    tellable = _tellable([*failed, *fine], endpoints)
    return {
        suspect: pairs
        for suspect, pairs in explains.items()
        if len(pairs) >= share * (len(pairs) + cleared[suspect]) and tellable(suspect)
    }


def _tellable(pairs: list[Pair], endpoints: Mapping[str, Endpoint]) -> Callable[[Suspect], bool]:
    """
    Make the test whether a suspect can be told from another one at all.

    A node or pod that is asked by one other cluster only, and by nobody of its own, cannot be
    told from the way between the two; a cluster with one peer not from that peer; a pod that
    is alone on its node not from the node. What is between them is blamed then.
    """
    sites: dict[str, set[str]] = defaultdict(set)
    homes: dict[str, set[str]] = defaultdict(set)
    pods: dict[str, set[str]] = defaultdict(set)
    for pair in pairs:
        for here, there in (pair, pair[::-1]):
            a, b = endpoints[here], endpoints[there]
            pods[a.site].add(a.name)
            for name in (a.name, a.site, a.cluster):
                sites[name].add(b.site)
                homes[name].add(b.cluster)

    def tell(suspect: Suspect) -> bool:
        if suspect.scope is Scope.CLUSTER:
            return len(homes[suspect.names[0]] - set(suspect.names)) > 1
        if suspect.scope not in {Scope.POD, Scope.NODE}:
            return True
        name = suspect.names[0]
        own = endpoints[name] if suspect.scope is Scope.POD else None
        site, cluster = (own.site, own.cluster) if own else (name, name.partition("/")[0])
        others = len(sites[name] - {site}) > 1 and (cluster in homes[name] or len(homes[name]) > 1)
        return others and (own is None or len(pods[site]) > 1)

    return tell


def _cost(suspect: Suspect) -> float:
    return _COST[suspect.scope] + (0 if suspect.way is Way.BOTH else _ONE_WAY_COST)


def _greedy(suspects: dict[Suspect, set[int]], count: int) -> list[Suspect]:
    """Take, again and again, who explains most for its cost."""
    left = set(range(count))
    heap = [(-len(pairs) / _cost(each), each) for each, pairs in suspects.items()]
    heapq.heapify(heap)
    chosen = []
    while left:
        _, suspect = heapq.heappop(heap)
        gain = len(suspects[suspect] & left) / _cost(suspect)
        # What others explain meanwhile only lowers a gain: the heap's order is an upper bound.
        if heap and gain < -heap[0][0]:
            heapq.heappush(heap, (-gain, suspect))
            continue
        chosen.append(suspect)
        left -= suspects[suspect]
    return chosen


@dataclass(slots=True)
class _Search:
    """The cheapest set of suspects that explains every failed pair, by branch and bound."""

    masks: list[tuple[int, float, Suspect]]
    by_pair: list[list[int]]
    best: list[Suspect]
    best_cost: float
    steps: int = 0

    def run(self, left: int, cost: float, chosen: list[Suspect]) -> None:
        self.steps += 1
        if not left:
            if cost < self.best_cost:
                self.best, self.best_cost = list(chosen), cost
            return
        if self.steps > _STEPS_MAX:
            return
        # Somebody has to explain the first pair that is left: try all who could.
        first = (left & -left).bit_length() - 1
        for at in self.by_pair[first]:
            mask, price, suspect = self.masks[at]
            if cost + price < self.best_cost:
                self.run(left & ~mask, cost + price, [*chosen, suspect])


def _cheapest(suspects: dict[Suspect, set[int]], count: int) -> list[Suspect]:
    greedy = _greedy(suspects, count)
    masks = [
        (sum(1 << at for at in pairs), _cost(suspect), suspect)
        for suspect, pairs in sorted(suspects.items(), key=lambda each: (_cost(each[0]), each[0]))
    ]
    kept = _undominated(masks)
    by_pair = [[at for at, (mask, _, _) in enumerate(kept) if mask >> pair & 1]
               for pair in range(count)]  # fmt: skip
    for choices in by_pair:
        choices.sort(key=lambda at: (-kept[at][0].bit_count() / kept[at][1], at))
    search = _Search(kept, by_pair, greedy, sum(map(_cost, greedy)) + 1e-9)
    search.run((1 << count) - 1, 0.0, [])
    return search.best


def _undominated(
    masks: list[tuple[int, float, Suspect]],
) -> list[tuple[int, float, Suspect]]:
    """Leave out who explains no more than a cheaper one does."""
    kept: list[tuple[int, float, Suspect]] = []
    for mask, cost, suspect in masks:
        if not any(mask & ~other == 0 for other, _, _ in kept):
            kept.append((mask, cost, suspect))
    return kept
