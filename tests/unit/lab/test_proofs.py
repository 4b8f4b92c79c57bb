# SPDX-License-Identifier: Apache-2.0
"""When leases, a restart and a gateway prove what they must, and when not."""

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest

from spanbridge.lab.arp import count_naming
from spanbridge.lab.proofs import GatewayProof, Leased, LeaseProof, PodGateway, Restart
from spanbridge.lab.topology import AddressRange
from spanbridge.model.arp import ARP_REPLY, ARP_REQUEST
from spanbridge.probing.capture import Frame

GATEWAY = "10.88.0.1"
POOL = AddressRange(IPv4Address("10.88.0.2"), IPv4Address("10.88.0.201"))
LEASED = (
    Leased("east-1", "10.88.0.70", "02:00:00:00:00:01", "10.88.0.70"),
    Leased("west-1", "10.88.0.71", "02:00:00:00:00:02", "10.88.0.71"),
)
ACK = "DHCPACK(eth0) 10.88.0.70 02:00:00:00:00:01"
RESTART = Restart("east-1", "10.88.0.70", "10.88.0.70", killed=10, started=20, renewal=(ACK,))
PODS = (PodGateway("east-1", "02:01", ("02:01",)), PodGateway("west-1", "02:02", ("02:02",)))
KEPT = GatewayProof(GATEWAY, asked=3, answers=(), control=True, pods=PODS, leaked=0)


def test_addresses_that_the_server_gave_prove_it() -> None:
    proof = LeaseProof("10.88.0.254", POOL, LEASED)
    assert (proof.right, proof.passed) == (2, True)


@pytest.mark.parametrize(
    "change",
    [{"by_server": ""}, {"by_server": "10.88.0.99"}, {"address": "", "by_server": ""}],
    ids=["never given", "another given", "no address"],
)
def test_an_address_that_the_server_did_not_give_proves_nothing(change: dict[str, str]) -> None:
    wrong = replace(LEASED[0], **change)
    assert not LeaseProof("10.88.0.254", POOL, (wrong, LEASED[1])).passed


def test_an_address_given_twice_proves_nothing() -> None:
    twice = replace(LEASED[1], address="10.88.0.70", by_server="10.88.0.70")
    assert not LeaseProof("10.88.0.254", POOL, (LEASED[0], twice)).passed


def test_a_renewal_with_the_same_address_proves_that_the_lease_lives_on() -> None:
    assert RESTART.passed


@pytest.mark.parametrize(
    "change",
    [
        {"renewal": ()},
        {"renewal": ("DHCPREQUEST(eth0) 10.88.0.70 02:00:00:00:00:01",)},
        {"after": "10.88.0.72"},
        {"address": "", "after": ""},
    ],
    ids=["nothing logged", "no answer", "another address", "no address"],
)
def test_anything_less_than_a_renewal_proves_nothing(change: dict[str, Any]) -> None:
    assert not replace(RESTART, **change).passed


def test_a_gateway_that_every_pod_hears_and_nobody_else_is_kept() -> None:
    assert (KEPT.at_home, KEPT.kept, KEPT.passed) == (True, True, True)


@pytest.mark.parametrize(
    ("change", "at_home", "kept"),
    [
        ({"answers": ("02:01",)}, True, False),
        ({"control": False}, True, False),
        ({"leaked": 1}, True, False),
        ({"pods": (PODS[0], replace(PODS[1], answers=("02:01", "02:02")))}, False, True),
        ({"pods": (PODS[0], replace(PODS[1], answers=()))}, False, True),
        ({"pods": (PODS[0], replace(PODS[1], expected="", answers=()))}, False, True),
    ],
    ids=["answered", "deaf", "leaked", "by two nodes", "by nobody", "no gateway"],
)
def test_a_gateway_that_leaves_its_node_is_not_kept(
    change: dict[str, Any],
    at_home: bool,  # noqa: FBT001  # a parameter of the test
    kept: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    proof = replace(KEPT, **change)
    assert (proof.at_home, proof.kept, proof.passed) == (at_home, kept, False)


def _arp(sender: str, target: str, operation: int = ARP_REQUEST) -> bytes:
    head = bytes.fromhex("ffffffffffff 020000000001 0806 0001 0800 0604") + bytes([0, operation])
    ends = (IPv4Address(sender).packed, IPv4Address(target).packed)
    return head + bytes(6) + ends[0] + bytes(6) + ends[1]


@pytest.mark.parametrize(
    ("frame", "count"),
    [
        (Frame(2, sent=False, data=_arp("10.88.0.70", GATEWAY)), 1),
        (Frame(2, sent=False, data=_arp(GATEWAY, "10.88.0.70", ARP_REPLY)), 1),
        (Frame(2, sent=True, data=_arp("10.88.0.254", GATEWAY)), 0),
        (Frame(2, sent=False, data=_arp("10.88.0.70", "10.88.0.71")), 0),
        (Frame(2, sent=False, data=b"\x08\x00 no ARP"), 0),
    ],
    ids=["asked for", "answered", "going in", "of another", "no ARP"],
)
def test_frames_that_name_an_address_and_came_from_a_node_are_counted(
    frame: Frame, count: int
) -> None:
    assert count_naming([frame, frame], GATEWAY) == 2 * count
