# SPDX-License-Identifier: Apache-2.0
"""Where bytes between the pods of a migration network went."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from spanbridge.lab.migration.meter import measured
from spanbridge.lab.topology import LabParameters, plan_lab
from spanbridge.testing.plugin import Netns

LAB = plan_lab(LabParameters(nodes=1))
EAST, WEST = LAB.nodes


def _ip(netns: str, *words: str) -> str:
    return subprocess.check_output(["ip", "-netns", netns, *words], text=True)


@pytest.fixture
def pods() -> Iterator[tuple[Netns, Netns]]:
    """Join two virt-handlers by migration0, and by eth0 beside it."""
    handlers = (EAST.handler, WEST.handler)
    for pod in handlers:
        subprocess.run(["ip", "netns", "add", pod.netns], check=True)
    for name, network in (("migration0", 88), ("eth0", 77)):
        _ip(
            EAST.handler.netns,
            *("link", "add", name, "up", "type", "veth"),
            *("peer", name, "netns", WEST.handler.netns),
        )
        for number, pod in enumerate(handlers, start=2):
            _ip(pod.netns, "address", "add", f"10.{network}.0.{number}/24", "dev", name)
            _ip(pod.netns, "link", "set", name, "up")
    first, second = (Netns(pod.netns, Path("/run/netns") / pod.netns) for pod in handlers)
    yield first, second
    for pod in handlers:
        subprocess.run(["ip", "netns", "delete", pod.netns], check=True)


def _sent(netns: str) -> int:
    (link,) = json.loads(_ip(netns, "-j", "-s", "link", "show", "migration0"))
    return int(link["stats64"]["tx"]["bytes"])


def test_bytes_on_migration0_are_counted_and_none_elsewhere(pods: tuple[Netns, Netns]) -> None:
    east, _ = pods
    assert east.ping("10.88.0.3", count=1)
    before = _sent(EAST.handler.netns)
    with measured(LAB, EAST.handler) as traffic:
        assert east.ping("10.88.0.3", count=3)
    assert traffic.migration0_bytes == _sent(EAST.handler.netns) - before >= 3 * 98
    assert (traffic.elsewhere_bytes, traffic.elsewhere, traffic.missed) == (0, set(), 0)


def test_bytes_that_a_route_leads_astray_are_found_with_their_device(
    pods: tuple[Netns, Netns],
) -> None:
    east, west = pods
    east.run("ip", "route", "add", "10.88.0.3/32", "dev", "eth0", "src", "10.88.0.2")
    west.run("ip", "route", "add", "10.88.0.2/32", "dev", "eth0", "src", "10.88.0.3")
    with measured(LAB, EAST.handler) as traffic:
        assert east.ping("10.88.0.3", count=2)
    # Two echoes and two answers, 98 bytes each, seen at both ends.
    assert traffic.elsewhere_bytes == 8 * 98
    assert traffic.elsewhere == {"east-1.virt-handler/eth0", "west-1.virt-handler/eth0"}


def test_what_others_say_on_other_devices_is_not_the_migrations(pods: tuple[Netns, Netns]) -> None:
    east, _ = pods
    with measured(LAB, EAST.handler) as traffic:
        assert east.ping("10.77.0.3", count=2)
    assert traffic.elsewhere_bytes == 0
