# SPDX-License-Identifier: Apache-2.0
"""Every field of the configuration: right values, wrong types, wrong ranges."""

import json
from dataclasses import replace

import pytest

from spanbridge.base.errors import Code, ConfigError, DecodeError, VersionError
from spanbridge.model.netconf import NetConf, parse_netconf, parse_netconf_bytes
from spanbridge.model.reader import Node
from spanbridge.model.result import Dns

FLAGS = {
    "forceAddress": "force_address",
    "ipMasq": "ip_masq",
    "isGateway": "is_gateway",
    "isDefaultGateway": "is_default_gateway",
    "hairpinMode": "hairpin_mode",
    "promiscMode": "promisc_mode",
    "preserveDefaultVlan": "preserve_default_vlan",
    "macspoofchk": "mac_spoof_check",
    "enabledad": "enable_dad",
    "disableContainerInterface": "disable_container_interface",
    "portIsolation": "port_isolation",
}
SOME = {"type": "dhcp"}
NULLABLE = ["mtu", "vlan", "vlanTrunk", "bridge", "ipMasqBackend", "ipam", "dns", "args"]
NULLABLE += ["gatewayScope", "runtimeConfig", "prevResult", *FLAGS]
NOT_FLAGS: list[object] = ["true", 1, []]
NOT_INTEGERS: list[object] = ["100", 1500.0, True, [2]]
NOT_TEXTS: list[object] = [5, {}]
NOT_OBJECTS: list[object] = ["x", []]
WRONG_TYPES: list[tuple[str, object]] = [
    *((key, wrong) for key in FLAGS for wrong in NOT_FLAGS),
    *((key, wrong) for key in ("mtu", "vlan") for wrong in NOT_INTEGERS),
    *((key, wrong) for key in ("name", "type", "bridge", "ipMasqBackend") for wrong in NOT_TEXTS),
    *(("gatewayScope", wrong) for wrong in [True, *NOT_TEXTS]),
    *((key, wrong) for key in ("ipam", "dns", "args", "runtimeConfig") for wrong in NOT_OBJECTS),
    ("vlanTrunk", {"id": 5}),
    ("prevResult", "none"),
]


def parse(**fields: object) -> NetConf:
    return parse_netconf(Node({"cniVersion": "1.0.0", "name": "net", "type": "bridge"} | fields))


def test_an_almost_empty_configuration_has_the_documented_defaults() -> None:
    conf = parse()

    assert (conf.cni_version, conf.name, conf.type) == ("1.0.0", "net", "bridge")
    assert conf.bridge == "cni0"
    assert (conf.mtu, conf.vlan, conf.trunk, conf.ip_masq_backend) == (0, 0, None, "")
    assert (conf.ipam, conf.dns, conf.mac, conf.previous) == (None, None, None, None)
    assert conf.gateway_scope == "node"
    assert not any(getattr(conf, attribute) for attribute in FLAGS.values())
    assert not conf.uses_vlans


@pytest.mark.parametrize("key", FLAGS)
def test_a_flag_sets_its_own_attribute_only(key: str) -> None:
    conf = parse(**{key: True})
    implied = {"is_gateway"} if key == "isDefaultGateway" else set()

    assert {name for name in FLAGS.values() if getattr(conf, name)} == {FLAGS[key]} | implied


@pytest.mark.parametrize("key", FLAGS)
def test_a_flag_may_be_written_as_false(key: str) -> None:
    assert getattr(parse(**{key: False}), FLAGS[key]) is False


def test_is_gateway_written_as_false_is_implied_by_is_default_gateway() -> None:
    assert parse(isGateway=False, isDefaultGateway=True).is_gateway


@pytest.mark.parametrize(
    ("key", "attribute", "value"),
    [
        ("bridge", "bridge", "br-mig"),
        ("bridge", "bridge", "a" * 15),
        ("type", "type", "cnv-bridge"),
        ("ipMasqBackend", "ip_masq_backend", "iptables"),
        ("ipMasqBackend", "ip_masq_backend", "nftables"),
        ("ipMasqBackend", "ip_masq_backend", ""),
        ("gatewayScope", "gateway_scope", "node"),
        ("gatewayScope", "gateway_scope", "network"),
        ("mtu", "mtu", 0),
        ("mtu", "mtu", 68),
        ("mtu", "mtu", 65535),
        ("vlan", "vlan", 0),
        ("vlan", "vlan", 1),
        ("vlan", "vlan", 4094),
    ],
    ids=repr,
)
def test_a_value_is_read_as_written(key: str, attribute: str, value: object) -> None:
    assert getattr(parse(**{key: value}), attribute) == value


@pytest.mark.parametrize(("key", "wrong"), WRONG_TYPES, ids=repr)
def test_a_wrong_type_is_refused_with_pointer_and_remedy(key: str, wrong: object) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(**{key: wrong})

    assert caught.value.code is Code.INVALID_CONFIG
    assert caught.value.pointer == f"/{key}"
    assert repr(key) in caught.value.message
    assert caught.value.hint.startswith("write ")


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        *(("vlan", wrong) for wrong in (-100, -1, 4095, 5000)),
        *(("mtu", wrong) for wrong in (-5, 1, 40, 67, 65536, 70000)),
        *(("bridge", wrong) for wrong in ("", ".", "..", "a/b", "a:b", "a b", "a\n", "br%d")),
        *(("bridge", wrong) for wrong in ("a" * 16, "ä" * 8, "\ud800")),
        *(("name", wrong) for wrong in ("", "-net", "a/b", "a b", "nét", "net\n", "../x")),
        ("ipMasqBackend", "ebtables"),
        ("ipMasqBackend", "NFTables"),
        *(("gatewayScope", wrong) for wrong in ("", "Node", "cluster", "anycast")),
    ],
    ids=repr,
)
def test_a_value_out_of_range_is_refused_with_pointer_and_remedy(key: str, wrong: object) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(**{key: wrong})

    assert (caught.value.code, caught.value.pointer) == (Code.INVALID_CONFIG, f"/{key}")
    assert caught.value.hint


@pytest.mark.parametrize(
    "wrong", [".", "..", "../dhcp", "/bin/sh", "a/b", "a\0b", "\ud800"], ids=repr
)
def test_ipam_type_is_a_program_name(wrong: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(ipam={"type": wrong})

    assert (caught.value.pointer, bool(caught.value.hint)) == ("/ipam/type", True)


@pytest.mark.parametrize("ipam", [{}, {"type": ""}, {"type": None}, None], ids=repr)
def test_ipam_without_a_type_is_a_layer_2_network(ipam: object) -> None:
    assert parse(ipam=ipam).ipam is None


def test_ipam_keeps_its_section_with_pointers() -> None:
    ipam = parse(ipam={"type": "host-local", "subnet": "10.1.0.0/24"}).ipam

    assert ipam is not None
    assert (ipam.type, ipam.node.text("subnet")) == ("host-local", "10.1.0.0/24")
    assert ipam.node.at("subnet") == "/ipam/subnet"


def test_dns_is_read_whole() -> None:
    dns = {"nameservers": ["10.1.0.53"], "domain": "d", "search": ["s", "t"], "options": ["o"]}

    assert parse(dns=dns).dns == Dns(("10.1.0.53",), "d", ("s", "t"), ("o",))


@pytest.mark.parametrize("dns", [{}, {"nameservers": []}, {"domain": ""}, None], ids=repr)
def test_dns_that_says_nothing_is_absent(dns: object) -> None:
    assert parse(dns=dns).dns is None


@pytest.mark.parametrize(
    ("dns", "pointer"),
    [({"search": "s"}, "/dns/search"), ({"nameservers": ["10.1.0.53", 5]}, "/dns/nameservers/1")],
)
def test_a_fault_in_dns_is_pointed_at(dns: object, pointer: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(dns=dns)

    assert (caught.value.pointer, bool(caught.value.hint)) == (pointer, True)


def test_previous_result_is_parsed_at_its_place() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(prevResult={"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.5"}]})

    assert caught.value.pointer == "/prevResult/ips/0/address"


@pytest.mark.parametrize("key", ["VLAN", "Vlan", "vLaN"])
def test_keys_match_whatever_their_case(key: str) -> None:
    assert parse(**{key: 5}).vlan == 5


def test_the_pointer_shows_the_key_as_it_was_written() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(VLAN=5000)

    assert caught.value.pointer == "/VLAN"


@pytest.mark.parametrize(
    ("text", "vlan"),
    [('"vlan": 2, "vlan": 3', 3), ('"vlan": 2, "VLAN": 3', 3), ('"VLAN": 3, "vlan": 2', 2)],
)
def test_the_last_of_several_equal_keys_wins(text: str, vlan: int) -> None:
    data = f'{{"cniVersion": "1.0.0", "name": "net", {text}}}'

    assert parse_netconf_bytes(data.encode()).vlan == vlan


@pytest.mark.parametrize("key", NULLABLE)
def test_null_counts_as_absent(key: str) -> None:
    given, absent = parse(**{key: None}), parse()

    assert replace(given, root=absent.root) == absent


@pytest.mark.parametrize("key", ["name", "NAME"])
def test_a_name_of_null_is_missing(key: str) -> None:
    with pytest.raises(ConfigError, match="missing or empty") as caught:
        parse_netconf(Node({"cniVersion": "1.0.0", key: None}))

    assert caught.value.pointer == f"/{key}"


@pytest.mark.parametrize("number", ["1500.0", "1e3", "-0.0", "NaN", "Infinity"])
def test_integers_are_integers_in_the_text_too(number: str) -> None:
    data = f'{{"cniVersion": "1.0.0", "name": "net", "mtu": {number}}}'

    with pytest.raises(ConfigError, match="a fraction") as caught:
        parse_netconf_bytes(data.encode())
    assert caught.value.pointer == "/mtu"


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"{", "line 1 column 2"),
        (b'{\n "vlan": 02}', "line 2 column"),
        (b"[]", "it is a list"),
        (b"null", "it is null"),
        (b'"\xff"', "utf-8"),
        (b"1" * 5000, "4300"),
        (b"[" * 100_000, "recursion"),
    ],
    ids=["empty", "white", "open", "octal", "list", "null", "latin-1", "digits", "deep"],
)
def test_what_is_no_json_object_is_a_decode_failure(data: bytes, cause: str) -> None:
    with pytest.raises(DecodeError) as caught:
        parse_netconf_bytes(data)

    assert caught.value.code is Code.DECODE_FAILURE
    assert cause in caught.value.message
    assert caught.value.hint.startswith("write one JSON object")


def test_the_name_is_read_after_the_version() -> None:
    with pytest.raises(VersionError):
        parse_netconf_bytes(json.dumps({"cniVersion": "0.2.0", "vlan": 9999}).encode())


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        (
            {"ipam": SOME, "disableContainerInterface": True},
            "/disableContainerInterface",
        ),
        ({"hairpinMode": True, "promiscMode": True}, "/hairpinMode"),
        ({"bridge": "a" * 12, "vlan": 100, "isGateway": True, "ipam": SOME}, "/bridge"),
        (
            {"bridge": "a" * 12, "vlan": 100, "isDefaultGateway": True, "ipam": SOME},
            "/bridge",
        ),
    ],
    ids=["ipam on a dead link", "hairpin and promisc", "gateway name", "default gateway name"],
)
def test_a_conflict_is_refused_with_pointer_and_remedy(
    fields: dict[str, object], pointer: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(**fields)

    assert (caught.value.code, caught.value.pointer) == (Code.INVALID_CONFIG, pointer)
    assert caught.value.hint


@pytest.mark.parametrize(
    "fields",
    [
        {"disableContainerInterface": True, "ipam": {}},
        {"bridge": "a" * 11, "vlan": 100, "isGateway": True, "ipam": SOME},
        {"bridge": "a" * 15, "vlan": 100, "ipam": SOME},
        {"bridge": "a" * 15, "vlan": 100, "isGateway": True},
        {"bridge": "a" * 15, "isGateway": True, "ipam": SOME},
    ],
    ids=["no ipam", "fits", "no gateway", "layer 2", "no vlan"],
)
def test_what_only_resembles_a_conflict_passes(fields: dict[str, object]) -> None:
    assert parse(**fields).name == "net"


def test_unknown_keys_are_listed_with_the_nearest_known_one() -> None:
    unknown = parse(isGatway=True, Vlans=2, zzzzzz=1, **{"a/b~": 1}).unknown

    assert [(each.pointer, each.key, each.nearest) for each in unknown] == [
        ("/isGatway", "isGatway", "isGateway"),
        ("/Vlans", "Vlans", "vlan"),
        ("/zzzzzz", "zzzzzz", ""),
        ("/a~1b~0", "a/b~", ""),
    ]


def test_keys_of_the_specification_are_not_unknown() -> None:
    conf = parse(
        capabilities={"mac": True},
        args={"cni": {}},
        runtimeConfig={},
        disableCheck=False,
        disableGC=False,
        cniVersions=["1.0.0"],
        **{"cni.dev/valid-attachments": [], "cni.dev/attachments": []},
    )

    assert conf.unknown == ()
