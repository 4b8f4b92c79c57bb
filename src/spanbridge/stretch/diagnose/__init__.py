# SPDX-License-Identifier: Apache-2.0
"""
From a matrix of pairs to causes, ranked, each with its evidence and what mends it.

Checks run from the most certain to the least: what pods and nodes say of themselves
first, then what follows from who reaches whom. What a check explains, those after it do
not explain again, so that one fault gives one diagnosis, and two give two.
"""

from collections.abc import Callable, Iterable
from typing import Final

from spanbridge.model.verdict import Diagnosis, Pair
from spanbridge.stretch.diagnose.addresses import (
    find_duplicates,
    find_families,
    find_gateways,
    find_missing,
    find_strays,
)
from spanbridge.stretch.diagnose.culprits import Culprit, build_diagnoses
from spanbridge.stretch.diagnose.matrix import Matrix
from spanbridge.stretch.diagnose.nodes import (
    find_absent,
    find_agents,
    find_leaks,
    find_nodes,
    find_unmeasured,
)
from spanbridge.stretch.diagnose.objects import find_remarks
from spanbridge.stretch.diagnose.paths import find_mtu, find_reach, find_routes
from spanbridge.stretch.diagnose.quality import find_doubles, find_latency, find_loss
from spanbridge.stretch.diagnose.services import find_ports, find_trust

__all__ = ["diagnose"]

_Check = Callable[[Matrix, frozenset[Pair]], Iterable[Culprit]]

_EXCUSING: Final[tuple[_Check, ...]] = (
    find_absent,
    find_agents,
    find_unmeasured,
    find_missing,
    find_families,
    find_duplicates,
    find_routes,
    find_nodes,
    find_reach,
)
"""In this order; what explains why a pair does not reach also explains all else about it."""

_REMAINING: Final[tuple[_Check, ...]] = (
    find_gateways,
    find_strays,
    find_mtu,
    find_ports,
    find_trust,
    find_loss,
    find_latency,
    find_doubles,
    find_leaks,
    find_remarks,
)
"""Of pairs that reach each other; each looks at something else."""


def diagnose(matrix: Matrix) -> tuple[Diagnosis, ...]:
    """Find the causes of everything that is wrong."""
    culprits: list[Culprit] = []
    excused: frozenset[Pair] = frozenset()
    for check in _EXCUSING:
        found = list(check(matrix, excused))
        culprits += found
        excused |= {pair for each in found for pair in (*each.pairs, *each.void)}
    for check in _REMAINING:
        culprits += check(matrix, excused)
    return build_diagnoses(_without_repeats(culprits))


def _without_repeats(culprits: list[Culprit]) -> list[Culprit]:
    """Leave out frames gone astray where their cause is known already."""
    routed = {site for each in culprits if each.code == "SBV30" for site in each.sites}
    unfiltered = {site for each in culprits if each.code == "SBV02" for site in each.sites}
    causes = {"SBV31": routed, "SBV32": unfiltered}
    return [each for each in culprits if not set(each.sites) & causes.get(each.code, set())]
