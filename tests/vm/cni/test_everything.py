# SPDX-License-Identifier: Apache-2.0
"""All fields that go together, in one attachment."""

import json
from typing import TYPE_CHECKING, Final

from spanbridge.testing.modes import in_both_modes

if TYPE_CHECKING:
    from tests.vm.cni.conftest import World

FIELDS: Final = {
    "vlan": 100,
    "vlanTrunk": [{"minID": 101, "maxID": 110}],
    "portIsolation": True,
    "hairpinMode": True,
    "mtu": 9000,
    "ipMasq": True,
    "macspoofchk": True,
    "isDefaultGateway": True,
    "enabledad": True,
}


@in_both_modes
def test_all_fields_work_together(world: "World") -> None:
    conf = world.host_local("10.9.0.0/24", "fd00:9::/64", **FIELDS)
    made = world.attach(conf)
    port = world.links()[made.port]
    flags = port["linkinfo"]["info_slave_data"]
    assert (flags["hairpin"], flags["isolated"], port["mtu"]) == (True, True, 9000)
    assert world.vlans(made.port) == ["100 PVID Egress Untagged", "101-110"]
    assert world.links(made.pod)["eth0"]["mtu"] == 9000
    default = json.loads(made.pod.run("ip", "-j", "-6", "route", "show", "default"))
    assert default[0]["gateway"] == "fd00:9::1"
    rules = world.node.run("nft", "list", "ruleset")
    assert "10.9.0.2" in rules
    assert made.port in rules
    assert made.pod.ping("10.9.0.1")
    assert made.pod.ping("fd00:9::1")
    assert world.check(made) is None
    world.cni.delete(conf, made.pod)
    assert {name for name, it in world.links().items() if it.get("link") != "br0.100"} == {
        *("br0", "br0.100")
    }
    rules = world.node.run("nft", "list", "ruleset")
    assert "10.9.0.2" not in rules
    assert made.port not in rules
    assert list((world.place / "leases").glob("net1/10.*")) == []
