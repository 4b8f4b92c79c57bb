# SPDX-License-Identifier: Apache-2.0
"""Rules about one network in several clusters."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from spanbridge.model.addresses import Cidr, Ip
from spanbridge.stretch.lint.cluster import HYPERCONVERGED, KUBEVIRT, Cluster
from spanbridge.stretch.lint.overlaps import Taken, overlaps
from spanbridge.stretch.lint.pools import Pool
from spanbridge.stretch.lint.registry import Hit, Spot
from spanbridge.stretch.lint.stretched import Fleet, Part

T = TypeVar("T")


def _usual(parts: Sequence[Part], value: Callable[[Part], T]) -> tuple[Part, T] | None:
    """Find what most parts have, and the first part that has it."""
    counted = Counter(value(part) for part in parts)
    if len(counted) < 2:
        return None
    usual = counted.most_common(1)[0][0]
    return next(part for part in parts if value(part) == usual), usual


def _others(parts: Sequence[Part], value: Callable[[Part], T]) -> Iterator[tuple[Part, T, Part, T]]:
    """Yield each part that differs from most, with the first of those that do not."""
    found = _usual(parts, value)
    if found is None:
        return
    model, usual = found
    for part in parts:
        if value(part) != usual:
            yield part, value(part), model, usual


def _at(part: Part, key: str) -> Spot:
    """Point to a key of the plugin; to its type where the key is not there."""
    there = part.plugin.root.has(key)
    return part.plugin.spot(key if there else "type", at_key=not there)


def _first_pool(part: Part) -> Spot:
    pools = part.plugin.ipam.pools
    return Spot(part.plugin.document, pools[0].pointer) if pools else _at(part, "ipam")


def same_addresses(fleet: Fleet) -> Iterator[Hit]:
    """Find addresses that two clusters hand out."""
    for parts in fleet.networks:
        taken = [
            Taken(pool, part.plugin, part.cluster.name)
            for part in parts
            for pool in part.plugin.ipam.pools
        ]
        for later, earlier in overlaps(taken):
            yield Hit(
                f"cluster {earlier.owner} hands out {later.shared(earlier)} too",
                later.spot,
                related=(earlier.spot,),
            )


def _subnets(version: int) -> Callable[[Part], frozenset[Cidr]]:
    return lambda part: frozenset(
        pool.subnet for pool in part.plugin.ipam.pools if pool.subnet.version == version
    )


def other_subnet(fleet: Fleet) -> Iterator[Hit]:
    """Find clusters in another subnet."""
    for parts in fleet.networks:
        for version in (4, 6):
            value = _subnets(version)
            having = [part for part in parts if value(part)]
            for part, mine, model, usual in _others(having, value):
                yield Hit(
                    f"{_listed(mine)} here, and {_listed(usual)} in cluster {model.cluster.name}",
                    _first_pool(part),
                    related=(_first_pool(model),),
                )


def _listed(subnets: frozenset[Cidr]) -> str:
    return ", ".join(sorted(map(str, subnets)))


def _families(part: Part) -> frozenset[int]:
    return frozenset(pool.subnet.version for pool in part.plugin.ipam.pools)


def other_family(fleet: Fleet) -> Iterator[Hit]:
    """Find clusters without a family of addresses in common."""
    for parts in fleet.networks:
        having = [part for part in parts if _families(part)]
        for part, mine, model, usual in _others(having, _families):
            if not mine & usual:
                families = " and ".join(f"IPv{each}" for each in sorted(mine))
                yield Hit(
                    f"{families} alone, which cluster {model.cluster.name} does not have",
                    _first_pool(part),
                    related=(_first_pool(model),),
                )


def other_vlan(fleet: Fleet) -> Iterator[Hit]:
    """Find clusters in another VLAN."""
    for parts in fleet.networks:
        having = [part for part in parts if part.conf is not None]
        for part, mine, model, usual in _others(having, lambda one: one.conf and one.conf.vlan):
            yield Hit(
                f"VLAN {mine or 'untagged'} here, and {usual or 'untagged'} in cluster"
                f" {model.cluster.name}",
                _at(part, "vlan"),
                related=(_at(model, "vlan"),),
            )


def _mtu(part: Part) -> int:
    return part.conf.mtu if part.conf is not None else 0


def other_mtu(fleet: Fleet) -> Iterator[Hit]:
    """Find clusters with another MTU."""
    for parts in fleet.networks:
        having = [part for part in parts if part.conf is not None]
        for part, mine, model, usual in _others(having, _mtu):
            yield Hit(
                f"MTU {mine or 'default'} here, and {usual or 'default'} in cluster"
                f" {model.cluster.name}",
                _at(part, "mtu"),
                related=(_at(model, "mtu"),),
            )


def _name(part: Part) -> str:
    return part.network.name


def other_name(fleet: Fleet) -> Iterator[Hit]:
    """Find clusters that call the network otherwise."""
    for parts in fleet.networks:
        for part, mine, model, usual in _others(parts, _name):
            if part.network.nad is None or model.network.nad is None:
                continue
            yield Hit(
                f"{mine} here, and {usual} in cluster {model.cluster.name}",
                part.network.nad.spot("metadata", "name"),
                related=(model.network.nad.spot("metadata", "name"),),
            )


def _gateways(part: Part) -> frozenset[Ip]:
    return frozenset(pool.gateway for pool in part.plugin.ipam.pools if pool.gateway is not None)


def other_gateway(fleet: Fleet) -> Iterator[Hit]:
    """Find clusters that name another gateway in the same subnet."""
    for parts in fleet.networks:
        having = [
            part for part in parts if _gateways(part) and part.plugin.ipam.type != "host-local"
        ]
        for part, mine, model, usual in _others(having, _gateways):
            if _subnets(4)(part) == _subnets(4)(model) and _subnets(6)(part) == _subnets(6)(model):
                pool = part.plugin.ipam.pools[0]
                yield Hit(
                    f"gateway {', '.join(map(str, mine))} here, and {', '.join(map(str, usual))} in"
                    f" cluster {model.cluster.name}",
                    Spot(part.plugin.document, pool.gateway_pointer),
                )


def foreign_gateway(fleet: Fleet) -> Iterator[Hit]:
    """Find gateways of one cluster among the addresses of another."""
    for parts in fleet.networks:
        owners = {ip: part for part in parts for ip in _gateways(part)
                  if part.plugin.ipam.type != "host-local"}  # fmt: skip
        known = sorted(owners)
        for part in parts:
            for pool in part.plugin.ipam.pools:
                for ip in _between(known, pool):
                    if ip not in _gateways(part):
                        name = owners[ip].cluster.name
                        yield Hit(f"{ip}, the gateway of cluster {name}, is handed out",
                                  Spot(part.plugin.document, pool.pointer))  # fmt: skip


def _between(known: list[Ip], pool: Pool) -> Iterator[Ip]:
    for ip in known[bisect_left(known, pool.span.first) :]:
        if ip > pool.span.last:
            return
        if not any(ip in each for each in pool.excluded):
            yield ip


def _ipam(part: Part) -> str:
    return "dhcp" if part.plugin.ipam.type == "dhcp" else "ranges"


def mixed_ipam(fleet: Fleet) -> Iterator[Hit]:
    """Find DHCP in one cluster and ranges in another."""
    for parts in fleet.networks:
        having = [part for part in parts if part.plugin.ipam.type]
        for part, _, model, _ in _others(having, _ipam):
            yield Hit(
                f"{part.plugin.ipam.type} here, and {model.plugin.ipam.type} in cluster"
                f" {model.cluster.name}",
                part.plugin.spot("ipam", "type"),
                related=(model.plugin.spot("ipam", "type"),),
            )


def other_encryption(fleet: Fleet) -> Iterator[Hit]:
    """Find clusters without TLS beside clusters with it."""
    settings = [found for cluster in fleet.clusters if (found := _tls(cluster))]
    encrypted = next((each for each in settings if not each[2]), None)
    for _, spot, plain in settings:
        if plain and encrypted is not None:
            message = f"migrations are plain here, and encrypted in cluster {encrypted[0]}"
            yield Hit(message, spot, related=(encrypted[1],))


def _tls(cluster: Cluster) -> tuple[str, Spot, bool] | None:
    choice = cluster.migration
    if choice is None:
        return None
    keys = (*choice.keys[:-1], "disableTLS")
    plain = choice.item.get(*keys) is True
    return cluster.name, choice.item.spot(*keys, at_key=plain), plain


def gate_in_some(fleet: Fleet) -> Iterator[Hit]:
    """Find clusters without a migration network beside clusters with one."""
    chosen = [cluster for cluster in fleet.clusters if cluster.migration is not None]
    for cluster in fleet.clusters:
        if cluster.migration is None and chosen:
            for item in cluster.items:
                if item.kind in {HYPERCONVERGED, KUBEVIRT}:
                    yield Hit(
                        f"{cluster.label} names no migration network, and cluster"
                        f" {chosen[0].name} does",
                        item.spot("metadata", "name"),
                    )
