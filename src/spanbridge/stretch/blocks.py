# SPDX-License-Identifier: Apache-2.0
"""
Giving out addresses in blocks that never overlap and never move.

Blocks lie one behind the other from the start of the subnet. A holder that outgrows
its block gets the addresses behind it, where they are free, or a second block.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

from spanbridge.model.spans import Span, make_span, subtract


@dataclass(frozen=True, slots=True)
class Demand:
    """
    What one holder asks for in one family.

    Attributes:
        holder: Who asks.
        need: Addresses without which it does not work.
        want: Addresses with room for growth; at least ``need``.
    """

    holder: str
    need: int
    want: int


@dataclass(frozen=True, slots=True)
class Shortage:
    """
    There is no room.

    Attributes:
        holder: Who went away empty.
        asked: Addresses that it still needs.
        left: Addresses that are free.
    """

    holder: str
    asked: int
    left: int


class FreeAddresses:
    """Gaps of one family, ascending; they are eaten from their front only."""

    def __init__(self, gaps: Iterable[Span]) -> None:
        spans = list(gaps)
        self._version = spans[0].version if spans else 4
        self._starts = [span.first.number for span in spans]
        self._ends = [span.last.number for span in spans]
        # No gap before this index holds so many: gaps only shrink, so it stays true.
        self._hints: dict[int, int] = {}
        self.left = sum(span.size for span in spans)

    def _size(self, index: int) -> int:
        return self._ends[index] - self._starts[index] + 1

    def _cut(self, index: int, size: int) -> Span:
        first = self._starts[index]
        self._starts[index] += size
        self.left -= size
        return make_span(self._version, first, first + size - 1)

    def take(self, size: int) -> tuple[Span, ...] | None:
        """Take ``size`` addresses, in one piece where a gap allows; None where too few are left."""
        if size > self.left:
            return None
        index = self._hints.get(size, 0)
        while index < len(self._starts) and self._size(index) < size:
            index += 1
        self._hints[size] = index
        if index < len(self._starts):
            return (self._cut(index, size),)
        return tuple(self._pieces(size))

    def _pieces(self, size: int) -> Iterable[Span]:
        for index in range(len(self._starts)):
            part = min(size, self._size(index))
            if part:
                size -= part
                yield self._cut(index, part)

    def take_behind(self, span: Span, size: int) -> Span | None:
        """Take up to ``size`` addresses right behind ``span``."""
        start = span.last.number + 1
        index = bisect_left(self._starts, start)
        while index < len(self._starts) and self._starts[index] == start:
            part = min(size, self._size(index))
            if part:
                return self._cut(index, part)
            index += 1  # an eaten gap ends where the next one begins
        return None


def allocate(
    free: FreeAddresses,
    demands: Iterable[Demand],
    *,
    held: dict[str, tuple[Span, ...]],
    reserved: tuple[Span, ...],
    growth: bool,
) -> Shortage | None:
    """
    Give every holder what it asks for; ``held`` grows in place and nothing in it moves.

    Args:
        free: Addresses that nobody has.
        demands: Who asks, in the order of service; holders of a block come first.
        held: Blocks by holder, of one family.
        reserved: Addresses inside of blocks that must not be used after all.
        growth: Give new blocks their room for growth too.
    """
    ordered = sorted(demands, key=lambda one: one.holder not in held)
    for demand in ordered:
        blocks = held.get(demand.holder, ())
        usable = sum(span.size for span in subtract(blocks, reserved))
        if usable >= demand.need:
            continue
        missing = (demand.want if growth else demand.need) - usable
        grown = _grow(free, blocks, missing)
        if grown is None:
            return Shortage(demand.holder, missing, free.left)
        held[demand.holder] = grown
    return None


def _grow(free: FreeAddresses, blocks: tuple[Span, ...], missing: int) -> tuple[Span, ...] | None:
    if missing > free.left:
        return None
    behind = free.take_behind(blocks[-1], missing) if blocks else None
    if behind is None:
        more = free.take(missing)
        return None if more is None else blocks + more
    longer = (*blocks[:-1], Span(blocks[-1].first, behind.last))
    rest = missing - behind.size
    more = free.take(rest) if rest else ()
    return None if more is None else longer + more
