# SPDX-License-Identifier: Apache-2.0
"""Loss, latency and doubled answers, each laid at somebody's door."""

import statistics
from collections.abc import Iterator

from spanbridge.model.verdict import Pair, Trouble
from spanbridge.stretch.diagnose.culprits import Culprit, fields
from spanbridge.stretch.diagnose.localise import Fault, localise
from spanbridge.stretch.diagnose.matrix import (
    Matrix,
    suspect_links,
    suspect_sites,
    within_words,
)

SHARE: float = 0.6
"""Of a suspect's pairs that must show it: loss is chance, and may spare some."""


def find_loss(matrix: Matrix, excused: frozenset[Pair]) -> Iterator[Culprit]:
    """Find where packets are lost (SBV80)."""
    for fault in _localised(matrix, excused, Trouble.LOSS):
        echoes = [matrix.probes[pair].echo for pair in fault.pairs]
        sent = sum(each.sent for each in echoes if each)
        lost = sum(each.lost for each in echoes if each)
        told = fields(percent=f"{lost / sent:.0%}" if sent else "some")
        yield _culprit(matrix, fault, "SBV80", told=told, line=f"{lost} of {sent} echoes were lost")


def find_latency(matrix: Matrix, excused: frozenset[Pair]) -> Iterator[Culprit]:
    """Find where round trips take longer than elsewhere (SBV81)."""
    others = [
        each.rtt_median_us
        for each in matrix.verdicts.values()
        if each.rtt_median_us is not None and Trouble.LATENCY not in each.troubles
    ]
    usual = _milliseconds(statistics.median(others)) if others else "never faster"
    for fault in _localised(matrix, excused, Trouble.LATENCY):
        medians = [matrix.verdicts[pair].rtt_median_us or 0 for pair in fault.pairs]
        told = fields(median=_milliseconds(statistics.median(medians)), usual=usual)
        line = f"medians of {len(medians)} pairs: up to {_milliseconds(max(medians))}"
        yield _culprit(matrix, fault, "SBV81", told=told, line=line)


def find_doubles(matrix: Matrix, excused: frozenset[Pair]) -> Iterator[Culprit]:
    """Find where one question has two answers (SBV82)."""
    doubled = [
        pair
        for pair, probe in matrix.probes.items()
        if pair not in excused and probe.echo is not None and probe.echo.duplicates
    ]
    fine = [pair for pair in matrix.probes if pair not in excused and pair not in set(doubled)]
    for fault in localise(doubled, fine, matrix.endpoints, share=SHARE):
        line = f"{len(fault.pairs)} pairs had more answers than questions"
        yield _culprit(matrix, fault, "SBV82", told=(), line=line)


def _localised(matrix: Matrix, excused: frozenset[Pair], trouble: Trouble) -> tuple[Fault, ...]:
    failed = [probe.pair for probe in matrix.having(trouble, excused)]
    fine = [
        pair
        for pair, verdict in matrix.verdicts.items()
        if pair not in excused
        and verdict.rtt_median_us is not None
        and trouble not in verdict.troubles
    ]
    return localise(failed, fine, matrix.endpoints, share=SHARE)


def _culprit(
    matrix: Matrix, fault: Fault, code: str, *, told: tuple[tuple[str, str], ...], line: str
) -> Culprit:
    return Culprit(
        code,
        told + fields(place=within_words(matrix, fault.suspect)),
        suspect_sites(matrix, fault.suspect),
        suspect_links(matrix, fault.suspect),
        fault.pairs,
        (line,),
        certain=False,
    )


def _milliseconds(microseconds: float) -> str:
    return f"{microseconds / 1000:.1f} ms"
