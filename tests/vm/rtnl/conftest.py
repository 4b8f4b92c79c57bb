# SPDX-License-Identifier: Apache-2.0
"""A node with a bridge that filters VLANs and a port on it, and a socket there."""

from collections.abc import Iterator

import pytest

from spanbridge.base.names import IfIndex
from spanbridge.rtnl import NetNs, Rtnl
from spanbridge.testing.plugin import Netns


@pytest.fixture
def host(node: Netns) -> Iterator[Rtnl]:
    """A socket in the node."""
    with NetNs.open(str(node.path)) as opened, Rtnl.open(opened) as rtnl:
        yield rtnl


@pytest.fixture
def port(host: Rtnl, node: Netns) -> IfIndex:
    """The port ``port`` of the bridge ``br0``, both made by ``ip``."""
    node.run("ip", "link", "add", "br0", "type", "bridge", "vlan_filtering", "1")
    node.run("ip", "link", "add", "port", "master", "br0", "type", "veth", "peer", "name", "far")
    index = host.link_index("port")
    assert index is not None
    return index
