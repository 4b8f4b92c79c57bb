# SPDX-License-Identifier: Apache-2.0
"""CNI configurations as lint sees them: read as far as possible, every fault kept."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from spanbridge.base.errors import InputError, SpanbridgeError
from spanbridge.kube.source import Document, SourceError, embedded
from spanbridge.model.netconf import NetConf, parse_netconf
from spanbridge.model.reader import Node, UnknownKey
from spanbridge.model.version import NEWEST
from spanbridge.stretch.lint.pools import LAYER2, IpamFacts, read_ipam
from spanbridge.stretch.lint.registry import Spot
from spanbridge.stretch.lint.views import Item, as_list, as_object, as_text, join

BRIDGE_TYPES: Final = frozenset({"bridge", "cnv-bridge"})

IGNORE_KEY: Final = "spanbridge.io/ignore"
"""Member of a JSON object, or annotation, that names codes not to be told."""

_FAULTS_MAX: Final = 12

_STRETCHING: Final = frozenset({"dhcp", "whereabouts"})
"""Address management that makes sense only where several nodes share the network."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """
    One plugin of a configuration.

    Attributes:
        document: Where it stands.
        pointer: Its place in it.
        raw: The object as it was written.
        root: The same with name and version that list and manifest give, as read.
        type: Name of the plugin.
        nad: The manifest that it is in.
        migration: The cluster's migrations go over this network.
        conf: The bridge plugin's configuration without what is wrong in it; None for
            other plugins.
        faults: Why the bridge plugin refuses it.
        ipam: Its address management.
    """

    document: Document
    pointer: str
    raw: Mapping[str, object]
    root: Node
    type: str
    nad: Item | None
    migration: bool
    conf: NetConf | None
    faults: tuple[InputError, ...]
    ipam: IpamFacts

    def spot(self, *keys: str, at_key: bool = False) -> Spot:
        """Name the place of a key as it was written."""
        if len(keys) == 1:
            return Spot(self.document, self.root.at(keys[0]), at_key)
        return Spot(self.document, join(self.pointer, *keys), at_key)

    @property
    def stretched(self) -> bool:
        """Whether the network goes beyond one node, as far as the configuration tells."""
        vlans = self.conf is not None and self.conf.uses_vlans
        return self.migration or vlans or self.ipam.type in _STRETCHING

    @property
    def label(self) -> str:
        """What to call the network in a message."""
        return self.nad.name if self.nad else as_text(self.root.raw.get("name")) or "the network"

    @property
    def unknown(self) -> tuple[UnknownKey, ...]:
        """Keys that the bridge plugin does not read."""
        return self.conf.unknown if self.conf else ()


@dataclass(frozen=True, slots=True)
class Network:
    """
    One configuration or list of plugins.

    Attributes:
        document: Where it stands; the JSON inside of a manifest is a document of its own.
        raw: The whole object.
        plugins: One for a plain configuration.
        nad: The manifest that it is in.
        migration: The cluster's migrations go over this network.
    """

    document: Document
    raw: Mapping[str, object]
    plugins: tuple[Plugin, ...]
    nad: Item | None = None
    migration: bool = False

    @property
    def is_list(self) -> bool:
        """Whether it is a list of plugins."""
        return "plugins" in self.raw

    @property
    def bridge(self) -> Plugin | None:
        """Its bridge plugin, if any."""
        return next((each for each in self.plugins if each.type in BRIDGE_TYPES), None)

    @property
    def name(self) -> str:
        """Name of the manifest, or of the network."""
        return self.nad.name if self.nad else as_text(self.raw.get("name"))


@dataclass(frozen=True, slots=True)
class Broken:
    """
    A configuration inside of a manifest that is no JSON object.

    Attributes:
        item: The manifest.
        pointer: Where the text is.
        fault: What is wrong; None where it is JSON but no object.
    """

    item: Item
    pointer: str
    fault: SourceError | None = field(compare=False)


def _mended(raw: dict[str, object], prefix: str, pointer: str) -> dict[str, object] | None:
    """Take out what is wrong, so that the next fault comes to light."""
    token = pointer.removeprefix(prefix).split("/")[1:2]
    key = token[0].replace("~1", "/").replace("~0", "~") if token else ""
    substitute = {"cniversion": ("cniVersion", NEWEST), "name": ("name", "network")}
    if key.lower() in substitute:
        name, value = substitute[key.lower()]
        if raw.get(name) == value:
            return None
        return {k: v for k, v in raw.items() if k.lower() != key.lower()} | {name: value}
    if key not in raw:
        return None
    return {k: v for k, v in raw.items() if k != key}


def read_bridge(root: Node) -> tuple[NetConf | None, tuple[InputError, ...]]:
    """Read a bridge configuration and find all that its plugin refuses, one after the other."""
    raw = dict(root.raw)
    faults: list[InputError] = []
    for _ in range(_FAULTS_MAX):
        try:
            return parse_netconf(Node(raw, root.pointer)), tuple(faults)
        except InputError as exc:
            faults.append(exc)
            mended = _mended(raw, root.pointer, exc.pointer)
            if mended is None:
                break
            raw = mended
        except SpanbridgeError:
            break
    return None, tuple(faults)


def _plugin(
    document: Document, root: Node, raw: Mapping[str, object], *, nad: Item | None, migration: bool
) -> Plugin:
    kind = as_text(root.raw.get("type"))
    bridge, faults = read_bridge(root) if kind in BRIDGE_TYPES else (None, ())
    ipam = read_ipam(root) if isinstance(root.raw.get("ipam"), dict) else LAYER2
    return Plugin(document, root.pointer, raw, root, kind, nad, migration, bridge, faults, ipam)


def read_network(
    document: Document, *, nad: Item | None = None, migration: bool = False
) -> Network:
    """Read a document that holds a configuration or a list of them."""
    raw = as_object(document.value)
    name = as_text(raw.get("name")) or (nad.name if nad else "")
    shared: dict[str, object] = {"name": name} if name else {}
    if "plugins" not in raw:
        root = Node({**raw, **shared})
        return Network(
            document,
            raw,
            (_plugin(document, root, raw, nad=nad, migration=migration),),
            nad,
            migration,
        )
    if "cniVersion" in raw:
        shared["cniVersion"] = raw["cniVersion"]
    plugins = tuple(
        _plugin(
            document,
            Node({**each, **shared}, f"/plugins/{number}"),
            each,
            nad=nad,
            migration=migration,
        )
        for number, each in enumerate(as_list(raw["plugins"]))
        if isinstance(each, dict)
    )
    return Network(document, raw, plugins, nad, migration)


def networks_in(
    item: Item, pointers: Iterator[str], *, migration: bool
) -> Iterator[Network | Broken]:
    """Read the configurations that an object holds as text at ``pointers``."""
    for pointer in pointers:
        try:
            document = embedded(item.document, pointer)
        except SourceError as exc:
            yield Broken(item, pointer, exc)
            continue
        if isinstance(document.value, dict):
            yield read_network(document, nad=item, migration=migration)
        else:
            yield Broken(item, pointer, None)


def is_network(document: Document) -> bool:
    """Tell whether a document that is no Kubernetes object is a CNI configuration."""
    value = document.value
    if not isinstance(value, dict) or ("kind" in value and "apiVersion" in value):
        return False
    keys = {key.lower() for key in value}
    named = document.file.endswith((".conf", ".conflist"))
    return named or "cniversion" in keys or {"name", "plugins"} <= keys or {"name", "type"} <= keys
