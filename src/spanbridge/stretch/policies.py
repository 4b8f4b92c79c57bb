# SPDX-License-Identifier: Apache-2.0
"""Which nodes a NodeNetworkConfigurationPolicy is for, and the policies of a cluster."""

from typing import Final

from spanbridge.base.errors import ConfigError
from spanbridge.kube.objects import BridgePolicy
from spanbridge.model.intent import Cluster, Flavor, Intent, NodePool

Selector = dict[str, str]

_ALL_NODES: Final = {"kubernetes.io/os": "linux"}
_CONTROL_PLANE: Final = {"node-role.kubernetes.io/control-plane": ""}
_WORKERS: Final = {"node-role.kubernetes.io/worker": ""}
_HOSTNAME: Final = "kubernetes.io/hostname"


def check_selectors(intent: Intent) -> None:
    """Raise ``ConfigError`` where the nodes of a pool cannot be told from others."""
    for cluster in intent.clusters:
        for pool in cluster.pools:
            if pool.nmstate and not pool.nodes and _selector(cluster, pool) is None:
                raise ConfigError(
                    f"cannot plan pool {pool.name!r} of {cluster.name}: nothing says which nodes"
                    " NMState shall configure",
                    pointer=pool.pointer,
                    hint="write nodeSelector: {label: value}, nodes: [...], or controlPlane: true",
                )


def bridge_policies(intent: Intent, cluster: Cluster) -> tuple[BridgePolicy, ...]:
    """List the policies of a cluster; none for pools that NMState does not manage."""
    return tuple(
        BridgePolicy(
            name, selector, bridge=pool.bridge, uplink=pool.uplink, vlan=intent.vlan, mtu=intent.mtu
        )
        for pool in cluster.pools
        if pool.nmstate
        for name, selector in _targets(intent, cluster, pool)
    )


def _targets(intent: Intent, cluster: Cluster, pool: NodePool) -> list[tuple[str, Selector]]:
    name = f"{intent.name}-{pool.name}"
    selector = _selector(cluster, pool)
    if selector is not None:
        return [(name, selector)]
    return [(f"{name}-{node}", {_HOSTNAME: node}) for node in pool.nodes]


def _selector(cluster: Cluster, pool: NodePool) -> Selector | None:
    """Find labels that tell the nodes of ``pool`` from those of the other pools, if any do."""
    if pool.node_selector:
        return dict(pool.node_selector)
    if len(cluster.pools) == 1 and pool.control_plane is not False:
        # Control-plane nodes too: KubeVirt's synchronization controllers are placed there.
        return dict(_ALL_NODES)
    if pool.nodes:
        return None
    alike = [each for each in cluster.pools if each.control_plane == pool.control_plane]
    if len(alike) > 1:
        return None
    if pool.control_plane:
        return dict(_CONTROL_PLANE)
    # Only OpenShift labels its workers.
    return dict(_WORKERS) if cluster.flavor is Flavor.OPENSHIFT else None
