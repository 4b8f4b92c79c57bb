# SPDX-License-Identifier: Apache-2.0
"""ADD in every version of the protocol: bridge, port, addresses, routes, result."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from spanbridge.testing.dhcp import wait_until
from spanbridge.testing.plugin import Netns
from spanbridge.testing.runtime import Cni, Conf

MakeConf = Callable[..., Conf]
Links = Callable[[Netns], dict[str, Any]]
Addresses = Callable[[Netns, str], list[str]]

SUBNETS: Final = {
    "v4": ("10.1.2.0/24",),
    "v6": ("2001:db8::/64",),
    "dual": ("192.168.0.0/24", "fd00::/64"),
    "v4-and-two-v6": ("192.168.0.0/24", "fd00::/64", "2001:db8::/64"),
}

every_subnet = pytest.mark.parametrize("subnets", SUBNETS.values(), ids=SUBNETS.keys())


def _host(subnet: str, number: int) -> str:
    network, _, length = subnet.partition("/")
    return f"{network.removesuffix('0')}{number}/{length}"


def test_a_missing_bridge_is_created(
    cni: Cni, conf: MakeConf, node: Netns, pod: Netns, links: Links, version: str
) -> None:
    cni.add(conf(cniVersion=version, mtu=5000), pod)

    bridge = links(node)["br0"]
    assert bridge["linkinfo"]["info_kind"] == "bridge"
    assert bridge["mtu"] == 5000
    assert "UP" in bridge["flags"]
    assert bridge["promiscuity"] == 0


def test_an_existing_bridge_is_adopted_as_it_is(
    cni: Cni,
    conf: MakeConf,
    node: Netns,
    pod: Netns,
    links: Links,
    sh: Callable[..., str],
    version: str,
) -> None:
    sh(node, "ip link add br0 address 02:00:00:00:00:09 type bridge")
    sh(node, "ip link set br0 mtu 1400")
    before = links(node)["br0"]

    cni.add(conf(cniVersion=version), pod)

    after = links(node)["br0"]
    assert "UP" in after["flags"]
    for fact in ("ifindex", "mtu", "address"):
        assert after[fact] == before[fact]


@every_subnet
def test_the_sandbox_has_one_address_of_each_range_and_default_routes(
    cni: Cni,
    layer3: MakeConf,
    pod: Netns,
    addresses: Addresses,
    routes: Callable[[Netns], set[tuple[str, str | None]]],
    subnets: tuple[str, ...],
    version: str,
) -> None:
    cni.add(layer3(*subnets, cniVersion=version, isDefaultGateway=True), pod)

    assert sorted(addresses(pod, "eth0")) == sorted(_host(each, 2) for each in subnets)
    first = {":" in each: each for each in reversed(subnets)}
    expected = {("default", _host(each, 1).partition("/")[0]) for each in first.values()}
    assert {each for each in routes(pod) if each[0] == "default"} == expected


@every_subnet
def test_the_gateway_of_each_range_is_on_the_bridge_and_answers(
    cni: Cni,
    layer3: MakeConf,
    node: Netns,
    pod: Netns,
    addresses: Addresses,
    subnets: tuple[str, ...],
    version: str,
) -> None:
    cni.add(layer3(*subnets, cniVersion=version, isDefaultGateway=True), pod)

    gateways = [_host(each, 1) for each in subnets]
    assert sorted(addresses(node, "br0")) == sorted(gateways)
    assert all(pod.ping(each.partition("/")[0]) for each in gateways)


def test_the_result_lists_the_bridge_the_port_and_the_interface(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns, links: Links, version: str
) -> None:
    result = cni.add(layer3(cniVersion=version, isDefaultGateway=True), pod)

    bridge, port, inside = result["interfaces"]
    assert result["cniVersion"] == version
    assert (bridge["name"], inside["name"], inside["sandbox"]) == ("br0", "eth0", str(pod.path))
    assert port["name"].startswith("veth")
    assert "sandbox" not in bridge | port
    seen = links(node)
    assert bridge["mac"] == seen["br0"]["address"]
    assert port["mac"] == seen[port["name"]]["address"]
    assert inside["mac"] == links(pod)["eth0"]["address"]
    assert bridge["mac"] != port["mac"]


def test_the_addresses_of_the_result_are_those_of_the_interface(
    cni: Cni, layer3: MakeConf, pod: Netns, version: str
) -> None:
    conf = layer3(*SUBNETS["dual"], cniVersion=version, isDefaultGateway=True)
    result = cni.add(conf, pod)

    versions = [{"version": "4"}, {"version": "6"}] if version < "1" else [{}, {}]
    assert result["ips"] == [
        versions[0] | {"address": "192.168.0.2/24", "gateway": "192.168.0.1", "interface": 2},
        versions[1] | {"address": "fd00::2/64", "gateway": "fd00::1", "interface": 2},
    ]
    assert {"dst": "0.0.0.0/0", "gw": "192.168.0.1"} in result["routes"]
    assert {"dst": "::/0", "gw": "fd00::1"} in result["routes"]


@pytest.mark.parametrize(("asked", "told"), [("1.0.0", False), ("1.1.0", True)])
def test_the_result_tells_the_mtu_where_the_version_has_it(
    cni: Cni, conf: MakeConf, pod: Netns, asked: str, *, told: bool
) -> None:
    result = cni.add(conf(cniVersion=asked, mtu=1420), pod)

    expected = [1420] * 3 if told else []
    assert [each["mtu"] for each in result["interfaces"] if "mtu" in each] == expected


def test_both_ends_are_up_and_joined_on_the_bridge(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns, links: Links, version: str
) -> None:
    result = cni.add(layer3(cniVersion=version, isDefaultGateway=True), pod)

    # The kernel works a link's state out a moment after it has a carrier.
    wait_until(lambda: links(pod)["eth0"]["operstate"] == "UP")
    inside, outer = links(pod)["eth0"], links(node)[result["interfaces"][1]["name"]]
    assert inside["linkinfo"]["info_kind"] == outer["linkinfo"]["info_kind"] == "veth"
    assert outer["operstate"] == "UP"
    assert (inside["link_index"], outer["link_index"]) == (outer["ifindex"], inside["ifindex"])
    assert outer["master"] == "br0"
    assert outer["linkinfo"]["info_slave_data"]["state"] == "forwarding"


def test_one_attachment_makes_two_links_on_the_node(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns, links: Links, version: str
) -> None:
    result = cni.add(layer3(cniVersion=version, isGateway=True), pod)

    assert set(links(node)) == {"lo", "br0", result["interfaces"][1]["name"]}
    assert set(links(pod)) == {"lo", "eth0"}


def test_a_bridge_without_vlans_does_not_filter_them(
    cni: Cni, conf: MakeConf, node: Netns, pod: Netns, links: Links, version: str
) -> None:
    cni.add(conf(cniVersion=version), pod)

    assert links(node)["br0"]["linkinfo"]["info_data"]["vlan_filtering"] == 0


def test_the_name_servers_are_those_of_resolv_conf(
    cni: Cni, layer3: MakeConf, pod: Netns, tmp_path: Path, version: str
) -> None:
    resolv = tmp_path / "resolv.conf"
    resolv.write_text("nameserver 192.0.2.53\nsearch example.org\n")

    conf = layer3(cniVersion=version, isDefaultGateway=True, ipam={"resolvConf": str(resolv)})

    assert cni.add(conf, pod)["dns"]["nameservers"] == ["192.0.2.53"]


@pytest.mark.parametrize("ipam", [{}, None], ids=["empty", "absent"])
def test_a_layer_2_network_brings_a_link_without_addresses(
    cni: Cni,
    conf: MakeConf,
    node: Netns,
    pod: Netns,
    addresses: Addresses,
    links: Links,
    version: str,
    ipam: Conf | None,
) -> None:
    result = cni.add(conf(cniVersion=version, ipam=ipam, isGateway=True, ipMasq=True), pod)

    assert [each["name"] for each in result["interfaces"]][::2] == ["br0", "eth0"]
    assert "ips" not in result
    assert addresses(pod, "eth0") == addresses(node, "br0") == []
    assert "UP" in links(pod)["eth0"]["flags"]


@every_subnet
def test_del_takes_both_ends_and_the_addresses_back(
    cni: Cni,
    layer3: MakeConf,
    node: Netns,
    pod: Netns,
    links: Links,
    leases: Callable[[], dict[str, str]],
    subnets: tuple[str, ...],
    version: str,
) -> None:
    conf = layer3(*subnets, cniVersion=version, isDefaultGateway=True)
    result = cni.add(conf, pod)
    assert len(leases()) == len(subnets)

    cni.delete(conf | {"prevResult": result}, pod)

    assert set(links(node)) == {"lo", "br0"}
    assert set(links(pod)) == {"lo"}
    assert leases() == {}


@every_subnet
def test_check_passes_and_changes_nothing(
    cni: Cni,
    layer3: MakeConf,
    node: Netns,
    pod: Netns,
    dump: Callable[..., dict[str, Any]],
    subnets: tuple[str, ...],
    checked_version: str,
) -> None:
    conf = layer3(*subnets, cniVersion=checked_version, isDefaultGateway=True)
    result = cni.add(conf, pod)
    before = dump(node, pod)

    assert cni.check(conf, pod, result).result is None

    assert dump(node, pod) == before


def test_a_layer_2_network_can_be_checked_and_deleted(
    cni: Cni, conf: MakeConf, node: Netns, pod: Netns, links: Links, checked_version: str
) -> None:
    plain = conf(cniVersion=checked_version)
    result = cni.add(plain, pod)

    assert cni.check(plain, pod, result).result is None
    cni.delete(plain, pod)

    assert set(links(node)) == {"lo", "br0"}


def test_a_second_network_gives_the_pod_a_second_interface(
    cni: Cni, layer3: MakeConf, pod: Netns, addresses: Addresses
) -> None:
    cni.add(layer3("10.1.2.0/24"), pod)
    cni.add(layer3("10.7.0.0/24", name="net2", bridge="br2"), pod, ifname="net1")

    assert addresses(pod, "eth0") == ["10.1.2.2/24"]
    assert addresses(pod, "net1") == ["10.7.0.2/24"]
