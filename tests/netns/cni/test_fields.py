# SPDX-License-Identifier: Apache-2.0
"""What each field of the configuration does: every test fails when the field is ignored."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from spanbridge.testing.plugin import MakeNetns, Netns
from spanbridge.testing.runtime import Cni, Conf

MakeConf = Callable[..., Conf]
Read = Callable[[Netns], dict[str, Any]]
Addresses = Callable[[Netns, str], list[str]]
Shell = Callable[[Netns, str], str]


def test_without_bridge_the_name_is_cni0(
    cni: Cni, conf: MakeConf, node: Netns, pod: Netns, links: Read
) -> None:
    plain = conf()
    del plain["bridge"]

    cni.add(plain, pod)

    assert links(node)["cni0"]["linkinfo"]["info_kind"] == "bridge"


def test_bridge_names_the_bridge(
    cni: Cni, conf: MakeConf, node: Netns, pod: Netns, links: Read
) -> None:
    result = cni.add(conf(bridge="br-mig"), pod)

    assert links(node)[result["interfaces"][1]["name"]]["master"] == "br-mig"


@pytest.mark.parametrize(("asked", "expected"), [(1420, 1420), (0, 1500), (9000, 9000)])
def test_mtu_sets_both_ends_and_the_bridge(
    cni: Cni, conf: MakeConf, node: Netns, pod: Netns, links: Read, asked: int, expected: int
) -> None:
    result = cni.add(conf(mtu=asked), pod)

    seen = links(node)
    found = [seen["br0"], seen[result["interfaces"][1]["name"]], links(pod)["eth0"]]
    assert [each["mtu"] for each in found] == [expected] * 3


def test_a_bridge_keeps_its_mtu_when_its_ports_go(
    cni: Cni, conf: MakeConf, node: Netns, pod: Netns, links: Read
) -> None:
    big = conf(mtu=9000)
    cni.add(big, pod)
    cni.add(conf(mtu=1400, name="small"), pod, ifname="net1")
    assert links(node)["br0"]["mtu"] == 9000

    cni.delete(big, pod)
    cni.delete(conf(name="small"), pod, ifname="net1")

    assert links(node)["br0"]["mtu"] == 9000


def test_the_host_end_has_no_queue(
    cni: Cni, conf: MakeConf, node: Netns, pod: Netns, links: Read
) -> None:
    result = cni.add(conf(), pod)

    assert "txqlen" not in links(node)[result["interfaces"][1]["name"]]
    assert links(pod)["eth0"]["txqlen"] == 1000


def test_a_pair_has_one_queue_at_each_end(
    cni: Cni, conf: MakeConf, node: Netns, pod: Netns, links: Read
) -> None:
    result = cni.add(conf(), pod)

    for link in (links(node)[result["interfaces"][1]["name"]], links(pod)["eth0"]):
        assert (link["num_tx_queues"], link["num_rx_queues"]) == (1, 1)


@pytest.mark.parametrize("wanted", [True, False], ids=["on", "off"])
@pytest.mark.parametrize(
    ("field", "flag"), [("hairpinMode", "hairpin"), ("portIsolation", "isolated")]
)
def test_a_flag_of_the_port_is_as_configured(  # fixtures
    cni: Cni,
    conf: MakeConf,
    node: Netns,
    pod: Netns,
    port_flags: Read,
    field: str,
    flag: str,
    wanted: bool,  # noqa: FBT001  # a parameter
) -> None:
    result = cni.add(conf(**{field: wanted}), pod)

    assert port_flags(node)[result["interfaces"][1]["name"]][flag] is wanted


@pytest.mark.parametrize("isolated", [True, False], ids=["isolated", "plain"])
def test_isolated_pods_reach_the_gateway_but_not_each_other(
    cni: Cni,
    layer3: MakeConf,
    netns: MakeNetns,
    version: str,
    isolated: bool,  # noqa: FBT001  # a parameter
) -> None:
    one, two = netns(), netns()
    conf = layer3(cniVersion=version, isGateway=True, portIsolation=isolated)
    cni.add(conf, one, container="one")
    cni.add(conf, two, container="two")

    assert one.ping("10.1.2.1")
    assert one.ping("10.1.2.3", wait_s=1) is not isolated


def test_promisc_mode_makes_the_bridge_promiscuous(
    cni: Cni, conf: MakeConf, node: Netns, pod: Netns, links: Read, version: str
) -> None:
    cni.add(conf(cniVersion=version, promiscMode=True), pod)

    assert links(node)["br0"]["promiscuity"] == 1
    assert "PROMISC" in links(node)["br0"]["flags"]


def test_without_promisc_mode_a_promiscuous_bridge_is_left_so(
    cni: Cni, conf: MakeConf, node: Netns, pod: Netns, links: Read, sh: Shell
) -> None:
    sh(node, "ip link add br0 type bridge")
    sh(node, "ip link set br0 promisc on")

    cni.add(conf(promiscMode=False), pod)

    assert "PROMISC" in links(node)["br0"]["flags"]


def test_a_disabled_container_interface_stays_down(
    cni: Cni, conf: MakeConf, node: Netns, pod: Netns, links: Read, version: str
) -> None:
    cni.add(conf(cniVersion=version, disableContainerInterface=True), pod)

    inside = links(pod)["eth0"]
    assert "UP" not in inside["flags"]
    assert pod.run("ip", "-6", "addr", "show", "dev", "eth0") == ""
    assert "UP" in links(node)["br0"]["flags"]


def test_a_disabled_container_interface_can_be_checked(
    cni: Cni, conf: MakeConf, pod: Netns, sh: Shell
) -> None:
    disabled = conf(disableContainerInterface=True)
    result = cni.add(disabled, pod)
    assert cni.check(disabled, pod, result).result is None

    sh(pod, "ip link set eth0 up")

    assert cni.check(disabled, pod, result).result is None


def test_dns_replaces_what_ipam_says(cni: Cni, conf: MakeConf, pod: Netns, version: str) -> None:
    ipam = {
        "type": "static",
        "addresses": [{"address": "10.1.2.9/24"}],
        "dns": {"nameservers": ["192.0.2.1"], "search": ["ipam.example"]},
    }
    asked = {"nameservers": ["192.0.2.53"], "domain": "example.org", "options": ["ndots:2"]}

    result = cni.add(conf(cniVersion=version, ipam=ipam, dns=asked), pod)

    assert result["dns"] == asked


@pytest.mark.parametrize("dns", [{}, {"nameservers": []}, None], ids=["empty", "no-server", "null"])
def test_an_empty_dns_leaves_that_of_ipam(
    cni: Cni, conf: MakeConf, pod: Netns, dns: Conf | None
) -> None:
    said = {"nameservers": ["192.0.2.1"]}
    ipam = {"type": "static", "addresses": [{"address": "10.1.2.9/24"}], "dns": said}

    assert cni.add(conf(ipam=ipam, dns=dns), pod)["dns"] == said


def _claim(cni: Cni, conf: MakeConf, pod: Netns, **fields: Any) -> Any:  # noqa: ANN401
    """Attach with fd00::9, whoever else has it."""
    ipam = {"type": "static", "addresses": [{"address": "fd00::9/64"}]}
    return cni.call("ADD", conf(ipam=ipam, **fields), pod, container=pod.name)


def test_with_enabledad_a_duplicate_fails_and_everything_is_undone(
    cni: Cni, conf: MakeConf, node: Netns, netns: MakeNetns, dump: Callable[..., dict[str, Any]]
) -> None:
    first, second = netns(), netns()
    assert _claim(cni, conf, first).result
    before = dump(node, first, second)

    answer = _claim(cni, conf, second, enabledad=True, ipMasq=True, macspoofchk=True)

    assert answer.code == 112
    assert "fd00::9" in answer.error["msg"]
    assert dump(node, first, second) == before


def test_with_enabledad_a_free_address_is_no_longer_tentative(
    cni: Cni, conf: MakeConf, pod: Netns
) -> None:
    assert _claim(cni, conf, pod, enabledad=True).result

    listed = pod.run("ip", "-6", "addr", "show", "dev", "eth0")
    assert "tentative" not in listed
    assert "nodad" not in listed
    for sysctl in ("accept_dad", "enhanced_dad"):
        assert pod.run("cat", f"/proc/sys/net/ipv6/conf/eth0/{sysctl}") == "1\n"


def test_without_enabledad_nobody_waits_and_a_duplicate_passes(
    cni: Cni, conf: MakeConf, netns: MakeNetns
) -> None:
    first, second = netns(), netns()
    assert _claim(cni, conf, first).result

    started = time.process_time()
    assert _claim(cni, conf, second).result

    assert time.process_time() - started < 1
    listed = second.run("ip", "-6", "addr", "show", "dev", "eth0", "scope", "global")
    assert "fd00::9" in listed
    assert "tentative" not in listed
    assert second.run("cat", "/proc/sys/net/ipv6/conf/eth0/accept_dad") == "0\n"


@pytest.mark.parametrize("vlans", [{"vlan": 2}, {"vlanTrunk": [{"id": 2}]}], ids=["vlan", "trunk"])
def test_vlans_on_a_bridge_made_without_filtering_are_refused(
    cni: Cni,
    conf: MakeConf,
    node: Netns,
    pod: Netns,
    sh: Shell,
    dump: Callable[..., dict[str, Any]],
    vlans: Conf,
) -> None:
    sh(node, "ip link add br0 type bridge")
    before = dump(node, pod)

    error = cni.call("ADD", conf(**vlans), pod).error

    assert error["code"] == 103
    assert "ip link set dev br0 type bridge vlan_filtering 1" in error["details"]
    assert dump(node, pod) == before


def test_preserve_default_vlan_alone_changes_nothing(
    cni: Cni, conf: MakeConf, node: Netns, pod: Netns, links: Read
) -> None:
    cni.add(conf(preserveDefaultVlan=True), pod)

    assert links(node)["br0"]["linkinfo"]["info_data"]["vlan_filtering"] == 0


def test_gateway_and_masquerade_are_off_by_default(
    cni: Cni,
    layer3: MakeConf,
    node: Netns,
    pod: Netns,
    addresses: Addresses,
    elements: Callable[[Netns], list[str]],
) -> None:
    cni.add(layer3(), pod)

    assert addresses(node, "br0") == []
    assert elements(node) == []
    assert node.run("cat", "/proc/sys/net/ipv4/ip_forward") == "0\n"
    assert "default" not in pod.run("ip", "route")


def test_is_gateway_gives_the_next_hop_but_no_default_route(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns, addresses: Addresses
) -> None:
    result = cni.add(layer3(isGateway=True), pod)

    assert result["ips"][0]["gateway"] == "10.1.2.1"
    assert addresses(node, "br0") == ["10.1.2.1/24"]
    assert "default" not in pod.run("ip", "route")


@pytest.mark.parametrize(
    ("subnet", "switch"),
    [("10.1.2.0/24", "ipv4/ip_forward"), ("fd00::/64", "ipv6/conf/all/forwarding")],
    ids=["v4", "v6"],
)
def test_is_gateway_forwards_the_family_it_routes(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns, subnet: str, switch: str
) -> None:
    cni.add(layer3(subnet, isGateway=True), pod)

    switches = {"ipv4/ip_forward", "ipv6/conf/all/forwarding"}
    state = {each: node.run("cat", f"/proc/sys/net/{each}").strip() for each in switches}
    assert state == dict.fromkeys(switches, "0") | {switch: "1"}


def test_the_node_does_not_listen_to_router_advertisements_of_pods(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns
) -> None:
    result = cni.add(layer3("fd00::/64", isGateway=True), pod)

    for device in ("br0", result["interfaces"][1]["name"]):
        assert node.run("cat", f"/proc/sys/net/ipv6/conf/{device}/accept_ra") == "0\n"


def test_the_node_has_no_ipv6_address_on_a_port(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns
) -> None:
    result = cni.add(layer3("fd00::/64", isGateway=True), pod)
    port = result["interfaces"][1]["name"]

    assert node.run("ip", "-6", "addr", "show", "dev", port) == ""


def test_a_route_has_the_mtu_table_and_metric_that_ipam_gave_it(
    cni: Cni, conf: MakeConf, pod: Netns, ip_json: Callable[..., list[dict[str, Any]]]
) -> None:
    route = {
        "dst": "192.0.2.0/24",
        "gw": "10.1.2.1",
        "mtu": 1300,
        "advmss": 1200,
        "priority": 7,
        "table": 100,
    }
    ipam = {"type": "static", "addresses": [{"address": "10.1.2.9/24"}], "routes": [route]}

    cni.add(conf(ipam=ipam), pod)

    found = ip_json("route", "show", "table", "100", netns=pod)[0]
    assert (found["dst"], found["gateway"], found["metric"]) == ("192.0.2.0/24", "10.1.2.1", 7)
    assert found["metrics"] == [{"mtu": 1300, "advmss": 1200}]
