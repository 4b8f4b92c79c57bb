# SPDX-License-Identifier: Apache-2.0
"""Clusters in namespaces."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from spanbridge.testing.fleet import Fleet, make_fleet
from spanbridge.testing.plugin import MakeNetns


@pytest.fixture
def fleet(netns: MakeNetns, tmp_path: Path) -> Iterator[Fleet]:
    """Two clusters of two virt-handlers and a sync leader each."""
    with make_fleet(netns, tmp_path, {"east": 2, "west": 2}) as made:
        yield made
