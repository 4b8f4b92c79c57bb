# SPDX-License-Identifier: Apache-2.0
"""Masquerade and MAC check: entries as nft lists them, and what becomes of real packets."""

import sys
from collections.abc import Callable
from typing import Any, Final

import pytest

from spanbridge.testing.plugin import AskRules, AskTool, MakeNetns, Netns
from spanbridge.testing.runtime import Cni, Conf

MakeConf = Callable[..., Conf]
Elements = Callable[[Netns], list[str]]
SeenFrom = Callable[[Netns, str, Netns], str]
Shell = Callable[[Netns, str], str]

DUAL = ("10.1.2.0/24", "fd00::/64")

backends = pytest.mark.parametrize(
    "backend",
    [{}, {"ipMasqBackend": "iptables"}, {"ipMasqBackend": "nftables"}],
    ids=["default", "iptables", "nftables"],
)


def _tables(nft_json: AskTool, node: Netns) -> list[str]:
    return [each["table"]["family"] for each in nft_json("list", "tables", netns=node)]


@backends
def test_del_leaves_nothing_of_the_masquerade_that_add_made(
    cni: Cni,
    layer3: MakeConf,
    node: Netns,
    pod: Netns,
    elements: Elements,
    rules_left: AskRules,
    version: str,
    backend: Conf,
) -> None:
    conf = layer3(*DUAL, cniVersion=version, isDefaultGateway=True, ipMasq=True, **backend)
    cni.add(conf, pod)
    listed = " ".join(elements(node))
    assert "10.1.2.2" in listed
    assert "fd00::2" in listed

    cni.delete(conf, pod)

    assert rules_left(node) == []


@backends
@pytest.mark.parametrize("server", ["172.16.0.2", "fd99::2"], ids=["v4", "v6"])
def test_packets_leave_the_node_with_its_own_address(
    cni: Cni,
    layer3: MakeConf,
    pod: Netns,
    outside: Netns,
    seen_from: SeenFrom,
    server: str,
    backend: Conf,
) -> None:
    cni.add(layer3(*DUAL, isDefaultGateway=True, ipMasq=True, **backend), pod)

    assert seen_from(outside, server, pod) == server[:-1] + "1"


@pytest.mark.parametrize("server", ["172.16.0.2", "fd99::2"], ids=["v4", "v6"])
def test_without_ip_masq_packets_leave_with_the_pods_address(
    cni: Cni, layer3: MakeConf, pod: Netns, outside: Netns, seen_from: SeenFrom, server: str
) -> None:
    cni.add(layer3(*DUAL, isDefaultGateway=True), pod)

    assert seen_from(outside, server, pod) == {"1": "10.1.2.2", "f": "fd00::2"}[server[0]]


def test_after_del_packets_are_no_longer_rewritten(
    cni: Cni,
    layer3: MakeConf,
    netns: MakeNetns,
    pod: Netns,
    outside: Netns,
    seen_from: SeenFrom,
) -> None:
    conf = layer3(isDefaultGateway=True)
    cni.add(conf | {"ipMasq": True}, pod)
    cni.delete(conf | {"ipMasq": True}, pod)
    other = netns()

    cni.add(conf, other, container="c2")

    assert seen_from(outside, "172.16.0.2", other).startswith("10.1.2.")


def test_packets_to_the_own_network_keep_their_address(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns, seen_from: SeenFrom
) -> None:
    cni.add(layer3(isDefaultGateway=True, ipMasq=True), pod)

    assert seen_from(node, "10.1.2.1", pod) == "10.1.2.2"


def test_two_interfaces_of_one_container_are_masqueraded_apart(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns, elements: Elements
) -> None:
    conf = layer3(isGateway=True, ipMasq=True, ipMasqBackend="iptables")
    cni.add(conf, pod)
    cni.add(conf, pod, ifname="net1")
    sources = [each for each in elements(node) if "goto" in each]
    assert len(sources) == 2

    cni.delete(conf, pod)

    sources = [each for each in elements(node) if "goto" in each]
    assert ["10.1.2.3" in each for each in sources] == [True]


@pytest.mark.parametrize("fields", [{}, {"ipMasq": True}], ids=["without", "with-masquerade"])
def test_del_leaves_nothing_of_the_mac_check_that_add_made(
    cni: Cni,
    layer3: MakeConf,
    node: Netns,
    pod: Netns,
    elements: Elements,
    nft_json: AskTool,
    rules_left: AskRules,
    version: str,
    fields: Conf,
) -> None:
    conf = layer3(cniVersion=version, macspoofchk=True, **fields)
    result = cni.add(conf, pod)
    listed = " ".join(elements(node))
    assert result["interfaces"][1]["name"] in listed
    assert result["interfaces"][2]["mac"] in listed
    assert "bridge" in _tables(nft_json, node)

    cni.delete(conf, pod)

    assert rules_left(node) == []


@pytest.mark.parametrize("checked", [True, False], ids=["macspoofchk", "plain"])
def test_frames_with_a_foreign_mac_do_not_pass_the_mac_check(
    cni: Cni,
    layer3: MakeConf,
    pod: Netns,
    sh: Shell,
    checked: bool,  # noqa: FBT001  # a parameter
) -> None:
    cni.add(layer3(isGateway=True, macspoofchk=checked), pod)
    assert pod.ping("10.1.2.1")

    sh(pod, "ip link set eth0 address 02:00:00:00:00:66")

    assert pod.ping("10.1.2.1", wait_s=1) is not checked


LLDP: Final = """
import socket
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind(("eth0", 0))
out.send(bytes.fromhex("0180c200000e" "020000000066" "88cc") + bytes(60))
"""


@pytest.mark.parametrize("checked", [True, False], ids=["macspoofchk", "plain"])
def test_the_bridge_does_not_learn_from_frames_that_pass_the_mac_check_by(
    cni: Cni,
    conf: MakeConf,
    node: Netns,
    pod: Netns,
    bridge_json: AskTool,
    checked: bool,  # noqa: FBT001  # a parameter
) -> None:
    cni.add(conf(macspoofchk=checked), pod)

    pod.run(sys.executable, "-IS", "-c", LLDP)

    learnt = [each["mac"] for each in bridge_json("fdb", "show", "br", "br0", netns=node)]
    assert ("02:00:00:00:00:66" in learnt) is not checked


def test_the_mac_check_of_one_pod_leaves_another_alone(
    cni: Cni, layer3: MakeConf, netns: MakeNetns, sh: Shell
) -> None:
    guarded, free = netns(), netns()
    cni.add(layer3(isGateway=True, macspoofchk=True), guarded, container="c1")
    cni.add(layer3(isGateway=True), free, container="c2")
    sh(free, "ip link set eth0 address 02:00:00:00:00:66")

    assert free.ping("10.1.2.1")
    assert free.ping("10.1.2.2")


def test_del_of_one_pod_leaves_the_entries_of_another(
    cni: Cni, layer3: MakeConf, node: Netns, netns: MakeNetns, elements: Elements, sh: Shell
) -> None:
    goes, stays = netns(), netns()
    conf = layer3(isGateway=True, ipMasq=True, macspoofchk=True)
    cni.add(conf, goes, container="goes")
    cni.add(conf, stays, container="stays")

    cni.delete(conf, goes, container="goes")

    owned = [each for each in elements(node) if "sb1:gateway" not in each]
    assert len(owned) == 4
    assert all("net1 stays eth0" in each for each in owned)
    assert stays.ping("10.1.2.1")
    sh(stays, "ip link set eth0 address 02:00:00:00:00:66")
    assert not stays.ping("10.1.2.1", wait_s=1)


def test_rules_of_others_are_not_touched(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns, sh: Shell
) -> None:
    for line in ("table inet theirs", "chain inet theirs c", "rule inet theirs c counter"):
        sh(node, f"nft add {line}")
    before = node.run("nft", "list", "table", "inet", "theirs")
    conf = layer3(isGateway=True, ipMasq=True, macspoofchk=True)

    cni.add(conf, pod)
    cni.delete(conf, pod)

    assert node.run("nft", "list", "table", "inet", "theirs") == before


def test_a_layer_2_network_can_check_macs(
    cni: Cni, conf: MakeConf, node: Netns, pod: Netns, elements: Elements
) -> None:
    guarded = conf(macspoofchk=True)
    result = cni.add(guarded, pod)

    assert len(elements(node)) == 2
    assert cni.check(guarded, pod, result).result is None


def test_two_pods_on_one_address_belong_to_the_last_one(
    cni: Cni, conf: MakeConf, node: Netns, netns: MakeNetns, elements: Elements
) -> None:
    ipam = {"type": "static", "addresses": [{"address": "10.1.2.9/24"}]}
    shared: dict[str, Any] = conf(ipam=ipam, ipMasq=True)
    cni.add(shared, netns(), container="first")
    cni.add(shared, netns(), container="last")

    cni.delete(shared, None, container="first")

    assert ["net1 last eth0" in each for each in elements(node)] == [True]
