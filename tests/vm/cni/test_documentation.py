# SPDX-License-Identifier: Apache-2.0
"""The example of the product's documentation, and one network in every version."""

from typing import TYPE_CHECKING, Any, Final

import pytest

from spanbridge.testing.modes import in_both_modes

if TYPE_CHECKING:
    from tests.vm.cni.conftest import World

VERSIONS: Final = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
EXAMPLE: Final[dict[str, Any]] = {
    "cniVersion": "0.3.1",
    "name": "bridge-net",
    "type": "bridge",
    "isGateway": True,
    "vlan": 2,
    "ipam": {"type": "host-local", "subnet": "10.88.0.0/24"},
}
KEPT: Final = {"cni0", "cni0.2"}


def _kept(world: "World") -> set[str]:
    """Names of the links on the node, without the gateway's port."""
    return {name for name, it in world.links().items() if it.get("link") != "cni0.2"}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_example_works_in_every_version(world: "World", version: str) -> None:
    one = world.attach(EXAMPLE | {"cniVersion": version})
    assert one.result["cniVersion"] == version
    assert len(one.result["interfaces"]) == 4
    assert ("version" in one.result["ips"][0]) == (version < "1")
    assert one.result["ips"][0]["gateway"] == "10.88.0.1"
    assert world.vlans(one.port) == ["2 PVID Egress Untagged"]
    assert world.addresses("cni0.2") == ["10.88.0.1/24"]
    assert one.pod.ping("10.88.0.1")
    error = world.check(one)
    assert (error or {}).get("code") == (1 if version == "0.3.1" else None)
    world.cni.delete(one.conf, one.pod, container=one.container)
    assert _kept(world) == KEPT
    assert world.links(one.pod) == {}


@in_both_modes
def test_the_example_through_all_verbs(world: "World") -> None:
    conf = EXAMPLE | {"cniVersion": "1.1.0"}
    assert world.cni.call("STATUS", conf).result is None
    one, two = world.attach(conf, "c1"), world.attach(conf, "c2")
    assert one.result["ips"][0]["address"] != two.result["ips"][0]["address"]
    assert one.pod.ping(two.result["ips"][0]["address"].partition("/")[0])
    world.cni.delete(conf, one.pod, container="c1")
    world.cni.delete(conf, one.pod, container="c1")
    assert _kept(world) == KEPT | {two.port}
    world.cni.call("GC", conf | {"cni.dev/valid-attachments": []}).result  # noqa: B018
    assert set(world.links()) == {"cni0"}
    version = world.cni.call("VERSION", conf).result
    assert version["cniVersion"] == "1.1.0"
    assert version["supportedVersions"] == list(VERSIONS)
