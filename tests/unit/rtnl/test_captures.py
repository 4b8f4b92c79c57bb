# SPDX-License-Identifier: Apache-2.0
"""Messages of real kernels; what is expected is what iproute2 printed beside them."""

from collections.abc import Callable

import pytest

from spanbridge.rtnl import NextHop, PortVlan
from spanbridge.rtnl.addresses import FOREVER, parse_address
from spanbridge.rtnl.links import parse_link
from spanbridge.rtnl.neighbours import parse_neighbour
from spanbridge.rtnl.routes import Route, parse_route
from spanbridge.rtnl.vlans import parse_vlan_entries
from spanbridge.rtnl.wire import NLMSG_DONE, NLMSG_ERROR, Reply, parse_error

Replies = Callable[[str], list[Reply]]

INET, INET6 = 2, 10


def bodies(replies: list[Reply]) -> list[bytes]:
    """Leave out acknowledgements and the end of a dump."""
    return [each.body for each in replies if each.type not in {NLMSG_ERROR, NLMSG_DONE}]


def routes(replies: Replies) -> dict[tuple[int, str], Route]:
    parsed = [parse_route(body) for body in bodies(replies("linux-6.18/routes"))]
    return {(each.family, each.destination): each for each in parsed}


def test_a_bridge_is_decoded(replies: Replies) -> None:
    link = parse_link(bodies(replies("linux-6.18/link-bridge"))[0])

    assert (link.index, link.name, link.kind) == (2, "br0", "bridge")
    assert (link.mac, link.mtu, link.txqlen) == ("02:00:00:00:00:01", 1400, 1000)
    assert (link.up, link.operstate, link.carrier) == (True, "up", True)
    assert (link.promisc, link.loopback, link.master, link.port) == (False, False, 0, None)
    assert link.bridge is not None
    assert (link.bridge.vlan_filtering, link.bridge.stp_state) == (False, 0)
    assert (link.bridge.forward_delay_s, link.bridge.ageing_time_s) == (15, 300)
    assert link.bridge.mcast_snooping
    assert link.bridge.linklocal_learning


def test_a_bridge_port_is_decoded(replies: Replies) -> None:
    link = parse_link(bodies(replies("linux-6.18/link-port"))[0])

    assert (link.index, link.name, link.kind, link.master) == (4, "p0", "veth", 2)
    assert (link.link, link.link_netnsid) == (3, None)
    assert (link.group, link.alias, link.txqlen) == (7, "the port", 0)
    assert (link.promisc, link.promiscuity) == (True, 2)
    assert link.port is not None
    assert link.port.forwarding
    assert (link.port.hairpin, link.port.isolated, link.port.learning) == (True, True, True)
    assert (link.port.guard, link.port.neigh_suppress) == (False, False)


def test_the_loopback_is_decoded(replies: Replies) -> None:
    link = parse_link(bodies(replies("linux-6.18/link-loopback"))[0])

    assert (link.index, link.name, link.kind, link.loopback) == (1, "lo", "", True)
    assert (link.mtu, link.operstate) == (65536, "unknown")


def test_a_dump_of_links_is_decoded(replies: Replies) -> None:
    links = [parse_link(body) for body in bodies(replies("linux-6.18/links"))]

    assert [link.name for link in links] == ["lo", "br0", "e0", "p0"]


def test_a_bridge_that_filters_vlans_is_decoded(replies: Replies) -> None:
    bridge = parse_link(bodies(replies("linux-6.1/link-bridge-filtering"))[0]).bridge

    assert bridge is not None
    assert (bridge.vlan_filtering, bridge.default_pvid) == (True, 1)
    assert bridge.vlan_protocol == 0x8100


def test_a_vlan_interface_is_decoded(replies: Replies) -> None:
    link = parse_link(bodies(replies("linux-6.1/link-vlan"))[0])

    assert (link.name, link.kind, link.vlan_id) == ("e0.7", "vlan", 7)


def test_the_vlans_of_ports_are_decoded(replies: Replies) -> None:
    links = [parse_link(body) for body in bodies(replies("linux-6.1/vlans"))]
    vlans = {link.name: link.vlans for link in links}

    assert vlans == {
        "br0": (
            PortVlan(1, 1, pvid=True, untagged=True),
            PortVlan(5, 5, pvid=False, untagged=False),
        ),
        "p0": (
            PortVlan(1, 1, pvid=False, untagged=True),
            PortVlan(2, 2, pvid=True, untagged=True),
            PortVlan(10, 20, pvid=False, untagged=False),
            PortVlan(30, 30, pvid=False, untagged=False),
        ),
        "d0": (),
    }


def test_the_vlans_of_one_port_are_decoded(replies: Replies) -> None:
    (body,) = bodies(replies("linux-6.1/port-vlans"))

    assert parse_vlan_entries(body) == (
        4,
        (
            PortVlan(1, 1, pvid=False, untagged=True),
            PortVlan(2, 2, pvid=True, untagged=True),
            PortVlan(10, 20, pvid=False, untagged=False),
            PortVlan(30, 30, pvid=False, untagged=False),
        ),
    )


def test_addresses_are_decoded(replies: Replies) -> None:
    found = [parse_address(body) for body in bodies(replies("linux-6.18/addresses"))]
    by_address = {each.address: each for each in found}
    plain, peer = by_address["10.1.0.2"], by_address["10.9.0.1"]

    assert {each.index for each in found} == {3}
    assert (plain.family, plain.prefix_length, plain.label) == (INET, 24, "e0")
    assert (plain.broadcast, plain.peer, plain.valid_s) == ("10.1.0.255", "", FOREVER)
    assert (peer.peer, peer.prefix_length, peer.permanent) == ("10.9.0.2", 32, True)
    assert by_address["fe80::ff:fe00:3"].scope == 253
    assert not by_address["fd00::99"].permanent
    assert by_address["fd00::99"].valid_s == 598
    assert not by_address["fd00::2"].tentative


def test_a_route_with_metrics_is_decoded(replies: Replies) -> None:
    route = routes(replies)[INET, "10.2.0.0/16"]

    assert (route.gateway, route.oif, route.priority) == ("10.1.0.1", 3, 5)
    assert (route.mtu, route.advmss) == (1300, 1200)
    assert (route.protocol, route.type, route.table, route.scope) == ("static", "unicast", 254, 0)


def test_a_route_on_the_link_is_decoded(replies: Replies) -> None:
    route = routes(replies)[INET, "10.1.0.0/24"]

    assert (route.gateway, route.prefsrc, route.scope) == ("", "10.1.0.2", 253)
    assert route.protocol == "kernel"


def test_a_route_with_several_ways_is_decoded(replies: Replies) -> None:
    route = routes(replies)[INET, "10.3.0.0/16"]

    assert [(hop.gateway, hop.weight) for hop in route.nexthops] == [
        ("10.1.0.1", 2),
        ("10.1.0.3", 1),
    ]
    assert isinstance(route.nexthops[0], NextHop)
    assert (route.gateway, route.oif) == ("10.1.0.1", 3)


def test_a_route_without_a_link_in_another_table_is_decoded(replies: Replies) -> None:
    route = routes(replies)[INET, "10.4.0.0/16"]

    assert (route.type, route.table, route.oif) == ("blackhole", 1000, 0)


def test_a_gateway_of_the_other_family_is_decoded(replies: Replies) -> None:
    assert routes(replies)[INET, "10.5.0.0/16"].gateway == "fd00::1"


def test_the_default_route_of_ipv6_is_decoded(replies: Replies) -> None:
    route = routes(replies)[INET6, "default"]

    assert (route.gateway, route.priority) == ("fd00::1", 1024)


def test_a_route_lookup_is_decoded(replies: Replies) -> None:
    route = parse_route(bodies(replies("linux-6.18/route-to"))[0])

    assert (route.gateway, route.oif, route.prefsrc) == ("10.1.0.1", 3, "10.1.0.2")
    assert route.destination == "10.2.1.1/32"


def test_neighbours_are_decoded(replies: Replies) -> None:
    found = [parse_neighbour(body) for body in bodies(replies("linux-6.18/neighbours"))]
    wanted = next(each for each in found if each.address == "10.1.0.9")

    assert (wanted.mac, wanted.state, wanted.index) == ("02:00:00:00:00:09", "permanent", 3)
    assert {each.state for each in found if each.family == INET6} == {"noarp"}


@pytest.mark.parametrize(
    ("name", "number", "text"),
    [
        ("linux-6.18/error-with-text", 22, "Invalid prefix for given prefix length"),
        ("linux-6.18/error-uncapped", 22, "Invalid prefix for given prefix length"),
        ("linux-6.18/error-without-text", 19, ""),
        ("linux-6.1/error-pvid-range", 22, "bridge: Pvid isn't allowed in a range"),
    ],
    ids=lambda value: value if isinstance(value, str) and "/" in value else "",
)
def test_a_refusal_is_decoded(replies: Replies, name: str, number: int, text: str) -> None:
    assert parse_error(replies(name)[-1]) == (number, text)


def test_acknowledgements_carry_no_error(replies: Replies) -> None:
    found = replies("linux-6.18/acks")

    assert [parse_error(each) for each in found] == [(0, "")] * 3
    assert len({each.sequence for each in found}) == 3


def test_the_first_of_two_answers_may_be_fine(replies: Replies) -> None:
    found = [parse_error(each) for each in replies("linux-6.18/error-missing-attribute")]

    assert found == [(0, ""), (22, "Network address not specified")]
