# SPDX-License-Identifier: Apache-2.0
"""Routes added and deleted by us, as ``ip`` sees them."""

import errno

import pytest

from spanbridge.base.names import IfIndex
from spanbridge.rtnl import (
    SCOPE_LINK,
    Rtnl,
    RtnlError,
    del_neighbour,
    del_route,
    new_address,
    new_neighbour,
    new_route,
    new_veth,
    set_link,
)
from spanbridge.testing.plugin import AskTool, Netns


@pytest.fixture
def eth0(host: Rtnl) -> IfIndex:
    """A link with addresses of both families."""
    host.request(new_veth("eth0", peer="other", up=True), set_link("other", up=True))
    index = host.link_index("eth0")
    assert index is not None
    host.request(new_address(index, "10.1.0.2", 24), new_address(index, "fd00::2", 64, nodad=True))
    return index


def test_a_default_route_is_added(host: Rtnl, eth0: IfIndex, node: Netns, ip_json: AskTool) -> None:
    host.request(new_route("default", gateway="10.1.0.1", oif=eth0))

    (seen,) = ip_json("route", "show", "default", netns=node)
    assert (seen["gateway"], seen["dev"], seen["protocol"]) == ("10.1.0.1", "eth0", "boot")


@pytest.mark.parametrize("destination", ["default", "::/0"])
def test_a_default_route_of_ipv6_is_added(
    host: Rtnl, eth0: IfIndex, node: Netns, ip_json: AskTool, destination: str
) -> None:
    host.request(new_route(destination, gateway="fd00::1", oif=eth0))

    (seen,) = ip_json("-6", "route", "show", "default", netns=node)
    assert (seen["gateway"], seen["dev"]) == ("fd00::1", "eth0")


def test_a_route_has_all_that_was_asked_for(
    host: Rtnl, eth0: IfIndex, node: Netns, ip_json: AskTool
) -> None:
    host.request(
        new_route(
            "10.2.0.0/16",
            gateway="10.1.0.1",
            oif=eth0,
            table=1000,
            priority=5,
            mtu=1300,
            advmss=1200,
            prefsrc="10.1.0.2",
            protocol="dhcp",
        )
    )

    (seen,) = ip_json("route", "show", "table", "1000", netns=node)
    assert (seen["dst"], seen["gateway"], seen["metric"]) == ("10.2.0.0/16", "10.1.0.1", 5)
    assert (seen["prefsrc"], seen["protocol"]) == ("10.1.0.2", "dhcp")
    assert seen["metrics"] == [{"mtu": 1300, "advmss": 1200}]


def test_a_route_without_gateway_is_on_the_link(
    host: Rtnl, eth0: IfIndex, node: Netns, ip_json: AskTool
) -> None:
    host.request(
        new_route("10.2.0.0/16", oif=eth0), new_route("10.3.0.1", oif=eth0, scope=SCOPE_LINK)
    )

    seen = {each["dst"]: each["scope"] for each in ip_json("route", netns=node)}
    assert (seen["10.2.0.0/16"], seen["10.3.0.1"]) == ("link", "link")


def test_a_gateway_off_the_link_needs_the_flag(
    host: Rtnl, eth0: IfIndex, node: Netns, ip_json: AskTool
) -> None:
    with pytest.raises(RtnlError, match=r"via 192\.0\.2\.1: Nexthop"):
        host.request(new_route("default", gateway="192.0.2.1", oif=eth0))
    host.request(new_route("default", gateway="192.0.2.1", oif=eth0, on_link=True))

    assert "onlink" in ip_json("route", "show", "default", netns=node)[0]["flags"]


def test_a_route_is_replaced_or_appended_but_not_doubled(
    host: Rtnl, eth0: IfIndex, node: Netns, ip_json: AskTool
) -> None:
    host.request(new_route("10.2.0.0/16", gateway="10.1.0.1", oif=eth0))
    with pytest.raises(RtnlError) as caught:
        host.request(new_route("10.2.0.0/16", gateway="10.1.0.1", oif=eth0))
    assert caught.value.errno == errno.EEXIST
    host.request(new_route("10.2.0.0/16", gateway="10.1.0.3", oif=eth0, replace=True))
    host.request(new_route("10.2.0.0/16", gateway="10.1.0.4", oif=eth0, append=True))

    seen = ip_json("route", "show", "10.2.0.0/16", netns=node)
    assert [each["gateway"] for each in seen] == ["10.1.0.3", "10.1.0.4"]


@pytest.mark.parametrize(
    ("destination", "gateway"), [("10.2.0.0/16", "10.1.0.1"), ("fd01::/64", "fd00::1")]
)
def test_a_route_is_deleted(host: Rtnl, eth0: IfIndex, destination: str, gateway: str) -> None:
    host.request(new_route(destination, gateway=gateway, oif=eth0))
    host.request(del_route(destination, gateway=gateway))

    assert destination not in {each.destination for each in host.routes()}
    with pytest.raises(RtnlError) as caught:
        host.request(del_route(destination))
    assert caught.value.errno == errno.ESRCH


def test_routes_are_listed_by_family_and_table(host: Rtnl, eth0: IfIndex) -> None:
    host.request(new_route("10.2.0.0/16", oif=eth0, table=1000))

    assert {each.family for each in host.routes(family=10)} == {10}
    assert [each.destination for each in host.routes(table=1000)] == ["10.2.0.0/16"]
    assert host.routes(family=2, table=4711) == []
    assert {each.table for each in host.routes()} == {254, 255, 1000}


def test_what_ip_adds_is_read(host: Rtnl, eth0: IfIndex, node: Netns) -> None:
    hops = ["nexthop", "via", "10.1.0.1", "weight", "3", "nexthop", "via", "10.1.0.9"]
    node.run("ip", "route", "add", "10.2.0.0/16", "proto", "static", *hops)
    (route,) = [each for each in host.routes() if each.destination == "10.2.0.0/16"]

    assert [(hop.gateway, hop.oif, hop.weight) for hop in route.nexthops] == [
        ("10.1.0.1", eth0, 3),
        ("10.1.0.9", eth0, 1),
    ]
    assert route.protocol == "static"


def test_the_way_to_an_address_is_found(host: Rtnl, eth0: IfIndex) -> None:
    host.request(new_route("default", gateway="10.1.0.1", oif=eth0))
    far, near = host.route_to("192.0.2.7"), host.route_to("10.1.0.9", oif=eth0)

    assert far is not None
    assert near is not None
    assert (far.gateway, far.oif, far.prefsrc) == ("10.1.0.1", eth0, "10.1.0.2")
    assert (near.gateway, near.prefsrc) == ("", "10.1.0.2")
    assert host.route_to("2001:db8::1") is None
    with_source = host.route_to("192.0.2.7", source="10.1.0.2")
    assert with_source is not None
    assert with_source.oif == eth0


@pytest.mark.parametrize("address", ["10.1.0.9", "fd00::9"])
def test_a_neighbour_is_told_and_forgotten(
    host: Rtnl, eth0: IfIndex, node: Netns, ip_json: AskTool, address: str
) -> None:
    host.request(new_neighbour(eth0, address, mac="02:00:00:00:00:09"))
    (seen,) = ip_json("neigh", "show", "nud", "permanent", netns=node)
    found = [each for each in host.neighbours(eth0) if each.address == address]

    assert (seen["dst"], seen["lladdr"], seen["dev"]) == (address, "02:00:00:00:00:09", "eth0")
    assert [each.state for each in found] == ["permanent"]
    host.request(del_neighbour(eth0, address))
    assert ip_json("neigh", "show", "nud", "permanent", netns=node) == []


def test_the_mac_table_of_a_bridge_is_read(host: Rtnl, node: Netns) -> None:
    node.run("ip", "link", "add", "br0", "address", "02:00:00:00:00:01", "type", "bridge")

    assert "02:00:00:00:00:01" in {each.mac for each in host.neighbours(family=7)}
