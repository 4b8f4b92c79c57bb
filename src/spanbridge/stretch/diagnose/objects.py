# SPDX-License-Identifier: Apache-2.0
"""What objects of the clusters' APIs say against migrations, or fail to say."""

from collections.abc import Iterator

from spanbridge.model.observations import Remark
from spanbridge.model.verdict import Pair
from spanbridge.stretch.diagnose.culprits import Culprit, fields
from spanbridge.stretch.diagnose.matrix import Matrix


def find_remarks(matrix: Matrix, _excused: frozenset[Pair]) -> Iterator[Culprit]:
    """Turn the remarks about objects into causes (SBV74, SBV75)."""
    for remark in matrix.observations.remarks:
        yield Culprit(
            "SBV74" if remark.grave else "SBV75",
            fields(
                subject=remark.subject,
                cluster=remark.cluster,
                what=remark.what,
                then=remark.then or "what follows from it is not known",
                remedy=remark.remedy or "look at the object",
            ),
            (f"{remark.cluster}/{remark.node}",) if remark.node else (),
            evidence=(_line(remark),),
        )


def _line(remark: Remark) -> str:
    where = f" at {remark.pointer}" if remark.pointer else ""
    return f"{remark.cluster}: {remark.subject}{where}"
