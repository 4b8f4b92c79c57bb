# SPDX-License-Identifier: Apache-2.0
"""Consecutive addresses as one value, and arithmetic on sets of them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from spanbridge.base.errors import ConfigError
from spanbridge.model.addresses import Cidr, Ip, parse_cidr, parse_ip


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Addresses of one family from ``first`` to ``last``, both included."""

    first: Ip
    last: Ip

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.first.version

    @property
    def size(self) -> int:
        """How many addresses it holds."""
        return self.last.number - self.first.number + 1

    def __contains__(self, ip: Ip) -> bool:
        return ip.version == self.version and self.first.number <= ip.number <= self.last.number

    def overlaps(self, other: "Span") -> bool:
        """Tell whether the two share an address."""
        return (
            self.version == other.version
            and self.first.number <= other.last.number
            and other.first.number <= self.last.number
        )

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


def span_of(network: Cidr) -> Span:
    """Make the span of all addresses of a network, its edges included."""
    return Span(network.network.ip, network.last)


def make_span(version: int, first: int, last: int) -> Span:
    """Make a span from the numbers of its two ends."""
    return Span(Ip(version, first), Ip(version, last))


def parse_span(text: str, pointer: str) -> Span:
    """Read ``address``, ``address/length`` or ``first-last``, or raise ``ConfigError``."""
    if "/" in text:
        return span_of(parse_cidr(text, pointer))
    first, dash, last = (part.strip() for part in text.partition("-"))
    span = Span(parse_ip(first, pointer), parse_ip(last if dash else first, pointer))
    if span.first.version != span.last.version or span.size < 1:
        raise ConfigError(
            f"cannot use {text!r}: its last address does not follow its first",
            pointer=pointer,
            hint="write the lower address first, both of one family",
        )
    return span


def subtract(spans: Iterable[Span], taken: Iterable[Span]) -> tuple[Span, ...]:
    """Take addresses out of spans; what remains, ascending. ``spans`` share no address."""
    given, cuts = list(spans), list(taken)
    # Of each of 100 000 nodes the few reserved addresses are taken, and hit nothing.
    if len(given) * len(cuts) <= _FEW and not any(
        cut.overlaps(span) for cut in cuts for span in given
    ):
        return tuple(sorted(given, key=_by_start))
    return tuple(_subtract(sorted(given, key=_by_start), union(cuts)))


_FEW: Final = 64


def _by_start(span: Span) -> tuple[int, int]:
    return span.first.version, span.first.number


def _subtract(spans: list[Span], cuts: tuple[Span, ...]) -> list[Span]:
    pieces: list[Span] = []
    at = 0
    for span in spans:
        key = (span.version, span.first.number)
        while at < len(cuts) and (cuts[at].version, cuts[at].last.number) < key:
            at += 1
        pieces += _without(span, cuts, at)
    return pieces


def _without(span: Span, cuts: tuple[Span, ...], at: int) -> Iterator[Span]:
    start = span.first.number
    while at < len(cuts) and (cuts[at].version, cuts[at].first.number) <= (
        span.version,
        span.last.number,
    ):
        cut = cuts[at]
        at += 1
        if cut.last.number < start or cut.version != span.version:
            continue
        if cut.first.number > start:
            yield make_span(span.version, start, cut.first.number - 1)
        start = max(start, cut.last.number + 1)
    if start <= span.last.number:
        yield make_span(span.version, start, span.last.number)


def to_cidrs(span: Span) -> tuple[Cidr, ...]:
    """Cover a span exactly with the fewest networks, ascending."""
    found: list[Cidr] = []
    at, end, bits = span.first.number, span.last.number, span.first.bits
    while at <= end:
        free = (at & -at).bit_length() - 1 if at else bits
        size = min(free, (end - at + 1).bit_length() - 1)
        found.append(Cidr(Ip(span.version, at), bits - size))
        at += 1 << size
    return tuple(found)


def union(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Unite spans that overlap or touch; ascending."""
    merged: list[Span] = []
    for span in sorted(spans, key=_by_start):
        last = merged[-1] if merged else None
        if last is None or last.version != span.version or span.first.number > last.last.number + 1:
            merged.append(span)
        elif span.last.number > last.last.number:
            merged[-1] = Span(last.first, span.last)
    return tuple(merged)
