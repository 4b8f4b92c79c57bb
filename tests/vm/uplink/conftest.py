# SPDX-License-Identifier: Apache-2.0
"""A node with a card, and `uplink` run in this process: Python starts slowly in a guest."""

import contextlib
import json
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from spanbridge.base.names import IfName
from spanbridge.bridge import Site
from spanbridge.bridge.uplink.changes import Ensured, Released, ensure, release
from spanbridge.bridge.uplink.keep import Keeping, keep
from spanbridge.bridge.uplink.record import Ledger
from spanbridge.bridge.uplink.show import Fault, faults, observe
from spanbridge.model.uplink import parse_wish
from spanbridge.rtnl import NetNs
from spanbridge.testing.plugin import Netns


@dataclass(frozen=True, slots=True)
class Host:
    """
    A node whose card ``eth1`` leads to ``far``.

    Attributes:
        netns: Its namespace.
        place: Directory of records and locks.
    """

    netns: Netns
    place: Path

    @property
    def ledger(self) -> Ledger:
        """Its records."""
        return Ledger(self.place / "uplinks")

    @contextlib.contextmanager
    def open(self) -> Iterator[Site]:
        """Open sockets, for one call: what a killed child leaves in them must not be read."""
        with (
            NetNs.open(str(self.netns.path)) as netns,
            Site(netns, None, sandbox_path="", run_dir=self.place / "run") as site,
        ):
            yield site

    def sh(self, *lines: str) -> None:
        """Run command lines on the node."""
        for line in lines:
            self.netns.run(*shlex.split(line))

    def ensure(self, *vlans: str) -> Ensured:
        """Make eth1 the uplink of br-mig."""
        with self.open() as site:
            return ensure(site, self.ledger, parse_wish("eth1", "br-mig", vlans, 0))

    def release(self) -> Released:
        """Undo that."""
        with self.open() as site:
            return release(site, self.ledger, IfName("eth1"))

    def keep(self, manager: str, root: Path) -> Keeping:
        """Have a manager keep it, by files below ``root``."""
        record = self.ledger.read("eth1")
        assert record is not None
        with self.open() as site:
            return keep(site, self.ledger, record, way=manager, root=root)

    def links(self) -> dict[str, Any]:
        """Links by name."""
        found = json.loads(self.netns.run("ip", "-d", "-j", "link"))
        return {each["ifname"]: each for each in found}

    def faults(self) -> tuple[Fault, ...]:
        """What `show` finds wrong."""
        with self.open() as site:
            found = observe(site.node, self.ledger)
        return tuple(fault for each in found for fault in faults(each))

    def vlans(self, device: str = "eth1") -> list[str]:
        """VLANs of a port in the words of ``bridge``: ``1 PVID Egress Untagged``, ``10-20``."""
        text = self.netns.run("bridge", "-j", "-compressvlans", "vlan", "show", "dev", device)
        found = json.loads(text or "[]")
        return [_spell(each) for each in (found[0]["vlans"] if found else [])]

    def picture(self) -> tuple[dict[str, Any], str, list[str]]:
        """The links without what counts and carrier, all VLANs, and what is on record."""
        return (
            {name: _settings(link) for name, link in self.links().items()},
            self.netns.run("bridge", "-j", "vlan"),
            sorted(os.listdir(self.ledger.directory)) if self.ledger.directory.is_dir() else [],  # noqa: PTH208
        )


def _spell(vlan: dict[str, Any]) -> str:
    end = f"-{vlan['vlanEnd']}" if "vlanEnd" in vlan else ""
    return " ".join([f"{vlan['vlan']}{end}", *vlan.get("flags", [])])


def _settings(link: dict[str, Any]) -> dict[str, Any]:
    info = link.get("linkinfo", {})
    for data in (info.get("info_data", {}), info.get("info_slave_data", {})):
        for name in [name for name in data if name.endswith("_timer")]:
            del data[name]
    flags = sorted({*link["flags"]} - {"LOWER_UP", "NO-CARRIER", "M-DOWN"})
    return link | {"flags": flags, "operstate": None, "tso_max_size": None}


@pytest.fixture
def host(node: Netns, tmp_path: Path) -> Host:
    """A node with a card that was never up, and a cable in it."""
    node.run("ip", "link", "add", "eth1", "type", "veth", "peer", "name", "far")
    node.run("ip", "link", "set", "far", "up")
    return Host(node, tmp_path)
