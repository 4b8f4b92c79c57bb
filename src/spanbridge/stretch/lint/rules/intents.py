# SPDX-License-Identifier: Apache-2.0
"""Rules about intent files: the planner itself says what is wrong."""

from collections.abc import Iterator
from typing import Final

from spanbridge.base.errors import ConfigError, SpanbridgeError
from spanbridge.model.findings import Severity
from spanbridge.model.intent import Intent
from spanbridge.model.intent_parser import parse_intent
from spanbridge.model.reader import Node
from spanbridge.stretch.lint.cluster import INTENT_KIND, Cluster
from spanbridge.stretch.lint.registry import Hit, Rule, Spot
from spanbridge.stretch.lint.views import Item
from spanbridge.stretch.planner import plan_network


def _read(item: Item) -> Intent | SpanbridgeError:
    try:
        return parse_intent(Node(item.raw, item.pointer))
    except SpanbridgeError as exc:
        return exc


def _hit(item: Item, error: SpanbridgeError) -> Hit:
    message = error.message.removeprefix("cannot use ")
    spot = Spot(item.document, error.pointer or item.pointer, at_key=True)
    return Hit(message, spot, remedy=error.hint)


def intent_refused(cluster: Cluster) -> Iterator[Hit]:
    """Find intents that cannot be read."""
    for item in cluster.of_kind(INTENT_KIND):
        found = _read(item)
        if isinstance(found, SpanbridgeError):
            yield _hit(item, found)


def intent_impossible(cluster: Cluster) -> Iterator[Hit]:
    """Find intents that no plan can be made from."""
    for item in cluster.of_kind(INTENT_KIND):
        found = _read(item)
        if isinstance(found, Intent):
            try:
                plan_network(found)
            except ConfigError as exc:
                yield _hit(item, exc)


_INTENT: Final = """\
apiVersion: spanbridge.io/v1alpha1
kind: MigrationNetwork
metadata:
  name: migration-net
spec:
  vlan: 2
  subnets: [10.88.0.0/24]
  clusters:
  - name: east
    nodePools:
    - uplink: ens2f0
      count: %d
  - name: west
    nodePools:
    - uplink: ens2f0
      count: 3
"""

CLUSTER_RULES: Final = (
    Rule(
        code="SB130",
        name="intent-refused",
        severity=Severity.ERROR,
        summary="The intent cannot be read",
        consequence="`spanbridge plan` refuses it, and writes nothing.",
        remedy="write what the finding says; docs/reference/intent.md explains every key",
        check=intent_refused,
        wrong={"network.yaml": (_INTENT % 3).replace("  vlan: 2", "  ▶vlan: 4095")},
        right={"network.yaml": _INTENT % 3},
    ),
    Rule(
        code="SB131",
        name="intent-impossible",
        severity=Severity.ERROR,
        summary="No plan can be made from the intent",
        consequence="`spanbridge plan` refuses it, and writes nothing: usually the subnet has no"
        " room for all nodes, two synchronization controllers and one more for each cluster.",
        remedy="choose a larger subnet, or reserve less of it",
        check=intent_impossible,
        wrong={"network.yaml": (_INTENT % 300).replace("[10", "[▶10")},
        right={"network.yaml": _INTENT % 3},
        rows=(8,),
    ),
)
