# SPDX-License-Identifier: Apache-2.0
"""Our tables as data."""

import json
from pathlib import Path

import pytest

from spanbridge.base.names import IfName, MacAddress
from spanbridge.firewall import SpoofGuard, gateways, probes, ruleset
from spanbridge.firewall.entries import Found
from spanbridge.model.addresses import Cidr, parse_cidr, parse_ip
from spanbridge.model.desired import Masquerade
from spanbridge.model.owner import Owner

GOLDEN = Path(__file__).parent / "golden"
OWNER = Owner.of("blue", "c1", "eth0")
GUARD = SpoofGuard(IfName("veth1"), MacAddress("02:00:00:00:00:01"))


def cidr(text: str) -> Cidr:
    return parse_cidr(text, "")


def test_the_whole_ruleset_is_as_recorded() -> None:
    networks = (cidr("10.1.2.0/24"), cidr("fd00:88::/64"))

    made = ruleset.table(networks, guarding=True)

    assert made == json.loads((GOLDEN / "ruleset.json").read_text())


def test_elements_are_as_recorded() -> None:
    made = [
        ruleset.create_source(OWNER, Masquerade(parse_ip("10.1.2.5", ""), cidr("10.1.2.0/24"))),
        ruleset.create_source(OWNER, Masquerade(parse_ip("fd00:88::5", ""), cidr("fd00:88::/64"))),
        ruleset.create_port(OWNER, GUARD),
        ruleset.create_binding(OWNER, GUARD),
        ruleset.delete_source(parse_ip("10.1.2.5", ""), "net-10.1.2.0/24"),
        ruleset.delete_port(GUARD.port),
        ruleset.delete_binding(GUARD),
    ]

    assert made == json.loads((GOLDEN / "elements.json").read_text())


def test_only_what_is_asked_for_is_made() -> None:
    families = {
        next(iter(command.values()))[kind]["family"]
        for command in ruleset.table((), guarding=True)
        for kind in next(iter(command.values()))
    }

    assert families == {"bridge"}
    assert ruleset.table((), guarding=False) == []


@pytest.mark.parametrize(
    ("network", "chain"),
    [
        ("10.1.2.0/24", "net-10.1.2.0/24"),
        ("10.1.2.7/24", "net-10.1.2.0/24"),
        ("10.1.2.7/32", "net-10.1.2.7/32"),
        ("0.0.0.0/0", "net-0.0.0.0/0"),
        ("fd00:88::/64", "net-fd00-88--/64"),
        ("::/0", "net---/0"),
    ],
)
def test_a_chain_is_named_by_its_network(network: str, chain: str) -> None:
    assert ruleset.network_chain_name(cidr(network)) == chain


@pytest.mark.parametrize("network", ["10.1.2.0/24", "0.0.0.0/0", "fd00:88::/64", "::/0"])
def test_the_name_of_a_chain_leads_back_to_the_network(network: str) -> None:
    chain = ruleset.network_chain_name(cidr(network))

    assert ruleset.network_text(chain, cidr(network).version) == network


def test_another_chain_is_no_network() -> None:
    assert ruleset.network_text("postrouting", 4) == ""


def test_a_network_of_everything_needs_no_match() -> None:
    own = ruleset.network_chain(cidr("0.0.0.0/0"))[2]

    assert own["add"]["rule"]["expr"] == [{"return": None}]


def test_a_comment_begins_with_the_tag() -> None:
    comment = ruleset.comment_of(OWNER)

    assert comment == f"{OWNER.tag} blue c1 eth0"
    assert ruleset.tag_of(comment) == OWNER.tag


def test_a_comment_fits() -> None:
    comment = ruleset.comment_of(Owner.of("n" * 60, "c" * 64, "eth0"))

    assert len(comment.encode()) == ruleset.COMMENT_MAX_BYTES


def test_a_comment_is_not_cut_inside_of_a_character() -> None:
    comment = ruleset.comment_of(Owner.of("n" * 84, "c", "ä"))

    assert len(comment.encode()) == ruleset.COMMENT_MAX_BYTES - 1


def test_a_comment_cannot_end_the_string_it_stands_in() -> None:
    comment = ruleset.comment_of(Owner.of("blue", "c1", '"\\0'))

    assert comment.endswith(" ??0")


def test_nothing_of_the_probe_is_in_our_tables() -> None:
    text = json.dumps([*probes.probe_attachments(), *probes.probe_gateways()])

    assert '"spanbridge"' not in text
    assert probes.probe_attachments()[-2:] == [
        {"delete": {"table": {"family": "inet", "name": "spanbridge-probe"}}},
        {"delete": {"table": {"family": "bridge", "name": "spanbridge-probe"}}},
    ]
    assert probes.probe_gateways()[-1] == probes.probe_attachments()[-1]


def test_rules_are_complete_when_each_is_there_in_its_order() -> None:
    wanted = ruleset.network_chain(cidr("10.1.2.0/24"))
    key = ("inet", "net-10.1.2.0/24")

    assert ruleset.is_complete(Found(rules={key: ("v1 own network", "v1 masquerade")}), wanted)
    assert not ruleset.is_complete(Found(rules={key: ("v1 masquerade",)}), wanted)
    assert not ruleset.is_complete(Found(rules={key: ()}), wanted)
    assert not ruleset.is_complete(Found(), wanted)


# ---------------------------------------------------------------- gateways


def test_the_rules_of_gateways_are_as_recorded() -> None:
    made = [
        *gateways.structure(),
        *gateways.create_gateway(parse_ip("10.1.2.1", ""), OWNER),
        *gateways.create_gateway(parse_ip("fd00::1", ""), OWNER),
        gateways.create_pin(OWNER, parse_ip("10.1.2.1", ""), "veth1"),
        gateways.add_gateway_port(parse_ip("fd00::1", ""), "veth2"),
        gateways.delete_pin(parse_ip("fd00::1", ""), "veth1"),
    ]

    assert made == json.loads((GOLDEN / "gateways.json").read_text())


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("10.1.2.1", "gateway4-10.1.2.1"),
        ("fd00::1", "gateway6-fd00--1"),
        ("::1:2", "gateway6---1-2"),
    ],
)
def test_a_set_is_named_by_its_address_and_leads_back_to_it(address: str, name: str) -> None:
    assert gateways.set_name(parse_ip(address, "")) == name
    assert gateways.address_of(name) == parse_ip(address, "")


@pytest.mark.parametrize("name", ["guarded", "gateway4-", "gateway4-fd00--1x", "gateways"])
def test_another_set_is_no_gateways(name: str) -> None:
    assert gateways.address_of(name) is None


def test_every_rule_looks_at_the_protocol_beside_the_tag() -> None:
    # On a bridge that filters VLANs the EtherType in the frame is the tag's.
    rules = [
        command["add"]["rule"]
        for ip in ("10.1.2.1", "fd00::1")
        for command in gateways.fill(parse_ip(ip, ""))
    ]

    keys = [each["expr"][0]["match"]["left"] for each in rules]
    assert keys == [{"meta": {"key": "protocol"}}] * len(rules)
