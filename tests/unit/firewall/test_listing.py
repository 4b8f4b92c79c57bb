# SPDX-License-Identifier: Apache-2.0
"""Answers of libnftables 1.0.6 on Linux 6.18, read."""

import json
from pathlib import Path

import pytest

from spanbridge.base.names import IfName, MacAddress
from spanbridge.firewall import SpoofGuard
from spanbridge.firewall.entries import Found, Gateway, Source
from spanbridge.firewall.listing import parse_listing
from spanbridge.model.addresses import parse_ip
from spanbridge.model.owner import Owner

TAG = Owner.of("blue", "c1", "eth0").tag


@pytest.fixture
def found() -> Found:
    captured = Path(__file__).parent / "golden/listing-nft-1.0.6.json"
    return parse_listing(json.loads(captured.read_text()))


def test_addresses_are_read_with_their_networks_and_owners(found: Found) -> None:
    assert found.sources == {
        parse_ip("10.1.2.5", ""): Source("net-10.1.2.0/24", TAG),
        parse_ip("fd00:88::5", ""): Source("net-fd00-88--/64", TAG),
    }


def test_ports_and_macs_are_read_with_their_owners(found: Found) -> None:
    guard = SpoofGuard(IfName("veth1"), MacAddress("02:00:00:00:00:01"))

    assert found.ports == {IfName("veth1"): TAG, IfName("veth9"): ""}
    assert found.bindings == {guard: TAG}


def test_rules_are_read_by_their_comments(found: Found) -> None:
    assert found.rules == {
        ("inet", "postrouting"): (
            "v1 multicast4",
            "v1 multicast6",
            "v1 sources4",
            "v1 sources6",
        ),
        ("inet", "net-10.1.2.0/24"): ("v1 own network", "v1 masquerade"),
        ("inet", "net-fd00-88--/64"): ("v1 own network", "v1 masquerade"),
        ("bridge", "prerouting"): ("v1 foreign source",),
        ("bridge", "input"): ("v1 foreign source", ""),
    }


def test_an_element_without_comment_belongs_to_nobody(found: Found) -> None:
    assert found.tags == {TAG}


def test_no_tables_are_nothing() -> None:
    assert parse_listing([]) == Found()


def test_elements_of_other_kinds_are_left_out() -> None:
    drop = [["10.1.2.9", {"drop": None}]]

    seen = parse_listing([{"map": {"name": "sources4", "elem": drop}}])

    assert seen.sources == {}


def test_gateways_are_read_with_their_ports_and_who_made_them() -> None:
    elements = [
        {"elem": {"val": "lo", "comment": f"sb1:gateway {TAG}"}},
        {"elem": {"val": "veth1", "comment": f"{TAG} blue c1 eth0"}},
        {"elem": {"val": "veth2", "comment": "sb1:gateway"}},
        "veth3",
    ]

    seen = parse_listing([{"set": {"name": "gateway6-fd00--1", "elem": elements}}])

    ports = {IfName("veth1"): TAG, IfName("veth2"): "sb1:gateway", IfName("veth3"): ""}
    assert seen.gateways == {parse_ip("fd00::1", ""): Gateway(TAG, ports)}
    assert seen.tags == {TAG}


def test_rules_are_read_with_their_handles() -> None:
    rule = {"family": "bridge", "chain": "c", "comment": "v1 why", "handle": 7}

    seen = parse_listing([{"rule": rule}, {"rule": rule | {"handle": 9, "comment": "v1 not"}}])

    assert list(seen.listed_rules("bridge", "c")) == [("v1 why", 7), ("v1 not", 9)]
    assert list(seen.listed_rules("bridge", "d")) == []
