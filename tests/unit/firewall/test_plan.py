# SPDX-License-Identifier: Apache-2.0
"""What is changed, given what is there."""

from dataclasses import replace

from spanbridge.base.names import IfName, MacAddress
from spanbridge.firewall import Entries, GatewayPin, SpoofGuard, gateways, ruleset
from spanbridge.firewall.entries import Found, Source
from spanbridge.firewall.listing import parse_listing
from spanbridge.firewall.plan import (
    deserted_gateways,
    entries_of,
    plan_creation,
    plan_removal,
    plan_takeover,
    plan_unpinning,
)
from spanbridge.firewall.ruleset import Command
from spanbridge.model.addresses import Ip, parse_cidr, parse_ip
from spanbridge.model.desired import Masquerade
from spanbridge.model.owner import Owner

OURS = Owner.of("blue", "c1", "eth0")
OTHER = Owner.of("blue", "c2", "eth0")
GUARD = SpoofGuard(IfName("veth1"), MacAddress("02:00:00:00:00:01"))
EARLIER = replace(GUARD, mac=MacAddress("02:00:00:00:00:99"))
RULES = {
    ("inet", "postrouting"): ("v1 multicast4", "v1 multicast6", "v1 sources4", "v1 sources6"),
    ("bridge", "prerouting"): ("v1 foreign source",),
    ("bridge", "input"): ("v1 foreign source",),
}
NETWORK_RULES = ("v1 own network", "v1 masquerade")


def entry(text: str) -> Masquerade:
    address = parse_cidr(text, "")
    return Masquerade(address.ip, address.network)


FIVE = entry("10.1.2.5/24")
SIX = entry("10.1.2.6/24")


def found(*pairs: tuple[Masquerade, Owner], guards: dict[SpoofGuard, Owner] | None = None) -> Found:
    bindings = {guard: owner.tag for guard, owner in (guards or {}).items()}
    sources = {
        each.source: Source(ruleset.network_chain_name(each.network), owner.tag)
        for each, owner in pairs
    }
    chains = {("inet", source.chain): NETWORK_RULES for source in sources.values()}
    return Found(
        sources=sources,
        ports={guard.port: tag for guard, tag in bindings.items()},
        bindings=bindings,
        rules=RULES | chains,
    )


def test_creation_is_elements_alone() -> None:
    assert plan_creation(OURS, (FIVE,), GUARD) == [
        ruleset.create_source(OURS, FIVE),
        ruleset.create_port(OURS, GUARD),
        ruleset.create_binding(OURS, GUARD),
    ]


def test_what_is_there_already_is_left_alone() -> None:
    there = found((FIVE, OURS), guards={GUARD: OURS})

    assert plan_takeover(there, OURS, (FIVE,), GUARD) == []


def test_on_a_fresh_node_the_rules_come_first() -> None:
    assert plan_takeover(Found(), OURS, (FIVE,), None) == [
        *ruleset.masquerade_table(),
        *ruleset.network_chain(FIVE.network),
        ruleset.create_source(OURS, FIVE),
    ]


def test_flushed_rules_are_filled_in_again() -> None:
    there = found((FIVE, OURS))
    there.rules["inet", "postrouting"] = ()

    assert plan_takeover(there, OURS, (FIVE,), None) == ruleset.table(
        (FIVE.network,), guarding=False
    )


def test_an_address_of_another_owner_is_taken_over() -> None:
    assert plan_takeover(found((FIVE, OTHER)), OURS, (FIVE,), None) == [
        ruleset.delete_source(FIVE.source, "net-10.1.2.0/24"),
        ruleset.create_source(OURS, FIVE),
    ]


def test_a_chain_that_nobody_uses_after_a_takeover_goes() -> None:
    wider = entry("10.1.2.5/16")

    changes = plan_takeover(found((FIVE, OTHER)), OURS, (wider,), None)

    assert changes[-1] == ruleset.delete_chain("net-10.1.2.0/24")


def test_a_chain_that_somebody_else_uses_stays() -> None:
    wider = entry("10.1.2.5/16")

    changes = plan_takeover(found((FIVE, OTHER), (SIX, OTHER)), OURS, (wider,), None)

    assert ruleset.delete_chain("net-10.1.2.0/24") not in changes


def test_a_guard_takes_away_the_mac_of_an_earlier_attempt() -> None:
    there = found(guards={EARLIER: OURS})

    assert plan_takeover(there, OURS, (), GUARD) == [
        ruleset.create_binding(OURS, GUARD),
        ruleset.delete_binding(EARLIER),
    ]


def test_a_guarded_port_of_another_owner_is_taken_over() -> None:
    there = found(guards={GUARD: OTHER})

    assert plan_takeover(there, OURS, (), GUARD) == [
        ruleset.delete_port(GUARD.port),
        ruleset.create_port(OURS, GUARD),
        ruleset.delete_binding(GUARD),
        ruleset.create_binding(OURS, GUARD),
    ]


def test_removal_leaves_other_owners_alone() -> None:
    there = found((FIVE, OURS), (SIX, OTHER), guards={GUARD: OTHER})

    assert plan_removal(there, {OURS.tag}.__contains__) == [
        ruleset.delete_source(FIVE.source, "net-10.1.2.0/24")
    ]


def test_the_last_address_of_a_network_takes_its_chain_along() -> None:
    there = found((FIVE, OURS), (entry("10.9.0.2/16"), OTHER))

    assert plan_removal(there, {OURS.tag}.__contains__)[-1] == ruleset.delete_chain(
        "net-10.1.2.0/24"
    )


def test_the_last_entry_takes_its_table_along() -> None:
    there = found((FIVE, OURS), guards={GUARD: OURS})

    assert plan_removal(there, {OURS.tag}.__contains__) == [
        ruleset.delete_table("inet"),
        ruleset.delete_table("bridge"),
    ]


def test_nothing_of_ours_is_nothing_to_remove() -> None:
    assert plan_removal(found((SIX, OTHER)), {OURS.tag}.__contains__) == []
    assert plan_removal(Found(), {OURS.tag}.__contains__) == []


def test_an_owner_sees_only_its_own_entries() -> None:
    there = found((SIX, OURS), (FIVE, OURS), (entry("10.1.2.7/24"), OTHER), guards={GUARD: OURS})

    assert entries_of(there, OURS) == Entries((FIVE, SIX), GUARD, complete=True)
    assert entries_of(there, Owner.of("red", "c9", "eth0")) == Entries((), None, complete=True)


def test_missing_rules_are_noticed() -> None:
    there = found((FIVE, OURS))
    del there.rules["inet", "net-10.1.2.0/24"]

    assert not entries_of(there, OURS).complete


def test_rules_that_an_owner_does_not_need_are_not_missed() -> None:
    there = found((FIVE, OURS))
    del there.rules["bridge", "input"]

    assert entries_of(there, OURS).complete


def test_a_port_that_lost_its_mac_is_incomplete() -> None:
    there = found(guards={GUARD: OURS})
    there.bindings.clear()

    assert entries_of(there, OURS) == Entries((), None, complete=False)


# ---------------------------------------------------------------- gateways

ONE: Ip = parse_ip("10.1.2.1", "")
ONE6: Ip = parse_ip("fd00::1", "")
PIN = GatewayPin(IfName("veth1"), None, (ONE, ONE6))
ON_VLAN = replace(PIN, gateway_port=IfName("vethgw"), addresses=(ONE,))
MADE = (*gateways.create_gateway(ONE, OURS), *gateways.create_gateway(ONE6, OURS))


def listed(*commands: Command) -> Found:
    """Read back what commands would make, as the kernel would list it."""
    objects: list[Command] = []
    elements: dict[str, list[object]] = {}
    for number, command in enumerate(commands):
        for verb in ("add", "create"):
            for kind, fields in command.get(verb, {}).items():
                if kind == "element":
                    elements.setdefault(fields["name"], []).extend(fields["elem"])
                else:
                    objects.append({kind: fields | {"handle": number}})
    for each in objects:
        if "set" in each:
            each["set"]["elem"] = elements.get(each["set"]["name"], [])
    return parse_listing(objects)


def pinned(*more: Command) -> Found:
    return listed(*gateways.structure(), *MADE, *more)


def test_a_pin_is_one_element_for_each_gateway_address() -> None:
    assert plan_creation(OURS, (), None, pin=PIN) == [
        gateways.create_pin(OURS, ONE, "veth1"),
        gateways.create_pin(OURS, ONE6, "veth1"),
    ]


def test_the_port_of_the_gateways_interface_is_put_in_beside() -> None:
    assert plan_creation(OURS, (), None, pin=ON_VLAN) == [
        gateways.create_pin(OURS, ONE, "veth1"),
        gateways.add_gateway_port(ONE, "vethgw"),
    ]


def test_the_first_pin_makes_chains_rules_and_set() -> None:
    assert plan_takeover(Found(), OURS, (), None, pin=ON_VLAN) == [
        *gateways.structure(),
        *gateways.create_gateway(ONE, OURS),
        gateways.create_pin(OURS, ONE, "veth1"),
        gateways.add_gateway_port(ONE, "vethgw"),
    ]


def test_a_new_gateway_leaves_the_rules_of_others_alone() -> None:
    there = listed(*gateways.structure(), *gateways.create_gateway(ONE, OTHER))

    assert plan_takeover(there, OURS, (), None, pin=PIN) == [
        gateways.create_pin(OURS, ONE, "veth1"),
        *gateways.create_gateway(ONE6, OURS),
        gateways.create_pin(OURS, ONE6, "veth1"),
    ]


def test_a_pin_that_is_there_is_left_alone() -> None:
    there = pinned(*plan_creation(OURS, (), None, pin=PIN))

    assert plan_takeover(there, OURS, (), None, pin=PIN) == []


def test_a_pin_of_another_owner_is_taken_over() -> None:
    there = pinned(*plan_creation(OTHER, (), None, pin=PIN))

    assert plan_takeover(there, OURS, (), None, pin=replace(PIN, addresses=(ONE,))) == [
        gateways.delete_pin(ONE, "veth1"),
        gateways.create_pin(OURS, ONE, "veth1"),
    ]


def test_damaged_rules_of_a_gateway_are_replaced_once() -> None:
    there = pinned(*plan_creation(OURS, (), None, pin=PIN))
    key = ("bridge", "gateway-input-arp")
    there.rules[key] = ("", *there.rules[key][1:])

    changes = plan_takeover(there, OURS, (), None, pin=PIN)

    deleted = [each["delete"]["rule"]["handle"] for each in changes if "delete" in each]
    chains = [f"gateway-{hook}-arp" for hook in ("forward", "input", "output")]
    assert deleted == [handle for chain in chains for handle in there.handles["bridge", chain]]
    assert changes[len(deleted) :] == gateways.fill(ONE)


def test_a_gateway_stays_while_the_node_has_the_address() -> None:
    there = pinned(*plan_creation(OURS, (), None, pin=PIN))
    leaves = {OURS.tag}.__contains__

    assert deserted_gateways(there, leaves) == {ONE, ONE6}
    assert plan_removal(there, leaves, kept=frozenset({ONE, ONE6})) == [
        gateways.delete_pin(ONE, "veth1"),
        gateways.delete_pin(ONE6, "veth1"),
    ]


def test_a_gateway_stays_while_another_attachment_needs_it() -> None:
    ours = plan_creation(OURS, (), None, pin=PIN)
    there = pinned(*ours, gateways.create_pin(OTHER, ONE, "veth2"))
    leaves = {OURS.tag}.__contains__

    changes = plan_removal(there, leaves)

    assert deserted_gateways(there, leaves) == {ONE6}
    assert changes == [
        gateways.delete_pin(ONE, "veth1"),
        *gateways.delete_gateways(there, frozenset({ONE6})),
    ]


def test_the_last_gateway_takes_the_table_along() -> None:
    there = pinned(*plan_creation(OURS, (), None, pin=PIN))

    assert plan_removal(there, {OURS.tag}.__contains__) == [ruleset.delete_table("bridge")]


def test_a_gateways_own_port_does_not_keep_it() -> None:
    there = pinned(gateways.add_gateway_port(ONE, "vethgw"))

    assert plan_removal(there, lambda _: False) == [ruleset.delete_table("bridge")]


def test_the_last_gateway_leaves_the_guards_of_others() -> None:
    there = pinned(*plan_creation(OURS, (), None, pin=PIN))
    there.ports[GUARD.port] = there.bindings[GUARD] = OTHER.tag

    changes = plan_removal(there, {OURS.tag}.__contains__)

    assert changes == [
        *gateways.delete_gateways(there, frozenset({ONE, ONE6})),
        *gateways.delete_structure(),
    ]


def test_the_last_guard_leaves_the_gateways_of_others() -> None:
    there = pinned(*plan_creation(OTHER, (), None, pin=PIN))
    there.ports[GUARD.port] = there.bindings[GUARD] = OURS.tag

    assert plan_removal(there, {OURS.tag}.__contains__) == ruleset.delete_guard()


def test_a_gateway_is_let_go_whoever_needs_it() -> None:
    there = pinned(*plan_creation(OTHER, (), None, pin=PIN))
    stranger = parse_ip("192.0.2.1", "")

    assert plan_unpinning(there, (ONE, stranger)) == gateways.delete_gateways(
        there, frozenset({ONE})
    )
    assert plan_unpinning(there, (stranger,)) == []


def test_an_owner_sees_its_pins_and_those_of_the_gateways_interface() -> None:
    other = replace(PIN, port=IfName("veth2"))
    there = pinned(
        *plan_creation(OURS, (), None, pin=ON_VLAN), *plan_creation(OTHER, (), None, pin=other)
    )

    seen = entries_of(there, OURS)

    assert seen.pins == {(IfName("veth1"), ONE), (IfName("vethgw"), ONE)}
    assert seen.complete
    del there.rules["bridge", "gateway-output"]
    assert not entries_of(there, OURS).complete


def test_rules_of_another_gateway_are_not_missed() -> None:
    there = pinned(*plan_creation(OURS, (), None, pin=ON_VLAN))
    there.rules["bridge", "gateway-input-nd"] = ()

    assert entries_of(there, OURS).complete
