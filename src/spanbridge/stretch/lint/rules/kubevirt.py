# SPDX-License-Identifier: Apache-2.0
"""Rules about HyperConverged, KubeVirt and migration objects."""

from collections.abc import Iterator
from typing import Final

from spanbridge.model.findings import Severity
from spanbridge.stretch.lint.cluster import HYPERCONVERGED as HYPERCONVERGED_KIND
from spanbridge.stretch.lint.cluster import KUBEVIRT, V1, V1BETA1, Cluster
from spanbridge.stretch.lint.edits import replace_value
from spanbridge.stretch.lint.registry import HYPERCONVERGED, Hit, Rule
from spanbridge.stretch.lint.views import Item, as_list, as_object, as_text, dig

_GATE: Final = "decentralizedLiveMigration"
_KUBEVIRT_GATE: Final = "DecentralizedLiveMigration"
_GATES: Final = ("spec", "configuration", "developerConfiguration", "featureGates")
_MIGRATION: Final = "VirtualMachineInstanceMigration"
_RESTORE: Final = "kubevirt.io/restore-run-strategy"


def wrong_shape(cluster: Cluster) -> Iterator[Hit]:
    """Find HyperConverged objects in the shape of another version of their API."""
    for item in cluster.of_kind(HYPERCONVERGED_KIND):
        gates = item.get("spec", "featureGates")
        if item.api == V1 and item.get("spec", "liveMigrationConfig") is not None:
            yield Hit("v1 has liveMigrationConfig under spec.virtualization",
                      item.spot("spec", "liveMigrationConfig", at_key=True))  # fmt: skip
        if item.api == V1 and isinstance(gates, dict):
            yield Hit("v1 has a list of feature gates, not an object",
                      item.spot("spec", "featureGates", at_key=True))  # fmt: skip
        if item.api == V1BETA1 and item.get("spec", "virtualization") is not None:
            yield Hit("v1beta1 has no spec.virtualization",
                      item.spot("spec", "virtualization", at_key=True))  # fmt: skip
        if item.api == V1BETA1 and isinstance(gates, list):
            yield Hit("v1beta1 has an object of feature gates, not a list",
                      item.spot("spec", "featureGates", at_key=True))  # fmt: skip


def gate_state(item: Item) -> bool | None:
    """Tell whether an object opens the gate; None where it leaves it at the default."""
    if item.kind == KUBEVIRT:
        return _KUBEVIRT_GATE in as_list(item.get(*_GATES)) or None
    gates = item.get("spec", "featureGates")
    for each in as_list(gates):
        if dig(each, "name") == _GATE:
            return dig(each, "state") != "Disabled"
    value = as_object(gates).get(_GATE)
    return value if isinstance(value, bool) else None


def closed_gate(cluster: Cluster) -> Iterator[Hit]:
    """Find migration networks in clusters that cannot migrate to others."""
    for choice in cluster.choices[:1]:
        item = choice.item
        state = gate_state(item)
        open_by_default = item.kind == HYPERCONVERGED_KIND and item.api == V1
        if state is True or (state is None and open_by_default):
            continue
        keys = ("spec", "featureGates") if item.kind == HYPERCONVERGED_KIND else _GATES
        said = "closes" if state is False else "does not open"
        # A patch of KubeVirt cannot add to a list, so the gate is opened in another way.
        patched = item.kind == KUBEVIRT and item.get(*_GATES) is None
        yield Hit(
            f"{item.kind} {said} the gate {_KUBEVIRT_GATE}",
            item.spot(*keys, *([_GATE] if isinstance(item.get(*keys), dict) else [])),
            severity=Severity.ERROR if state is False else Severity.NOTE if patched else None,
        )


def no_network(cluster: Cluster) -> Iterator[Hit]:
    """Find open gates without a network of their own."""
    if cluster.choices:
        return
    for item in cluster.items:
        if item.kind in {HYPERCONVERGED_KIND, KUBEVIRT} and gate_state(item) is True:
            message = f"{item.kind} names no migration network"
            yield Hit(message, item.spot("spec", at_key=True))


def overwritten(cluster: Cluster) -> Iterator[Hit]:
    """Find settings of KubeVirt that HyperConverged overwrites."""
    if not any(cluster.of_kind(HYPERCONVERGED_KIND)):
        return
    for item in cluster.of_kind(KUBEVIRT):
        keys = ("spec", "configuration", "migrations")
        if item.get(*keys) is not None and cluster.choices:
            hyper = next(cluster.of_kind(HYPERCONVERGED_KIND))
            if item.get(*keys, "network") != cluster.choices[0].network:
                yield Hit("HyperConverged overwrites this section", item.spot(*keys, at_key=True),
                          related=(hyper.spot("metadata", "name"),))  # fmt: skip


def _migration_keys(item: Item) -> tuple[str, ...]:
    if item.kind == KUBEVIRT:
        return ("spec", "configuration", "migrations")
    if item.api == V1:
        return ("spec", "virtualization", "liveMigrationConfig")
    return ("spec", "liveMigrationConfig")


def plain_migration(cluster: Cluster) -> Iterator[Hit]:
    """Find migrations without TLS."""
    for item in cluster.items:
        if item.kind in {KUBEVIRT, HYPERCONVERGED_KIND}:
            keys = (*_migration_keys(item), "disableTLS")
            if item.get(*keys) is True:
                yield Hit("migrations are not encrypted", item.spot(*keys, at_key=True))


def port_is_number(cluster: Cluster) -> Iterator[Hit]:
    """Find synchronization ports that are no text of a port number."""
    for item in cluster.of_kind(KUBEVIRT):
        port = item.get("spec", "synchronizationPort")
        spot = item.spot("spec", "synchronizationPort")
        if type(port) is int and 0 < port < 65536:
            edits = replace_value(item.document, spot.pointer, f'"{port}"')
            yield Hit("the port is a number, and KubeVirt wants text", spot, edits=edits)
        elif port is not None and not (isinstance(port, str) and _is_port(port)):
            yield Hit(
                f"{port!r} is no port",
                spot,
                severity=Severity.WARNING if isinstance(port, str) else None,
                remedy='write "9185", or another port',
            )


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) < 65536


def connect_url(cluster: Cluster) -> Iterator[Hit]:
    """Find addresses of the other cluster that cannot be dialled."""
    for item in cluster.of_kind(_MIGRATION):
        url = as_text(item.get("spec", "sendTo", "connectURL"))
        if not url:
            continue
        spot = item.spot("spec", "sendTo", "connectURL")
        address = url.partition("://")[2] or url
        if address != url:
            edits = replace_value(item.document, spot.pointer, f'"{address.rstrip("/")}"')
            yield Hit("the address has a scheme, and is dialled as it is", spot, edits=edits)
        elif not _is_port(url.rpartition(":")[2]):
            yield Hit("the address has no port", spot)


def migration_ids_differ(cluster: Cluster) -> Iterator[Hit]:
    """Find migrations whose two halves have different identifiers."""
    for item in cluster.of_kind(_MIGRATION):
        sent = item.get("spec", "sendTo", "migrationID")
        received = item.get("spec", "receive", "migrationID")
        if sent is not None and received is not None and sent != received:
            yield Hit("sendTo and receive have different identifiers",
                      item.spot("spec", "receive", "migrationID"),
                      related=(item.spot("spec", "sendTo", "migrationID"),))  # fmt: skip


def no_restore_strategy(cluster: Cluster) -> Iterator[Hit]:
    """Find receiving virtual machines that stay receivers for ever."""
    for item in cluster.of_kind("VirtualMachine"):
        if item.get("spec", "runStrategy") != "WaitAsReceiver":
            continue
        if not as_object(item.get("metadata", "annotations")).get(_RESTORE):
            message = f"{item.name} does not say how it runs after it was received"
            yield Hit(message, item.spot("spec", "runStrategy"))


_V1: Final = """\
apiVersion: hco.kubevirt.io/v1
kind: HyperConverged
metadata:
  name: kubevirt-hyperconverged
  namespace: openshift-cnv
spec:
  virtualization:
    liveMigrationConfig:
      network: migration-net
"""

_KUBEVIRT: Final = """\
apiVersion: kubevirt.io/v1
kind: KubeVirt
metadata:
  name: kubevirt
  namespace: openshift-cnv
spec:
  configuration:
    developerConfiguration:
      featureGates: [DecentralizedLiveMigration]
    migrations:
      network: migration-net
"""

_SEND: Final = """\
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstanceMigration
metadata:
  name: web-out
  namespace: prod
spec:
  vmiName: web
  sendTo:
    migrationID: web-1
    connectURL: %s10.88.0.131:9185
"""

_RECEIVER: Final = """\
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata:
  name: web
  namespace: prod
%sspec:
  runStrategy: %sWaitAsReceiver
  template: {}
"""


CLUSTER_RULES: Final = (
    Rule(
        code="SB075",
        name="wrong-shape",
        severity=Severity.ERROR,
        summary="HyperConverged is written in the shape of another version of its API",
        consequence="The API server drops or refuses the fields: the network is not set, and"
        " migrations go over the pod network. Since 1.18 a plain `oc patch hyperconverged` speaks"
        " v1.",
        remedy="v1: spec.virtualization.liveMigrationConfig and a list of gates with name and"
        " state; v1beta1: spec.liveMigrationConfig and an object of gates",
        check=wrong_shape,
        wrong={
            "hyperconverged.yaml": _V1.replace(
                "  virtualization:\n    liveMigrationConfig:\n      network",
                "  ▶liveMigrationConfig:\n    network",
            )
        },
        right={"hyperconverged.yaml": _V1},
        rows=(6,),
    ),
    Rule(
        code="SB076",
        name="closed-gate",
        severity=Severity.WARNING,
        summary="The gate DecentralizedLiveMigration is not opened",
        consequence="Without it there is no synchronization controller, and a migration to another"
        " cluster is refused. HyperConverged v1beta1 opens it by default only since 1.18.",
        remedy="v1beta1: spec.featureGates.decentralizedLiveMigration: true; KubeVirt:"
        " spec.configuration.developerConfiguration.featureGates: [DecentralizedLiveMigration]",
        check=closed_gate,
        wrong={
            "hyperconverged.yaml": HYPERCONVERGED.replace("igration: true", "igration: ▶false"),
        },
        right={"hyperconverged.yaml": HYPERCONVERGED},
        rows=(1,),
    ),
    Rule(
        code="SB077",
        name="no-migration-network",
        severity=Severity.WARNING,
        summary="Migrations between clusters are on, and no network is named for them",
        consequence="They go over the pod network: its addresses are not reachable from another"
        " cluster, so that migrations wait for ever, without an event.",
        remedy="name the network in liveMigrationConfig.network",
        check=no_network,
        wrong={
            "kubevirt.yaml": _KUBEVIRT.partition("    migrations")[0].replace("spec:", "▶spec:"),
        },
        right={"kubevirt.yaml": _KUBEVIRT},
        rows=(1, 6),
    ),
    Rule(
        code="SB078",
        name="overwritten",
        severity=Severity.WARNING,
        summary="KubeVirt's migration settings differ from those of HyperConverged",
        consequence="HyperConverged writes its own into KubeVirt: the edit is gone within seconds.",
        remedy="change HyperConverged instead",
        check=overwritten,
        wrong={
            "hyperconverged.yaml": HYPERCONVERGED,
            "kubevirt.yaml": _KUBEVIRT.replace(
                "    migrations:\n      network: migration-net",
                "    ▶migrations:\n      bandwidthPerMigration: 1Gi",
            ),
        },
        right={"hyperconverged.yaml": HYPERCONVERGED, "kubevirt.yaml": _KUBEVIRT},
        rows=(6,),
    ),
    Rule(
        code="SB079",
        name="plain-migration",
        severity=Severity.WARNING,
        summary="disableTLS is on",
        consequence="The memory of virtual machines crosses the stretched network readable and"
        " changeable; a cluster with TLS cannot talk to one without.",
        remedy="remove disableTLS",
        check=plain_migration,
        wrong={
            "kubevirt.yaml": _KUBEVIRT + "      ▶disableTLS: true\n",
        },
        right={"kubevirt.yaml": _KUBEVIRT},
        rows=(22,),
    ),
    Rule(
        code="SB080",
        name="port-is-number",
        severity=Severity.ERROR,
        summary="synchronizationPort is no text of a port number",
        consequence="The API server refuses the object.",
        remedy='write it in quotes, such as "9185"',
        check=port_is_number,
        wrong={"kubevirt.yaml": _KUBEVIRT + "  synchronizationPort: ▶9185\n"},
        right={"kubevirt.yaml": _KUBEVIRT + '  synchronizationPort: "9185"\n'},
        rows=(1,),
    ),
    Rule(
        code="SB084",
        name="connect-url",
        severity=Severity.ERROR,
        summary="sendTo.connectURL is no address with a port",
        consequence="The dial fails, and the migration stays in Synchronizing for ever.",
        remedy="copy an entry of KubeVirt's status.synchronizationAddresses, without a scheme",
        check=connect_url,
        wrong={"migration.yaml": _SEND % "▶https://"},
        right={"migration.yaml": _SEND % ""},
        rows=(1,),
    ),
    Rule(
        code="SB085",
        name="migration-ids-differ",
        severity=Severity.ERROR,
        summary="sendTo and receive of one migration have different identifiers",
        consequence="The object is refused; between two clusters, each side waits for ever.",
        remedy="use one migrationID on both sides",
        check=migration_ids_differ,
        wrong={"migration.yaml": _SEND % "" + "  receive:\n    migrationID: ▶web-2\n"},
        right={"migration.yaml": _SEND % "" + "  receive:\n    migrationID: web-1\n"},
        rows=(1,),
    ),
    Rule(
        code="SB086",
        name="no-restore-strategy",
        severity=Severity.WARNING,
        summary="A receiving virtual machine does not say how it runs afterwards",
        consequence="It keeps WaitAsReceiver: after a restart it waits for a migration instead of"
        " starting.",
        remedy=f"add annotation {_RESTORE}: Always",
        check=no_restore_strategy,
        wrong={"vm.yaml": _RECEIVER % ("", "▶")},
        right={"vm.yaml": _RECEIVER % (f"  annotations: {{{_RESTORE}: Always}}\n", "")},
    ),
)
