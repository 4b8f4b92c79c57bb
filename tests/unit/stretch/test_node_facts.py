# SPDX-License-Identifier: Apache-2.0
"""What a verification reads from the links of a node."""

from dataclasses import replace

from spanbridge.model.node_state import LinkState, VlanEntry
from spanbridge.model.observations import NodeFacts, Uplink, VlanSpan
from spanbridge.stretch.node_facts import node_facts

BRIDGE = LinkState("br-mig", "bridge", mtu=9000, vlan_filtering=True)
UPLINK = LinkState("eth1", mtu=9000, master="br-mig", vlans=(VlanEntry(2, 2), VlanEntry(10, 20)))
POD = LinkState("veth0123abcd", "veth", master="br-mig", alias="spanbridge pod")
OTHER = LinkState("eth0")


def _facts(*links: LinkState, uplink: str = "") -> NodeFacts:
    return node_facts(
        links, cluster="east", node="n1", bridge="br-mig", vlan=2, uplink=uplink, agent=True
    )


def test_bridge_and_uplink_are_told_as_the_kernel_has_them() -> None:
    assert _facts(BRIDGE, UPLINK, POD, OTHER) == NodeFacts(
        cluster="east",
        node="n1",
        agent=True,
        bridge="br-mig",
        bridge_up=True,
        vlan_filtering=True,
        bridge_mtu=9000,
        uplinks=(Uplink("eth1", up=True, mtu=9000, vlans=(VlanSpan(2, 2), VlanSpan(10, 20))),),
    )


def test_a_bridge_that_is_missing_down_or_something_else_is_not_up() -> None:
    assert not _facts(UPLINK).bridge_up
    assert not _facts(replace(BRIDGE, up=False), UPLINK).bridge_up
    assert not _facts(replace(BRIDGE, kind="dummy"), UPLINK).bridge_up


def test_a_device_that_left_the_bridge_is_no_uplink() -> None:
    assert _facts(BRIDGE, replace(UPLINK, master=""), POD, uplink="eth1").uplinks == ()


def test_a_named_uplink_is_the_only_one() -> None:
    named = _facts(BRIDGE, UPLINK, LinkState("eth7", master="br-mig"), uplink="eth7")
    assert [each.name for each in named.uplinks] == ["eth7"]


def test_an_uplink_without_a_carrier_is_not_up() -> None:
    (uplink,) = _facts(BRIDGE, replace(UPLINK, carrier=False)).uplinks
    assert not uplink.up


def test_a_vlan_device_of_the_network_on_the_uplink_is_a_thief_and_no_other_one_is() -> None:
    thief = LinkState("eth1.2", "vlan", lower="eth1", vlan_id=2)
    (uplink,) = _facts(
        BRIDGE, UPLINK, thief, LinkState("x", "vlan", lower="eth1", vlan_id=3)
    ).uplinks
    assert uplink.stolen_by == ("eth1.2",)
    (uplink,) = _facts(BRIDGE, UPLINK, replace(thief, up=False)).uplinks
    assert uplink.stolen_by == ()
