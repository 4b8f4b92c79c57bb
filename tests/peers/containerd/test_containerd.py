# SPDX-License-Identifier: Apache-2.0
"""A real container runtime calls the programs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from spanbridge.testing.plugin import AskRules, AskTool

NETWORK = {
    "cniVersion": "1.0.0",
    "name": "ctr-net",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "ctr0",
            "isDefaultGateway": True,
            "ipMasq": True,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.9.0.0/24"}]]},
        }
    ],
}


class Containerd(Protocol):
    """What the fixture of conftest.py offers."""

    @property
    def networks(self) -> Path: ...

    def run(self, name: str, script: str) -> str: ...


@pytest.fixture(autouse=True)
def network(containerd: Containerd) -> Iterator[None]:
    path = containerd.networks / "10-ctr-net.conflist"
    path.write_text(json.dumps(NETWORK))
    yield
    path.unlink()


def test_a_container_reaches_its_gateway(containerd: Containerd) -> None:
    said = containerd.run("reaches", "ip -4 -o addr show eth0; ping -c 1 -W 5 10.9.0.1")

    assert "inet 10.9.0." in said
    assert "1 packets received" in said


def test_a_container_gets_the_default_route(containerd: Containerd) -> None:
    said = containerd.run("routes", "ip route")

    assert "default via 10.9.0.1 dev eth0" in said


def test_nothing_of_an_ended_container_stays(
    containerd: Containerd, ip_json: AskTool, rules_left: AskRules
) -> None:
    containerd.run("ends", "ip addr")

    leases = Path("/var/lib/cni/networks/ctr-net").iterdir()
    assert [each.name for each in leases if each.name.startswith("10.9.0.")] == []
    assert [link["ifname"] for link in ip_json("link", "show", "type", "veth")] == []
    assert not [each for each in rules_left() if "spanbridge" in json.dumps(each)]
