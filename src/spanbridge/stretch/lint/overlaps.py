# SPDX-License-Identifier: Apache-2.0
"""Finding addresses that are handed out twice, among any number of ranges."""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from spanbridge.model.spans import Span
from spanbridge.stretch.lint.networks import Plugin
from spanbridge.stretch.lint.pools import Pool, free_of
from spanbridge.stretch.lint.registry import Spot


@dataclass(frozen=True, slots=True)
class Taken:
    """
    A range and who hands it out.

    Attributes:
        pool: The range.
        plugin: Where it is written.
        owner: Who sees to it that nothing is given twice; ranges of one owner may overlap.
    """

    pool: Pool
    plugin: Plugin
    owner: str

    @property
    def spot(self) -> Spot:
        """Where the range is written."""
        return Spot(self.plugin.document, self.pool.pointer)

    def shared(self, other: "Taken") -> str:
        """Name the addresses that both hand out."""
        first = max(self.pool.span.first, other.pool.span.first)
        last = min(self.pool.span.last, other.pool.span.last)
        return str(Span(first, last))


def overlaps(ranges: Iterable[Taken]) -> Iterator[tuple[Taken, Taken]]:
    """
    Find each range that shares an address with one of another owner.

    One pair for each range at most, so that the work grows with the number of ranges and
    not with its square.

    Yields:
        The range that is read later, and the one that it clashes with.
    """
    order: dict[int, int] = {}
    pieces: list[tuple[int, int, int, int, Taken]] = []
    for number, taken in enumerate(ranges):
        order[id(taken)] = number
        pieces += [
            (span.version, span.first.number, span.last.number, number, taken)
            for span in free_of(taken.pool)
        ]
    pieces.sort(key=lambda piece: piece[:4])
    told: set[int] = set()
    open_: list[tuple[int, int, Taken]] = []
    version = 0
    for family, first, last, number, taken in pieces:
        if family != version:
            version, open_ = family, []
        while open_ and open_[0][0] < first:
            heapq.heappop(open_)
        other = next((each for each in open_ if each[2].owner != taken.owner), None)
        if other is not None:
            later, earlier = sorted((taken, other[2]), key=lambda one: order[id(one)], reverse=True)
            if order[id(later)] not in told:
                told.add(order[id(later)])
                yield later, earlier
        heapq.heappush(open_, (last, number, taken))
