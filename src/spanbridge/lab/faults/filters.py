# SPDX-License-Identifier: Apache-2.0
"""
Faults that are filters: a table of nftables of their own in the fabric, or in a pod.

In the fabric they stand between the ports to the nodes, never before the DHCP server: a
lease that ends in the middle of a fault would be another fault.
"""

from collections.abc import Iterable
from typing import Final

from spanbridge.base.errors import NodeError
from spanbridge.lab.faults.looking import link, smaller_mtu
from spanbridge.lab.faults.recipes import Recipe, Scene, Step, run
from spanbridge.lab.topology import DHCP_PORT, FABRIC_NETNS, POD_INTERFACE, Node

TABLE: Final = "lab-fault"


def _ports(nodes: Iterable[Node]) -> str:
    return "{ " + ", ".join(f'"{node.name}"' for node in nodes) + " }"


def _table(table: str, netns: str, hook: str, rules: Iterable[str]) -> tuple[Step, Step]:
    """Make the step that makes a table with one chain of rules, and the one that removes it."""
    script = [
        f"add table {table}",
        f"add chain {table} filter {{ type filter hook {hook} priority 0; }}",
        *(f"add rule {table} filter {rule}" for rule in rules),
    ]
    # Adding first makes it fine that there may be none; one transaction does both.
    undo = f"add table {table}; delete table {table}"
    return run(netns, "nft", "; ".join(script)), run(netns, "nft", undo)


def _fabric(scene: Scene, name: str, rules: Iterable[str], touches: Iterable[str]) -> Recipe:
    one = len(scene.nodes) == 1
    place = scene.node.name if one else "-".join(each.name for each in scene.clusters)
    table = f"bridge {TABLE}-{name}-{place}"
    make, undo = _table(table, FABRIC_NETNS, "forward", rules)
    return Recipe((make,), (undo,), frozenset(touches))


def _way(source: str, target: str) -> str:
    return f"the way from {source} to {target}"


def _between(scene: Scene) -> tuple[str, str]:
    """Match what goes from the first of two clusters to the second, and what comes back."""
    here, there = (_ports(each.nodes) for each in scene.clusters)
    return f"iifname {here} oifname {there}", f"iifname {there} oifname {here}"


def _both_ways(scene: Scene) -> tuple[str, str]:
    here, there = (each.name for each in scene.clusters)
    return _way(here, there), _way(there, here)


def link_cut(scene: Scene) -> Recipe:
    """Let nothing pass between two clusters."""
    rules = (f"{match} drop" for match in _between(scene))
    return _fabric(scene, "link-cut", rules, _both_ways(scene))


def one_way_link(scene: Scene) -> Recipe:
    """Let nothing pass from one cluster to another."""
    there, _ = _between(scene)
    return _fabric(scene, "one-way-link", [f"{there} drop"], _both_ways(scene)[:1])


def link_mtu(scene: Scene) -> Recipe:
    """Let only small packets pass between two clusters."""
    mtu = smaller_mtu(scene.runtime.lab.mtu)
    rules = (f"{match} ip length > {mtu} drop" for match in _between(scene))
    return _fabric(scene, "link-mtu", rules, _both_ways(scene))


def tcp_filtered(scene: Scene) -> Recipe:
    """Let no TCP pass between two clusters."""
    rules = (f"{match} meta l4proto tcp drop" for match in _between(scene))
    return _fabric(scene, "tcp-filtered", rules, _both_ways(scene))


def cluster_cut(scene: Scene) -> Recipe:
    """Let nothing pass between a cluster and all others."""
    others = scene.others(scene.cluster)
    if not others:
        raise NodeError(f"cannot cut {scene.cluster.name} off: the lab has no other cluster")
    here, there = _ports(scene.cluster.nodes), _ports(others)
    rules = (f"iifname {here} oifname {there} drop", f"iifname {there} oifname {here} drop")
    touches = {
        _way(*pair)
        for other in {node.cluster for node in others}
        for pair in ((scene.cluster.name, other), (other, scene.cluster.name))
    }
    return _fabric(scene, "cluster-cut", rules, touches)


def one_way_node(scene: Scene) -> Recipe:
    """Let nothing pass that the node sends."""
    rule = f'iifname "{scene.node.name}" oifname != "{DHCP_PORT}" drop'
    return _fabric(scene, "one-way-node", [rule], [f"what leaves {scene.node.name}"])


def foreign_macs(scene: Scene) -> Recipe:
    """Let pass only what bears the MAC of the node's own card, as a hypervisor does."""
    name = scene.node.name
    mac = link(scene.node.netns, scene.node.wiring.uplink)["address"]
    unicast = "ether daddr & 01:00:00:00:00:00 == 00:00:00:00:00:00"
    rules = (
        f'iifname "{name}" oifname != "{DHCP_PORT}" ether saddr != {mac} drop',
        f'oifname "{name}" iifname != "{DHCP_PORT}" ether daddr != {mac} {unicast} drop',
    )
    return _fabric(scene, "foreign-macs", rules, [f"what leaves {name}"])


def stateful_filter(scene: Scene) -> Recipe:
    """Let the node's pod answer others, but ask nobody."""
    rule = f'oifname "{POD_INTERFACE}" ct state new drop'
    make, undo = _table(f"inet {TABLE}-stateful-filter", scene.pod.netns, "output", [rule])
    return Recipe((make,), (undo,), frozenset({f"filters in the pod of {scene.node.name}"}))
