# SPDX-License-Identifier: Apache-2.0
"""A mesh as large as two usual clusters have nodes, several times over."""

from pathlib import Path

import pytest

from spanbridge.testing.fleet import make_fleet
from spanbridge.testing.plugin import MakeNetns


# Half a minute where nothing else runs; the limit is what the verifier promises.
@pytest.mark.timeout(180)
def test_forty_virt_handlers_of_four_clusters_are_verified_pair_by_pair(
    netns: MakeNetns, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    sizes = dict.fromkeys(("east", "north", "south", "west"), 10)
    with make_fleet(netns, tmp_path, sizes, progress=lambda *done: told.append(done)) as fleet:
        verdict = fleet.verify()
    assert verdict.diagnoses == ()
    assert len(verdict.pairs) == 40 * 39 + 4 * 3
    assert told[-1] == (1572, 1572)
    assert all(probe.dials[0].tls for probe in verdict.observations.probes)
