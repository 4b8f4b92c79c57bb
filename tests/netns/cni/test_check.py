# SPDX-License-Identifier: Apache-2.0
"""CHECK finds each broken promise and says which, and tolerates what is no fault."""

import subprocess
from collections.abc import Callable
from typing import Any, Final

import pytest

from spanbridge.testing.plugin import Netns
from spanbridge.testing.runtime import Cni, Conf

MakeConf = Callable[..., Conf]
Shell = Callable[[Netns, str], str]

GATEWAY: Final = {"isDefaultGateway": True}
GUARDED: Final = GATEWAY | {"ipMasq": True, "macspoofchk": True}

ON_THE_NODE: Final = {
    "bridge-down": ({}, "ip link set br0 down", "bridge br0: it is down"),
    "bridge-gone": ({}, "ip link del br0", "bridge br0: it does not exist"),
    "port-detached": ({}, "ip link set {port} nomaster", "no port of br0"),
    "port-on-another-bridge": ({}, "ip link set {port} master br9", "no port of br0"),
    "port-down": ({}, "ip link set {port} down", "host port {port}: it is down"),
    "port-mtu": ({"mtu": 1400}, "ip link set {port} mtu 1300", "its MTU is 1300, not 1400"),
    "port-accepts-ra": (
        {},
        "sysctl -w net/ipv6/conf/{port}/accept_ra=1",
        "router advertisements",
    ),
    "hairpin-off": (
        {"hairpinMode": True},
        "bridge link set dev {port} hairpin off",
        "hairpin is not on",
    ),
    "hairpin-on": ({}, "bridge link set dev {port} hairpin on", "hairpin is not off"),
    "isolation-off": (
        {"portIsolation": True},
        "bridge link set dev {port} isolated off",
        "isolated is not on",
    ),
    "isolation-on": ({}, "bridge link set dev {port} isolated on", "isolated is not off"),
    "promisc-off": ({"promiscMode": True}, "ip link set br0 promisc off", "not promiscuous"),
    "bridge-mac": (GATEWAY, "ip link set br0 address 02:00:00:00:00:99", "bridge br0: its MAC"),
    "gateway-address": (GATEWAY, "ip addr del 10.1.2.1/24 dev br0", "lacks address 10.1.2.1/24"),
    "gateway-prefix": (
        GATEWAY,
        "sh -c 'ip addr del 10.1.2.1/24 dev br0; ip addr add 10.1.2.1/25 dev br0'",
        "lacks address 10.1.2.1/24",
    ),
    "gateway-address-v6": (
        GATEWAY,
        "ip addr del 2001:db8::1/64 dev br0",
        "lacks address 2001:db8::1/64",
    ),
    "forwarding": (GATEWAY, "sysctl -w net/ipv4/ip_forward=0", "forwarding of IPv4: it is off"),
    "forwarding-v6": (
        GATEWAY,
        "sysctl -w net/ipv6/conf/all/forwarding=0",
        "forwarding of IPv6: it is off",
    ),
    "masquerade-table": (GUARDED, "nft delete table inet spanbridge", "masquerade of 10.1.2.2"),
    "masquerade-element": (
        GUARDED,
        "nft delete element inet spanbridge sources4 {{ 10.1.2.2 : goto net-10.1.2.0/24 }}",
        "masquerade of 10.1.2.2",
    ),
    "masquerade-rules": (GUARDED, "nft flush chain inet spanbridge postrouting", "the firewall"),
    "spoof-table": (GUARDED, "nft delete table bridge spanbridge", "the MAC check on {port}"),
    "spoof-binding": (
        GUARDED,
        "nft flush set bridge spanbridge bindings",
        "the MAC check on {port}",
    ),
    "link-local-learning": (
        GUARDED,
        "ip link set br0 type bridge no_linklocal_learn 0",
        "pass the MAC check by",
    ),
    "gateway-entry": (
        GATEWAY,
        "nft delete element bridge spanbridge gateway4-10.1.2.1 {{ {port} }}",
        "gateway 10.1.2.1 stays on this node",
    ),
    "gateway-entry-v6": (
        GATEWAY,
        "nft flush set bridge spanbridge gateway6-2001-db8--1",
        "gateway 2001:db8::1 stays on this node",
    ),
    "gateway-rules": (
        GATEWAY,
        "nft flush chain bridge spanbridge gateway-forward-arp",
        "the firewall",
    ),
    "spoof-rules": (GUARDED, "nft flush chain bridge spanbridge prerouting", "the firewall"),
}

IN_THE_POD: Final = {
    "interface-gone": ("ip link del eth0", "interface eth0: it does not exist"),
    "interface-renamed": (
        "sh -c 'ip link set eth0 down; ip link set eth0 name eth7'",
        "interface eth0: it does not exist",
    ),
    "interface-replaced": (
        "sh -c 'ip link del eth0; ip link add eth0 type bridge'",
        "interface eth0: it is of kind 'bridge'",
    ),
    "mac": ("ip link set eth0 address 02:00:00:00:00:99", "interface eth0: its MAC"),
    "address": ("ip addr del 10.1.2.2/24 dev eth0", "lacks address 10.1.2.2/24"),
    "address-v6": ("ip addr del 2001:db8::2/64 dev eth0", "lacks address 2001:db8::2/64"),
    "default-route": ("ip route del default", "the route to 0.0.0.0/0 by 10.1.2.1 is missing"),
    "default-route-elsewhere": (
        "ip route replace default via 10.1.2.77",
        "the route to 0.0.0.0/0 by 10.1.2.1 is missing",
    ),
    "interface-down": ("ip link set eth0 down", "interface eth0: it is down"),
}


def _layer3(layer3: MakeConf, **fields: Any) -> Conf:  # noqa: ANN401  # JSON
    return layer3("10.1.2.0/24", "2001:db8::/64", **fields)


@pytest.mark.parametrize(("fields", "line", "words"), ON_THE_NODE.values(), ids=ON_THE_NODE.keys())
def test_what_was_broken_on_the_node_is_found_and_named(
    cni: Cni,
    layer3: MakeConf,
    node: Netns,
    pod: Netns,
    sh: Shell,
    fields: Conf,
    line: str,
    words: str,
) -> None:
    conf = _layer3(layer3, **fields)
    result = cni.add(conf, pod)
    port = result["interfaces"][1]["name"]
    assert cni.check(conf, pod, result).result is None
    sh(node, "ip link add br9 type bridge")

    sh(node, line.format(port=port))

    answer = cni.check(conf, pod, result)
    assert answer.code == 120
    assert words.format(port=port) in answer.error["msg"]


@pytest.mark.parametrize(("line", "words"), IN_THE_POD.values(), ids=IN_THE_POD.keys())
def test_what_was_broken_in_the_pod_is_found_and_named(
    cni: Cni, layer3: MakeConf, pod: Netns, sh: Shell, line: str, words: str
) -> None:
    conf = _layer3(layer3, **GATEWAY)
    result = cni.add(conf, pod)

    sh(pod, line)

    answer = cni.check(conf, pod, result)
    assert answer.code == 120
    assert words in answer.error["msg"]


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({}, "bridge link set dev {port} hairpin on"),
        (GATEWAY, "ip addr del 10.1.2.1/24 dev br0"),
        ({}, "ip link set {port} down"),
        (GATEWAY, "sysctl -w net/ipv4/ip_forward=0"),
    ],
    ids=["hairpin", "gateway", "port-down", "forwarding"],
)
def test_the_command_in_the_answer_mends_what_was_found(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns, sh: Shell, fields: Conf, line: str
) -> None:
    conf = layer3(**fields)
    result = cni.add(conf, pod)
    sh(node, line.format(port=result["interfaces"][1]["name"]))
    remedy = cni.check(conf, pod, result).error["details"]

    sh(node, remedy.removeprefix("run: "))

    assert cni.check(conf, pod, result).result is None


def test_a_gateway_that_nobody_named_is_confirmed(cni: Cni, conf: MakeConf, pod: Netns) -> None:
    ipam = {"type": "static", "addresses": [{"address": "10.1.2.9/24"}]}
    unnamed = conf(ipam=ipam, isGateway=True)
    result = cni.add(unnamed, pod)
    assert result["ips"][0]["gateway"] == "10.1.2.1"

    assert cni.check(unnamed, pod, result).result is None


def test_a_reservation_that_is_gone_is_found(
    cni: Cni,
    layer3: MakeConf,
    pod: Netns,
    lease_dir: Any,  # noqa: ANN401
) -> None:
    conf = layer3()
    result = cni.add(conf, pod)

    (lease_dir / "net1/10.1.2.2").unlink()

    assert "10.1.2.2" in cni.check(conf, pod, result).error["msg"]


HARMLESS_ON_THE_NODE: Final = {
    "host-mac-changed": "ip link set {port} address 02:00:00:00:00:99",
    "extra-address-on-the-bridge": "ip addr add 192.0.2.1/24 dev br0",
    "alias-removed": "ip link set {port} alias ''",
    "strangers-rules": "nft add table inet theirs",
}
HARMLESS_IN_THE_POD: Final = {
    "extra-address": "ip addr add 192.0.2.9/24 dev eth0",
    "extra-route": "ip route add 198.51.100.0/24 via 10.1.2.1",
    "route-in-another-table": (
        "sh -c 'ip route del default; ip route add default via 10.1.2.1 table 100'"
    ),
    "extra-interface": "ip link add extra0 type veth",
    "loopback-down": "ip link set lo down",
}


@pytest.mark.parametrize("line", HARMLESS_ON_THE_NODE.values(), ids=HARMLESS_ON_THE_NODE.keys())
def test_a_harmless_change_on_the_node_is_tolerated(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns, sh: Shell, line: str
) -> None:
    conf = _layer3(layer3, **GUARDED)
    result = cni.add(conf, pod)

    sh(node, line.format(port=result["interfaces"][1]["name"]))

    assert cni.check(conf, pod, result).result is None


@pytest.mark.parametrize("line", HARMLESS_IN_THE_POD.values(), ids=HARMLESS_IN_THE_POD.keys())
def test_a_harmless_change_in_the_pod_is_tolerated(
    cni: Cni, layer3: MakeConf, pod: Netns, sh: Shell, line: str
) -> None:
    conf = _layer3(layer3, **GATEWAY)
    result = cni.add(conf, pod)

    sh(pod, line)

    assert cni.check(conf, pod, result).result is None


def test_a_packet_capture_on_the_bridge_is_tolerated(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns
) -> None:
    conf = layer3()
    result = cni.add(conf, pod)
    enter = ["ip", "netns", "exec", node.name]

    with subprocess.Popen(
        [*enter, "tcpdump", "-U", "-w", "-", "-i", "br0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as capture:
        assert capture.stdout is not None
        capture.stdout.read(24)  # the file's header: it listens
        answer = cni.check(conf, pod, result)
        capture.terminate()

    assert answer.result is None


def test_the_mac_of_the_result_may_be_in_upper_case(cni: Cni, layer3: MakeConf, pod: Netns) -> None:
    conf = layer3(macspoofchk=True, isGateway=True)
    result = cni.add(conf, pod)
    for each in result["interfaces"]:
        each["mac"] = each["mac"].upper()

    assert cni.check(conf, pod, result).result is None


@pytest.mark.parametrize("place", [0, 3], ids=["before-ours", "after-ours"])
def test_an_interface_of_a_chained_plugin_is_tolerated(
    cni: Cni, layer3: MakeConf, pod: Netns, place: int
) -> None:
    conf = layer3(isGateway=True)
    result = cni.add(conf, pod)
    result["interfaces"].insert(place, {"name": "wg0", "sandbox": str(pod.path)})
    for each in result["ips"]:
        each["interface"] = 3 if place == 0 else 2

    assert cni.check(conf, pod, result).result is None


def test_a_mac_that_a_chained_plugin_changed_and_reported_is_right(
    cni: Cni, layer3: MakeConf, pod: Netns, sh: Shell
) -> None:
    conf = layer3()
    result = cni.add(conf, pod)

    sh(pod, "ip link set eth0 address 02:00:00:00:00:99")
    result["interfaces"][2]["mac"] = "02:00:00:00:00:99"

    assert cni.check(conf, pod, result).result is None


def test_without_prev_result_nothing_can_be_checked(
    cni: Cni, layer3: MakeConf, pod: Netns, checked_version: str
) -> None:
    conf = layer3(cniVersion=checked_version)
    cni.add(conf, pod)

    error = cni.call("CHECK", conf, pod).error

    assert error["code"] == 7
    assert "prevResult is missing" in error["msg"]
    assert "/prevResult" in error["details"]


def test_a_prev_result_of_another_container_is_refused(
    cni: Cni, layer3: MakeConf, pod: Netns
) -> None:
    conf = layer3()
    result = cni.add(conf, pod)
    result["interfaces"][2]["sandbox"] = "/run/netns/another"

    answer = cni.check(conf, pod, result)

    assert answer.code == 7
    assert "lists no eth0" in answer.error["msg"]


def test_check_is_not_in_version_0_3_1(cni: Cni, layer3: MakeConf, pod: Netns) -> None:
    conf = layer3(cniVersion="0.3.1")
    result = cni.add(conf, pod)

    assert cni.check(conf, pod, result).code == 1


def test_a_namespace_that_is_gone_is_an_error(cni: Cni, layer3: MakeConf, pod: Netns) -> None:
    conf = layer3()
    result = cni.add(conf, pod)
    result["interfaces"][2]["sandbox"] = "/run/netns/gone"

    assert cni.check(conf, "/run/netns/gone", result).code == 4


def test_a_result_of_an_older_version_is_understood(cni: Cni, layer3: MakeConf, pod: Netns) -> None:
    result = cni.add(layer3(cniVersion="0.4.0"), pod)

    assert cni.check(layer3(cniVersion="1.1.0"), pod, result).result is None
