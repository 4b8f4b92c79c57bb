# SPDX-License-Identifier: Apache-2.0
"""What DEL and GC read: little, and without being choosy."""

import pytest

from spanbridge.base.errors import ConfigError, VersionError
from spanbridge.model.netconf import parse_valid_attachments
from spanbridge.model.reader import Node
from spanbridge.model.release import ReleaseConf, parse_release_conf

VALID = "cni.dev/valid-attachments"
IPAM = {"type": "host-local"}


def parse(**fields: object) -> ReleaseConf:
    return parse_release_conf(Node({"cniVersion": "1.1.0", "name": "net"} | fields))


@pytest.mark.parametrize(
    "broken",
    [
        {"vlan": 9999},
        {"mtu": "x"},
        {"bridge": ""},
        {"vlanTrunk": [None]},
        {"hairpinMode": True, "promiscMode": True},
        {"prevResult": 5},
        {"ipMasq": "yes"},
        {"ipam": "dhcp"},
        {"ipam": {"type": "../x"}},
        {"ipam": {"type": "a\0"}},
        {"ipam": {"type": 5}},
    ],
    ids=repr,
)
def test_a_fault_that_add_would_refuse_does_not_stop_a_release(broken: dict[str, object]) -> None:
    conf = parse(**broken)

    assert (conf.name, conf.ipam) == ("net", None)


@pytest.mark.parametrize(
    ("broken", "kind", "pointer"),
    [
        ({"cniVersion": "0.2.0"}, VersionError, "/cniVersion"),
        ({"name": ""}, ConfigError, "/name"),
        ({"name": "a/b"}, ConfigError, "/name"),
    ],
    ids=repr,
)
def test_without_version_or_name_nothing_can_be_found_again(
    broken: dict[str, object], kind: type[ConfigError], pointer: str
) -> None:
    with pytest.raises(kind) as caught:
        parse(**broken)

    assert (caught.value.pointer, bool(caught.value.hint)) == (pointer, True)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, False),
        ({"ipMasq": True}, True),
        ({"macspoofchk": True}, True),
        ({"ipMasq": 1}, False),
        ({"isGateway": True}, False),
        ({"isGateway": True, "ipam": IPAM}, True),
        ({"isDefaultGateway": True, "ipam": IPAM, "gatewayScope": "node"}, True),
        ({"isGateway": True, "ipam": IPAM, "gatewayScope": "network"}, False),
        ({"ipam": IPAM}, False),
    ],
    ids=repr,
)
def test_the_firewall_is_used_by_masquerade_mac_check_and_gateways(
    fields: dict[str, object], *, expected: bool
) -> None:
    assert parse(**fields).uses_firewall is expected


def test_the_ipam_section_is_kept() -> None:
    ipam = parse(ipam={"type": "host-local", "dataDir": "/x"}).ipam

    assert ipam is not None
    assert (ipam.type, ipam.node.text("dataDir")) == ("host-local", "/x")


@pytest.mark.parametrize("key", [VALID, "cni.dev/attachments"])
def test_valid_attachments_are_pairs(key: str) -> None:
    listed = [{"containerID": "c1", "ifname": "eth0"}, {"containerID": "c1", "ifname": "net1"}]

    assert parse_valid_attachments(Node({key: listed})) == {("c1", "eth0"), ("c1", "net1")}


def test_the_key_of_the_specification_comes_before_the_older_one() -> None:
    older = [{"containerID": "c1", "ifname": "eth0"}]

    assert parse_valid_attachments(Node({VALID: [], "cni.dev/attachments": older})) == frozenset()


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        (None, "/cni.dev~1valid-attachments"),
        ({}, "/cni.dev~1valid-attachments"),
        ([5], "/cni.dev~1valid-attachments/0"),
        ([{"containerID": "c1"}], "/cni.dev~1valid-attachments/0"),
        ([{"containerID": "c1", "ifname": ""}], "/cni.dev~1valid-attachments/0"),
    ],
    ids=repr,
)
def test_a_list_that_could_delete_too_much_is_refused(value: object, pointer: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_valid_attachments(Node({VALID: value}))

    assert caught.value.pointer == pointer
