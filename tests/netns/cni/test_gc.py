# SPDX-License-Identifier: Apache-2.0
"""GC removes what no valid attachment of its own network holds, and nothing else."""

from collections.abc import Callable
from typing import Any, Final

import pytest

from spanbridge.testing.plugin import AskRules, MakeNetns, Netns
from spanbridge.testing.runtime import Answer, Cni, Conf

MakeConf = Callable[..., Conf]
Links = Callable[[Netns], dict[str, Any]]
Leases = Callable[[], dict[str, str]]
Shell = Callable[[Netns, str], str]
Dump = Callable[..., dict[str, Any]]

FULL: Final = {"isGateway": True, "ipMasq": True, "macspoofchk": True}
LISTED: Final = "cni.dev/valid-attachments"


def _collect(cni: Cni, conf: Conf, *valid: tuple[str, str], key: str = LISTED) -> Answer:
    listed = [{"containerID": container, "ifname": ifname} for container, ifname in valid]
    return cni.call("GC", conf | {key: listed})


@pytest.mark.parametrize("key", [LISTED, "cni.dev/attachments"])
def test_stale_attachments_go_and_valid_ones_stay(
    cni: Cni, layer3: MakeConf, node: Netns, netns: MakeNetns, dump: Dump, key: str
) -> None:
    conf, valid, stale = layer3(**FULL), netns(), netns()
    cni.add(conf, valid, container="valid")
    before = dump(node, valid, stale)
    cni.add(conf, stale, container="stale")
    cni.add(conf, stale, container="valid", ifname="stale0")

    assert _collect(cni, conf, ("valid", "eth0"), key=key).result is None

    assert dump(node, valid, stale) == before


def test_an_empty_list_means_that_nothing_is_valid(
    cni: Cni,
    layer3: MakeConf,
    node: Netns,
    pod: Netns,
    links: Links,
    leases: Leases,
    rules_left: AskRules,
) -> None:
    conf = layer3(**FULL)
    cni.add(conf, pod)

    assert _collect(cni, conf).result is None

    assert set(links(node)) == {"lo", "br0"}
    assert set(links(pod)) == {"lo"}
    assert leases() == {}
    assert rules_left(node) == []


@pytest.mark.parametrize("fields", [{}, {LISTED: None}], ids=["absent", "null"])
def test_a_missing_list_is_an_error_and_nothing_is_removed(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns, dump: Dump, fields: Conf
) -> None:
    conf = layer3(**FULL)
    cni.add(conf, pod)
    before = dump(node, pod)

    answer = cni.call("GC", conf | fields)

    assert answer.code == 7
    assert "valid-attachments" in answer.error["details"]
    assert dump(node, pod) == before


@pytest.mark.parametrize(
    "entry",
    [{"containerID": "c1"}, {"ifname": "eth0"}, "c1", None, {"containerID": "", "ifname": "eth0"}],
    ids=["no-ifname", "no-container", "text", "null", "empty"],
)
def test_a_malformed_list_is_an_error_and_nothing_is_removed(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns, dump: Dump, entry: object
) -> None:
    conf = layer3(**FULL)
    cni.add(conf, pod)
    before = dump(node, pod)

    assert cni.call("GC", conf | {LISTED: [entry]}).code == 7

    assert dump(node, pod) == before


def test_other_networks_are_not_touched(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns, dump: Dump
) -> None:
    cni.add(layer3("10.9.0.0/24", name="net2", **FULL), pod)
    before = dump(node, pod)

    assert _collect(cni, layer3(**FULL)).result is None
    assert _collect(cni, layer3(name="net", **FULL)).result is None

    assert dump(node, pod) == before


def test_links_and_rules_of_others_are_not_touched(
    cni: Cni, layer3: MakeConf, node: Netns, sh: Shell, dump: Dump
) -> None:
    sh(node, "ip link add br0 address 02:00:00:00:00:77 type bridge")
    sh(node, "ip link add veth0a1b2c3d master br0 type veth peer name theirs")
    sh(node, "ip link set veth0a1b2c3d alias 'sb1: theirs'")
    sh(node, "nft add table inet theirs")
    before = dump(node)

    assert _collect(cni, layer3(**FULL)).result is None

    assert dump(node) == before


@pytest.mark.parametrize("gone", ["namespace", "bridge", "tables"])
def test_what_is_gone_already_is_no_hindrance(
    cni: Cni,
    layer3: MakeConf,
    node: Netns,
    pod: Netns,
    sh: Shell,
    links: Links,
    leases: Leases,
    gone: str,
) -> None:
    conf = layer3(**FULL)
    cni.add(conf, pod)
    lines = {"namespace": f"ip netns del {pod.name}", "bridge": "ip link del br0"}
    sh(node, lines.get(gone, "nft flush ruleset"))

    assert _collect(cni, conf).result is None

    assert set(links(node)) <= {"lo", "br0"}
    assert leases() == {}


@pytest.mark.parametrize("fields", [{"ipMasq": False, "macspoofchk": False}, {"vlan": 9999}])
def test_entries_go_with_a_configuration_that_was_changed_since(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns, rules_left: AskRules, fields: Conf
) -> None:
    conf = layer3(**FULL)
    cni.add(conf, pod)

    assert _collect(cni, conf | fields).result is None

    assert rules_left(node) == []


def test_gc_goes_on_after_an_ipam_plugin_that_fails(
    cni: Cni,
    conf: MakeConf,
    node: Netns,
    pod: Netns,
    links: Links,
    delegate: Callable[[str], dict[str, str]],
) -> None:
    fake = conf(ipam={"type": "fake"}, **FULL)
    answer = '{"cniVersion":"1.1.0","ips":[{"address":"10.1.2.9/24"}]}'
    cni.add(fake, pod, env=delegate(f"echo '{answer}'"))

    env = delegate("echo broken >&2; exit 1")
    failed = cni.call("GC", fake | {LISTED: []}, env=env)

    assert failed.code == 113
    assert "broken" in failed.error["msg"]
    assert set(links(node)) == {"lo", "br0"}


def test_gc_is_passed_on_to_the_ipam_plugin(
    cni: Cni,
    conf: MakeConf,
    delegate: Callable[[str], dict[str, str]],
    called: Callable[[], list[str]],
) -> None:
    fake = conf(ipam={"type": "fake"})

    assert cni.call("GC", fake | {LISTED: []}, env=delegate("exit 0")).result is None

    assert called() == ["GC"]


@pytest.mark.parametrize("old", ["0.3.1", "0.4.0", "1.0.0"])
def test_gc_is_not_in_older_versions(cni: Cni, layer3: MakeConf, old: str) -> None:
    assert _collect(cni, layer3(cniVersion=old)).code == 1


def test_gc_needs_neither_a_bridge_nor_a_store(
    cni: Cni, layer3: MakeConf, node: Netns, dump: Dump
) -> None:
    before = dump(node)

    assert _collect(cni, layer3(**FULL), ("c1", "eth0")).result is None

    assert dump(node) == before
