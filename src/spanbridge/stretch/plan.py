# SPDX-License-Identifier: Apache-2.0
"""A plan as data: who may use which addresses, and what each cluster is told."""

from dataclasses import dataclass

from spanbridge.model.addresses import Ip
from spanbridge.model.intent import Cluster, Intent, IpamType, NodePool, PluginKind
from spanbridge.model.spans import Span
from spanbridge.stretch.lock import Lock


@dataclass(frozen=True, slots=True)
class NodePlan:
    """
    A node that has a configuration of its own.

    Attributes:
        name: As Kubernetes knows it.
        pool: Its pool.
        spans: Addresses that only it may use; the cluster's where nodes share them.
    """

    name: str
    pool: NodePool
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """
    What one cluster is told.

    Attributes:
        cluster: From the intent.
        need: Addresses that it needs today, of each family.
        spans: Addresses that it may use; empty where nodes have them, or a DHCP server.
        nodes: Nodes with a configuration of their own; empty where one
            NetworkAttachmentDefinition serves all of them.
        notes: What its administrator should know beside the usual steps.
    """

    cluster: Cluster
    need: int
    spans: tuple[Span, ...]
    nodes: tuple[NodePlan, ...]
    notes: tuple[str, ...]

    @property
    def all_spans(self) -> tuple[Span, ...]:
        """Every address that a pod of the cluster may have, ascending; empty with DHCP."""
        spans = self.spans or tuple({span for node in self.nodes for span in node.spans})
        return tuple(sorted(spans, key=lambda one: (one.version, one.first.number)))


@dataclass(frozen=True, slots=True)
class DhcpPlan:
    """
    What the one DHCP server is told.

    Attributes:
        server: Its own address.
        pools: What it hands out.
    """

    server: Ip
    pools: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """
    The whole plan.

    Attributes:
        intent: What it was made from.
        clusters: In the order of the intent.
        dhcp: None unless a DHCP server hands out addresses.
        lock: What the next plan has to keep; without the files.
        notes: What concerns all clusters.
    """

    intent: Intent
    clusters: tuple[ClusterPlan, ...]
    dhcp: DhcpPlan | None
    lock: Lock
    notes: tuple[str, ...]


def has_node_blocks(intent: Intent) -> bool:
    """Tell whether each node gets addresses of its own."""
    return intent.ipam.type in {IpamType.HOST_LOCAL, IpamType.STATIC}


def needs_node_configs(intent: Intent, cluster: Cluster) -> bool:
    """Tell whether one NetworkAttachmentDefinition cannot serve all nodes of a cluster."""
    if has_node_blocks(intent) or len({pool.bridge for pool in cluster.pools}) > 1:
        return True
    return len({uplink_key(cluster, pool) for pool in cluster.pools}) > 1


def uplink_key(cluster: Cluster, pool: NodePool) -> str:
    """
    Name the device for the key ``uplink`` of the configuration; empty leaves it out.

    Only our plugin reads it, and where NMState manages the bridge, it is the owner.
    """
    return pool.uplink if cluster.plugin is PluginKind.SPANBRIDGE and not pool.nmstate else ""


def carries_sync(cluster: Cluster, pool: NodePool) -> bool:
    """Tell whether synchronization controllers may run on the nodes of ``pool``."""
    if pool.control_plane is None:
        return not any(each.control_plane for each in cluster.pools)
    return pool.control_plane
