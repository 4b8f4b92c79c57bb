# SPDX-License-Identifier: Apache-2.0
"""Rules about the addresses of one cluster as a whole."""

from collections.abc import Iterator
from typing import Final

from spanbridge.model.findings import Severity
from spanbridge.stretch.lint.cluster import Cluster
from spanbridge.stretch.lint.networks import Plugin
from spanbridge.stretch.lint.overlaps import Taken, overlaps
from spanbridge.stretch.lint.pools import free_of
from spanbridge.stretch.lint.registry import HYPERCONVERGED, Hit, Rule, Spot, nad

_MORE_PODS: Final = 3
"""Two synchronization controllers, and one more while they are replaced."""


def pool_too_small(cluster: Cluster) -> Iterator[Hit]:
    """Find migration networks with fewer addresses than virt-handlers."""
    nodes = cluster.node_count or 1
    for network in cluster.migration_networks:
        for plugin in network.plugins:
            if plugin.ipam.type == "whereabouts":
                yield from _too_small(plugin, nodes)


def _too_small(plugin: Plugin, nodes: int) -> Iterator[Hit]:
    for version in (4, 6):
        pools = [pool for pool in plugin.ipam.pools if pool.subnet.version == version]
        free = sum(span.size for pool in pools for span in free_of(pool))
        if pools and free < nodes + _MORE_PODS:
            noun = "node" if nodes == 1 else "nodes"
            yield Hit(
                f"{free} addresses for {nodes} {noun} and {_MORE_PODS} more pods",
                Spot(plugin.document, pools[0].pointer),
            )


def _domain(plugin: Plugin) -> tuple[str, int]:
    """Name the network on the wire that a plugin's pods are on, as far as it is known."""
    return (plugin.conf.bridge, plugin.conf.vlan) if plugin.conf else ("", -1)


def _owner(plugin: Plugin) -> str:
    """
    Name who sees to it that no address is given twice.

    whereabouts does so for the whole cluster, host-local for one name on one node: of
    a network beyond the node, each node's file hands out its own.
    """
    if plugin.ipam.type == "whereabouts":
        return "whereabouts"
    by_node = plugin.nad is None and plugin.stretched
    return f"{plugin.label} in {plugin.document.file}" if by_node else plugin.label


def pools_overlap(cluster: Cluster) -> Iterator[Hit]:
    """Find two networks of one cluster on one wire that hand out the same addresses."""
    wires: dict[tuple[str, int], list[Taken]] = {}
    for plugin in cluster.plugins:
        if plugin.conf is None:
            continue
        owner = _owner(plugin)
        for pool in plugin.ipam.pools:
            taken = Taken(pool, plugin, owner)
            wires.setdefault(_domain(plugin), []).append(taken)
    for found in wires.values():
        for later, earlier in overlaps(found):
            yield Hit(
                f"{later.owner} and {earlier.owner} both hand out {later.shared(earlier)}",
                later.spot,
                related=(earlier.spot,),
            )


def _small(end: str, mark: str = "") -> dict[str, str]:
    return {
        "hyperconverged.yaml": HYPERCONVERGED,
        **nad(
            '{"cniVersion": "1.0.0", "type": "bridge", "bridge": "br-mig",\n'
            f' "ipam": {{"type": "whereabouts", "range": {mark}"10.88.0.0/24",\n'
            f'          "range_start": "10.88.0.10", "range_end": "{end}"}}}}'
        ),
    }


def _lan(name: str, subnet: str) -> str:
    return f"""\
{{
  "cniVersion": "1.0.0",
  "name": "{name}",
  "type": "bridge",
  "bridge": "br-lan",
  "ipam": {{"type": "host-local", "subnet": {subnet}}}
}}
"""


CLUSTER_RULES: Final = (
    Rule(
        code="SB057",
        name="pool-too-small",
        severity=Severity.ERROR,
        summary="The migration network has fewer addresses than pods that need one",
        consequence="Every node's virt-handler takes one, two synchronization controllers take one"
        " each, and a third while they are replaced: the last pods stay in ContainerCreating.",
        remedy="widen the range; `spanbridge plan` counts and splits it",
        check=pool_too_small,
        wrong=_small("10.88.0.12", "▶"),
        right=_small("10.88.0.99"),
        rows=(8,),
    ),
    Rule(
        code="SB058",
        name="pools-overlap",
        severity=Severity.ERROR,
        summary="Two networks on one bridge and VLAN hand out the same addresses",
        consequence="host-local keeps one list for each network name: two pods get one address,"
        " and reach is lost now by one, now by the other.",
        remedy="give each network addresses of its own",
        check=pools_overlap,
        wrong={"a.conf": _lan("one", '"10.9.0.0/24"'), "b.conf": _lan("two", '▶"10.9.0.0/25"')},
        right={"a.conf": _lan("one", '"10.9.0.0/24"'), "b.conf": _lan("two", '"10.9.1.0/24"')},
        rows=(9, 10),
    ),
)
