# SPDX-License-Identifier: Apache-2.0
"""Gateway addresses on a bridge that has addresses already, and which gateway is chosen."""

from collections.abc import Callable
from typing import Any

import pytest

from spanbridge.testing.plugin import Netns
from spanbridge.testing.runtime import Cni, Conf

MakeConf = Callable[..., Conf]
Addresses = Callable[[Netns, str], list[str]]
Shell = Callable[[Netns, str], str]
Dump = Callable[..., dict[str, Any]]


def _bridge_with(sh: Shell, node: Netns, *cidrs: str) -> None:
    # With a MAC of its own: the kernel changes any other with the ports.
    sh(node, "ip link add br0 address 02:00:00:00:00:77 type bridge")
    for cidr in cidrs:
        nodad = " nodad" if ":" in cidr else ""
        sh(node, f"ip addr add {cidr} dev br0{nodad}")


OVERLAPPING = pytest.mark.parametrize(
    ("there", "subnet", "gateway"),
    [
        ("10.0.0.1/8", "10.1.2.0/24", "10.1.2.1/24"),
        ("10.1.2.3/16", "10.1.2.0/24", "10.1.2.1/24"),
        ("10.1.2.1/25", "10.1.2.0/24", "10.1.2.1/24"),
        ("2001:db8::9/48", "2001:db8::/64", "2001:db8::1/64"),
    ],
    ids=["wider", "inside", "same-address", "v6"],
)


@OVERLAPPING
def test_an_overlapping_address_of_the_bridge_is_refused_and_stays(
    cni: Cni,
    layer3: MakeConf,
    node: Netns,
    pod: Netns,
    sh: Shell,
    dump: Dump,
    there: str,
    subnet: str,
    gateway: str,
) -> None:
    _bridge_with(sh, node, there)
    sh(node, "ip link set br0 up")
    before = dump(node, pod)

    error = cni.call("ADD", layer3(subnet, isGateway=True), pod).error

    assert error["code"] == 103
    assert there in error["msg"]
    assert gateway in error["msg"]
    assert "forceAddress" in error["details"]
    assert dump(node, pod) == before


@OVERLAPPING
def test_force_address_replaces_an_overlapping_address(
    cni: Cni,
    layer3: MakeConf,
    node: Netns,
    pod: Netns,
    sh: Shell,
    addresses: Addresses,
    there: str,
    subnet: str,
    gateway: str,
) -> None:
    _bridge_with(sh, node, there)

    cni.add(layer3(subnet, isGateway=True, forceAddress=True), pod)

    assert addresses(node, "br0") == [gateway]


@pytest.mark.parametrize("force", [True, False], ids=["force", "plain"])
@pytest.mark.parametrize(
    ("there", "subnet", "gateway"),
    [
        ("192.0.2.1/24", "10.1.2.0/24", "10.1.2.1/24"),
        ("2001:db8:1::1/64", "2001:db8:2::/64", "2001:db8:2::1/64"),
        ("169.254.3.4/16", "10.1.2.0/24", "10.1.2.1/24"),
    ],
    ids=["v4", "v6", "link-local"],
)
def test_a_disjoint_address_of_the_bridge_stays_beside_the_gateway(
    cni: Cni,
    layer3: MakeConf,
    node: Netns,
    pod: Netns,
    sh: Shell,
    addresses: Addresses,
    there: str,
    subnet: str,
    gateway: str,
    force: bool,  # noqa: FBT001  # a parameter
) -> None:
    _bridge_with(sh, node, there)

    cni.add(layer3(subnet, isGateway=True, forceAddress=force), pod)

    assert sorted(addresses(node, "br0")) == sorted([there, gateway])


def test_a_gateway_address_that_is_there_is_used(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns, sh: Shell, addresses: Addresses
) -> None:
    _bridge_with(sh, node, "10.1.2.1/24")

    cni.add(layer3(isGateway=True), pod)

    assert addresses(node, "br0") == ["10.1.2.1/24"]
    assert pod.ping("10.1.2.1")


def test_the_gateway_that_ipam_names_is_used(
    cni: Cni, conf: MakeConf, node: Netns, pod: Netns, addresses: Addresses
) -> None:
    address = {"address": "10.1.2.9/24", "gateway": "10.1.2.254"}
    ipam = {"type": "static", "addresses": [address]}

    cni.add(conf(ipam=ipam, isDefaultGateway=True), pod)

    assert addresses(node, "br0") == ["10.1.2.254/24"]
    assert "default via 10.1.2.254" in pod.run("ip", "route")


def test_a_default_route_of_ipam_with_a_next_hop_is_kept(
    cni: Cni, conf: MakeConf, pod: Netns
) -> None:
    routes = [{"dst": "0.0.0.0/0", "gw": "10.1.2.77"}]
    ipam = {"type": "static", "addresses": [{"address": "10.1.2.9/24"}], "routes": routes}

    cni.add(conf(ipam=ipam, isDefaultGateway=True), pod)

    assert pod.run("ip", "route", "show", "default").split()[:3] == ["default", "via", "10.1.2.77"]


@pytest.mark.parametrize(
    ("address", "words"),
    [("10.9.9.9/32", "one address only"), ("10.9.9.1/24", "taken by the sandbox itself")],
    ids=["single-address", "first-address"],
)
def test_an_address_whose_network_offers_no_gateway_is_refused_and_undone(
    cni: Cni,
    conf: MakeConf,
    node: Netns,
    pod: Netns,
    dump: Dump,
    address: str,
    words: str,
) -> None:
    before = dump(node, pod)
    ipam = {"type": "static", "addresses": [{"address": address}]}

    error = cni.call("ADD", conf(ipam=ipam, isGateway=True), pod).error

    assert error["code"] == 7
    assert words in error["msg"]
    assert dump(node, pod) == before


def test_the_gateway_address_stays_when_the_last_pod_goes(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns, addresses: Addresses
) -> None:
    conf = layer3(isGateway=True)
    cni.add(conf, pod)

    cni.delete(conf, pod)

    assert addresses(node, "br0") == ["10.1.2.1/24"]


def test_a_gateway_address_of_ipv6_is_usable_at_once(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns
) -> None:
    cni.add(layer3("fd00::/64", isGateway=True), pod)

    assert "tentative" not in node.run("ip", "addr", "show", "dev", "br0", "to", "fd00::1")
