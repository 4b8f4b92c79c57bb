# SPDX-License-Identifier: Apache-2.0
"""From observations to a verdict: pure, and the same for the same observations."""

from spanbridge.model.observations import Observations
from spanbridge.model.verdict import Verdict
from spanbridge.stretch.diagnose import diagnose
from spanbridge.stretch.diagnose.matrix import build_matrix
from spanbridge.stretch.judge import Thresholds, judge_pairs


def verify(observations: Observations, thresholds: Thresholds | None = None) -> Verdict:
    """Judge a verification run."""
    pairs = judge_pairs(observations, thresholds or Thresholds())
    return Verdict(observations, pairs, diagnose(build_matrix(observations, pairs)))
