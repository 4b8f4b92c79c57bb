# SPDX-License-Identifier: Apache-2.0
"""Rules about keys: mistyped, misplaced, without effect, overridden."""

from collections.abc import Callable, Iterator
from typing import Final

from spanbridge.model.findings import Severity
from spanbridge.model.reader import UnknownKey
from spanbridge.stretch.lint.edits import rename_key
from spanbridge.stretch.lint.networks import BRIDGE_TYPES, IGNORE_KEY, Network, Plugin
from spanbridge.stretch.lint.registry import Hit, Rule, Spot, conf

_BELONGS_IN_IPAM: Final = frozenset(
    {"range", "range_start", "range_end", "ranges", "subnet", "rangestart", "rangeend", "routes"}
    | {"addresses", "exclude", "ipranges", "gateway", "datadir", "resolvconf"}
)
"""Lower-case keys that an IPAM plugin reads, and the bridge plugin does not."""

_BELONGS_TO_BRIDGE: Final = frozenset(
    {"isgateway", "isdefaultgateway", "forceaddress", "ipmasq", "ipmasqbackend", "mtu", "vlan"}
    | {"vlantrunk", "hairpinmode", "promiscmode", "macspoofchk", "bridge", "preservedefaultvlan"}
    | {"gatewayscope", "enabledad", "portisolation", "disablecontainerinterface"}
)
"""Lower-case keys that the bridge plugin reads, and no IPAM plugin does."""


def _home(key: UnknownKey, section: str) -> str:
    """Say where a key would be read; empty where nobody reads it."""
    folded = key.key.lower()
    if section == "ipam":
        return "beside ipam, in the plugin's own object" if folded in _BELONGS_TO_BRIDGE else ""
    if folded == "mac":
        return "in args.cni, or asked for by the pod"
    return 'inside of "ipam"' if folded in _BELONGS_IN_IPAM else ""


def _strangers(plugin: Plugin) -> Iterator[tuple[UnknownKey, str]]:
    found = [(key, "bridge") for key in plugin.unknown]
    found += [(key, "ipam") for key in plugin.ipam.unknown]
    return (pair for pair in found if pair[0].key != IGNORE_KEY)


def _spot(plugin: Plugin, key: UnknownKey) -> Spot:
    return Spot(plugin.document, key.pointer, at_key=True)


def mistyped_key(plugin: Plugin) -> Iterator[Hit]:
    """Find unknown keys that resemble a known one."""
    for key, section in _strangers(plugin):
        if key.nearest and not _home(key, section):
            message = f"{key.key!r} is no key that is read: did you mean {key.nearest!r}?"
            yield Hit(message, _spot(plugin, key), remedy=f'write "{key.nearest}", or remove it')


def unread_key(plugin: Plugin) -> Iterator[Hit]:
    """Find unknown keys that resemble none."""
    for key, section in _strangers(plugin):
        if not key.nearest and not _home(key, section):
            reader = plugin.ipam.type if section == "ipam" else plugin.type
            yield Hit(f"{key.key!r} is not read by {reader}", _spot(plugin, key))


def misplaced_key(plugin: Plugin) -> Iterator[Hit]:
    """Find keys that are read elsewhere in the configuration."""
    for key, section in _strangers(plugin):
        home = _home(key, section)
        if home:
            message = f"{key.key!r} is not read here: it belongs {home}"
            yield Hit(message, _spot(plugin, key), remedy=f"move it: {home}")


def key_case(plugin: Plugin) -> Iterator[Hit]:
    """Find keys that differ from a known one in case only."""
    nodes = [plugin.root if plugin.conf is None else plugin.conf.root]
    if plugin.ipam.node is not None and plugin.ipam.type in {"host-local", "static", "dhcp"}:
        nodes.append(plugin.ipam.node)
    for node in nodes:
        for pointer, written, known in node.other_case():
            spot = Spot(plugin.document, pointer, at_key=True)
            edits = rename_key(spot, known)
            yield Hit(f"{written!r} is written {known!r}", spot, edits=edits)


_Condition = Callable[[Plugin], bool]


def _given(plugin: Plugin, key: str) -> bool:
    return plugin.root.take(key) not in {None, False, ""} if _is_scalar(plugin, key) else True


def _is_scalar(plugin: Plugin, key: str) -> bool:
    return not isinstance(plugin.root.take(key), (dict, list))


def _layer2(plugin: Plugin) -> bool:
    return not plugin.ipam.type


def _no_gateway(plugin: Plugin) -> bool:
    return plugin.conf is not None and not plugin.conf.is_gateway


def _no_masquerade(plugin: Plugin) -> bool:
    return plugin.conf is not None and not plugin.conf.ip_masq


_NEEDS: Final[tuple[tuple[str, _Condition, str], ...]] = (
    ("isGateway", _layer2, '"ipam"'),
    ("isDefaultGateway", _layer2, '"ipam"'),
    ("ipMasq", _layer2, '"ipam"'),
    ("enabledad", _layer2, '"ipam"'),
    ("gatewayScope", _no_gateway, '"isGateway": true'),
    ("forceAddress", _no_gateway, '"isGateway": true'),
    ("ipMasqBackend", _no_masquerade, '"ipMasq": true'),
)


def key_without_effect(plugin: Plugin) -> Iterator[Hit]:
    """Find keys that do nothing without another one."""
    if plugin.type not in BRIDGE_TYPES:
        return
    for key, lacks, wanted in _NEEDS:
        if plugin.root.has(key) and _given(plugin, key) and lacks(plugin):
            message = f"{key} has no effect without {wanted}"
            yield Hit(message, plugin.spot(key, at_key=True), remedy=f"add {wanted}, or remove it")


_OF_THE_RUNTIME: Final = (
    "prevResult",
    "runtimeConfig",
    "cni.dev/valid-attachments",
    "cni.dev/attachments",
)


def key_of_the_runtime(plugin: Plugin) -> Iterator[Hit]:
    """Find keys that the runtime writes at each call."""
    for key in _OF_THE_RUNTIME:
        if key in plugin.raw:
            message = f"{key!r} is what the runtime adds to each call"
            yield Hit(message, plugin.spot(key, at_key=True))


def overridden_in_list(network: Network) -> Iterator[Hit]:
    """Find names and versions of single plugins that the list overrides."""
    if not network.is_list:
        return
    for plugin in network.plugins:
        for key in ("name", "cniVersion"):
            mine, all_of_them = plugin.raw.get(key), network.raw.get(key)
            if key in plugin.raw and all_of_them is not None and mine != all_of_them:
                yield Hit(
                    f"the list's {key}, {all_of_them!r}, takes the place of this one",
                    Spot(plugin.document, f"{plugin.pointer}/{key}", at_key=True),
                )


_GOOD: Final = """\
{
  "cniVersion": "1.0.0",
  "name": "lan",
  "type": "bridge",
  "bridge": "br-lan",
  "ipam": {"type": "host-local", "subnet": "10.9.0.0/24"}
}
"""

_LAYER2: Final = """\
{
  "cniVersion": "1.0.0",
  "name": "lan",
  "type": "bridge",
  "bridge": "br-lan"
}
"""

PLUGIN_RULES: Final = (
    Rule(
        code="SB010",
        name="mistyped-key",
        severity=Severity.WARNING,
        summary="A key is unknown and resembles a known one",
        consequence="The plugin ignores it without a word: the default is used instead of what"
        " you wrote.",
        remedy="write the key that was meant",
        check=mistyped_key,
        wrong=conf(_GOOD.replace('  "ipam"', '  ▶"hairpinmod": true,\n  "ipam"')),
        right=conf(_GOOD.replace('  "ipam"', '  "hairpinMode": true,\n  "ipam"')),
    ),
    Rule(
        code="SB011",
        name="unread-key",
        severity=Severity.NOTE,
        summary="A key is not read by the plugin, and resembles none that is",
        consequence="It has no effect on this plugin.",
        remedy="remove it, or write your own remarks under a key of its own list of plugins",
        check=unread_key,
        wrong=conf(_GOOD.replace('  "ipam"', '  ▶"xyzzy": "rack 7",\n  "ipam"')),
        right=conf(_GOOD),
    ),
    Rule(
        code="SB012",
        name="misplaced-key",
        severity=Severity.WARNING,
        summary="A key stands in a section where nobody reads it",
        consequence="It is ignored without a word; isDefaultGateway inside of ipam, for example,"
        " leaves the pod without a default route.",
        remedy="move it to the section that reads it",
        check=misplaced_key,
        wrong=conf(
            _GOOD.replace(
                '"subnet": "10.9.0.0/24"', '"subnet": "10.9.0.0/24", ▶"isDefaultGateway": true'
            )
        ),
        right=conf(_GOOD.replace('  "ipam"', '  "isDefaultGateway": true,\n  "ipam"')),
    ),
    Rule(
        code="SB013",
        name="key-case",
        severity=Severity.NOTE,
        summary="A key differs from the documented one in upper and lower case",
        consequence="The bridge plugin takes it all the same, other readers of the file do not;"
        " of two spellings the last one wins.",
        remedy="write it as documented",
        check=key_case,
        wrong=conf(_GOOD.replace('  "ipam"', '  ▶"isgateway": true,\n  "ipam"')),
        right=conf(_GOOD.replace('  "ipam"', '  "isGateway": true,\n  "ipam"')),
    ),
    Rule(
        code="SB014",
        name="key-without-effect",
        severity=Severity.WARNING,
        summary="A key does nothing here, since another one is missing",
        consequence="The plugin succeeds and does not do what was asked for.",
        remedy="add what it needs, or remove it",
        check=key_without_effect,
        wrong=conf(_LAYER2.replace('"br-lan"', '"br-lan",\n  ▶"isGateway": true')),
        right=conf(_GOOD.replace('"br-lan"', '"br-lan",\n  "isGateway": true')),
    ),
    Rule(
        code="SB015",
        name="key-of-the-runtime",
        severity=Severity.WARNING,
        summary="A stored configuration holds keys that the runtime writes at each call",
        consequence="The runtime replaces them, or every pod is handled as if it were the one"
        " whose values were copied.",
        remedy="remove it; ask for addresses and MACs in the pod's annotation",
        check=key_of_the_runtime,
        wrong=conf(
            _LAYER2.replace(
                '"br-lan"', '"br-lan",\n  ▶"runtimeConfig": {"mac": "02:00:5e:10:00:01"}'
            )
        ),
        right=conf(_LAYER2),
    ),
)

NETWORK_RULES: Final = (
    Rule(
        code="SB016",
        name="overridden-in-list",
        severity=Severity.NOTE,
        summary="A plugin in a list has a name or version of its own",
        consequence="The list's is used for every plugin; this one has no effect.",
        remedy="remove it from the plugin",
        check=overridden_in_list,
        wrong={
            "10-lan.conflist": """\
{
  "cniVersion": "1.0.0",
  "name": "lan",
  "plugins": [
    {"type": "bridge", ▶"name": "other", "bridge": "br-lan"}
  ]
}
"""
        },
        right={
            "10-lan.conflist": """\
{
  "cniVersion": "1.0.0",
  "name": "lan",
  "plugins": [
    {"type": "bridge", "bridge": "br-lan"}
  ]
}
"""
        },
    ),
)
