# SPDX-License-Identifier: Apache-2.0
"""
Network configurations wherever people keep them: a conf, a conflist, a YAML manifest.

Source: CNI specification 1.1.0, section 1 (lists); Kubernetes Network Custom Resource
Definition De-facto Standard 1.3, section 3.4 (NetworkAttachmentDefinition).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spanbridge.base.errors import ConfigError, DecodeError
from spanbridge.kube.source import Document, parse_source, read_source
from spanbridge.model.reader import Node, parse_object

NAD_KIND: Final = "NetworkAttachmentDefinition"


@dataclass(frozen=True, slots=True)
class PluginConf:
    """
    One plugin's configuration, as a runtime would hand it to the plugin.

    Attributes:
        origin: Where it stands: file, object, place in the list.
        root: The configuration, with the name and version that the list gives.
    """

    origin: str
    root: Node


def _expand(root: Node, origin: str, name: str) -> list[PluginConf]:
    """Turn a conflist into its plugins; a missing name is filled in with ``name``."""
    shared = {"name": root.text("name") or name} if root.text("name") or name else {}
    plugins = root.nodes("plugins")
    if plugins is None:
        return [PluginConf(origin, Node({**root.raw, **shared}, root.pointer))]
    if root.has("cniVersion"):
        shared["cniVersion"] = root.text("cniVersion")
    return [
        PluginConf(f"{origin}, plugin {number}", Node({**each.raw, **shared}, each.pointer))
        for number, each in enumerate(plugins, 1)
    ]


def _from_manifest(document: dict[str, object], origin: str) -> list[PluginConf]:
    manifest = Node(document)
    metadata, spec = manifest.node("metadata"), manifest.node("spec")
    name = metadata.text("name") if metadata else ""
    where = f"{origin}, {NAD_KIND} {name}"
    text = spec.text("config") if spec else ""
    if not text.strip():
        raise ConfigError(
            f"cannot explain {where}: spec.config is empty",
            pointer="/spec/config",
            hint="it refers to a file on the nodes; explain that file instead",
        )
    # Half a surrogate pair, if YAML gave one, is for the JSON decoder to judge.
    data = text.encode(errors="surrogatepass")
    try:
        root = parse_object(data, f"spec.config of {where}")
    except DecodeError as exc:
        raise DecodeError(exc.message, pointer="/spec/config", hint=exc.hint) from exc
    return _expand(root, where, name)


def parse_documents(text: str, origin: str) -> list[PluginConf]:
    """
    Find every plugin configuration in a text.

    Args:
        text: A conf or conflist in JSON, or YAML with one or more objects; objects
            that are no NetworkAttachmentDefinition are passed over.
        origin: What to call it in messages.

    Raises:
        DecodeError: Neither JSON nor YAML, or nothing in it is a configuration.
        ConfigError: A field has the wrong type.
    """
    return _configurations(parse_source(text, origin), origin)


def read_documents(path: Path) -> list[PluginConf]:
    """
    Read a file and find every plugin configuration in it.

    Raises:
        OSError: The file cannot be read.
        DecodeError, ConfigError: See ``parse_documents``.
    """
    return _configurations(read_source(path), str(path))


def _configurations(documents: Iterable[Document], origin: str) -> list[PluginConf]:
    found: list[PluginConf] = []
    for document in (each.value for each in documents):
        if not isinstance(document, dict):
            continue
        if document.get("kind") == "List" and isinstance(document.get("items"), list):
            nads = [each for each in document["items"] if isinstance(each, dict)]
            found += [
                conf
                for each in nads
                if each.get("kind") == NAD_KIND
                for conf in _from_manifest(each, origin)
            ]
        elif document.get("kind") == NAD_KIND:
            found += _from_manifest(document, origin)
        elif "kind" not in document or "apiVersion" not in document:
            found += _expand(Node(document), origin, "")
    if not found:
        raise DecodeError(
            f"cannot find a network configuration in {origin}",
            hint=f"give a CNI conf, a conflist, or a manifest with a {NAD_KIND}",
        )
    return found
