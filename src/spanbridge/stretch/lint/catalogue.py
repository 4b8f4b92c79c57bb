# SPDX-License-Identifier: Apache-2.0
"""Every rule, in the order of codes."""

from collections.abc import Sequence
from typing import Any, Final

from spanbridge.base.errors import InputError
from spanbridge.model.reader import nearest_key
from spanbridge.stretch.lint.cluster import Cluster
from spanbridge.stretch.lint.networks import Network, Plugin
from spanbridge.stretch.lint.registry import Rule
from spanbridge.stretch.lint.rules import (
    across_rules,
    addresses,
    bridge,
    devices,
    files,
    intents,
    ipam,
    keys,
    kubevirt,
    manifests,
    nodes,
    paths,
    refusals,
    vlan,
)
from spanbridge.stretch.lint.stretched import Fleet

PLUGIN_RULES: Final[tuple[Rule[Plugin], ...]] = (
    keys.PLUGIN_RULES
    + refusals.PLUGIN_RULES
    + bridge.PLUGIN_RULES
    + vlan.PLUGIN_RULES
    + ipam.PLUGIN_RULES
)
"""Asked of each plugin's configuration."""

NETWORK_RULES: Final[tuple[Rule[Network], ...]] = (
    keys.NETWORK_RULES + bridge.NETWORK_RULES + manifests.NETWORK_RULES
)
"""Asked of each configuration or list of plugins."""

CLUSTER_RULES: Final[tuple[Rule[Cluster], ...]] = (
    files.CLUSTER_RULES
    + addresses.CLUSTER_RULES
    + manifests.CLUSTER_RULES
    + kubevirt.CLUSTER_RULES
    + nodes.CLUSTER_RULES
    + paths.CLUSTER_RULES
    + devices.CLUSTER_RULES
    + intents.CLUSTER_RULES
)
"""Asked of the files of one cluster."""

CLUSTERS_RULES: Final[tuple[Rule[Fleet], ...]] = across_rules.CLUSTERS_RULES
"""Asked of all clusters together."""

# Rules ask different subjects; here only their texts matter.
RULES: Final[tuple[Rule[Any], ...]] = tuple(
    sorted(
        (*PLUGIN_RULES, *NETWORK_RULES, *CLUSTER_RULES, *CLUSTERS_RULES),
        key=lambda rule: rule.code,
    )
)
BY_CODE: Final[dict[str, Rule[Any]]] = {rule.code: rule for rule in RULES}


def scope_of(rule: Rule[Any]) -> str:
    """Say what a rule looks at."""
    if rule in PLUGIN_RULES:
        return "each plugin's configuration"
    if rule in NETWORK_RULES:
        return "each configuration or list of plugins"
    return "all files of a cluster together" if rule in CLUSTER_RULES else "several clusters"


def find_rule(text: str) -> Rule[Any]:
    """
    Find a rule by its code or name.

    Raises:
        InputError: There is none.
    """
    for rule in RULES:
        if text.upper() == rule.code or text.lower() == rule.name:
            return rule
    near = nearest_key(text, [*BY_CODE, *(rule.name for rule in RULES)])
    raise InputError(
        f"cannot find rule {text!r}: there is none of that code or name",
        hint=f"did you mean {near}?" if near else "see: spanbridge rule",
    )


def parse_codes(texts: Sequence[str]) -> frozenset[str]:
    """
    Read codes, names and prefixes such as SB01, separated by commas.

    Raises:
        InputError: One of them means no rule.
    """
    found: set[str] = set()
    for text in (part.strip() for each in texts for part in each.split(",")):
        if not text:
            continue
        prefixed = {code for code in BY_CODE if code.startswith(text.upper())}
        found |= prefixed or {find_rule(text).code}
    return frozenset(found)
