# SPDX-License-Identifier: Apache-2.0
"""A node and a pod with a socket in each; the test process itself stays outside of both."""

from collections.abc import Iterator

import pytest

from spanbridge.rtnl import NetNs, Rtnl
from spanbridge.testing.plugin import Netns


@pytest.fixture
def node_ns(node: Netns) -> Iterator[NetNs]:
    """The node's namespace, open."""
    with NetNs.open(str(node.path)) as opened:
        yield opened


@pytest.fixture
def pod_ns(pod: Netns) -> Iterator[NetNs]:
    """The pod's namespace, open."""
    with NetNs.open(str(pod.path)) as opened:
        yield opened


@pytest.fixture
def host(node_ns: NetNs) -> Iterator[Rtnl]:
    """A socket in the node."""
    with Rtnl.open(node_ns) as rtnl:
        yield rtnl


@pytest.fixture
def inside(pod_ns: NetNs) -> Iterator[Rtnl]:
    """A socket in the pod."""
    with Rtnl.open(pod_ns) as rtnl:
        yield rtnl
