# SPDX-License-Identifier: Apache-2.0
"""Builders: the kernel speaks the same layout both ways, so parsers read what they wrote."""

import ipaddress
from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from spanbridge import rtnl
from spanbridge.base.errors import InputError
from spanbridge.rtnl.addresses import parse_address
from spanbridge.rtnl.links import IFLA_LINKINFO, parse_link
from spanbridge.rtnl.messages import IFINFO
from spanbridge.rtnl.neighbours import STATES, parse_neighbour
from spanbridge.rtnl.routes import PROTOCOLS, TYPES, parse_route
from spanbridge.rtnl.wire import Attributes

NAMES = st.from_regex(r"[a-z][a-z0-9.]{0,14}", fullmatch=True)
MACS = st.binary(min_size=6, max_size=6).map(lambda data: data.hex(":"))
U32 = st.integers(0, 0xFFFFFFFF)
INDEXES = st.integers(1, 0x7FFFFFFF)
VIDS = st.integers(1, 4094)
NETWORKS = st.one_of(
    st.builds(
        lambda ip, bits: ipaddress.ip_network((ip, bits), strict=False),
        st.ip_addresses(v=4),
        st.integers(1, 32),
    ),
    st.builds(
        lambda ip, bits: ipaddress.ip_network((ip, bits), strict=False),
        st.ip_addresses(v=6),
        st.integers(1, 128),
    ),
)


@given(name=NAMES, mac=MACS, mtu=U32, filtering=st.booleans(), up=st.booleans())
def test_a_bridge_comes_back(name: str, mac: str, mtu: int, *, filtering: bool, up: bool) -> None:
    message = rtnl.new_bridge(name, mac=mac, mtu=mtu, vlan_filtering=filtering, up=up)
    link = parse_link(message.body)

    assert (link.name, link.mac, link.mtu, link.up) == (name, mac, mtu, up)
    assert link.bridge is not None
    assert link.bridge.vlan_filtering == filtering
    assert message.label == f"add bridge {name}"


def test_a_bridge_that_does_not_filter_says_nothing_of_it() -> None:
    assert rtnl.new_bridge("br0", vlan_filtering=False) == rtnl.new_bridge("br0")


@given(name=NAMES, mac=MACS, master=INDEXES, group=U32, txqlen=U32)
def test_the_near_end_of_a_pair_comes_back(
    name: str, mac: str, *, master: int, group: int, txqlen: int
) -> None:
    message = rtnl.new_veth(
        name, peer="p", mac=mac, master=master, group=group, txqlen=txqlen, mtu=1400
    )
    link = parse_link(message.body)

    assert (link.name, link.mac, link.mtu, link.kind) == (name, mac, 1400, "veth")
    assert (link.master, link.group, link.txqlen) == (master, group, txqlen)


@given(peer=NAMES, mac=MACS)
def test_the_far_end_of_a_pair_comes_back(peer: str, mac: str) -> None:
    message = rtnl.new_veth("p", peer=peer, peer_mac=mac, mtu=1400)
    info = Attributes(message.body, IFINFO.size).nest(IFLA_LINKINFO)
    link = parse_link(info.nest(2).raw[1])

    assert (link.name, link.mac, link.mtu) == (peer, mac, 1400)


@given(index=INDEXES, mtu=U32, up=st.booleans(), promisc=st.booleans(), alias=st.text("abc xyz"))
def test_a_change_of_a_link_comes_back(
    index: int, mtu: int, *, up: bool, promisc: bool, alias: str
) -> None:
    message = rtnl.set_link(index, mtu=mtu, up=up, promisc=promisc, alias=alias)
    link = parse_link(message.body)

    assert (link.index, link.mtu, link.up, link.promisc) == (index, mtu, up, promisc)
    assert link.alias == alias


def test_a_change_touches_only_the_flags_it_names() -> None:
    _, _, _, flags, change = IFINFO.unpack_from(rtnl.set_link(3, up=False).body)

    assert (flags, change) == (0, 1)


def test_a_link_is_released_by_master_zero() -> None:
    assert Attributes(rtnl.set_link(3, master=0).body, IFINFO.size).u32(10) == 0


def test_a_link_is_renamed_by_index_only() -> None:
    assert parse_link(rtnl.set_link(3, name="eth0").body).name == "eth0"
    with pytest.raises(InputError, match="by its index"):
        rtnl.set_link("a", name="b")


@given(hairpin=st.booleans(), isolated=st.booleans(), learning=st.booleans())
def test_a_change_of_a_port_comes_back(*, hairpin: bool, isolated: bool, learning: bool) -> None:
    message = rtnl.set_port("p0", hairpin=hairpin, isolated=isolated, learning=learning)
    link = parse_link(message.body)

    assert link.name == "p0"
    assert link.port is not None
    assert (link.port.hairpin, link.port.isolated) == (hairpin, isolated)
    assert link.port.learning == learning


@given(link=INDEXES, vlan=VIDS)
def test_a_vlan_interface_comes_back(link: int, vlan: int) -> None:
    found = parse_link(rtnl.new_vlan("v", link=link, vlan_id=vlan).body)

    assert (found.kind, found.link, found.vlan_id) == ("vlan", link, vlan)


@pytest.mark.parametrize(
    "build",
    [
        rtnl.del_link,
        lambda: rtnl.del_link(group=0),
        lambda: rtnl.del_link(index=0),
        lambda: rtnl.del_link(index=3, group=4),
    ],
    ids=["nothing", "default-group", "index-0", "two"],
)
def test_a_deletion_says_exactly_what_it_means(build: Callable[[], rtnl.Message]) -> None:
    with pytest.raises(InputError, match="give one of index, name and group"):
        build()


@given(spans=st.lists(st.tuples(VIDS, VIDS).map(sorted), min_size=1, max_size=50))
def test_vlans_come_back(spans: list[list[int]]) -> None:
    ranges = [(span[0], span[1]) for span in spans]
    found = parse_link(rtnl.add_vlans(7, ranges, untagged=True).body)

    assert found.index == 7
    assert [(each.vid, each.vid_end) for each in found.vlans] == ranges
    assert all(each.untagged and not each.pvid for each in found.vlans)


def test_one_vlan_is_a_range_of_one() -> None:
    assert rtnl.add_vlan(7, 2, pvid=True) == rtnl.add_vlans(7, [(2, 2)], pvid=True)
    assert rtnl.del_vlan(7, 2, vid_end=4) == rtnl.del_vlans(7, [(2, 4)])


@pytest.mark.parametrize("span", [(0, 1), (5, 4), (1, 4095)], ids=str)
def test_impossible_vlans_are_refused(span: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="VLANs are 1 to 4094"):
        rtnl.add_vlans(7, [span])


@given(index=INDEXES, ip=st.ip_addresses(), nodad=st.booleans(), valid=U32)
def test_an_address_comes_back(
    index: int, ip: ipaddress.IPv4Address | ipaddress.IPv6Address, *, nodad: bool, valid: int
) -> None:
    message = rtnl.new_address(index, str(ip), 24, nodad=nodad, valid_s=valid)
    found = parse_address(message.body)

    assert (found.index, found.prefix_length, found.valid_s) == (index, 24, valid)
    assert ipaddress.ip_address(found.address) == ip
    assert bool(found.flags & 2) == nodad
    expected = str(ipaddress.ip_network((ip, 24), strict=False)[-1]) if ip.version == 4 else ""
    assert found.broadcast == expected


@pytest.mark.parametrize("length", [31, 32])
def test_short_ipv4_prefixes_have_no_broadcast(length: int) -> None:
    assert parse_address(rtnl.new_address(1, "10.0.0.1", length).body).broadcast == ""


@pytest.mark.parametrize(
    ("address", "length"), [("10.0.0.1", 33), ("fd00::1", 129), ("fd00::1", -1)]
)
def test_a_prefix_that_is_too_long_is_refused(address: str, length: int) -> None:
    with pytest.raises(InputError, match="prefix is too long"):
        rtnl.new_address(1, address, length)


@given(
    network=NETWORKS,
    oif=INDEXES,
    table=st.integers(1, 0xFFFFFFFF),
    priority=st.integers(1, 0xFFFFFFFF),
    protocol=st.sampled_from(sorted(PROTOCOLS)),
    kind=st.sampled_from(TYPES),
)
def test_a_route_comes_back(
    *,
    network: ipaddress.IPv4Network | ipaddress.IPv6Network,
    oif: int,
    table: int,
    priority: int,
    protocol: str,
    kind: str,
) -> None:
    message = rtnl.new_route(
        str(network), oif=oif, table=table, priority=priority, protocol=protocol, kind=kind
    )
    found = parse_route(message.body)

    assert ipaddress.ip_network(found.destination) == network
    assert (found.oif, found.table, found.priority) == (oif, table, priority)
    assert (found.protocol, found.type) == (protocol, kind)


@given(gateway=st.ip_addresses(), mtu=st.integers(1, 9000), on_link=st.booleans())
def test_a_default_route_takes_the_family_of_its_gateway(
    gateway: ipaddress.IPv4Address | ipaddress.IPv6Address, mtu: int, *, on_link: bool
) -> None:
    message = rtnl.new_route("default", gateway=str(gateway), mtu=mtu, on_link=on_link)
    found = parse_route(message.body)

    assert found.destination == "default"
    assert found.family == (2 if gateway.version == 4 else 10)
    assert ipaddress.ip_address(found.gateway) == gateway
    assert (found.mtu, found.on_link) == (mtu, on_link)


@given(gateway=st.ip_addresses(v=6))
def test_an_ipv4_route_may_have_an_ipv6_gateway(gateway: ipaddress.IPv6Address) -> None:
    found = parse_route(rtnl.new_route("10.0.0.0/8", gateway=str(gateway)).body)

    assert found.family == 2
    assert ipaddress.ip_address(found.gateway) == gateway


@pytest.mark.parametrize("text", ["10.0.0.0/33", "fd00::/x", "10.0.0.0/", "net"])
def test_what_is_no_destination_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="cannot"):
        rtnl.new_route(text, oif=1)


@given(ip=st.ip_addresses(), mac=MACS, state=st.sampled_from(sorted(STATES)))
def test_a_neighbour_comes_back(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address, mac: str, state: str
) -> None:
    found = parse_neighbour(rtnl.new_neighbour(9, str(ip), mac=mac, state=state).body)

    assert (found.index, found.mac, found.state) == (9, mac, state)
    assert ipaddress.ip_address(found.address) == ip


@given(first=NAMES, second=NAMES)
def test_labels_tell_messages_apart(first: str, second: str) -> None:
    assume(first != second)
    assert rtnl.new_dummy(first).label != rtnl.new_dummy(second).label
