# SPDX-License-Identifier: Apache-2.0
"""Entries of many owners in one node, read back with ``nft -j``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from spanbridge import firewall
from spanbridge.base.errors import NodeError
from spanbridge.base.names import IfName, MacAddress
from spanbridge.firewall import Entries, SpoofGuard, apply
from spanbridge.model.addresses import parse_cidr
from spanbridge.model.desired import Masquerade
from spanbridge.model.owner import Owner
from spanbridge.rtnl import NetNs
from spanbridge.testing.plugin import AskTool, Netns

FIRST: Final = Owner.of("blue", "c1", "eth0")
SECOND: Final = Owner.of("blue", "c2", "eth0")
STRANGER: Final = Owner.of("red", "c3", "eth0")
GUARD: Final = SpoofGuard(IfName("veth1"), MacAddress("02:00:00:00:00:01"))
OURS: Final = {("inet", "spanbridge"), ("bridge", "spanbridge")}

Objects = Callable[[str], list[dict[str, Any]]]
Elements = Callable[[str], dict[str, str]]


def entry(text: str) -> Masquerade:
    address = parse_cidr(text, "")
    return Masquerade(address.ip, address.network)


FIVE: Final = entry("10.1.2.5/24")
SIX: Final = entry("10.1.2.6/24")
FIVE6: Final = entry("fd00:88::5/64")


@pytest.fixture
def objects(node: Netns, nft_json: AskTool) -> Objects:
    """Ask for what is in nftables, of everybody: by kind."""

    def ask(kind: str) -> list[dict[str, Any]]:
        return [each[kind] for each in nft_json("list", "ruleset", netns=node) if kind in each]

    return ask


@pytest.fixture
def elements(objects: Objects) -> Elements:
    """Ask for the tags in a set or map, by key; pairs are joined by a blank."""

    def ask(name: str) -> dict[str, str]:
        found = {}
        for each in (*objects("map"), *objects("set")):
            for element in each.get("elem", []) if each["name"] == name else []:
                fields = (element[0] if "map" in each else element)["elem"]
                value = fields["val"]
                key = " ".join(value["concat"]) if isinstance(value, dict) else value
                found[key] = fields["comment"].split()[0]
        return found

    return ask


@pytest.fixture
def tables(objects: Objects) -> Callable[[], set[tuple[str, str]]]:
    return lambda: {(each["family"], each["name"]) for each in objects("table")}


Tables = Callable[[], set[tuple[str, str]]]


def test_elements_carry_the_owners_tag(host: NetNs, elements: Elements) -> None:
    firewall.ensure(host, FIRST, masquerade=(FIVE, FIVE6), guard=GUARD)

    assert elements("sources4") == {"10.1.2.5": FIRST.tag}
    assert elements("sources6") == {"fd00:88::5": FIRST.tag}
    assert elements("guarded") == {"veth1": FIRST.tag}
    assert elements("bindings") == {"veth1 02:00:00:00:00:01": FIRST.tag}


def test_only_the_table_that_is_needed_appears(host: NetNs, tables: Tables) -> None:
    firewall.ensure(host, FIRST, masquerade=(FIVE,), guard=None)
    assert tables() == {("inet", "spanbridge")}

    firewall.ensure(host, FIRST, masquerade=(), guard=GUARD)
    assert tables() == OURS


def test_what_was_ensured_is_observed(host: NetNs) -> None:
    assert firewall.observe(host, FIRST) == Entries((), None, complete=True)

    firewall.ensure(host, FIRST, masquerade=(FIVE6, FIVE), guard=GUARD)
    firewall.ensure(host, SECOND, masquerade=(SIX,), guard=None)

    assert firewall.observe(host, FIRST) == Entries((FIVE, FIVE6), GUARD, complete=True)
    assert firewall.observe(host, SECOND) == Entries((SIX,), None, complete=True)


def test_a_second_time_changes_nothing(host: NetNs, objects: Objects) -> None:
    firewall.ensure(host, FIRST, masquerade=(FIVE, FIVE6), guard=GUARD)
    before = [objects(kind) for kind in ("chain", "rule", "map", "set")]
    firewall.ensure(host, FIRST, masquerade=(FIVE, FIVE6), guard=GUARD)

    assert [objects(kind) for kind in ("chain", "rule", "map", "set")] == before


def test_rules_do_not_grow_with_attachments(host: NetNs, objects: Objects) -> None:
    firewall.ensure(host, FIRST, masquerade=(FIVE,), guard=GUARD)
    before = len(objects("rule"))
    other = SpoofGuard(IfName("veth2"), MacAddress("02:00:00:00:00:02"))
    firewall.ensure(host, SECOND, masquerade=(SIX,), guard=other)

    assert len(objects("rule")) == before


@pytest.mark.parametrize("again", ["10.1.2.5/24", "10.1.2.5/16"], ids=["same", "other network"])
def test_an_address_handed_out_again_belongs_to_the_last(
    host: NetNs, elements: Elements, again: str
) -> None:
    firewall.ensure(host, FIRST, masquerade=(FIVE,), guard=None)
    firewall.ensure(host, SECOND, masquerade=(entry(again),), guard=None)
    assert elements("sources4") == {"10.1.2.5": SECOND.tag}

    assert not firewall.release(host, FIRST)
    assert firewall.collect(host, "blue", frozenset({SECOND.tag})) == ()
    assert firewall.observe(host, SECOND) == Entries((entry(again),), None, complete=True)


def test_a_network_that_nobody_uses_leaves_no_chain(host: NetNs, objects: Objects) -> None:
    firewall.ensure(host, FIRST, masquerade=(FIVE, FIVE6), guard=None)
    firewall.ensure(host, SECOND, masquerade=(SIX, entry("10.9.0.1/16")), guard=None)
    firewall.release(host, SECOND)

    names = {each["name"] for each in objects("chain")}
    assert names == {"postrouting", "net-10.1.2.0/24", "net-fd00-88--/64"}


def test_the_last_release_leaves_no_table(host: NetNs, tables: Tables) -> None:
    firewall.ensure(host, FIRST, masquerade=(FIVE,), guard=GUARD)
    firewall.ensure(host, SECOND, masquerade=(SIX,), guard=None)

    assert firewall.release(host, FIRST)
    assert tables() == {("inet", "spanbridge")}
    assert firewall.release(host, SECOND)
    assert tables() == set()


def test_several_owners_are_released_at_once(host: NetNs, elements: Elements) -> None:
    owners = [Owner.of("blue", f"c{number}", "eth0") for number in range(20)]
    for number, owner in enumerate(owners):
        firewall.ensure(host, owner, masquerade=(entry(f"10.1.2.{number + 1}/24"),), guard=None)

    assert firewall.release(host, *owners[1:])
    assert elements("sources4") == {"10.1.2.1": owners[0].tag}


def test_what_does_not_fit_one_transaction_takes_several(
    host: NetNs, elements: Elements, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apply, "_OWNERS_AT_ONCE", 3)
    owners = [Owner.of("blue", f"c{number}", "eth0") for number in range(10)]
    for number, owner in enumerate(owners):
        firewall.ensure(host, owner, masquerade=(entry(f"10.1.2.{number + 1}/24"),), guard=None)

    assert firewall.release(host, *owners[7:])
    kept = frozenset({owners[0].tag})
    assert set(firewall.collect(host, "blue", kept)) == {each.tag for each in owners[1:7]}
    assert elements("sources4") == {"10.1.2.1": owners[0].tag}


def test_releasing_nothing_is_no_failure(host: NetNs, node: Netns) -> None:
    assert not firewall.release(host, FIRST)

    firewall.ensure(host, FIRST, masquerade=(FIVE,), guard=GUARD)
    node.run("nft", "flush", "ruleset")

    assert not firewall.release(host, FIRST)
    assert firewall.collect(host, "blue", frozenset()) == ()


def test_collecting_takes_the_dead_of_one_network(host: NetNs, elements: Elements) -> None:
    firewall.ensure(host, FIRST, masquerade=(FIVE,), guard=GUARD)
    firewall.ensure(host, SECOND, masquerade=(SIX,), guard=None)
    firewall.ensure(host, STRANGER, masquerade=(entry("10.1.2.7/24"),), guard=None)

    assert firewall.collect(host, "blue", frozenset({SECOND.tag})) == (FIRST.tag,)
    assert elements("sources4") == {"10.1.2.6": SECOND.tag, "10.1.2.7": STRANGER.tag}
    assert elements("guarded") == elements("bindings") == {}


def test_rules_of_others_are_left_alone(host: NetNs, node: Netns, objects: Objects) -> None:
    node.run("nft", "add table inet mine")
    node.run("nft", "add chain inet mine c { type nat hook postrouting priority 90; }")
    node.run("nft", "add rule inet mine c ip saddr 10.1.2.5 counter comment spanbridge")
    before = objects("rule")
    firewall.ensure(host, FIRST, masquerade=(FIVE,), guard=GUARD)
    firewall.probe(host)
    firewall.release(host, FIRST)
    firewall.collect(host, "blue", frozenset())

    assert objects("rule") == before


@pytest.mark.parametrize(
    "damage",
    [
        "flush chain inet spanbridge postrouting",
        "flush chain inet spanbridge net-10.1.2.0/24",
        "flush chain bridge spanbridge prerouting",
        "delete chain bridge spanbridge input",
        "flush table inet spanbridge",
        "insert rule inet spanbridge postrouting return",
    ],
)
def test_damaged_rules_are_noticed_and_mended(host: NetNs, node: Netns, damage: str) -> None:
    firewall.ensure(host, FIRST, masquerade=(FIVE,), guard=GUARD)
    node.run("nft", damage)
    assert not firewall.observe(host, FIRST).complete

    firewall.ensure(host, FIRST, masquerade=(FIVE,), guard=GUARD)
    assert firewall.observe(host, FIRST) == Entries((FIVE,), GUARD, complete=True)


def test_a_flushed_ruleset_comes_back_with_the_next_attachment(host: NetNs, node: Netns) -> None:
    firewall.ensure(host, FIRST, masquerade=(FIVE,), guard=None)
    node.run("nft", "flush", "ruleset")
    firewall.ensure(host, SECOND, masquerade=(SIX,), guard=None)

    assert firewall.observe(host, SECOND) == Entries((SIX,), None, complete=True)
    assert firewall.observe(host, FIRST).masquerade == ()


def test_nft_reads_back_what_it_prints(host: NetNs, node: Netns, tmp_path: Path) -> None:
    firewall.ensure(host, FIRST, masquerade=(FIVE, FIVE6, entry("::5/0")), guard=GUARD)
    saved = tmp_path / "saved"
    saved.write_text(node.run("nft", "list", "ruleset"))
    node.run("nft", "flush", "ruleset")
    node.run("nft", "-f", str(saved))

    assert firewall.observe(host, FIRST).complete
    assert firewall.release(host, FIRST)


def test_a_refusal_changes_nothing(host: NetNs, tables: Tables, node: Netns) -> None:
    node.run("nft", "add table inet spanbridge { map sources4 { type ipv4_addr : mark; } ; }")

    with pytest.raises(NodeError, match=r"cannot masquerade 10\.1\.2\.5, fd00:88::5: "):
        firewall.ensure(host, FIRST, masquerade=(FIVE, FIVE6), guard=GUARD)
    assert tables() == {("inet", "spanbridge")}


def test_the_probe_leaves_nothing(host: NetNs, objects: Objects) -> None:
    firewall.ensure(host, FIRST, masquerade=(FIVE,), guard=None)
    before = objects("table")
    firewall.probe(host)

    assert objects("table") == before
