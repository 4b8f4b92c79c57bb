# SPDX-License-Identifier: Apache-2.0
"""Configurations and a closer look at agents."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spanbridge.testing.plugin import AskTool, Netns
from spanbridge.testing.runtime import Conf


@pytest.fixture
def conf(tmp_path: Path) -> Conf:
    """A network with an address from host-local."""
    ipam = {"type": "host-local", "dataDir": str(tmp_path / "leases"), "subnet": "10.1.2.0/24"}
    base = {"cniVersion": "1.1.0", "name": "net1", "type": "bridge", "bridge": "br0"}
    return base | {"isGateway": True, "ipam": ipam}


@pytest.fixture
def links(ip_json: AskTool) -> Callable[[Netns], dict[str, Any]]:
    """Reads all links of a namespace, by name."""
    return lambda netns: {each["ifname"]: each for each in ip_json("link", netns=netns)}


@pytest.fixture
def addresses(ip_json: AskTool) -> Callable[[Netns, str], list[str]]:
    """Reads the IPv4 addresses of a link with their prefix lengths."""

    def read(netns: Netns, device: str) -> list[str]:
        found = ip_json("-4", "addr", "show", "dev", device, netns=netns)
        listed = [each for link in found for each in link["addr_info"]]
        return [f"{each['local']}/{each['prefixlen']}" for each in listed]

    return read
