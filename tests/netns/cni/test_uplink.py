# SPDX-License-Identifier: Apache-2.0
"""The key ``uplink``, as far as it goes without VLANs; those are in tests/vm/cni."""

from collections.abc import Callable
from typing import Any, Final

import pytest

from spanbridge.testing.plugin import MakeNetns, Netns
from spanbridge.testing.runtime import Cni, Conf

MakeConf = Callable[..., Conf]
Read = Callable[[Netns], dict[str, Any]]
Shell = Callable[[Netns, str], str]
Dump = Callable[..., dict[str, Any]]


@pytest.fixture
def card(node: Netns, netns: MakeNetns, sh: Shell) -> Netns:
    """A card ``eth1`` of the node, and the host behind it with 10.1.2.200/24 on ``eth0``."""
    there = netns("outside")
    sh(node, f"ip link add eth1 type veth peer name eth0 netns {there.name}")
    sh(there, "ip addr add 10.1.2.200/24 dev eth0")
    sh(there, "ip link set eth0 up")
    return there


def test_the_uplink_becomes_a_port_and_leads_outside(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns, links: Read, card: Netns
) -> None:
    result = cni.add(layer3(uplink="eth1"), pod)

    seen = links(node)["eth1"]
    assert (seen["master"], "UP" in seen["flags"]) == ("br0", True)
    assert card.ping(result["ips"][0]["address"].partition("/")[0])


@pytest.mark.usefixtures("card")
def test_the_bridge_keeps_its_mac_when_the_uplink_comes(
    cni: Cni, conf: MakeConf, node: Netns, pod: Netns, sh: Shell, links: Read
) -> None:
    sh(node, "ip link set eth1 address 02:00:00:00:00:01")
    sh(node, "ip link add br0 type bridge")
    before = links(node)["br0"]["address"]

    cni.add(conf(uplink="eth1"), pod)

    assert links(node)["br0"]["address"] == before


@pytest.mark.usefixtures("card")
def test_an_uplink_that_is_right_is_left_alone(
    cni: Cni, conf: MakeConf, node: Netns, netns: MakeNetns, links: Read, sh: Shell
) -> None:
    cni.add(conf(uplink="eth1"), netns(), container="first")
    before = links(node)["eth1"]

    cni.add(conf(uplink="eth1", name="other"), netns(), container="second")
    assert links(node)["eth1"]["master"] == before["master"] == "br0"

    sh(node, "ip link set eth1 down")
    cni.add(conf(uplink="eth1", name="third"), netns(), container="third")
    assert "UP" in links(node)["eth1"]["flags"]


@pytest.mark.usefixtures("card")
def test_del_leaves_the_uplink_to_the_other_pods(
    cni: Cni, conf: MakeConf, node: Netns, pod: Netns, links: Read
) -> None:
    network = conf(uplink="eth1")
    cni.add(network, pod)

    cni.delete(network, pod)
    assert cni.call("GC", network | {"cni.dev/valid-attachments": []}).result is None

    assert links(node)["eth1"]["master"] == "br0"


OTHER_USE: Final = {
    "missing": (["ip link del eth1"], "there is no such device"),
    "address": (["ip addr add 192.0.2.1/24 dev eth1"], "it has the address 192.0.2.1/24"),
    "master": (
        ["ip link add br9 type bridge", "ip link set eth1 master br9"],
        "it is a port of br9 (bridge) already",
    ),
    "default-route": (
        ["ip link set eth1 up", "ip route add default dev eth1"],
        "the node's default route leaves by it",
    ),
    "macvlan": (["ip link add mac0 link eth1 type macvlan"], "the kernel refuses"),
}


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize(("lines", "cause"), OTHER_USE.values(), ids=OTHER_USE)
def test_a_device_with_another_use_is_refused_and_all_is_as_before(
    cni: Cni,
    conf: MakeConf,
    node: Netns,
    pod: Netns,
    sh: Shell,
    dump: Dump,
    lines: list[str],
    cause: str,
) -> None:
    for line in lines:
        sh(node, line)
    before = dump(node, pod)

    error = cni.call("ADD", conf(uplink="eth1"), pod).error

    assert error["code"] == 105
    assert error["msg"].startswith(f"cannot use eth1 as the uplink: {cause}")
    assert error["details"]
    assert dump(node, pod) == before


@pytest.mark.usefixtures("card")
def test_an_uplink_too_small_for_the_network_is_refused(
    cni: Cni, conf: MakeConf, pod: Netns, node: Netns, sh: Shell
) -> None:
    large = conf(uplink="eth1", mtu=9000)
    error = cni.call("ADD", large, pod).error
    assert error["code"] == 105
    assert "ip link set eth1 mtu 9000" in error["details"]

    sh(node, "ip link set eth1 mtu 9000")
    cni.add(large, pod)


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize("bridge", ["missing", "there", "in-use"])
@pytest.mark.parametrize("state", ["up", "down"])
def test_a_failed_add_takes_the_uplink_back(
    cni: Cni,
    conf: MakeConf,
    node: Netns,
    netns: MakeNetns,
    sh: Shell,
    dump: Dump,
    delegate: Callable[[str], dict[str, str]],
    bridge: str,
    state: str,
) -> None:
    pod, other = netns(), netns()
    sh(node, f"ip link set eth1 {state}")
    if bridge != "missing":
        sh(node, "ip link add br0 up address 02:00:00:00:00:77 type bridge")
    if bridge == "in-use":
        cni.add(conf(), other, container="other")
    before = dump(node, pod, other)

    failing = conf(uplink="eth1", ipam={"type": "fake"})
    assert cni.call("ADD", failing, pod, env=delegate("exit 1")).code == 113

    assert dump(node, pod, other) == before


@pytest.mark.usefixtures("card")
def test_a_failed_add_leaves_the_uplink_of_others(
    cni: Cni,
    conf: MakeConf,
    node: Netns,
    netns: MakeNetns,
    links: Read,
    delegate: Callable[[str], dict[str, str]],
) -> None:
    cni.add(conf(uplink="eth1"), netns(), container="first")

    failing = conf(uplink="eth1", ipam={"type": "fake"})
    assert cni.call("ADD", failing, netns(), env=delegate("exit 1")).code == 113

    assert links(node)["eth1"]["master"] == "br0"


BROKEN: Final = {
    "gone": ("ip link del eth1", "it does not exist"),
    "no-port": ("ip link set eth1 nomaster", "it is no port of br0"),
    "down": ("ip link set eth1 down", "it is down"),
    "small": ("ip link set eth1 mtu 1400", "its MTU is 1400, below 1500"),
}


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize(("line", "cause"), BROKEN.values(), ids=BROKEN)
def test_check_names_what_is_wrong_with_the_uplink(
    cni: Cni, conf: MakeConf, node: Netns, pod: Netns, sh: Shell, line: str, cause: str
) -> None:
    network = conf(uplink="eth1", mtu=1500)
    result = cni.add(network, pod)
    assert cni.check(network, pod, result).result is None

    sh(node, line)

    error = cni.check(network, pod, result).error
    assert (error["code"], error["msg"]) == (120, f"cannot confirm uplink eth1: {cause}")
    assert error["details"]


@pytest.mark.usefixtures("card")
def test_status_notices_an_uplink_that_add_would_refuse(
    cni: Cni, conf: MakeConf, node: Netns, sh: Shell
) -> None:
    network = conf(uplink="eth1")
    assert cni.call("STATUS", network).result is None

    sh(node, "ip addr add 192.0.2.1/24 dev eth1")
    assert "192.0.2.1/24" in cni.call("STATUS", network).error["msg"]

    sh(node, "ip link del eth1")
    error = cni.call("STATUS", network).error
    assert (error["code"], "no such device" in error["msg"]) == (50, True)
