# SPDX-License-Identifier: Apache-2.0
"""MAC addresses: asked for by three ways, and the bridge's own, which must not change."""

from collections.abc import Callable
from typing import Any, Final

import pytest

from spanbridge.testing.plugin import Netns
from spanbridge.testing.runtime import Cni, Conf

MakeConf = Callable[..., Conf]
Links = Callable[[Netns], dict[str, Any]]
Shell = Callable[[Netns, str], str]

BY_ARGS: Final = "02:00:00:00:00:01"
BY_CONF_ARGS: Final = "02:00:00:00:00:02"
BY_RUNTIME: Final = "02:00:00:00:00:03"

WAYS: Final = {
    "CNI_ARGS": ({}, BY_ARGS),
    "args.cni": ({"args": {"cni": {"mac": BY_CONF_ARGS}}}, BY_CONF_ARGS),
    "runtimeConfig": (
        {"args": {"cni": {"mac": BY_CONF_ARGS}}, "runtimeConfig": {"mac": BY_RUNTIME}},
        BY_RUNTIME,
    ),
}


@pytest.mark.parametrize(("fields", "winner"), WAYS.values(), ids=WAYS.keys())
def test_the_strongest_way_to_ask_for_a_mac_wins(
    cni: Cni, conf: MakeConf, pod: Netns, links: Links, version: str, fields: Conf, winner: str
) -> None:
    result = cni.add(
        conf(cniVersion=version, capabilities={"mac": True}, **fields), pod, args=f"MAC={BY_ARGS}"
    )

    assert links(pod)["eth0"]["address"] == winner
    assert result["interfaces"][2]["mac"] == winner


def test_an_attachment_with_a_requested_mac_passes_check(
    cni: Cni, conf: MakeConf, pod: Netns
) -> None:
    asked = conf(runtimeConfig={"mac": "02-00-00-00-00-AB"})
    result = cni.add(asked, pod)

    assert cni.check(asked, pod, result).result is None


def test_without_a_request_every_pod_has_a_local_mac_of_its_own(
    cni: Cni, conf: MakeConf, pod: Netns, links: Links
) -> None:
    cni.add(conf(), pod)
    cni.add(conf(name="net2"), pod, ifname="net1")

    macs = {links(pod)[name]["address"] for name in ("eth0", "net1")}
    assert len(macs) == 2
    assert all(int(mac[:2], 16) & 3 == 2 for mac in macs)


@pytest.mark.parametrize(
    ("mac", "args", "code"),
    [
        ("02:00:00:00:00", "", 7),
        ("junk", "", 7),
        ("01:00:5e:00:00:01", "", 7),
        ("00:00:00:00:00:00", "", 7),
        ("02:00:00:00:00:00:00:01", "", 7),
        ("", "MAC=junk", 4),
    ],
    ids=["short", "junk", "multicast", "zero", "eight-octets", "by-args"],
)
def test_a_mac_that_cannot_be_is_refused_before_anything_is_made(
    cni: Cni,
    conf: MakeConf,
    node: Netns,
    pod: Netns,
    links: Links,
    mac: str,
    args: str,
    code: int,
) -> None:
    answer = cni.call("ADD", conf(runtimeConfig={"mac": mac}), pod, args=args)

    assert answer.code == code
    assert set(links(node)) == {"lo"}


@pytest.mark.parametrize("subnet", ["10.1.2.0/24", "2001:db8::/64"], ids=["v4", "v6"])
@pytest.mark.parametrize("made_by", ["us", "an administrator"])
def test_the_mac_of_a_bridge_with_a_gateway_does_not_change(
    cni: Cni,
    layer3: MakeConf,
    node: Netns,
    pod: Netns,
    links: Links,
    sh: Shell,
    subnet: str,
    made_by: str,
) -> None:
    if made_by != "us":
        sh(node, "ip link add br0 type bridge")
    conf = layer3(subnet, isGateway=True)
    cni.add(conf, pod)
    mac = links(node)["br0"]["address"]

    cni.add(layer3("10.5.0.0/24", name="other"), pod, ifname="net1")
    cni.delete(conf, pod)
    cni.delete(layer3("10.5.0.0/24", name="other"), pod, ifname="net1")

    assert links(node)["br0"]["address"] == mac


def test_the_mac_of_a_layer_2_bridge_of_ours_does_not_change(
    cni: Cni, conf: MakeConf, node: Netns, pod: Netns, links: Links
) -> None:
    cni.add(conf(), pod)
    mac = links(node)["br0"]["address"]

    cni.delete(conf(), pod)
    assert links(node)["br0"]["address"] == mac
    cni.add(conf(), pod)

    assert links(node)["br0"]["address"] == mac


def test_an_administrators_mac_of_the_bridge_is_kept(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns, links: Links, sh: Shell
) -> None:
    sh(node, "ip link add br0 address 02:00:00:00:00:77 type bridge")

    cni.add(layer3(isGateway=True), pod)

    assert links(node)["br0"]["address"] == "02:00:00:00:00:77"
