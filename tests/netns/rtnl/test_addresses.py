# SPDX-License-Identifier: Apache-2.0
"""Addresses given and taken by us, as ``ip`` sees them."""

import errno

import pytest

from spanbridge.base.names import IfIndex
from spanbridge.rtnl import Rtnl, RtnlError, del_address, new_address, new_veth, set_link
from spanbridge.testing.plugin import AskTool, Facts, Netns


@pytest.fixture
def eth0(host: Rtnl) -> IfIndex:
    """A link that is up."""
    host.request(new_veth("eth0", peer="other", up=True), set_link("other", up=True))
    index = host.link_index("eth0")
    assert index is not None
    return index


def addresses(ip_json: AskTool, node: Netns, family: str) -> Facts:
    found: Facts = ip_json("addr", "show", "dev", "eth0", netns=node)[0]["addr_info"]
    return [each for each in found if each["family"] == family and each["scope"] == "global"]


def test_an_ipv4_address_is_given(host: Rtnl, eth0: IfIndex, node: Netns, ip_json: AskTool) -> None:
    host.request(new_address(eth0, "10.1.0.2", 24))

    (seen,) = addresses(ip_json, node, "inet")
    assert (seen["local"], seen["prefixlen"], seen["broadcast"]) == ("10.1.0.2", 24, "10.1.0.255")


@pytest.mark.parametrize("length", [31, 32])
def test_a_short_prefix_has_no_broadcast(
    host: Rtnl, eth0: IfIndex, node: Netns, ip_json: AskTool, length: int
) -> None:
    host.request(new_address(eth0, "10.1.0.2", length))

    assert "broadcast" not in addresses(ip_json, node, "inet")[0]


def test_an_ipv6_address_is_given_without_duplicate_detection(
    host: Rtnl, eth0: IfIndex, node: Netns, ip_json: AskTool
) -> None:
    host.request(new_address(eth0, "fd00::2", 64, nodad=True))

    (seen,) = addresses(ip_json, node, "inet6")
    assert (seen["local"], seen["prefixlen"], seen["nodad"]) == ("fd00::2", 64, True)
    assert "tentative" not in seen


def test_an_address_is_tentative_at_first(host: Rtnl, eth0: IfIndex) -> None:
    host.request(new_address(eth0, "fd00::2", 64))

    found = {each.address: each for each in host.addresses(eth0, family=10)}
    assert found["fd00::2"].tentative
    assert not found["fd00::2"].dad_failed


def test_an_address_lives_as_long_as_wished(
    host: Rtnl, eth0: IfIndex, node: Netns, ip_json: AskTool
) -> None:
    host.request(new_address(eth0, "10.1.0.2", 24, valid_s=100, preferred_s=50))
    host.request(new_address(eth0, "10.1.0.2", 24, valid_s=600, preferred_s=300, replace=True))

    (seen,) = addresses(ip_json, node, "inet")
    assert 595 <= seen["valid_life_time"] <= 600
    assert 295 <= seen["preferred_life_time"] <= 300


def test_an_address_without_prefix_route_makes_none(
    host: Rtnl, eth0: IfIndex, node: Netns, ip_json: AskTool
) -> None:
    host.request(new_address(eth0, "10.1.0.2", 24, prefix_route=False))

    assert ip_json("route", netns=node) == []


def test_a_second_time_is_refused(host: Rtnl, eth0: IfIndex) -> None:
    host.request(new_address(eth0, "10.1.0.2", 24))

    with pytest.raises(RtnlError, match=r"^cannot add address 10\.1\.0\.2/24 to link") as caught:
        host.request(new_address(eth0, "10.1.0.2", 24))
    assert caught.value.errno == errno.EEXIST


@pytest.mark.parametrize(("address", "length"), [("10.1.0.2", 24), ("fd00::2", 64)])
def test_an_address_is_taken(host: Rtnl, eth0: IfIndex, address: str, length: int) -> None:
    host.request(new_address(eth0, address, length, nodad=True))
    host.request(del_address(eth0, address, length))

    assert address not in {each.address for each in host.addresses()}
    with pytest.raises(RtnlError) as caught:
        host.request(del_address(eth0, address, length))
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_what_ip_gives_is_read(host: Rtnl, eth0: IfIndex, node: Netns) -> None:
    node.run("ip", "addr", "add", "10.1.0.2", "peer", "10.9.0.1/32", "dev", "eth0")
    node.run("ip", "addr", "add", "10.2.0.2/24", "brd", "+", "dev", "eth0", "label", "eth0:x")
    peer, plain = host.addresses(eth0, family=2)

    assert (peer.address, peer.peer, peer.prefix_length) == ("10.1.0.2", "10.9.0.1", 32)
    assert (plain.address, plain.label, plain.broadcast) == ("10.2.0.2", "eth0:x", "10.2.0.255")
    assert plain.permanent


def test_addresses_are_listed_by_link(host: Rtnl, eth0: IfIndex) -> None:
    host.request(new_address(eth0, "10.1.0.2", 24))

    assert {each.index for each in host.addresses(1)} == {1}
    assert {"10.1.0.2", "127.0.0.1"} <= {each.address for each in host.addresses()}
    assert host.addresses(4711) == []
