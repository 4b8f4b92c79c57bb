# SPDX-License-Identifier: Apache-2.0
"""What to change in our tables, given what was found there; pure."""

from collections.abc import Callable, Iterator

from spanbridge.base.names import IfName
from spanbridge.firewall import gateways, ruleset
from spanbridge.firewall.entries import GATEWAY_TAG, Entries, Found, GatewayPin, SpoofGuard
from spanbridge.firewall.ruleset import BRIDGE, INET, Command
from spanbridge.model.addresses import Cidr, Ip, parse_cidr
from spanbridge.model.desired import Masquerade
from spanbridge.model.owner import Owner


def plan_creation(
    owner: Owner,
    masquerade: tuple[Masquerade, ...],
    guard: SpoofGuard | None,
    *,
    pin: GatewayPin | None = None,
) -> list[Command]:
    """Elements alone: passes when the rules are there and nobody holds one of the keys."""
    made = [ruleset.create_source(owner, entry) for entry in masquerade]
    if guard is not None:
        made += [ruleset.create_port(owner, guard), ruleset.create_binding(owner, guard)]
    if pin is not None:
        made += [gateways.create_pin(owner, ip, pin.port) for ip in pin.addresses]
    if pin is not None and pin.gateway_port:
        made += [gateways.add_gateway_port(ip, pin.gateway_port) for ip in pin.addresses]
    return made


def plan_takeover(
    found: Found,
    owner: Owner,
    masquerade: tuple[Masquerade, ...],
    guard: SpoofGuard | None,
    *,
    pin: GatewayPin | None = None,
) -> list[Command]:
    """
    Change whatever is found into what is wanted; empty when it is that already.

    An element of the same key is replaced, whoever holds it.
    """
    networks = tuple(dict.fromkeys(entry.network.network for entry in masquerade))
    rules = ruleset.table(networks, guarding=guard is not None)
    changes = [] if ruleset.is_complete(found, rules) else rules
    deserted = set()
    for entry in masquerade:
        there = found.sources.get(entry.source)
        chain = ruleset.network_chain_name(entry.network)
        if there is not None and (there.chain, there.tag) == (chain, owner.tag):
            continue
        if there is not None:
            changes.append(ruleset.delete_source(entry.source, there.chain))
            deserted.add(entry.source)
        changes.append(ruleset.create_source(owner, entry))
    if guard is not None:
        changes += _plan_guard(found, owner, guard)
    if pin is not None:
        changes += _plan_pin(found, owner, pin)
    gone = _deserted_chains(found, lambda ip: ip in deserted)
    wanted = {ruleset.network_chain_name(network) for network in networks}
    return changes + [ruleset.delete_chain(chain) for chain in gone if chain not in wanted]


def _plan_guard(found: Found, owner: Owner, guard: SpoofGuard) -> list[Command]:
    """Guard a port, and take from it every MAC that an earlier attempt allowed."""
    changes = []
    if found.ports.get(guard.port) != owner.tag:
        if guard.port in found.ports:
            changes.append(ruleset.delete_port(guard.port))
        changes.append(ruleset.create_port(owner, guard))
    if found.bindings.get(guard) != owner.tag:
        changes += [ruleset.delete_binding(guard)] if guard in found.bindings else []
        changes.append(ruleset.create_binding(owner, guard))
    others = (each for each in found.bindings if each.port == guard.port and each != guard)
    return changes + [ruleset.delete_binding(each) for each in others]


def _plan_pin(found: Found, owner: Owner, pin: GatewayPin) -> list[Command]:
    structure = gateways.structure()
    changes = [] if ruleset.is_complete(found, structure) else structure
    known = [ip for ip in pin.addresses if ip in found.gateways]
    damaged = frozenset(ip for ip in known if not gateways.is_complete(found, ip))
    changes += gateways.empty(found, damaged)
    for ip in pin.addresses:
        if ip not in known:
            changes += gateways.create_gateway(ip, owner)
        elif ip in damaged:
            changes += gateways.fill(ip)
        ports = found.gateways[ip].ports if ip in known else {}
        if ports.get(pin.port) != owner.tag:
            changes += [gateways.delete_pin(ip, pin.port)] if pin.port in ports else []
            changes.append(gateways.create_pin(owner, ip, pin.port))
        if pin.gateway_port and ports.get(pin.gateway_port) != GATEWAY_TAG:
            changes.append(gateways.add_gateway_port(ip, pin.gateway_port))
    return changes


def _deserted_chains(found: Found, leaves: Callable[..., bool]) -> list[str]:
    """Chains of networks to which no address leads once some have left."""
    used = {source.chain for ip, source in found.sources.items() if not leaves(ip)}
    chains = (chain for family, chain in found.rules if family == INET)
    return [each for each in chains if ruleset.is_network_chain(each) and each not in used]


def deserted_gateways(found: Found, goes: Callable[[str], bool]) -> frozenset[Ip]:
    """List the gateway addresses that no attachment needs once some tags have left."""

    def stays(tag: str) -> bool:
        return tag != GATEWAY_TAG and not goes(tag)

    return frozenset(
        ip for ip, gateway in found.gateways.items() if not any(map(stays, gateway.ports.values()))
    )


def plan_removal(
    found: Found, goes: Callable[[str], bool], *, kept: frozenset[Ip] = frozenset()
) -> list[Command]:
    """
    Remove the elements of some tags, and a table with its last element.

    Args:
        found: What is there.
        goes: Tells of a tag whether its elements go.
        kept: Gateway addresses that stay on the node also when nobody needs them.
    """
    changes: list[Command] = []
    leaving = {ip: each.chain for ip, each in found.sources.items() if goes(each.tag)}
    if leaving and len(leaving) == len(found.sources):
        changes.append(ruleset.delete_table(INET))
    elif leaving:
        changes += [ruleset.delete_source(ip, chain) for ip, chain in leaving.items()]
        gone = _deserted_chains(found, leaving.__contains__)
        changes += [ruleset.delete_chain(chain) for chain in gone]
    return changes + _plan_bridge(found, goes, deserted_gateways(found, goes) - kept)


def _plan_bridge(
    found: Found, goes: Callable[[str], bool], deserted: frozenset[Ip]
) -> list[Command]:
    changes: list[Command] = []
    ports = [port for port, tag in found.ports.items() if goes(tag)]
    bindings = [guard for guard, tag in found.bindings.items() if goes(tag)]
    rest = len(found.ports) + len(found.bindings) + len(found.gateways)
    if rest and rest == len(ports) + len(bindings) + len(deserted):
        changes.append(ruleset.delete_table(BRIDGE))
        return changes
    if (ports or bindings) and (len(ports), len(bindings)) == (
        len(found.ports),
        len(found.bindings),
    ):
        changes += ruleset.delete_guard()
    else:
        changes += [ruleset.delete_port(port) for port in ports]
        changes += [ruleset.delete_binding(guard) for guard in bindings]
    return changes + _plan_removed_pins(found, goes, deserted)


def _plan_removed_pins(
    found: Found, goes: Callable[[str], bool], deserted: frozenset[Ip]
) -> list[Command]:
    changes = [
        gateways.delete_pin(ip, port)
        for ip, gateway in found.gateways.items()
        for port, tag in gateway.ports.items()
        if ip not in deserted and goes(tag)
    ]
    changes += gateways.delete_gateways(found, deserted)
    if deserted and len(deserted) == len(found.gateways):
        changes += gateways.delete_structure()
    return changes


def plan_unpinning(found: Found, addresses: tuple[Ip, ...]) -> list[Command]:
    """Let some gateway addresses be seen on their whole networks, whoever needs them."""
    return _plan_bridge(found, lambda _: False, frozenset(found.gateways) & set(addresses))


def entries_of(found: Found, owner: Owner) -> Entries:
    """Cut out what one owner holds."""
    masquerade = []
    for ip in sorted(found.sources):
        text = ruleset.network_text(found.sources[ip].chain, ip.version)
        if found.sources[ip].tag == owner.tag and text:
            masquerade.append(Masquerade(ip, parse_cidr(text, "")))
    ports = [port for port, tag in found.ports.items() if tag == owner.tag]
    guards = [guard for guard, tag in found.bindings.items() if tag == owner.tag]
    effective = [guard for guard in guards if guard.port in ports]
    networks: tuple[Cidr, ...] = tuple(dict.fromkeys(entry.network for entry in masquerade))
    wanted = ruleset.table(networks, guarding=bool(ports or guards))
    pinned = [ip for ip, each in found.gateways.items() if owner.tag in each.ports.values()]
    if pinned:
        wanted += gateways.structure()
    # More than one MAC, or a port without one, is not what `ensure` leaves behind.
    whole = len(ports) == len(guards) == len(effective) <= 1
    whole = whole and all(gateways.is_complete(found, ip) for ip in pinned)
    return Entries(
        masquerade=tuple(masquerade),
        guard=effective[0] if effective else None,
        complete=whole and ruleset.is_complete(found, wanted),
        pins=frozenset(_pins(found, owner)),
    )


def _pins(found: Found, owner: Owner) -> Iterator[tuple[IfName, Ip]]:
    for ip, gateway in found.gateways.items():
        for port, tag in gateway.ports.items():
            if tag in {owner.tag, GATEWAY_TAG}:
                yield port, ip
