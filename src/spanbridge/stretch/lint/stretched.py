# SPDX-License-Identifier: Apache-2.0
"""Which networks of several clusters are meant to be one."""

from collections.abc import Sequence
from dataclasses import dataclass

from spanbridge.model.netconf import NetConf
from spanbridge.stretch.lint.cluster import Cluster
from spanbridge.stretch.lint.networks import Network, Plugin


@dataclass(frozen=True, slots=True)
class Part:
    """
    The part of a stretched network that is in one cluster.

    Attributes:
        cluster: The cluster.
        network: Its configuration.
        plugin: The plugin that makes the interface.
    """

    cluster: Cluster
    network: Network
    plugin: Plugin

    @property
    def conf(self) -> NetConf | None:
        """The bridge plugin's configuration; None for other plugins."""
        return self.plugin.conf


@dataclass(frozen=True, slots=True)
class Fleet:
    """
    All clusters.

    Attributes:
        clusters: In the order in which they were given.
        networks: Those that stretch over several of them; see ``stretched_networks``.
    """

    clusters: tuple[Cluster, ...]
    networks: tuple[tuple[Part, ...], ...]


def _part(cluster: Cluster, network: Network) -> Part | None:
    plugin = network.bridge or next(iter(network.plugins), None)
    return Part(cluster, network, plugin) if plugin is not None else None


def stretched_networks(clusters: Sequence[Cluster]) -> tuple[tuple[Part, ...], ...]:
    """
    Find the networks that stretch over clusters.

    Those that migrations use belong together whatever they are called. Where no cluster
    says which one that is, manifests of one name do.

    Returns:
        Groups with a part of at least two clusters.
    """
    groups: dict[str, list[Part]] = {}
    chosen = any(cluster.migration_networks for cluster in clusters)
    for cluster in clusters:
        found = cluster.migration_networks if chosen else cluster.networks
        for network in found:
            part = _part(cluster, network)
            if part is not None and (network.nad is not None or chosen):
                groups.setdefault("" if chosen else network.name, []).append(part)
    return tuple(
        tuple(parts) for parts in groups.values() if len({part.cluster.name for part in parts}) > 1
    )


def read_fleet(clusters: Sequence[Cluster]) -> Fleet:
    """Put clusters side by side."""
    return Fleet(tuple(clusters), stretched_networks(clusters))
