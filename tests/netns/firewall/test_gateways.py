# SPDX-License-Identifier: Apache-2.0
"""Gateway addresses that stay on their node, read back with ``nft -j``."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from spanbridge import firewall
from spanbridge.base import log
from spanbridge.base.names import IfName, MacAddress
from spanbridge.firewall import GatewayPin, SpoofGuard
from spanbridge.model.addresses import parse_ip
from spanbridge.model.owner import Owner
from spanbridge.rtnl import NetNs
from spanbridge.testing.plugin import AskTool, Netns

FIRST: Final = Owner.of("blue", "c1", "eth0")
SECOND: Final = Owner.of("blue", "c2", "eth0")
STRANGER: Final = Owner.of("red", "c3", "eth0")
PIN: Final = GatewayPin(IfName("veth1"), None, (parse_ip("10.1.2.1", ""), parse_ip("fd00::1", "")))
ON_VLAN: Final = replace(PIN, gateway_port=IfName("vethgw"))
OTHER_PORT: Final = replace(PIN, port=IfName("veth2"))
ELSEWHERE: Final = replace(OTHER_PORT, addresses=(parse_ip("10.7.0.1", ""),))
GUARD: Final = SpoofGuard(PIN.port, MacAddress("02:00:00:00:00:01"))

Ensure = Callable[[Owner, GatewayPin], None]
Sets = Callable[[], dict[str, dict[str, str]]]


@pytest.fixture
def ensure(host: NetNs) -> Ensure:
    return lambda owner, pin: firewall.ensure(host, owner, masquerade=(), guard=None, pin=pin)


@pytest.fixture
def sets(node: Netns, nft_json: AskTool) -> Sets:
    """Ask for the tags in each set, by name and element."""

    def ask() -> dict[str, dict[str, str]]:
        listed = [each["set"] for each in nft_json("list", "ruleset", netns=node) if "set" in each]
        return {each["name"]: dict(map(_tag, each.get("elem", []))) for each in listed}

    return ask


def _tag(element: Any) -> tuple[str, str]:  # noqa: ANN401  # JSON
    return str(element["elem"]["val"]), element["elem"]["comment"].split()[0]


def test_each_address_has_a_set_of_ports_with_their_owners(ensure: Ensure, sets: Sets) -> None:
    ensure(FIRST, ON_VLAN)
    ensure(SECOND, OTHER_PORT)

    expected = {"lo": "sb1:gateway", "vethgw": "sb1:gateway"}
    expected |= {"veth1": FIRST.tag, "veth2": SECOND.tag}
    assert sets() == {"gateway4-10.1.2.1": expected, "gateway6-fd00--1": expected}


def test_a_second_time_and_a_second_port_add_no_rules(
    ensure: Ensure, node: Netns, nft_json: AskTool
) -> None:
    def rules() -> list[Any]:
        return [each for each in nft_json("list", "ruleset", netns=node) if "rule" in each]

    ensure(FIRST, PIN)
    before = rules()
    ensure(FIRST, PIN)
    ensure(SECOND, OTHER_PORT)

    assert rules() == before


def test_one_transaction_makes_a_pin_beside_a_guard(host: NetNs, sets: Sets) -> None:
    firewall.ensure(host, FIRST, masquerade=(), guard=GUARD, pin=PIN)

    assert set(sets()) == {"guarded", "bindings", "gateway4-10.1.2.1", "gateway6-fd00--1"}
    seen = firewall.observe(host, FIRST)
    assert (seen.guard, seen.complete) == (GUARD, True)
    assert seen.pins == {(PIN.port, ip) for ip in PIN.addresses}


def test_the_last_release_leaves_nothing_of_an_address_that_is_gone(
    ensure: Ensure, host: NetNs, node: Netns, sets: Sets
) -> None:
    ensure(FIRST, ON_VLAN)
    ensure(SECOND, ELSEWHERE)

    firewall.release(host, FIRST)
    assert set(sets()) == {"gateway4-10.7.0.1"}
    firewall.release(host, SECOND)

    assert node.run("nft", "list", "ruleset") == ""


def test_an_address_that_the_node_has_stays(
    ensure: Ensure, host: NetNs, node: Netns, sets: Sets
) -> None:
    node.run("ip", "addr", "add", "10.1.2.1/24", "dev", "lo")
    ensure(FIRST, PIN)
    firewall.release(host, FIRST)
    assert sets() == {"gateway4-10.1.2.1": {"lo": "sb1:gateway"}}

    node.run("ip", "addr", "del", "10.1.2.1/24", "dev", "lo")
    firewall.collect(host, "red", frozenset())

    assert node.run("nft", "list", "ruleset") == ""


def test_what_an_add_has_begun_is_taken_back(
    ensure: Ensure, host: NetNs, node: Netns, sets: Sets
) -> None:
    node.run("ip", "addr", "add", "10.1.2.1/24", "dev", "lo")
    ensure(FIRST, replace(PIN, addresses=PIN.addresses[:1]))
    ensure(SECOND, replace(OTHER_PORT, addresses=PIN.addresses[:1]))

    firewall.withdraw(host, FIRST)
    assert sets() == {"gateway4-10.1.2.1": {"lo": "sb1:gateway", "veth2": SECOND.tag}}
    firewall.withdraw(host, SECOND)

    assert sets() == {"gateway4-10.1.2.1": {"lo": "sb1:gateway"}}, "begun by the first"
    firewall.withdraw(host, FIRST)
    assert node.run("nft", "list", "ruleset") == ""


def test_collecting_takes_the_dead_of_one_network(ensure: Ensure, host: NetNs, sets: Sets) -> None:
    ensure(FIRST, PIN)
    ensure(SECOND, OTHER_PORT)
    ensure(STRANGER, ELSEWHERE)

    assert firewall.collect(host, "blue", frozenset({SECOND.tag})) == (FIRST.tag,)

    found = sets()
    assert found["gateway4-10.1.2.1"] == {"lo": "sb1:gateway", "veth2": SECOND.tag}
    assert found["gateway4-10.7.0.1"] == {"lo": "sb1:gateway", "veth2": STRANGER.tag}


@pytest.mark.parametrize(
    "damage",
    [
        "flush chain bridge spanbridge gateway-input",
        "flush chain bridge spanbridge gateway-forward-arp",
        "flush chain bridge spanbridge gateway-output-nd",
        "insert rule bridge spanbridge gateway-input-arp accept",
        "add rule bridge spanbridge gateway-input-nd accept",
        "flush table bridge spanbridge",
        "delete table bridge spanbridge",
    ],
)
def test_damage_is_noticed_and_mended(
    ensure: Ensure, host: NetNs, node: Netns, damage: str
) -> None:
    ensure(SECOND, ELSEWHERE)
    ensure(FIRST, PIN)
    before = node.run("nft", "list", "chain", "bridge", "spanbridge", "gateway-input-arp")
    node.run("nft", damage)
    seen = firewall.observe(host, FIRST)
    assert not (seen.complete and seen.pins)

    # Elements alone would pass: it is the next attachment that meets an old one which looks.
    ensure(FIRST, PIN)
    ensure(SECOND, ELSEWHERE)

    assert firewall.observe(host, FIRST).complete
    assert firewall.observe(host, SECOND).complete
    after = node.run("nft", "list", "chain", "bridge", "spanbridge", "gateway-input-arp")
    assert sorted(after.splitlines()) == sorted(before.splitlines())


def test_nft_reads_back_what_it_prints(
    ensure: Ensure, host: NetNs, node: Netns, tmp_path: Path
) -> None:
    ensure(FIRST, ON_VLAN)
    saved = tmp_path / "saved"
    saved.write_text(node.run("nft", "list", "ruleset"))
    node.run("nft", "flush", "ruleset")
    node.run("nft", "-f", str(saved))

    assert firewall.observe(host, FIRST).complete
    assert firewall.release(host, FIRST)
    assert node.run("nft", "list", "ruleset") == ""


def test_an_address_is_let_go_whoever_needs_it(ensure: Ensure, host: NetNs, sets: Sets) -> None:
    ensure(FIRST, PIN)
    ensure(SECOND, ELSEWHERE)

    firewall.unpin(host, PIN.addresses)

    assert set(sets()) == {"gateway4-10.7.0.1"}
    firewall.unpin(host, PIN.addresses)
    assert set(sets()) == {"gateway4-10.7.0.1"}


def test_the_probe_leaves_nothing_and_says_nothing(
    ensure: Ensure, host: NetNs, node: Netns, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(log, "sink", lambda _level, event, _fields: said.append(event))
    ensure(FIRST, PIN)
    before = node.run("nft", "list", "ruleset")

    firewall.probe_gateways(host)

    assert (node.run("nft", "list", "ruleset"), said) == (before, [])


def test_a_gateway_that_cannot_be_kept_is_a_warning_and_the_guard_is_made(
    host: NetNs, node: Netns, sets: Sets, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(log, "sink", lambda _level, _event, fields: said.append(str(fields)))
    node.run(
        "nft",
        "add table bridge spanbridge { chain gateway-input-arp { type filter hook"
        " input priority 0; } ; }",
    )

    firewall.ensure(host, FIRST, masquerade=(), guard=GUARD, pin=PIN)

    assert firewall.observe(host, FIRST).guard == GUARD
    assert "gateway4-10.1.2.1" not in sets()
    assert ["10.1.2.1" in each for each in said] == [True]
