# SPDX-License-Identifier: Apache-2.0
"""Bridge VLANs and VLAN interfaces, as ``bridge`` and ``ip`` see them."""

import errno

import pytest

from spanbridge.base.names import IfIndex
from spanbridge.rtnl import (
    PortVlan,
    Rtnl,
    RtnlError,
    add_vlan,
    add_vlans,
    del_vlan,
    del_vlans,
    new_bridge,
    new_dummy,
    new_vlan,
    set_bridge,
    set_link,
)
from spanbridge.testing.plugin import AskTool, Facts, Netns

Seen = list[tuple[int, int, tuple[str, ...]]]
DEFAULT = (1, 1, ("PVID", "Egress Untagged"))


@pytest.fixture
def on(bridge_json: AskTool, node: Netns) -> "OnPort":
    """What ``bridge vlan`` shows."""
    return OnPort(bridge_json, node)


class OnPort:
    """Asks for the VLANs of a link: first, last, flags."""

    def __init__(self, ask: AskTool, node: Netns) -> None:
        self.ask, self.node = ask, node

    def __call__(self, name: str) -> Seen:
        found = self.ask("-compressvlans", "vlan", "show", netns=self.node)
        vlans: Facts = next((each["vlans"] for each in found if each["ifname"] == name), [])
        return [
            (each["vlan"], each["vlanEnd" if "vlanEnd" in each else "vlan"], tuple(flags))
            for each in vlans
            for flags in [each.get("flags") or ()]
        ]


def index(host: Rtnl, name: str) -> IfIndex:
    found = host.link_index(name)
    assert found is not None
    return found


def test_a_bridge_that_filters_is_made(host: Rtnl, node: Netns, ip_json: AskTool) -> None:
    host.request(new_bridge("br1", vlan_filtering=True, default_pvid=0))

    (seen,) = ip_json("link", "show", "br1", netns=node)
    data = seen["linkinfo"]["info_data"]
    assert (data["vlan_filtering"], data["vlan_default_pvid"]) == (1, 0)
    bridge = host.links(kind="bridge")[0].bridge
    assert bridge is not None
    assert (bridge.vlan_filtering, bridge.default_pvid) == (True, 0)


def test_filtering_is_switched(host: Rtnl, node: Netns, ip_json: AskTool) -> None:
    host.request(new_bridge("br1"))
    host.request(set_bridge("br1", vlan_filtering=True, default_pvid=7))

    data = ip_json("link", "show", "br1", netns=node)[0]["linkinfo"]["info_data"]
    assert (data["vlan_filtering"], data["vlan_default_pvid"]) == (1, 7)


def test_the_pvid_of_a_port_is_changed(host: Rtnl, port: IfIndex, on: OnPort) -> None:
    host.request(del_vlan(port, 1), add_vlan(port, 2, pvid=True, untagged=True))

    assert on("port") == [(2, 2, ("PVID", "Egress Untagged"))]


def test_many_ranges_go_in_one_message(host: Rtnl, port: IfIndex, on: OnPort) -> None:
    host.request(add_vlans(port, [(5, 5), (10, 20), (100, 4094)]))

    assert on("port") == [DEFAULT, (5, 5, ()), (10, 20, ()), (100, 4094, ())]


def test_every_second_vlan_goes_in_one_message(host: Rtnl, port: IfIndex, on: OnPort) -> None:
    host.request(add_vlans(port, [(vid, vid) for vid in range(2, 4095, 2)]))

    assert [each[0] for each in on("port")] == [1, *range(2, 4095, 2)]
    assert len(host.port_vlans(port)) == 2048


def test_ranges_are_taken(host: Rtnl, port: IfIndex, on: OnPort) -> None:
    host.request(add_vlans(port, [(2, 100)]))
    host.request(del_vlans(port, [(1, 9), (50, 50), (90, 4094)]))

    assert on("port") == [(10, 49, ()), (51, 89, ())]


def test_the_bridge_itself_takes_part(host: Rtnl, port: IfIndex, on: OnPort) -> None:
    bridge = index(host, "br0")
    host.request(add_vlan(bridge, 5, on_self=True))
    assert on("br0") == [DEFAULT, (5, 5, ())]

    host.request(del_vlan(bridge, 5, on_self=True))
    assert on("br0") == [DEFAULT]
    assert on("port") == [DEFAULT]
    assert port != bridge


def test_what_bridge_sets_is_read(host: Rtnl, port: IfIndex, node: Netns) -> None:
    node.run("bridge", "vlan", "add", "dev", "port", "vid", "10-20")
    node.run("bridge", "vlan", "add", "dev", "port", "vid", "3", "pvid", "untagged")
    node.run("bridge", "vlan", "add", "dev", "br0", "vid", "4", "self")
    expected = (
        PortVlan(1, 1, pvid=False, untagged=True),
        PortVlan(3, 3, pvid=True, untagged=True),
        PortVlan(10, 20, pvid=False, untagged=False),
    )

    assert host.port_vlans(port) == expected
    assert host.vlans()[port] == expected
    assert [each.vid for each in host.port_vlans(index(host, "br0"))] == [1, 4]
    assert {link.name: link.vlans for link in host.links(vlans=True)}["port"] == expected


def test_links_without_vlans_have_none(host: Rtnl, port: IfIndex) -> None:
    host.request(del_vlan(port, 1))

    assert host.port_vlans(port) == ()
    assert host.port_vlans(index(host, "far")) == ()
    assert set(host.vlans()) == {index(host, "br0")}


def test_a_pvid_on_a_range_is_refused_in_the_kernels_words(host: Rtnl, port: IfIndex) -> None:
    with pytest.raises(RtnlError, match="Pvid isn't allowed in a range") as caught:
        host.request(add_vlan(port, 10, vid_end=20, pvid=True))
    assert caught.value.errno == errno.EINVAL


def test_a_vlan_interface_is_made(host: Rtnl, port: IfIndex, node: Netns, ip_json: AskTool) -> None:
    bridge = index(host, "br0")
    host.request(new_vlan("br0.2", link=bridge, vlan_id=2, mac="02:00:00:00:00:02", mtu=1400))

    (seen,) = ip_json("link", "show", "br0.2", netns=node)
    assert (seen["linkinfo"]["info_kind"], seen["link"]) == ("vlan", "br0")
    assert seen["linkinfo"]["info_data"]["id"] == 2
    link = host.link("br0.2")
    assert link is not None
    assert (link.vlan_id, link.link, link.mtu) == (2, bridge, 1400)
    assert port != bridge


def test_a_dummy_is_made(host: Rtnl, node: Netns, ip_json: AskTool) -> None:
    host.request(new_dummy("d0", mac="02:00:00:00:00:0d", up=True), set_link("d0", alias="x"))

    (seen,) = ip_json("link", "show", "d0", netns=node)
    assert (seen["linkinfo"]["info_kind"], seen["address"]) == ("dummy", "02:00:00:00:00:0d")
    assert "UP" in seen["flags"]
