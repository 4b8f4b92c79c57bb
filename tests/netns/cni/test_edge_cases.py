# SPDX-License-Identifier: Apache-2.0
"""What the reference plugin was seen to do with odd input, and what ours does instead."""

from collections.abc import Callable
from typing import Any, Final

import pytest

from spanbridge.testing.plugin import MakeNetns, Netns
from spanbridge.testing.runtime import Cni, Conf

MakeConf = Callable[..., Conf]
Links = Callable[[Netns], dict[str, Any]]
Addresses = Callable[[Netns, str], list[str]]
Dump = Callable[..., dict[str, Any]]

FULL: Final = {"isDefaultGateway": True, "ipMasq": True, "macspoofchk": True}


@pytest.mark.parametrize("path", ["/run/netns/gone", "/etc/hostname", "/etc", "junk"])
def test_add_without_a_usable_namespace_touches_nothing(
    cni: Cni, layer3: MakeConf, node: Netns, dump: Dump, path: str
) -> None:
    before = dump(node)

    answer = cni.call("ADD", layer3(**FULL), path)

    assert answer.code == 4
    assert path in answer.error["msg"]
    assert dump(node) == before


def test_add_in_the_nodes_own_namespace_touches_nothing(
    cni: Cni, layer3: MakeConf, node: Netns, dump: Dump
) -> None:
    before = dump(node)

    assert cni.call("ADD", layer3(**FULL), node).code == 4

    assert dump(node) == before


def test_a_second_add_is_refused_and_the_first_stays_whole(
    cni: Cni, layer3: MakeConf, pod: Netns
) -> None:
    conf = layer3(**FULL)
    result = cni.add(conf, pod)

    error = cni.call("ADD", conf, pod).error

    assert error["code"] == 102
    assert "eth0" in error["msg"]
    assert cni.check(conf, pod, result).result is None


@pytest.mark.parametrize("old", ["0.1.0", "0.2.0", "0.3.0", "1.2.0", "junk"])
def test_a_version_we_do_not_speak_is_refused_before_anything_is_made(
    cni: Cni, conf: MakeConf, node: Netns, pod: Netns, links: Links, old: str
) -> None:
    assert cni.call("ADD", conf(cniVersion=old), pod).code == 1

    assert set(links(node)) == {"lo"}


@pytest.mark.parametrize("masquerade", [True, False], ids=["with-ipMasq", "without"])
def test_an_unknown_backend_is_refused_before_anything_is_made(
    cni: Cni,
    layer3: MakeConf,
    node: Netns,
    pod: Netns,
    dump: Dump,
    masquerade: bool,  # noqa: FBT001  # a parameter
) -> None:
    before = dump(node, pod)

    answer = cni.call("ADD", layer3(ipMasq=masquerade, ipMasqBackend="ebtables"), pod)

    assert answer.code == 7
    assert "/ipMasqBackend" in answer.error["details"]
    assert dump(node, pod) == before


def test_two_ranges_of_one_family_have_a_gateway_each(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns, addresses: Addresses
) -> None:
    cni.add(layer3("10.1.2.0/24", "10.1.3.0/24", isGateway=True), pod)

    assert addresses(node, "br0") == ["10.1.2.1/24", "10.1.3.1/24"]
    assert pod.ping("10.1.2.1")
    assert pod.ping("10.1.3.1")


def test_a_default_route_without_next_hop_goes_by_the_gateway(
    cni: Cni, layer3: MakeConf, pod: Netns
) -> None:
    conf = layer3(isDefaultGateway=True, ipam={"routes": [{"dst": "0.0.0.0/0"}]})

    result = cni.add(conf, pod)

    defaults = pod.run("ip", "route", "show", "default").splitlines()
    assert [each.split()[:3] for each in defaults] == [["default", "via", "10.1.2.1"]]
    assert cni.check(conf, pod, result).result is None


def test_good_adds_after_a_failed_first_one_keep_the_bridges_mac(
    cni: Cni, layer3: MakeConf, conf: MakeConf, node: Netns, pod: Netns, links: Links
) -> None:
    node.run("ip", "link", "add", "br0", "type", "bridge")
    ipam = {"type": "static", "addresses": [{"address": "10.9.9.1/24"}]}
    assert cni.call("ADD", conf(ipam=ipam, isGateway=True), pod).code == 7
    good = layer3(isGateway=True)
    cni.delete(good, pod)

    cni.add(good, pod)
    mac = links(node)["br0"]["address"]
    cni.delete(good, pod)
    assert links(node)["br0"]["address"] == mac
    cni.add(good, pod)

    assert links(node)["br0"]["address"] == mac
    assert pod.ping("10.1.2.1")


def test_one_ipv4_address_twice_on_a_bridge_is_not_looked_for(
    cni: Cni, conf: MakeConf, netns: MakeNetns, addresses: Addresses
) -> None:
    ipam = {"type": "static", "addresses": [{"address": "10.1.2.9/24"}]}
    first, second = netns(), netns()

    cni.add(conf(ipam=ipam, enabledad=True), first, container="first")
    cni.add(conf(ipam=ipam, enabledad=True), second, container="second")

    assert addresses(first, "eth0") == addresses(second, "eth0") == ["10.1.2.9/24"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CNI_CONTAINERID", "a/b"),
        ("CNI_IFNAME", "a/b"),
        ("CNI_IFNAME", "sixteen-bytes-xx"),
        ("CNI_IFNAME", ".."),
        ("CNI_ARGS", "mac=02:00:00:00:00:01"),
        ("CNI_ARGS", "no-pair"),
        ("CNI_COMMAND", "add"),
    ],
)
def test_a_malformed_variable_is_named_before_anything_is_made(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns, links: Links, variable: str, value: str
) -> None:
    answer = cni.call("ADD", layer3(), pod, env={variable: value})

    assert answer.code == 4
    assert variable in answer.error["msg"]
    assert set(links(node)) == {"lo"}


MALFORMED: Final[dict[str, tuple[Conf, str]]] = {
    "wrong-type": ({"isGateway": "yes"}, "/isGateway"),
    "vlan-4095": ({"vlan": 4095}, "/vlan"),
    "trunk-min-over-max": ({"vlanTrunk": [{"minID": 9, "maxID": 8}]}, "/vlanTrunk/0/minID"),
    "trunk-null": ({"vlanTrunk": [None]}, "/vlanTrunk/0"),
    "ipam-and-disabled": ({"disableContainerInterface": True}, "/disableContainerInterface"),
    "hairpin-and-promisc": ({"hairpinMode": True, "promiscMode": True}, "/hairpinMode"),
    "no-name": ({"name": ""}, "/name"),
    "mtu": ({"mtu": 40}, "/mtu"),
    "bridge-name": ({"bridge": "sixteen-bytes-xx"}, "/bridge"),
    "vlan-device-name": (
        {"bridge": "fifteen-bytes-x", "vlan": 2, "isGateway": True},
        "/bridge",
    ),
}


@pytest.mark.parametrize(("fields", "pointer"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_field_is_pointed_at_before_anything_is_made(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns, dump: Dump, fields: Conf, pointer: str
) -> None:
    before = dump(node, pod)

    error = cni.call("ADD", layer3() | fields, pod).error

    assert error["code"] == 7
    where, _, remedy = error["details"].partition("; ")
    assert where == f"at {pointer}"
    assert remedy
    assert dump(node, pod) == before
