# SPDX-License-Identifier: Apache-2.0
"""
The planner: an intent and the lock of earlier plans become a plan.

Pure, and the same for the same input. What a holder once got stays where it is, also
when clusters and nodes come and go. What a holder leaves behind stays reserved for it
until an administrator reclaims it: a pod of a removed cluster may still use its address,
and no clock here could tell when it stopped.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from spanbridge.base.errors import ConfigError
from spanbridge.model.addresses import Cidr, Ip
from spanbridge.model.intent import Cluster, Intent, IpamType, NodePool
from spanbridge.model.spans import Span, span_of, subtract
from spanbridge.stretch.blocks import Demand, FreeAddresses, Shortage, allocate
from spanbridge.stretch.lock import Lock
from spanbridge.stretch.notes import cluster_notes, plan_notes
from spanbridge.stretch.plan import (
    ClusterPlan,
    DhcpPlan,
    NodePlan,
    Plan,
    carries_sync,
    has_node_blocks,
    needs_node_configs,
)
from spanbridge.stretch.policies import check_selectors

SYNC_PODS: Final = 2
"""Replicas of the synchronization controller. Source: KubeVirt 1.8, components/deployments.go."""

SURGE_PODS: Final = 1
"""One more while its Deployment rolls. Source: Kubernetes apps/v1, maxSurge 25 % of 2."""

UNRELEASED: Final = 1
"""One address of a pod that is gone, on a node that has not been told to release it yet."""

_LENGTH_MIN: Final = {4: 8, 6: 48}
"""Shortest prefix that a hint proposes."""


@dataclass(frozen=True, slots=True)
class Freed:
    """
    What an administrator gives back; each is a cluster, or ``cluster/node``.

    Attributes:
        reclaim: Holders that are gone and whose addresses nobody uses any more.
        move: Holders that are there and shall get new addresses.
    """

    reclaim: Collection[str] = ()
    move: Collection[str] = ()


def plan_network(intent: Intent, lock: Lock | None = None, freed: Freed | None = None) -> Plan:
    """
    Plan a network.

    Args:
        intent: What shall be.
        lock: What earlier plans promised; None where there was none.
        freed: What may be given to others after all.

    Raises:
        ConfigError: The intent asks for more than the subnets hold, would move a block,
            or names too little; pointer and hint are of the intent.
    """
    lock, freed = lock or Lock(), freed or Freed()
    _check_network(intent, lock)
    _check_nodes_named(intent)
    check_selectors(intent)
    kept = _keep(lock, freed, _holders(intent))
    _check_inside(intent, kept)
    blocks, tight = _fill(intent, kept)
    dhcp = _plan_dhcp(intent, kept) if intent.ipam.type is IpamType.DHCP else None
    reserved = _reserved(intent)
    clusters = tuple(
        _plan_cluster(intent, cluster, blocks, reserved) for cluster in intent.clusters
    )
    return Plan(
        intent=intent,
        clusters=clusters,
        dhcp=dhcp,
        lock=Lock(network=intent.name, blocks=blocks, retired=kept.retired),
        notes=plan_notes(intent, tight=tight, retired=kept.retired),
    )


def needed(cluster: Cluster) -> int:
    """Count the addresses that a cluster needs at once, of each family."""
    return cluster.node_count + SYNC_PODS + SURGE_PODS


def _node_need(intent: Intent, cluster: Cluster, pool: NodePool) -> int:
    if intent.ipam.type is IpamType.STATIC:
        return 1
    sync = SYNC_PODS + SURGE_PODS if carries_sync(cluster, pool) else 0
    return max(1, int(pool.schedulable) + sync)


def _demands(intent: Intent) -> list[Demand]:
    """List who asks for how much, of each family, in the order of the intent."""
    if intent.ipam.type is IpamType.DHCP:
        return []
    found = []
    for cluster in intent.clusters:
        if not has_node_blocks(intent):
            need = needed(cluster)
            growth = -(-cluster.node_count * intent.ipam.growth_percent // 100)
            found.append(Demand(cluster.name, need, need + growth))
            continue
        spare = 0 if intent.ipam.type is IpamType.STATIC else UNRELEASED
        for pool in cluster.pools:
            need = _node_need(intent, cluster, pool)
            found += [Demand(f"{cluster.name}/{node}", need, need + spare) for node in pool.nodes]
    return found


def _holders(intent: Intent) -> set[str]:
    return {demand.holder for demand in _demands(intent)}


def _check_network(intent: Intent, lock: Lock) -> None:
    if lock.network not in {"", intent.name}:
        raise ConfigError(
            f"cannot plan {intent.name!r} here: the lock is of network {lock.network!r}",
            pointer="/metadata/name",
            hint="give each network a directory of its own (-o)",
        )


def _check_nodes_named(intent: Intent) -> None:
    for cluster in intent.clusters:
        if not needs_node_configs(intent, cluster):
            continue
        why = (
            f"{intent.ipam.type} gives each node addresses of its own"
            if has_node_blocks(intent)
            else "its pools differ in bridge or uplink, so each node needs its own configuration"
        )
        for pool in cluster.pools:
            if not pool.nodes:
                raise ConfigError(
                    f"cannot plan pool {pool.name!r} of {cluster.name}: {why}, and its nodes"
                    " have no names",
                    pointer=f"{pool.pointer}/count",
                    hint="write nodes: [...] instead; list them with: "
                    f"kubectl --context {cluster.context} get nodes -o name",
                )


def _keep(lock: Lock, freed: Freed, holders: set[str]) -> Lock:
    """Sort what is recorded into blocks of those who are there and of those who are not."""
    known = {**lock.retired, **lock.blocks}
    for names, option in ((freed.reclaim, "--reclaim"), (freed.move, "--move")):
        for name in names:
            _check_freed(name, option, known, holders)
    blocks, retired = {}, {}
    for holder, spans in known.items():
        if holder in holders:
            if not _named(holder, freed.move):
                blocks[holder] = spans
        elif not _named(holder, freed.reclaim):
            retired[holder] = spans
    return Lock(lock.network, blocks, retired)


def _named(holder: str, names: Collection[str]) -> bool:
    return holder in names or holder.partition("/")[0] in names or "all" in names


def _check_freed(name: str, option: str, known: Collection[str], holders: set[str]) -> None:
    wanted = option == "--move"
    if any(_named(holder, [name]) and (holder in holders) == wanted for holder in known):
        return
    there = "of the intent" if wanted else "that is gone"
    raise ConfigError(
        f"cannot free {name!r}: it names no holder {there} with addresses on record",
        hint=f"{option} takes a cluster, cluster/node, or all; the lock lists them",
    )


def _check_inside(intent: Intent, kept: Lock) -> None:
    homes = {subnet.version: span_of(subnet) for subnet in intent.subnets}
    for holder, spans in kept.blocks.items():
        for span in spans:
            home = homes.get(span.version)
            if home is not None and not (span.first in home and span.last in home):
                raise ConfigError(
                    f"cannot keep {span} of {holder}: it is outside of the subnet",
                    pointer="/spec/subnets",
                    hint="enlarge the subnet instead of replacing it, or let addresses move: "
                    "--move all",
                )


def _reserved(intent: Intent) -> tuple[Span, ...]:
    """List what nobody gets: edges of the subnets, routers, the DHCP server, what is reserved."""
    found = list(intent.reserved)
    for subnet in intent.subnets:
        first, last = subnet.ip, subnet.last
        found.append(Span(first, first))  # IPv6: the routers' anycast address, RFC 4291 2.6.1
        if subnet.version == 4:
            found.append(Span(last, last))
        gateways = [ip for ip in intent.gateways if ip in subnet]
        # Unnamed routers have the first address, and host-local never hands it out.
        found += [Span(ip, ip) for ip in gateways or [first + 1]]
    server = _dhcp_server(intent)
    return tuple([*found, Span(server, server)] if server else found)


def _dhcp_server(intent: Intent) -> Ip | None:
    if intent.ipam.type is not IpamType.DHCP:
        return None
    if intent.ipam.server is not None:
        return intent.ipam.server
    taken = [*intent.reserved, *(Span(ip, ip) for ip in intent.gateways)]
    ip = intent.subnets[0].last + -1
    while any(ip in span for span in taken):
        ip += -1
    return ip


def _free(intent: Intent, subnet: Cidr, kept: Lock) -> tuple[Span, ...]:
    """Find the addresses of ``subnet`` that nobody has or ever had."""
    taken = [span for blocks in (kept.blocks, kept.retired)
             for spans in blocks.values() for span in spans]  # fmt: skip
    return subtract([span_of(subnet)], [*_reserved(intent), *taken])


def _fill(intent: Intent, kept: Lock) -> tuple[dict[str, tuple[Span, ...]], bool]:
    """Give out blocks; tell whether the room for growth that all want is not there."""
    demands = _demands(intent)
    families: dict[int, dict[str, tuple[Span, ...]]] = {}
    tight = False
    for subnet in intent.subnets:
        found = _fill_family(intent, subnet, kept, demands, growth=True)
        if found.shortage:
            found = _fill_family(intent, subnet, kept, demands, growth=False)
        if found.shortage:
            raise _no_room(intent, subnet, kept, demands=demands, shortage=found.shortage)
        families[subnet.version] = found.held
        # By what is there now, not by how it came about: the next plan has to say the same.
        tight = tight or _unmet(intent, demands, found.held) > found.left
    return _join(families, kept, demands), tight


def _unmet(intent: Intent, demands: list[Demand], held: dict[str, tuple[Span, ...]]) -> int:
    """Count the addresses that holders still want, for growth."""
    reserved = _reserved(intent)
    return sum(
        max(0, demand.want - sum(span.size for span in subtract(held[demand.holder], reserved)))
        for demand in demands
    )


@dataclass(frozen=True, slots=True)
class _Filled:
    """One family: who has what, what is left, and who went away empty."""

    held: dict[str, tuple[Span, ...]]
    left: int
    shortage: Shortage | None


def _fill_family(
    intent: Intent, subnet: Cidr, kept: Lock, demands: list[Demand], *, growth: bool
) -> _Filled:
    held = {
        holder: own
        for holder, spans in kept.blocks.items()
        if (own := tuple(span for span in spans if span.version == subnet.version))
    }
    free = FreeAddresses(_free(intent, subnet, kept))
    reserved = tuple(span for span in _reserved(intent) if span.version == subnet.version)
    shortage = allocate(free, demands, held=held, reserved=reserved, growth=growth)
    return _Filled(held, free.left, shortage)


def _join(
    families: dict[int, dict[str, tuple[Span, ...]]], kept: Lock, demands: Iterable[Demand]
) -> dict[str, tuple[Span, ...]]:
    """Put families together again; what a holder has of a family that left is kept for it."""
    joined = {}
    for demand in demands:
        old = kept.blocks.get(demand.holder, ())
        spans = [span for span in old if span.version not in families]
        for held in families.values():
            spans += held[demand.holder]
        joined[demand.holder] = tuple(spans)
    return joined


def _no_room(
    intent: Intent, subnet: Cidr, kept: Lock, *, demands: list[Demand], shortage: Shortage
) -> ConfigError:
    total = sum(demand.need for demand in demands)
    larger = _larger_subnet(intent, subnet, kept, demands)
    return ConfigError(
        f"cannot give {shortage.holder} {shortage.asked} addresses: {subnet} has {shortage.left}"
        f" left, and all clusters together need {total}",
        pointer=f"/spec/subnets/{intent.subnets.index(subnet)}",
        hint="; ".join(part for part in (larger, _reclaimable(kept, subnet)) if part),
    )


def _larger_subnet(intent: Intent, subnet: Cidr, kept: Lock, demands: list[Demand]) -> str:
    """Find the smallest network around ``subnet`` in which everything fits where it is."""
    for length in range(subnet.prefix_length - 1, _LENGTH_MIN[subnet.version] - 1, -1):
        larger = Cidr(subnet.ip, length).network
        if _fill_family(intent, larger, kept, demands, growth=False).shortage is None:
            roomy = _fill_family(intent, larger, kept, demands, growth=True)
            growth = "without" if roomy.shortage else "with"
            return f"{larger} would hold them all, {growth} room for growth"
    return ""


def _reclaimable(kept: Lock, subnet: Cidr) -> str:
    spans = [span for blocks in kept.retired.values() for span in blocks]
    size = sum(span.size for span in spans if span.version == subnet.version)
    if not size:
        return ""
    names = sorted({holder.partition("/")[0] for holder in kept.retired})
    return f"or give back {size} addresses that nobody uses any more: " + " ".join(
        f"--reclaim {name}" for name in names
    )


def _plan_dhcp(intent: Intent, kept: Lock) -> DhcpPlan:
    (subnet,) = intent.subnets
    server = _dhcp_server(intent)
    if server is None or server not in subnet:
        raise ConfigError(
            f"cannot place the DHCP server: every address of {subnet} is reserved",
            pointer="/spec/reserved",
            hint="reserve less, or enlarge the subnet",
        )
    pools = _free(intent, subnet, kept)
    need = sum(needed(cluster) for cluster in intent.clusters)
    left = sum(pool.size for pool in pools)
    if left < need:
        demands = [Demand("all clusters", need, need)]
        shortage = Shortage("all clusters", need, left)
        raise _no_room(intent, subnet, kept, demands=demands, shortage=shortage)
    return DhcpPlan(server, pools)


def _plan_cluster(
    intent: Intent,
    cluster: Cluster,
    blocks: dict[str, tuple[Span, ...]],
    reserved: tuple[Span, ...],
) -> ClusterPlan:
    families = {subnet.version for subnet in intent.subnets}

    def usable(holder: str) -> tuple[Span, ...]:
        spans = [span for span in blocks.get(holder, ()) if span.version in families]
        return subtract(spans, reserved)

    per_node = has_node_blocks(intent)
    nodes: tuple[NodePlan, ...] = ()
    spans = () if per_node else usable(cluster.name)
    if needs_node_configs(intent, cluster):
        nodes = tuple(
            NodePlan(node, pool, usable(f"{cluster.name}/{node}") if per_node else spans)
            for pool in cluster.pools
            for node in pool.nodes
        )
    return ClusterPlan(cluster, needed(cluster), spans, nodes, cluster_notes(intent, cluster))
