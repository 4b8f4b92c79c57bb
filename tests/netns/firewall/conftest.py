# SPDX-License-Identifier: Apache-2.0
"""The node as the product sees it."""

from collections.abc import Iterator

import pytest

from spanbridge.rtnl import NetNs
from spanbridge.testing.plugin import Netns


@pytest.fixture
def host(node: Netns) -> Iterator[NetNs]:
    """The node's namespace, opened."""
    with NetNs.open(str(node.path)) as opened:
        yield opened
