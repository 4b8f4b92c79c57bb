# SPDX-License-Identifier: Apache-2.0
"""
Gateway addresses that stay on their node, as data: sets and rules of the bridge table; pure.

An address has one set: the bridge ports behind which it is this node's. An attachment
has one element in it. ARP and neighbour discovery about the address pass between those
ports, and between them and the node; what would cross any other port, into or out of
this circle, is dropped. Traffic between two ports outside of it is left alone: another
network on the same bridge may have a router of its own with the same address.

What a router of the same address, or the node itself, asks about *other* addresses must
pass, or the one could not reach the node's pods and the other no host behind the uplink.
Such an ARP request crosses without its sender, as a probe: it is answered, and nobody
learns the gateway's address from it. A neighbour solicitation is sent from a link-local
address and needs no such care.

The rules match ``meta protocol``, since on a bridge that filters VLANs the tag travels
beside the frame and hides the EtherType. They find the target of neighbour discovery by
its offset, for which libnftables 1.0.6 has no name, nor a type that a set could have.

Source: RFC 826; RFC 5227 section 1.1 (probes); RFC 4861 section 4.
"""

from typing import Final

from spanbridge.base.names import IfName
from spanbridge.firewall import ruleset
from spanbridge.firewall.entries import GATEWAY_TAG, Found, Gateway
from spanbridge.firewall.ruleset import BRIDGE, TABLE, Command, Json
from spanbridge.model.addresses import Ip, ip_from_text
from spanbridge.model.owner import Owner

NODE: Final = IfName("lo")
"""
Stands for the node in each set, and says in its comment which ADD made the set.

No bridge can have a port of this name.
"""

_HOOKS: Final = {
    "forward": {"in": ("oifname", "iifname"), "out": ("iifname", "oifname")},
    "input": {"in": ("", "iifname")},
    "output": {"out": ("", "oifname")},
}
"""By hook and direction: what names the port inside of the circle, and the one outside."""

_PROTOCOLS: Final = {4: "arp", 6: "nd"}

_NO_SENDER: Final = str(Ip(4, 0))
"""Of an ARP probe."""

_ICMPV6: Final = 58
_ABOUT_A_TARGET: Final = {"set": [135, 136]}
_NEIGHBOUR_DISCOVERY: Final = {"range": [133, 137]}
_TARGET: Final = {"payload": {"base": "th", "offset": 64, "len": 128}}
"""
Neighbour solicitations and advertisements, all messages, and the target address in bits.

Source: RFC 4861 sections 4.1 to 4.5; numbers, as /etc/protocols may be missing.
"""


def set_name(ip: Ip) -> str:
    """Name of an address's set, spelt so that ``nft`` reads it back as text."""
    return f"gateway{ip.version}-" + str(ip).replace(":", "-")


def address_of(name: str) -> Ip | None:
    """Turn the name of a set back into the address; None when it is no gateway's."""
    for version in _PROTOCOLS:
        prefix = f"gateway{version}-"
        if name.startswith(prefix):
            text = name.removeprefix(prefix)
            return ip_from_text(text.replace("-", ":") if version == 6 else text)
    return None


# ---------------------------------------------------------------- rules


def _chain(hook: str, version: int) -> str:
    return f"gateway-{hook}-{_PROTOCOLS[version]}"


def _is(left: Json, right: Json, op: str = "==") -> Command:
    return {"match": {"op": op, "left": left, "right": right}}


def _meta(key: str) -> Command:
    return {"meta": {"key": key}}


def structure() -> list[Command]:
    """Make table and chains; the rules that lead to the addresses' own are filled in again."""
    made: list[Command] = [{"add": {"table": {"family": BRIDGE, "name": TABLE}}}]
    for hook in _HOOKS:
        base, arp, nd = f"gateway-{hook}", _chain(hook, 4), _chain(hook, 6)
        made += [{"add": {"chain": ruleset.in_table(BRIDGE, name=each)}} for each in (arp, nd)]
        made.append(ruleset.base_chain(BRIDGE, base, "filter", ruleset.FIRST, hook=hook))
        made += ruleset.filled(
            BRIDGE,
            base,
            {
                "arp": [_is(_meta("protocol"), "arp"), {"jump": {"target": arp}}],
                "nd": [
                    _is(_meta("protocol"), "ip6"),
                    _is(_meta("l4proto"), _ICMPV6),
                    {"jump": {"target": nd}},
                ],
            },
        )
    return made


def _what_passes_not(ip: Ip) -> dict[str, tuple[list[Json], list[Json]]]:
    """By name: what matches ARP or neighbour discovery about an address, and what to do then."""
    if ip.version == 4:
        arp = _is(_meta("protocol"), "arp")
        asks = _is(ruleset.field("arp", "operation"), "request")
        sender = _is(ruleset.field("arp", "saddr ip"), str(ip))
        unsigned = {"mangle": {"key": ruleset.field("arp", "saddr ip"), "value": _NO_SENDER}}
        return {
            "asked": ([arp, _is(ruleset.field("arp", "daddr ip"), str(ip))], [{"drop": None}]),
            "asks": ([arp, asks, sender], [unsigned]),
            "says": ([arp, sender], [{"drop": None}]),
        }
    ip6, kind = _is(_meta("protocol"), "ip6"), ruleset.field("icmpv6", "type")
    return {
        "asked": (
            [ip6, _is(kind, _ABOUT_A_TARGET), _is(_TARGET, f"0x{ip.number:032x}")],
            [{"drop": None}],
        ),
        "says": (
            [ip6, _is(kind, _NEIGHBOUR_DISCOVERY), _is(ruleset.field("ip6", "saddr"), str(ip))],
            [{"drop": None}],
        ),
    }


def _crossing(ip: Ip, inside: str, outside: str) -> list[Json]:
    circle = f"@{set_name(ip)}"
    matches = [_is(_meta(inside), circle)] if inside else []
    return [*matches, _is(_meta(outside), circle, "!=")]


def _rules(ip: Ip) -> dict[str, dict[str, list[Json]]]:
    """By chain, and by meaning in their order: the rules of one address."""
    return {
        _chain(hook, ip.version): {
            f"{ip} {name} {way}": [*matches, *_crossing(ip, *ends), *statement]
            for way, ends in ways.items()
            for name, (matches, statement) in _what_passes_not(ip).items()
        }
        for hook, ways in _HOOKS.items()
    }


def create_gateway(ip: Ip, maker: Owner) -> list[Command]:
    """Make the set of an address, with the node in it, and its rules."""
    created = {"elem": {"val": NODE, "comment": f"{GATEWAY_TAG} {maker.tag}"}}
    return [
        {"add": {"set": ruleset.in_table(BRIDGE, name=set_name(ip), type="ifname")}},
        ruleset.element("add", BRIDGE, set_name(ip), created),
        *fill(ip),
    ]


def fill(ip: Ip) -> list[Command]:
    """Make the rules of an address, behind those of the others."""
    return [
        command
        for chain, rules in _rules(ip).items()
        for command in ruleset.appended(BRIDGE, chain, rules)
    ]


def _is_of(ip: Ip, comment: str) -> bool:
    return comment.startswith(f"{ruleset.VERSION} {ip} ")


def empty(found: Found, addresses: frozenset[Ip]) -> list[Command]:
    """Remove the rules of addresses, and those that nobody of ours knows among them."""
    others = [ip for ip in found.gateways if ip not in addresses]
    versions = {ip.version for ip in addresses}
    return [
        {"delete": {"rule": ruleset.in_table(BRIDGE, chain=chain, handle=handle)}}
        for chain in (_chain(hook, version) for hook in _HOOKS for version in versions)
        for comment, handle in found.listed_rules(BRIDGE, chain)
        if not any(_is_of(ip, comment) for ip in others)
    ]


def delete_gateways(found: Found, addresses: frozenset[Ip]) -> list[Command]:
    """Remove the rules and sets of addresses."""
    sets = [{"set": ruleset.in_table(BRIDGE, name=set_name(ip))} for ip in sorted(addresses)]
    return [*empty(found, addresses), *({"delete": each} for each in sets)]


def delete_structure() -> list[Command]:
    """Remove the chains; the addresses' rules in them and their sets are gone already."""
    gone: list[Command] = []
    for hook in _HOOKS:
        base = f"gateway-{hook}"
        gone.append({"flush": {"chain": ruleset.in_table(BRIDGE, name=base)}})
        gone += [
            {"delete": {"chain": ruleset.in_table(BRIDGE, name=each)}}
            for each in (base, _chain(hook, 4), _chain(hook, 6))
        ]
    return gone


def is_complete(found: Found, ip: Ip) -> bool:
    """Tell whether an address's rules are there, in their order, and no strangers' among them."""
    for chain, rules in _rules(ip).items():
        seen = found.rules.get((BRIDGE, chain), ())
        if not all(any(_is_of(each, comment) for each in found.gateways) for comment in seen):
            return False
        expected = [f"{ruleset.VERSION} {why}" for why in rules]
        if [comment for comment in seen if _is_of(ip, comment)] != expected:
            return False
    return True


# ---------------------------------------------------------------- elements


def create_pin(owner: Owner, ip: Ip, port: str) -> Command:
    """Put an attachment's port into the circle; refused when it is there, or no circle is."""
    return ruleset.element("create", BRIDGE, set_name(ip), ruleset.tagged(port, owner))


def add_gateway_port(ip: Ip, port: str) -> Command:
    """Put the port of the gateway's own interface into the circle."""
    value = {"elem": {"val": port, "comment": GATEWAY_TAG}}
    return ruleset.element("add", BRIDGE, set_name(ip), value)


def delete_pin(ip: Ip, port: str) -> Command:
    """Take a port out of the circle."""
    return ruleset.element("delete", BRIDGE, set_name(ip), port)


def parse_gateway(elements: list[tuple[str, str]]) -> Gateway:
    """Read the elements of a gateway's set: ports with their comments."""
    comments = dict(elements)
    made_by = comments.pop(NODE, "").partition(" ")[2]
    ports = {IfName(port): ruleset.tag_of(comment) for port, comment in comments.items()}
    return Gateway(made_by, ports)
