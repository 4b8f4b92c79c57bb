# SPDX-License-Identifier: Apache-2.0
"""Calls to address management, as the cni package makes them."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from spanbridge.base.names import ContainerId, IfName
from spanbridge.ipam import Ipam, IpamCall, Releaser, open_for_release, open_ipam
from spanbridge.model.netconf import IpamConf
from spanbridge.model.reader import parse_object
from spanbridge.model.request import Request


def _call(document: Mapping[str, object], request: Mapping[str, str]) -> tuple[Request, IpamCall]:
    stdin = json.dumps(document).encode()
    root = parse_object(stdin)
    node = root.node("ipam")
    assert node is not None
    version = root.text("cniVersion")
    environ = {key: value for key, value in request.items() if key.startswith("CNI_")}
    made = Request(
        verb=request.get("verb", "ADD"),
        container_id=ContainerId(request.get("owner", "c1")),
        netns="/run/netns/x",
        ifname=IfName(request.get("ifname", "eth0")),
        args=request.get("args", ""),
        path=tuple(filter(None, request.get("path", "").split(":"))),
        allow_same_netns=False,
        stdin=stdin,
        environ=environ,
    )
    return made, IpamCall(version, root.text("name"), IpamConf(node.text("type"), node), root)


@pytest.fixture
def document(tmp_path: Path) -> Callable[..., dict[str, object]]:
    """Make a whole configuration around an ``ipam`` section."""

    def make(section: dict[str, object], **top: object) -> dict[str, object]:
        full = {"type": "host-local"} | section
        if full["type"] == "host-local":
            full = {"dataDir": str(tmp_path)} | full
        return {"cniVersion": "1.1.0", "name": "n", "ipam": full} | top

    return make


@pytest.fixture
def opened(document: Callable[..., dict[str, object]]) -> Callable[..., Ipam]:
    """Open for any verb: ``opened(section, {"owner": …}, **top)``."""

    def make(
        section: dict[str, object], request: Mapping[str, str] | None = None, **top: object
    ) -> Ipam:
        return open_ipam(*_call(document(section, **top), request or {}))

    return make


@pytest.fixture
def releaser(document: Callable[..., dict[str, object]]) -> Callable[..., Releaser]:
    """Open for DEL or GC."""

    def make(
        section: dict[str, object], request: Mapping[str, str] | None = None, **top: object
    ) -> Releaser:
        return open_for_release(*_call(document(section, **top), request or {}))

    return make


@pytest.fixture
def add(opened: Callable[..., Ipam]) -> Callable[..., list[str]]:
    """Run ADD of host-local and list the addresses."""

    def run(
        owner: str, section: dict[str, object], ifname: str = "eth0", **top: object
    ) -> list[str]:
        result = opened(section, {"owner": owner, "ifname": ifname}, **top).add()
        return [str(each.address) for each in result.ips]

    return run


@pytest.fixture
def release(releaser: Callable[..., Releaser]) -> Callable[..., None]:
    """Run DEL of host-local without any range in the configuration."""

    def run(owner: str, ifname: str = "eth0") -> None:
        releaser({}, {"owner": owner, "ifname": ifname, "verb": "DEL"}).release()

    return run


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the reservations of network ``n`` are."""
    return tmp_path / "n"


@pytest.fixture
def reserved(directory: Path) -> Callable[[], dict[str, str]]:
    """Read the reservations: address to content."""

    def read() -> dict[str, str]:
        found = [each for each in directory.iterdir() if each.name[0].isdigit() or ":" in each.name]
        return {each.name: each.read_bytes().decode() for each in sorted(found)}

    return read
