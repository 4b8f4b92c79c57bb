# SPDX-License-Identifier: Apache-2.0
"""A mesh of real namespaces: nothing found where all is well."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from spanbridge.testing.fleet import Fleet, make_fleet
from spanbridge.testing.plugin import MakeNetns


@pytest.fixture
def fleet(netns: MakeNetns, tmp_path: Path) -> Iterator[Fleet]:
    with make_fleet(netns, tmp_path, {"east": 2, "west": 2}) as made:
        yield made


def test_all_is_well(fleet: Fleet) -> None:
    began = time.monotonic()
    verdict = fleet.verify()
    print(time.monotonic() - began)
    for each in verdict.observations.probes:
        print(each)
    for each in verdict.observations.claims: print(each)
    print(verdict.diagnoses)
    assert verdict.passed
