# SPDX-License-Identifier: Apache-2.0
"""One cluster as its files tell it, read once for all rules."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from spanbridge.kube.collect import ClusterFiles
from spanbridge.kube.documents import NAD_KIND
from spanbridge.kube.source import Document
from spanbridge.stretch.lint.networks import (
    BridgeReader,
    Broken,
    Network,
    Plugin,
    is_network,
    networks_in,
    read_network,
)
from spanbridge.stretch.lint.policies import (
    POLICY_KIND,
    Bridge,
    Interface,
    as_bridge,
    interfaces_of,
)
from spanbridge.stretch.lint.views import Item, as_list, as_text, dig, items_of, join

HYPERCONVERGED: Final = "HyperConverged"
KUBEVIRT: Final = "KubeVirt"
INTENT_KIND: Final = "MigrationNetwork"

V1: Final = "hco.kubevirt.io/v1"
V1BETA1: Final = "hco.kubevirt.io/v1beta1"


@dataclass(frozen=True, slots=True)
class Choice:
    """
    Where a cluster says which network its migrations use.

    Attributes:
        item: The object.
        keys: Place of the name in it.
        network: The name, without a namespace.
        namespace: Where it is looked up: as written, else where KubeVirt is installed.
    """

    item: Item
    keys: tuple[str, ...]
    network: str
    namespace: str


@dataclass(frozen=True, slots=True)
class Cluster:
    """
    One cluster.

    Attributes:
        name: Its name; empty where there is only one.
        files: What was read.
        items: Its Kubernetes objects.
        choices: Where it names its migration network; the first one counts.
        networks: Its CNI configurations.
        broken: Manifests whose configuration is no JSON object.
        interfaces: What its policies describe.
        bridges: Bridges of its policies, by name.
    """

    name: str
    files: ClusterFiles
    items: tuple[Item, ...]
    choices: tuple[Choice, ...]
    networks: tuple[Network, ...]
    broken: tuple[Broken, ...]
    interfaces: tuple[Interface, ...]
    bridges: dict[str, list[Bridge]] = field(compare=False)

    def of_kind(self, kind: str) -> Iterator[Item]:
        """Find objects of a kind."""
        return (each for each in self.items if each.kind == kind)

    @property
    def migration(self) -> Choice | None:
        """The network that migrations use; None where nothing names one."""
        return self.choices[0] if self.choices else None

    @property
    def plugins(self) -> Iterator[Plugin]:
        """Every plugin of every configuration."""
        return (plugin for network in self.networks for plugin in network.plugins)

    @property
    def migration_networks(self) -> tuple[Network, ...]:
        """Configurations of the network that migrations use."""
        return tuple(each for each in self.networks if each.migration)

    @property
    def manifests(self) -> Iterator[Item]:
        """Every NetworkAttachmentDefinition."""
        return self.of_kind(NAD_KIND)

    @property
    def node_count(self) -> int:
        """Nodes among the objects; 0 where none are listed."""
        return sum(1 for _ in self.of_kind("Node"))

    @property
    def label(self) -> str:
        """What to call it in a message."""
        return f"cluster {self.name}" if self.name else "the cluster"


def network_keys(item: Item) -> tuple[str, ...]:
    """Say where an object names the migration network; empty where its kind does not."""
    if item.kind == KUBEVIRT:
        return ("spec", "configuration", "migrations", "network")
    if item.kind == HYPERCONVERGED and item.api == V1:
        return ("spec", "virtualization", "liveMigrationConfig", "network")
    if item.kind == HYPERCONVERGED:
        return ("spec", "liveMigrationConfig", "network")
    return ()


def _choices(items: Iterable[Item]) -> Iterator[Choice]:
    for item in items:
        keys = network_keys(item)
        written = as_text(item.get(*keys)) if keys else ""
        if written:
            namespace, _, name = written.rpartition("/")
            yield Choice(item, keys, name, namespace or item.namespace)


def _is_migration(item: Item, choice: Choice | None) -> bool:
    if choice is None or item.name != choice.network:
        return False
    return not item.namespace or not choice.namespace or item.namespace == choice.namespace


def _config_pointers(item: Item) -> Iterator[str]:
    """Find the texts in an object that hold CNI configurations."""
    if item.kind == NAD_KIND:
        if as_text(item.get("spec", "config")).strip():
            yield join(item.pointer, "spec", "config")
        return
    for number, each in enumerate(as_list(item.get("spec", "additionalNetworks"))):
        if as_text(dig(each, "rawCNIConfig")).strip():
            yield join(item.pointer, "spec", "additionalNetworks", str(number), "rawCNIConfig")


def is_network_operator(item: Item) -> bool:
    """Tell whether an object is OpenShift's network operator configuration."""
    return item.kind == "Network" and item.api.startswith("operator.openshift.io/")


def _networks(
    documents: Sequence[Document], items: Sequence[Item], choice: Choice | None
) -> Iterator[Network | Broken]:
    reader = BridgeReader()
    # A manifest without a configuration means the nodes' own files of its name.
    by_node = choice is not None and any(
        item.kind == NAD_KIND and _is_migration(item, choice) and not any(_config_pointers(item))
        for item in items
    )
    for document in documents:
        if is_network(document):
            name = as_text(dig(document.value, "name"))
            migration = choice is not None and by_node and name == choice.network
            yield read_network(document, reader, migration=migration)
    for item in items:
        if item.kind == NAD_KIND or is_network_operator(item):
            migration = item.kind == NAD_KIND and _is_migration(item, choice)
            yield from networks_in(item, _config_pointers(item), reader, migration=migration)


def read_cluster(files: ClusterFiles) -> Cluster:
    """Read everything that rules ask for."""
    items = tuple(item for document in files.documents for item in items_of(document))
    # HyperConverged writes KubeVirt's settings: where both are there, it decides.
    choices = tuple(sorted(_choices(items), key=lambda one: one.item.kind != HYPERCONVERGED))
    found = tuple(_networks(files.documents, items, choices[0] if choices else None))
    interfaces = tuple(
        each for item in items if item.kind == POLICY_KIND for each in interfaces_of(item)
    )
    bridges: dict[str, list[Bridge]] = {}
    for each in interfaces:
        bridge = as_bridge(each)
        if bridge is not None:
            bridges.setdefault(each.name, []).append(bridge)
    return Cluster(
        files.name,
        files,
        items,
        choices,
        tuple(each for each in found if isinstance(each, Network)),
        tuple(each for each in found if isinstance(each, Broken)),
        interfaces,
        bridges,
    )
