# SPDX-License-Identifier: Apache-2.0
"""CHECK of what VLANs promise: each thing is taken away and given back."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from tests.vm.cni.conftest import Attachment, World

# What is done, what undoes it, words that the error must hold. {port} and {gateway} are ports.
BROKEN: Final = {
    "vlan": (
        "bridge vlan del vid 100 dev {port}",
        "bridge vlan add vid 100 dev {port} pvid untagged",
        ["{port}", "VLAN 100"],
    ),
    "pvid-flag": (
        "bridge vlan add vid 100 dev {port} untagged",
        "bridge vlan add vid 100 dev {port} pvid untagged",
        ["{port}", "VLAN 100", "PVID"],
    ),
    "tagged-vlan": (
        "bridge vlan del vid 102 dev {port}",
        "bridge vlan add vid 102 dev {port}",
        ["{port}", "VLAN 102"],
    ),
    "extra-vlan": (
        "bridge vlan add vid 666 dev {port}",
        "bridge vlan del vid 666 dev {port}",
        ["{port}", "VLAN 666", "bridge vlan del vid 666 dev {port}"],
    ),
    "filtering": (
        "ip link set br0 type bridge vlan_filtering 0",
        "ip link set br0 type bridge vlan_filtering 1",
        ["br0", "ip link set dev br0 type bridge vlan_filtering 1"],
    ),
    "gateway-down": (
        "ip link set br0.100 down",
        "ip link set br0.100 up",
        ["br0.100", "down"],
    ),
    "gateway-address": (
        "ip addr del 10.9.0.1/24 dev br0.100",
        "ip addr add 10.9.0.1/24 dev br0.100",
        ["br0.100", "10.9.0.1/24"],
    ),
    "gateway-vlan": (
        "bridge vlan del vid 100 dev {gateway}",
        "bridge vlan add vid 100 dev {gateway} pvid untagged",
        ["{gateway}", "VLAN 100"],
    ),
}


@pytest.fixture(scope="module")
def attached(shared_world: "World") -> "Attachment":
    """A pod with a VLAN, a trunk and a gateway."""
    trunk = [{"minID": 101, "maxID": 103}]
    return shared_world.attach(shared_world.host_local(vlan=100, vlanTrunk=trunk, isGateway=True))


@pytest.fixture(autouse=True)
def sound(shared_world: "World", attached: "Attachment") -> Iterator[None]:
    """Nothing is left broken for the next test."""
    yield
    assert attached.pod.ping("10.9.0.1")
    assert shared_world.vlans(attached.port) == ["100 PVID Egress Untagged", "101-103"]


def test_what_add_made_passes(shared_world: "World", attached: "Attachment") -> None:
    assert shared_world.check(attached) is None


@pytest.mark.parametrize(("harm", "mend", "words"), BROKEN.values(), ids=BROKEN)
def test_what_is_not_as_promised_is_named(
    shared_world: "World", attached: "Attachment", harm: str, mend: str, words: list[str]
) -> None:
    gateway = next(name for name, it in shared_world.links().items() if it.get("link") == "br0.100")
    names = {"port": attached.port, "gateway": gateway}
    shared_world.sh(harm.format(**names))
    error = shared_world.check(attached)
    shared_world.sh(mend.format(**names))
    assert error["code"] == 120
    for word in words:
        assert word.format(**names) in f"{error['msg']} {error['details']}"
