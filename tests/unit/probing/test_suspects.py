# SPDX-License-Identifier: Apache-2.0
"""Which devices of a node must carry nothing of the network."""

from spanbridge.model.node_state import LinkState
from spanbridge.probing.strays import list_suspects


def test_bridge_ports_and_what_stands_on_them_may_carry_it_and_nothing_else_may() -> None:
    links = (
        LinkState("lo", loopback=True),
        LinkState("eth0"),
        LinkState("eth1", master="br-mig"),
        LinkState("eth1.7", "vlan", lower="eth1", vlan_id=7),
        LinkState("br-mig", "bridge"),
        LinkState("br-mig.3", "vlan", lower="br-mig", vlan_id=3),
        LinkState("veth0", "veth", master="br-mig", lower="br-mig.2"),
        LinkState("br-mig.2", "veth", lower="veth0"),
        LinkState("br-other", "bridge"),
    )
    assert list_suspects(links, bridge="br-mig", uplinks=["eth1"]) == ("eth0", "br-other")


def test_an_uplink_that_left_the_bridge_is_watched_as_one_and_not_twice() -> None:
    links = (LinkState("eth1"), LinkState("eth1.2", "vlan", lower="eth1", vlan_id=2))
    assert list_suspects(links, bridge="br-mig", uplinks=["eth1"]) == ()
