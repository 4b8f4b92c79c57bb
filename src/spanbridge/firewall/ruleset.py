# SPDX-License-Identifier: Apache-2.0
"""
Our nftables tables as data: commands in the JSON schema of libnftables; pure.

One attachment is one element per address, and two per guarded port; chains and rules
do not depend on it. A source address leads to the chain of its own network, which
holds what must not be masqueraded. That is a hash lookup where a set of address and
prefix pairs would be a search over ranges, whose every change copies all of them.
What belongs to gateway addresses is in `gateways`.

Source: libnftables-json(5) 1.0.6; linux/netfilter_ipv4.h and netfilter_bridge.h
(hook priorities).
"""

from typing import Any, Final

from spanbridge.firewall.entries import Found, SpoofGuard
from spanbridge.model.addresses import Cidr, Ip
from spanbridge.model.desired import Masquerade
from spanbridge.model.owner import Owner

Json = Any
"""A JSON value."""

Command = dict[str, Json]
"""One command of a transaction, as libnftables reads it."""

TABLE: Final = "spanbridge"
INET: Final = "inet"
BRIDGE: Final = "bridge"

COMMENT_MAX_BYTES: Final = 128
"""Source: libnftnl udata.h, NFTNL_UDATA_COMMENT_MAXLEN."""

VERSION: Final = "v1"
"""Begins each rule's comment: another version finds the rules to be not its own."""

_SRCNAT: Final = 100
"""NF_IP_PRI_NAT_SRC."""

FIRST: Final = -300
"""NF_BR_PRI_NAT_DST_BRIDGED: before the filters of others."""

_NETWORK_PREFIX: Final = "net-"
_MULTICAST: Final = {4: ("224.0.0.0", 4), 6: ("ff00::", 8)}
_GUARD_HOOKS: Final = ("prerouting", "input")


def sources_map(version: int) -> str:
    """Name of the map from a masqueraded address to the chain of its network."""
    return f"sources{version}"


def network_chain_name(network: Cidr) -> str:
    """Name of a network's chain, spelt so that ``nft`` reads it back as text."""
    return _NETWORK_PREFIX + str(network.network).replace(":", "-")


def network_text(chain: str, version: int) -> str:
    """Turn the name of a network's chain back into the network; else empty."""
    if not chain.startswith(_NETWORK_PREFIX):
        return ""
    text = chain.removeprefix(_NETWORK_PREFIX)
    return text.replace("-", ":") if version == 6 else text


def is_network_chain(chain: str) -> bool:
    """Tell whether a chain is some network's."""
    return chain.startswith(_NETWORK_PREFIX)


def comment_of(owner: Owner) -> str:
    """Return an element's comment: the tag, then what a human wants to read."""
    text = f"{owner.tag} {owner.network} {owner.container_id} {owner.ifname}"
    # An interface name may hold what ends a string in nft's own language.
    text = "".join("?" if char in '"\\' else char for char in text)
    return text.encode()[:COMMENT_MAX_BYTES].decode(errors="ignore")


def tag_of(comment: str) -> str:
    """Return the tag at the beginning of a comment."""
    return comment.partition(" ")[0]


# ---------------------------------------------------------------- pieces


def in_table(family: str, **fields: Json) -> dict[str, Json]:
    """Say of what is described that it is in our table of a family."""
    return {"family": family, "table": TABLE, **fields}


def base_chain(family: str, name: str, kind: str, priority: int, *, hook: str = "") -> Command:
    """Make a chain that the kernel calls; in the hook of its own name if none is given."""
    where = {"hook": hook or name, "prio": priority}
    chain = in_table(family, name=name, type=kind, **where, policy="accept")
    return {"add": {"chain": chain}}


def filled(family: str, chain: str, rules: dict[str, list[Json]]) -> list[Command]:
    """Put exactly these rules into a chain; by the meaning of each, which is its comment."""
    return [
        {"flush": {"chain": in_table(family, name=chain)}},
        *appended(family, chain, rules),
    ]


def appended(family: str, chain: str, rules: dict[str, list[Json]]) -> list[Command]:
    """Put rules behind those of a chain; by the meaning of each, which is its comment."""
    return [
        {"add": {"rule": in_table(family, chain=chain, comment=f"{VERSION} {why}", expr=expr)}}
        for why, expr in rules.items()
    ]


def field(protocol: str, name: str) -> Command:
    """Read a field of a header."""
    return {"payload": {"protocol": protocol, "field": name}}


def _protocol(version: int) -> str:
    return "ip" if version == 4 else "ip6"


def _to(version: int, address: str, length: int) -> list[Json]:
    """Match the destination; every packet where the length is 0, which nft cannot say."""
    if not length:
        return []
    right = {"prefix": {"addr": address, "len": length}}
    left = field(_protocol(version), "daddr")
    return [{"match": {"op": "==", "left": left, "right": right}}]


# ---------------------------------------------------------------- tables


def masquerade_table() -> list[Command]:
    """Make table, maps and base chain for masquerade, or refill the chain."""
    rules: dict[str, list[Json]] = {}
    for version, (address, length) in _MULTICAST.items():
        rules[f"multicast{version}"] = [*_to(version, address, length), {"return": None}]
    for version in _MULTICAST:
        key = field(_protocol(version), "saddr")
        rules[f"sources{version}"] = [{"vmap": {"key": key, "data": f"@{sources_map(version)}"}}]
    return [
        {"add": {"table": {"family": INET, "name": TABLE}}},
        *(
            {
                "add": {
                    "map": in_table(
                        INET, name=sources_map(version), type=f"ipv{version}_addr", map="verdict"
                    )
                }
            }
            for version in _MULTICAST
        ),
        base_chain(INET, "postrouting", "nat", _SRCNAT),
        *filled(INET, "postrouting", rules),
    ]


def network_chain(network: Cidr) -> list[Command]:
    """Make or refill the chain of a network: its own stays as it is, the rest masquerades."""
    name = network_chain_name(network)
    own = network.network
    rules = {
        "own network": [*_to(own.version, str(own.ip), own.prefix_length), {"return": None}],
        "masquerade": [{"masquerade": None}],
    }
    return [{"add": {"chain": in_table(INET, name=name)}}, *filled(INET, name, rules)]


def guard_table() -> list[Command]:
    """
    Make table, sets and base chains of the MAC check, or refill the chains.

    The bridge learns a source MAC after the prerouting hook, but from frames to a link-local
    group address (01:80:c2:00:00:0x) after the input hook, which alone they pass. LLDP frames
    (...:0e) pass no hook at all: against them there is the bridge's own option
    ``no_linklocal_learn`` (``BridgeState.linklocal_deaf``). They are never forwarded.

    Source: net/bridge/br_input.c, br_handle_frame(), Linux 6.1; seen on 6.1 and 6.18.
    """
    port = {"meta": {"key": "iifname"}}
    pair = {"concat": [port, field("ether", "saddr")]}
    expr = [
        {"match": {"op": "==", "left": port, "right": "@guarded"}},
        {"match": {"op": "!=", "left": pair, "right": "@bindings"}},
        {"drop": None},
    ]
    pair_type = ["ifname", "ether_addr"]
    made: list[Command] = [
        {"add": {"table": {"family": BRIDGE, "name": TABLE}}},
        {"add": {"set": in_table(BRIDGE, name="guarded", type="ifname")}},
        {"add": {"set": in_table(BRIDGE, name="bindings", type=pair_type)}},
    ]
    for hook in _GUARD_HOOKS:
        made.append(base_chain(BRIDGE, hook, "filter", FIRST))
        made += filled(BRIDGE, hook, {"foreign source": expr})
    return made


def table(networks: tuple[Cidr, ...], *, guarding: bool) -> list[Command]:
    """Everything that must be there for masquerade from ``networks``, and for a guard."""
    made = masquerade_table() if networks else []
    for network in networks:
        made += network_chain(network)
    return made + (guard_table() if guarding else [])


def is_complete(found: Found, wanted: list[Command]) -> bool:
    """Tell whether the rules that ``wanted`` makes are there, and no others between them."""
    expected: dict[tuple[str, str], tuple[str, ...]] = {}
    for command in wanted:
        rule = command.get("add", {}).get("rule")
        if rule is not None:
            key = (rule["family"], rule["chain"])
            expected[key] = (*expected.get(key, ()), rule["comment"])
    return all(found.rules.get(key) == comments for key, comments in expected.items())


# ---------------------------------------------------------------- elements


def element(verb: str, family: str, name: str, value: Json) -> Command:
    """Create, add or delete an element of a set or map."""
    return {verb: {"element": in_table(family, name=name, elem=[value])}}


def tagged(value: Json, owner: Owner) -> Command:
    """Write an element with its owner's tag."""
    return {"elem": {"val": value, "comment": comment_of(owner)}}


def create_source(owner: Owner, entry: Masquerade) -> Command:
    """Masquerade an address; refused when there is an element for it."""
    target = {"goto": {"target": network_chain_name(entry.network)}}
    value = [tagged(str(entry.source), owner), target]
    return element("create", INET, sources_map(entry.source.version), value)


def delete_source(ip: Ip, chain: str) -> Command:
    """Stop masquerading an address."""
    value = [str(ip), {"goto": {"target": chain}}]
    return element("delete", INET, sources_map(ip.version), value)


def create_port(owner: Owner, guard: SpoofGuard) -> Command:
    """Check what comes from a port; refused when it is checked already."""
    return element("create", BRIDGE, "guarded", tagged(guard.port, owner))


def delete_port(port: str) -> Command:
    """No longer check what comes from a port."""
    return element("delete", BRIDGE, "guarded", port)


def create_binding(owner: Owner, guard: SpoofGuard) -> Command:
    """Let a port use a source MAC; refused when it may already."""
    pair = {"concat": [guard.port, guard.mac]}
    return element("create", BRIDGE, "bindings", tagged(pair, owner))


def delete_binding(guard: SpoofGuard) -> Command:
    """No longer let a port use a source MAC."""
    return element("delete", BRIDGE, "bindings", {"concat": [guard.port, guard.mac]})


def delete_chain(chain: str) -> Command:
    """Remove a network's chain; refused while an address leads to it."""
    return {"delete": {"chain": in_table(INET, name=chain)}}


def delete_guard() -> list[Command]:
    """Remove the MAC check of all ports, sets and chains included."""
    chains = [in_table(BRIDGE, name=hook) for hook in _GUARD_HOOKS]
    sets = [in_table(BRIDGE, name=name) for name in ("guarded", "bindings")]
    return [
        *({"flush": {"chain": each}} for each in chains),
        *({"delete": {"chain": each}} for each in chains),
        *({"delete": {"set": each}} for each in sets),
    ]


def delete_table(family: str) -> Command:
    """Remove our table with all that is in it."""
    return {"delete": {"table": {"family": family, "name": TABLE}}}


def list_table(family: str) -> Command:
    """Read our table."""
    return {"list": {"table": {"family": family, "name": TABLE}}}
