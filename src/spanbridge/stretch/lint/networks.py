# SPDX-License-Identifier: Apache-2.0
"""CNI configurations as lint sees them: read as far as possible, every fault kept."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from spanbridge.base.errors import InputError, SpanbridgeError
from spanbridge.kube.documents import NAD_KIND
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


def _name(manifest: Item | None, raw: Mapping[str, object]) -> str:
    """Name a network as its manifest does; an object that holds several names none of them."""
    if manifest is not None and manifest.kind == NAD_KIND:
        return manifest.name
    return as_text(raw.get("name"))


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
        return _name(self.nad, self.root.raw) or "the network"

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
        bridge: The bridge plugin among them, if any.
        nad: The manifest that it is in.
        migration: The cluster's migrations go over this network.
    """

    document: Document
    raw: Mapping[str, object]
    plugins: tuple[Plugin, ...]
    bridge: Plugin | None
    nad: Item | None = None
    migration: bool = False

    @property
    def is_list(self) -> bool:
        """Whether it is a list of plugins."""
        return "plugins" in self.raw

    @property
    def name(self) -> str:
        """Name of the manifest, or of the network."""
        return _name(self.nad, self.raw)


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


Reading = tuple[NetConf | None, tuple[InputError, ...]]
"""A bridge configuration without what is wrong in it, and what that is."""


def read_bridge(root: Node) -> Reading:
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


class BridgeReader:
    """
    Reads bridge configurations, and those that differ in their addresses only once.

    A cluster may have a file for each of its nodes. Of ``ipam`` the bridge plugin reads
    the type alone, so what it makes of one node's file it makes of the others'.
    """

    def __init__(self) -> None:
        self._known: dict[str, Reading] = {}

    def read(self, root: Node) -> Reading:
        """Read one; see ``read_bridge``."""
        ipam = root.raw.get("ipam")
        kind = ipam.get("type") if isinstance(ipam, dict) else ipam
        rest = {key: value for key, value in root.raw.items() if key != "ipam"}
        if isinstance(ipam, dict) and "type" not in ipam and len(ipam):
            return read_bridge(root)  # perhaps in other case
        try:
            key = json.dumps([root.pointer, type(ipam).__name__, kind, rest])
        except RecursionError:  # it could just be read, from a shallower stack
            return read_bridge(root)
        if key not in self._known:
            self._known[key] = read_bridge(root)
        return self._known[key]


@dataclass(frozen=True, slots=True)
class _Frame:
    """What the plugins of one configuration have in common."""

    document: Document
    nad: Item | None
    migration: bool
    reader: BridgeReader


def _plugin(frame: _Frame, root: Node, raw: Mapping[str, object]) -> Plugin:
    kind = as_text(root.raw.get("type"))
    bridge, faults = frame.reader.read(root) if kind in BRIDGE_TYPES else (None, ())
    ipam = read_ipam(root) if isinstance(root.raw.get("ipam"), dict) else LAYER2
    return Plugin(
        frame.document,
        root.pointer,
        raw,
        root,
        kind,
        frame.nad,
        frame.migration,
        bridge,
        faults,
        ipam,
    )


def read_network(
    document: Document, reader: BridgeReader, *, nad: Item | None = None, migration: bool = False
) -> Network:
    """Read a document that holds a configuration or a list of them."""
    raw = as_object(document.value)
    frame = _Frame(document, nad, migration, reader)
    name = as_text(raw.get("name")) or (nad.name if nad else "")
    shared: dict[str, object] = {"name": name} if name else {}
    if "plugins" not in raw:
        return _network(frame, raw, (_plugin(frame, Node({**raw, **shared}), raw),))
    if "cniVersion" in raw:
        shared["cniVersion"] = raw["cniVersion"]
    plugins = tuple(
        _plugin(frame, Node({**each, **shared}, f"/plugins/{number}"), each)
        for number, each in enumerate(as_list(raw["plugins"]))
        if isinstance(each, dict)
    )
    return _network(frame, raw, plugins)


def _network(frame: _Frame, raw: Mapping[str, object], plugins: tuple[Plugin, ...]) -> Network:
    bridge = next((each for each in plugins if each.type in BRIDGE_TYPES), None)
    return Network(frame.document, raw, plugins, bridge, frame.nad, frame.migration)


def networks_in(
    item: Item, pointers: Iterator[str], reader: BridgeReader, *, migration: bool
) -> Iterator[Network | Broken]:
    """Read the configurations that an object holds as text at ``pointers``."""
    for pointer in pointers:
        try:
            document = embedded(item.document, pointer)
        except SourceError as exc:
            yield Broken(item, pointer, exc)
            continue
        if isinstance(document.value, dict):
            yield read_network(document, reader, nad=item, migration=migration)
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
