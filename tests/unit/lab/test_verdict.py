# SPDX-License-Identifier: Apache-2.0
"""When a verdict passes, and when it must not."""

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest

from spanbridge.lab.ping import PingResult
from spanbridge.lab.proofs import GatewayProof, Leased, LeaseProof, PodGateway, Restart
from spanbridge.lab.topology import AddressRange
from spanbridge.lab.verdict import Isolation, Pair, Trunk, Verdict, render_verdict
from spanbridge.probing.capture import UNTAGGED, TagCount

SILENT = PingResult("10.88.0.2", 12, ())


def _ping(target: str, *rtts_ms: float) -> PingResult:
    return PingResult(target, 3, rtts_ms)


def passing() -> Verdict:
    """Make a verdict on two nodes that is as it must be."""
    return Verdict(
        vlan=2,
        nodes=("east-1", "west-1"),
        addresses={"east-1": "10.88.0.2", "west-1": "10.88.0.102"},
        pairs=(
            Pair("east-1", "west-1", _ping("10.88.0.102", 0.3, 0.1, 0.2)),
            Pair("west-1", "east-1", _ping("10.88.0.2", 0.4, 0.5, 0.3)),
        ),
        trunks=tuple(Trunk(node, TagCount({2: 14}), 12) for node in ("east-1", "west-1")),
        isolation=Isolation("east-1", "no-vlan-net", "10.88.0.202", (SILENT, SILENT)),
    )


def test_a_verdict_without_fault_passes() -> None:
    assert passing().passed


def test_every_further_proof_counts() -> None:
    pool = AddressRange(IPv4Address("10.88.0.2"), IPv4Address("10.88.0.9"))
    pod = PodGateway("east-1", "02:01", ())
    wrong: list[dict[str, Any]] = [
        {"leases": LeaseProof("10.88.0.254", pool, (Leased("east-1", "10.88.0.2", "02:01", ""),))},
        {"gateway": GatewayProof("10.88.0.1", 3, (), control=True, pods=(pod,), leaked=0)},
        {"restart": Restart("east-1", "10.88.0.2", "10.88.0.2", 1, 2, renewal=())},
    ]
    assert [replace(passing(), **change).passed for change in wrong] == [False] * 3


def test_a_silent_target_fails_the_verdict() -> None:
    good = passing()
    silent = replace(good, pairs=(good.pairs[0], Pair("west-1", "east-1", SILENT)))
    assert (silent.reachable, silent.passed) == (1, False)


def test_two_owners_of_an_address_fail_the_verdict() -> None:
    good = passing()
    twice = replace(good.pairs[0], ping=replace(good.pairs[0].ping, duplicates=1))
    assert not replace(good, pairs=(twice, good.pairs[1])).passed


@pytest.mark.parametrize(
    "count",
    [
        TagCount({2: 14, UNTAGGED: 1}),
        TagCount({2: 14, 3: 1}),
        TagCount({2: 11}),
        TagCount({2: 14}, missed=1),
        TagCount({}),
    ],
    ids=["an untagged frame", "another VLAN", "too few", "frames missed", "nothing"],
)
def test_a_trunk_that_proves_no_vlan_fails_the_verdict(count: TagCount) -> None:
    good = passing()
    bad = replace(good, trunks=(good.trunks[0], Trunk("west-1", count, 12)))
    assert not bad.passed
    assert bad.witness.node == "west-1"


def test_a_pod_without_the_vlan_that_reaches_somebody_fails_the_verdict() -> None:
    good = passing()
    reaching = replace(good.isolation, pings=(SILENT, _ping("10.88.0.102", 0.1)))
    assert not replace(good, isolation=reaching).passed


def test_an_attachment_that_is_not_as_promised_fails_the_verdict() -> None:
    assert not replace(passing(), faults=("VLAN 2 is missing",)).passed


def test_the_document_has_every_pair_with_its_times() -> None:
    document = render_verdict(passing())
    assert document["passed"] is True
    pairs = document["pairs"]
    assert isinstance(pairs, list)
    assert pairs[0] == {
        "source": "east-1",
        "target": "west-1",
        "address": "10.88.0.102",
        "sent": 3,
        "received": 3,
        "loss": 0.0,
        "rtt_min_ms": 0.1,
        "rtt_median_ms": 0.2,
        "duplicates": 0,
    }
