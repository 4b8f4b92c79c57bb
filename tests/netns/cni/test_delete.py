# SPDX-License-Identifier: Apache-2.0
"""DEL cleans up whatever is gone or broken, and touches nothing of anybody else."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from spanbridge.testing.plugin import AskRules, MakeNetns, Netns
from spanbridge.testing.runtime import Cni, Conf

MakeConf = Callable[..., Conf]
Links = Callable[[Netns], dict[str, Any]]
Leases = Callable[[], dict[str, str]]
Shell = Callable[[Netns, str], str]
Dump = Callable[..., dict[str, Any]]

FULL: Final = {"isDefaultGateway": True, "ipMasq": True, "macspoofchk": True}
REFERENCE: Final = Path("/usr/lib/cni")


@pytest.fixture
def nothing_left(
    links: Links, leases: Leases, rules_left: AskRules, node: Netns
) -> Callable[[], bool]:
    """Tells whether the node is as before the only attachment, the bridge left aside."""

    def look() -> bool:
        rules = rules_left(node)
        return not set(links(node)) - {"lo", "br0"} and not leases() and not rules

    return look


def test_del_of_what_was_never_added_succeeds(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns, dump: Dump, version: str
) -> None:
    before = dump(node, pod)

    cni.delete(layer3(cniVersion=version, **FULL), pod)

    assert dump(node, pod) == before


def test_del_can_be_repeated(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns, dump: Dump, version: str
) -> None:
    conf = layer3(cniVersion=version, **FULL)
    cni.add(conf, pod)
    cni.delete(conf, pod)
    after = dump(node, pod)

    cni.delete(conf, pod)
    cni.delete(conf, None)

    assert dump(node, pod) == after


BROKEN: Final = {
    "interface-gone": "ip -n {pod} link del eth0",
    "port-gone": "ip -n {node} link del {port}",
    "bridge-gone": "ip -n {node} link del br0",
    "port-detached": "ip -n {node} link set {port} nomaster",
    "alias-lost": "ip -n {node} link set {port} alias ''",
    "tables-gone": "ip netns exec {node} nft flush ruleset",
    "masquerade-table-gone": "ip netns exec {node} nft delete table inet spanbridge",
    "spoof-table-gone": "ip netns exec {node} nft delete table bridge spanbridge",
    "bridge-replaced": "sh -c 'ip -n {node} link del br0; ip -n {node} link add br0 type veth'",
    "interface-renamed": "ip -n {pod} link set eth0 down name other0",
    "namespace-gone": "ip netns del {pod}",
}


@pytest.mark.parametrize("line", BROKEN.values(), ids=BROKEN.keys())
def test_del_frees_everything_whatever_is_gone(
    cni: Cni,
    layer3: MakeConf,
    node: Netns,
    pod: Netns,
    sh: Shell,
    links: Links,
    leases: Leases,
    rules_left: AskRules,
    line: str,
) -> None:
    conf = layer3(**FULL)
    port = cni.add(conf, pod)["interfaces"][1]["name"]

    sh(node, line.format(port=port, pod=pod.name, node=node.name))
    cni.delete(conf, pod)

    assert port not in links(node)
    assert leases() == {}
    assert rules_left(node) == []


@pytest.mark.parametrize("where", ["", "/run/netns/gone", "/etc/hostname", "/etc", "junk"])
def test_del_without_a_usable_namespace_frees_everything(
    cni: Cni, layer3: MakeConf, pod: Netns, nothing_left: Callable[[], bool], where: str
) -> None:
    conf = layer3(**FULL)
    cni.add(conf, pod)

    cni.delete(conf, where)

    assert nothing_left()


BROKEN_CONF: Final[dict[str, Conf]] = {
    "vlan-9999": {"vlan": 9999},
    "vlan-text": {"vlan": "two"},
    "trunk": {"vlanTrunk": [{"minID": 9, "maxID": 1}]},
    "mtu": {"mtu": -1},
    "hairpin-and-promisc": {"hairpinMode": True, "promiscMode": True},
    "backend": {"ipMasqBackend": "ebtables"},
    "mac": {"runtimeConfig": {"mac": "junk"}},
    "bridge-name": {"bridge": "a/b"},
    "another-bridge": {"bridge": "br7"},
    "dns": {"dns": 7},
    "masquerade-off": {"ipMasq": False, "macspoofchk": False},
    "masquerade-text": {"ipMasq": "yes"},
    "prev-result": {"prevResult": {"ips": "none"}},
    "disabled": {"disableContainerInterface": True},
}


@pytest.mark.parametrize("fields", BROKEN_CONF.values(), ids=BROKEN_CONF.keys())
def test_del_frees_everything_with_a_configuration_broken_after_add(
    cni: Cni, layer3: MakeConf, pod: Netns, nothing_left: Callable[[], bool], fields: Conf
) -> None:
    conf = layer3(**FULL)
    cni.add(conf, pod)

    cni.delete(conf | fields, pod)

    assert nothing_left()


@pytest.mark.parametrize(
    "ranges", [[], None, [[{"subnet": "junk"}]], [[{"subnet": "10.99.0.0/24"}]], "junk"]
)
def test_del_frees_the_address_whatever_became_of_the_ranges(
    cni: Cni, layer3: MakeConf, pod: Netns, nothing_left: Callable[[], bool], ranges: object
) -> None:
    cni.add(layer3(**FULL), pod)

    cni.delete(layer3(ipam={"ranges": ranges}, **FULL), pod)

    assert nothing_left()


@pytest.mark.parametrize("args", ["junk", "IP=nonsense", "mac=x;;;=", "IgnoreUnknown=perhaps"])
def test_del_does_not_read_cni_args(
    cni: Cni, layer3: MakeConf, pod: Netns, nothing_left: Callable[[], bool], args: str
) -> None:
    conf = layer3(**FULL)
    cni.add(conf, pod)

    cni.delete(conf, pod, args=args)

    assert nothing_left()


def test_other_attachments_are_not_touched(
    cni: Cni, layer3: MakeConf, node: Netns, netns: MakeNetns, dump: Dump
) -> None:
    kept, goes = netns(), netns()
    conf, other = layer3(**FULL), layer3("10.9.0.0/24", name="net2", **FULL)
    cni.add(conf, kept, container="kept")
    cni.add(other, kept, container="kept", ifname="net1")
    before = dump(node, kept)
    cni.add(conf, goes, container="goes")

    cni.delete(conf, goes, container="goes")
    cni.delete(conf, kept, container="stranger")
    cni.delete(layer3("10.9.0.0/24", name="net3"), kept, container="kept", ifname="eth9")

    assert dump(node, kept) == before


def test_del_after_a_refused_add_leaves_the_interface_that_was_there(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns, dump: Dump
) -> None:
    cni.add(layer3(**FULL), pod)
    before = dump(node, pod)
    other = layer3("10.9.0.0/24", name="net2", bridge="br2", **FULL)
    assert cni.call("ADD", other, pod).code == 102

    cni.delete(other, pod)

    assert dump(node, pod) == before


def test_a_veth_of_the_nodes_own_namespace_is_not_removed(
    cni: Cni, layer3: MakeConf, node: Netns, sh: Shell, dump: Dump
) -> None:
    sh(node, "ip link add eth0 type veth peer name uplink")
    before = dump(node)

    cni.delete(layer3(**FULL), str(node.path))

    assert dump(node) == before


def test_an_interface_that_is_no_veth_is_left_alone(
    cni: Cni, layer3: MakeConf, pod: Netns, sh: Shell, links: Links
) -> None:
    sh(pod, "ip link add eth0 type bridge")

    cni.delete(layer3(), pod)

    assert "eth0" in links(pod)


def _reference(cni: Cni, verb: str, conf: Conf, pod: Netns) -> bytes:
    """Call the reference plugin in place of ours."""
    environ = cni.environment(verb, pod, container="c1", ifname="eth0", args="")
    program = ["ip", "netns", "exec", str(cni.node and cni.node.name), str(REFERENCE / "bridge")]
    return subprocess.run(
        program,
        input=json.dumps(conf).encode(),
        env=environ | {"CNI_PATH": str(REFERENCE)},
        capture_output=True,
        check=True,
    ).stdout


def test_an_attachment_of_the_reference_plugin_is_deleted(
    cni: Cni, layer3: MakeConf, pod: Netns, nothing_left: Callable[[], bool]
) -> None:
    conf = layer3(cniVersion="1.0.0", isGateway=True)
    _reference(cni, "ADD", conf, pod)
    assert not nothing_left()

    cni.delete(conf, pod)

    assert nothing_left()


def test_an_attachment_of_ours_is_deleted_by_the_reference_plugin(
    cni: Cni, layer3: MakeConf, pod: Netns, nothing_left: Callable[[], bool]
) -> None:
    conf = layer3(cniVersion="1.0.0", isGateway=True)
    cni.add(conf, pod)

    _reference(cni, "DEL", conf, pod)
    # It does not know of our entry in the firewall.
    valid = {"cniVersion": "1.1.0", "cni.dev/valid-attachments": []}
    assert cni.call("GC", conf | valid).result is None

    assert nothing_left()


def test_every_step_is_tried_when_one_fails(
    cni: Cni,
    conf: MakeConf,
    node: Netns,
    pod: Netns,
    delegate: Callable[[str], dict[str, str]],
    links: Links,
    rules_left: AskRules,
) -> None:
    answer = '{"cniVersion":"1.1.0","ips":[{"address":"10.1.2.9/24"}]}'
    good = delegate(f"echo '{answer}'")
    fake = conf(ipam={"type": "fake"}, **FULL)
    cni.add(fake, pod, env=good)

    bad = delegate("""echo '{"code": 42, "msg": "no"}'; exit 1""")
    assert cni.call("DEL", fake, pod, env=bad).code == 42

    assert set(links(node)) == {"lo", "br0"}
    assert rules_left(node) == []


@pytest.mark.parametrize(
    ("stdin", "code"),
    [(b"", 6), (b"{", 6), (b"[]", 6), (b'{"cniVersion":"1.1.0"}', 7), (b'{"name":"n"}', 1)],
    ids=["empty", "cut", "list", "no-name", "no-version"],
)
def test_del_fails_only_when_it_cannot_know_whose_the_things_are(
    cni: Cni, pod: Netns, stdin: bytes, code: int
) -> None:
    assert cni.call("DEL", stdin, pod).code == code
