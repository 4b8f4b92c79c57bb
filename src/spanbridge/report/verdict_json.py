# SPDX-License-Identifier: Apache-2.0
"""A verdict as JSON; what it was drawn from stays in the file of observations."""

from dataclasses import asdict

from spanbridge.model.compact import render_compact
from spanbridge.model.verdict import Diagnosis, Verdict
from spanbridge.report.verdict_views import sum_clusters


def render_verdict_json(verdict: Verdict) -> dict[str, object]:
    """
    Make the JSON document of `spanbridge verify --format json`.

    Times in microseconds, sizes in bytes, loss 0 to 1; fields without a value are absent.
    """
    observations = verdict.observations
    return {
        "passed": verdict.passed,
        "taken_at": observations.taken_at,
        "expected": render_compact(observations.expected),
        "counts": {str(state): count for state, count in verdict.counts.items()},
        "sampled_from": observations.sampled_from,
        "measured": observations.measured,
        "diagnoses": [_diagnosis(each) for each in verdict.diagnoses],
        "clusters": [asdict(each) | {"worst": str(each.worst)} for each in sum_clusters(verdict)],
        "pairs": [render_compact(each) for each in verdict.pairs],
        "migrations": [render_compact(each) for each in observations.migrations],
    }


def _diagnosis(diagnosis: Diagnosis) -> dict[str, object]:
    return {
        "code": diagnosis.code,
        "severity": str(diagnosis.severity),
        "title": diagnosis.title,
        "message": diagnosis.message,
        "certain": diagnosis.certain,
        "consequence": diagnosis.consequence,
        "remedies": list(diagnosis.remedies),
        "evidence": list(diagnosis.evidence),
        "nodes": list(diagnosis.sites),
        "between_clusters": [list(each) for each in diagnosis.links],
        "pairs": [list(each) for each in diagnosis.pairs],
    }
