# SPDX-License-Identifier: Apache-2.0
"""What a plan should say beside its files: where the intent is allowed, and yet unusual."""

from spanbridge.model.intent import Cluster, Intent, IpamType
from spanbridge.stretch.lock import Blocks
from spanbridge.stretch.plan import carries_sync, needs_node_configs, uplink_key


def plan_notes(intent: Intent, *, tight: bool, retired: Blocks) -> tuple[str, ...]:
    """Collect what concerns all clusters."""
    found = []
    if tight:
        found.append(
            "The subnet has no room for growth: it holds what is needed today and little more. "
            "A larger subnet around this one moves nothing."
        )
    if retired:
        size = sum(span.size for spans in retired.values() for span in spans)
        names = sorted({holder.partition("/")[0] for holder in retired})
        found.append(
            f"{size} addresses are kept for what was removed ({', '.join(names)}). Once no pod "
            f"there uses them, give them back: spanbridge plan --reclaim {names[0]} ..."
        )
    if intent.ipam.type is IpamType.STATIC:
        found.append(
            "static gives every pod of a node the same address, so a node must never run two pods "
            "of this network: a virt-handler and a synchronization controller, or two of those. "
            "host-local needs the same files and has no such limit."
        )
    if intent.vlan == 0:
        found.append(
            "vlan is 0: the network is the untagged one of the uplinks, shared with whatever else "
            "is on it."
        )
    return tuple(found)


def cluster_notes(intent: Intent, cluster: Cluster) -> tuple[str, ...]:
    """Collect what concerns one cluster."""
    found = []
    if not any(carries_sync(cluster, pool) for pool in cluster.pools):
        found.append(
            "No pool has control-plane nodes, yet KubeVirt places the synchronization controllers "
            "on them. Add a pool with controlPlane: true, or place them elsewhere with "
            "spec.infra.nodePlacement of the KubeVirt object."
        )
    unmanaged = [
        pool.name
        for pool in cluster.pools
        if not pool.nmstate and not pool.nodes and not uplink_key(cluster, pool)
    ]
    if unmanaged:
        found.append(
            f"The nodes of {', '.join(unmanaged)} have no names in the intent: run their uplink "
            "script on every one of them."
        )
    if needs_node_configs(intent, cluster):
        found.append(
            "The NetworkAttachmentDefinition is empty on purpose: each node has its own "
            "configuration in nodes/, and a node without one cannot start its virt-handler."
        )
    return tuple(found)
