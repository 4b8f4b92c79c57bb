# SPDX-License-Identifier: Apache-2.0
"""Configurations and a closer look at agents."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spanbridge.testing.dhcp import Dnsmasq, StartDnsmasq
from spanbridge.testing.plugin import AskTool, MakeNetns, Netns
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


@pytest.fixture
def router(node: Netns, netns: MakeNetns) -> Netns:
    """
    A host behind the uplink of the bridge ``br0``.

    It is 10.9.0.1/24, the gateway's address, which the node will have too.
    """
    there = netns("router")
    node.run("ip", "link", "add", "br0", "type", "bridge")
    node.run("ip", "link", "set", "br0", "up")
    node.run("ip", "link", "add", "up0", "type", "veth", "peer", "eth0", "netns", there.name)
    node.run("ip", "link", "set", "up0", "master", "br0", "up")
    there.run("ip", "addr", "add", "10.9.0.1/24", "dev", "eth0")
    there.run("ip", "link", "set", "eth0", "up")
    return there


@pytest.fixture
def server(router: Netns, dhcp_server: StartDnsmasq) -> Dnsmasq:
    """Serves 200 addresses from the fixture `router`."""
    return dhcp_server(router, "eth0", first="10.9.0.50", last="10.9.0.250")
