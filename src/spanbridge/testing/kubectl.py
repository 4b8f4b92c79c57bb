# SPDX-License-Identifier: Apache-2.0
"""
A `kubectl` that works on saved objects: scripts for clusters, run without one.

Run as a program. Every context is a directory of JSON files below ``$SAVED_CLUSTERS``:
``CONTEXT/RESOURCE.GROUP/NAMESPACE/NAME.json``, with ``_`` for objects without a namespace.
It reads, patches and stores those objects as an API server would, and lets
``spanbridge.testing.operators`` do afterwards what the operators of a cluster do. What it
does not know it refuses.
"""

import copy
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from spanbridge.testing.jsonpath import render_jsonpath
from spanbridge.testing.operators import reconcile

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Resource:
    """
    A kind of object that the clusters serve.

    Attributes:
        plural: As in its address.
        group: API group; empty for the core.
        kind: As in a manifest.
        versions: Those that are served.
        namespaced: Its objects live in namespaces.
        names: Other names for it.
    """

    plural: str
    group: str
    kind: str
    versions: tuple[str, ...]
    namespaced: bool = True
    names: tuple[str, ...] = ()

    @property
    def directory(self) -> str:
        """Where its objects are saved."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


RESOURCES: Final = (
    Resource("namespaces", "", "Namespace", ("v1",), namespaced=False, names=("namespace", "ns")),
    Resource("nodes", "", "Node", ("v1",), namespaced=False, names=("node",)),
    Resource("pods", "", "Pod", ("v1",), names=("pod",)),
    Resource("leases", "coordination.k8s.io", "Lease", ("v1",), names=("lease",)),
    Resource("configmaps", "", "ConfigMap", ("v1",), names=("configmap", "cm")),
    Resource("daemonsets", "apps", "DaemonSet", ("v1",), names=("daemonset", "ds")),
    Resource("deployments", "apps", "Deployment", ("v1",), names=("deployment", "deploy")),
    Resource("network-attachment-definitions", "k8s.cni.cncf.io", "NetworkAttachmentDefinition",
             ("v1",), names=("net-attach-def",)),
    Resource("nodenetworkconfigurationpolicies", "nmstate.io", "NodeNetworkConfigurationPolicy",
             ("v1",), namespaced=False, names=("nncp",)),
    Resource("hyperconvergeds", "hco.kubevirt.io", "HyperConverged", ("v1", "v1beta1")),
    Resource("kubevirts", "kubevirt.io", "KubeVirt", ("v1",), names=("kubevirt", "kv")),
    Resource("networks", "operator.openshift.io", "Network", ("v1",), namespaced=False),
)  # fmt: skip


class RefusedError(Exception):
    """What a server or the client itself would answer instead."""


class Store:
    """
    The objects of one cluster.

    Attributes:
        directory: Where they are saved.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, resource: Resource, namespace: str, name: str) -> Path:
        """Tell where an object is saved."""
        home = namespace if resource.namespaced else "_"
        return self.directory / resource.directory / home / f"{name}.json"

    def read(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """Read an object; None where there is none."""
        try:
            found: Object = json.loads(self.path(resource, namespace, name).read_text())
        except FileNotFoundError:
            return None
        return found

    def every(self, resource: Resource, namespace: str) -> list[Object]:
        """Read all objects of a resource, by name."""
        home = namespace if resource.namespaced else "_"
        files = sorted((self.directory / resource.directory / home).glob("*.json"))
        return [json.loads(file.read_text()) for file in files]

    def write(self, resource: Resource, item: Object) -> None:
        """Save an object."""
        meta = item["metadata"]
        path = self.path(resource, meta.get("namespace", "default"), meta["name"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(item, indent=1))


def find_resource(word: str) -> tuple[Resource, str]:
    """Find a resource by any of its names; the version is empty where none is named."""
    name, _, rest = word.partition(".")
    for resource in RESOURCES:
        if name not in {resource.plural, *resource.names}:
            continue
        if rest in {"", resource.group}:
            return resource, ""
        version, _, group = rest.partition(".")
        if group == resource.group and version in resource.versions:
            return resource, version
    raise RefusedError(f'the server doesn\'t have a resource type "{word}"')


def resource_of(item: Object) -> Resource:
    """Find the resource that an object is one of."""
    group, _, version = item["apiVersion"].rpartition("/")
    for resource in RESOURCES:
        if (resource.group, resource.kind) == (group, item["kind"]):
            if version in resource.versions:
                return resource
            break
    raise RefusedError(f'no matches for kind "{item["kind"]}" in version "{item["apiVersion"]}"')


def merge_patch(target: object, patch: object) -> object:
    """Lay a merge patch over a value. Source: RFC 7386, section 2."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def json_patch(target: Object, operations: list[Object]) -> Object:
    """Apply add and replace of a JSON patch. Source: RFC 6902, section 4."""
    result = copy.deepcopy(target)
    for operation in operations:
        *parents, last = operation["path"].strip("/").split("/")
        holder: Any = result
        for token in parents:
            holder = holder[int(token)] if isinstance(holder, list) else holder[token]
        if isinstance(holder, list) and operation["op"] == "add" and last == "-":
            holder.append(operation["value"])
        elif isinstance(holder, list) and operation["op"] == "replace":
            holder[int(last)] = operation["value"]
        elif isinstance(holder, dict) and operation["op"] in {"add", "replace"}:
            holder[last] = operation["value"]
        else:
            raise RefusedError(f"json patch {operation} is not understood here")
    return result


@dataclass(frozen=True, slots=True)
class Call:
    """A command line taken apart: words in order, options by name."""

    verb: str
    words: tuple[str, ...]
    options: dict[str, str]


_WITHOUT_VALUE: Final = {"--all-namespaces"}
_SHORT: Final = {"-n": "--namespace", "-o": "--output", "-f": "--filename", "-p": "--patch",
                 "-l": "--selector"}  # fmt: skip
_KNOWN: Final = {
    "--context", "--namespace", "--output", "--filename", "--patch", "--patch-file", "--type",
    "--for", "--timeout", "--dry-run", "--from-file", "--selector",
}  # fmt: skip


def parse_call(words: Sequence[str]) -> Call:
    """Take a command line apart."""
    plain, options, rest = [], {}, list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            plain.append(word)
            continue
        name, equals, value = word.partition("=")
        name = _SHORT.get(name, name)
        if name not in _KNOWN:
            raise RefusedError(f"unknown flag: {name}")
        options[name] = value if equals else rest.pop(0)
    if not plain:
        raise RefusedError("no command")
    return Call(plain[0], tuple(plain[1:]), options)


def _documents(call: Call) -> Iterator[Object]:
    name = call.options["--filename"]
    text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    for document in yaml.load_all(text, Loader=yaml.CSafeLoader):
        item = json.loads(json.dumps(document))
        if resource_of(item).namespaced:
            item["metadata"].setdefault("namespace", _namespace(call))
        yield item


def _namespace(call: Call) -> str:
    return call.options.get("--namespace", "default")


def _named(call: Call) -> tuple[Resource, str, list[str]]:
    """Understand ``TYPE NAME``, ``TYPE/NAME`` and ``TYPE``."""
    kind, *names = call.words
    if "/" in kind:
        kind, name = kind.split("/")
        names = [name]
    return *find_resource(kind), names


def _must_read(store: Store, call: Call, resource: Resource, name: str) -> Object:
    item = store.read(resource, _namespace(call), name)
    if item is None:
        raise RefusedError(f'{resource.directory} "{name}" not found')
    return item


def _get(store: Store, call: Call) -> None:
    if "--filename" in call.options:
        items = [
            found
            for wanted in _documents(call)
            if (found := store.read(resource_of(wanted), wanted["metadata"].get("namespace", ""),
                                    wanted["metadata"]["name"]))
        ]  # fmt: skip
        _print(call, items[0] if len(items) == 1 else {"kind": "List", "items": items})
        return
    resource, _, names = _named(call)
    if len(names) > 1:
        every = [_must_read(store, call, resource, name) for name in names]
        _print(call, {"kind": "List", "items": every})
    elif names:
        _print(call, _must_read(store, call, resource, names[0]))
    else:
        _print(call, {"kind": "List", "items": store.every(resource, _namespace(call))})


def _print(call: Call, item: Object) -> None:
    output = call.options.get("--output", "name")
    if output == "json":
        print(json.dumps(item, indent=1))
    elif output == "yaml":
        yaml.safe_dump(item, sys.stdout)
    elif output.startswith("jsonpath="):
        print(render_jsonpath(output.removeprefix("jsonpath="), item), end="")
    else:
        for each in item["items"] if item["kind"] == "List" else [item]:
            print(f"{each['kind'].lower()}/{each['metadata']['name']}")


def _apply(store: Store, call: Call) -> None:
    for item in _documents(call):
        resource, meta = resource_of(item), item["metadata"]
        old = store.read(resource, meta.get("namespace", ""), meta["name"])
        new = merge_patch(old, item) if old else item
        store.write(resource, new)  # type: ignore[arg-type]  # a patch of an object is one
        print(f"{item['kind'].lower()}/{meta['name']} {'configured' if old else 'created'}")


def _diff(store: Store, call: Call) -> int:
    differ = 0
    for item in _documents(call):
        meta = item["metadata"]
        old = store.read(resource_of(item), meta.get("namespace", ""), meta["name"])
        if old is None or merge_patch(old, item) != old:
            print(f"--- {meta['name']} differs")
            differ = 1
    return differ


def _patch(store: Store, call: Call) -> None:
    resource, version, names = _named(call)
    item = _must_read(store, call, resource, names[0])
    stored = item["apiVersion"].rpartition("/")[2]
    if (version or resource.versions[0]) != stored:
        raise RefusedError(f"this cluster has {names[0]} in {stored}; conversion is not known here")
    text = call.options.get("--patch") or Path(call.options["--patch-file"]).read_text()
    patch = yaml.load(text, Loader=yaml.CSafeLoader)
    if call.options.get("--type") == "json":
        new = json_patch(item, patch)
    elif call.options.get("--type") == "merge":
        new = merge_patch(item, patch)  # type: ignore[assignment]  # as above
    else:
        raise RefusedError("strategic merge patches are not for custom resources")
    if new["kind"] != item["kind"] or new["metadata"]["name"] != names[0]:
        raise RefusedError("a patch must not change what an object is")
    store.write(resource, new)
    print(f"{item['kind'].lower()}/{names[0]} patched")


def _create(call: Call) -> None:
    kind, name = call.words
    if kind != "configmap" or call.options.get("--dry-run") != "client":
        raise RefusedError("only create configmap --dry-run=client is known here")
    key, _, path = call.options["--from-file"].partition("=")
    data = {key: Path(path).read_text()}
    meta = {"name": name, "namespace": _namespace(call)}
    item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}
    _print(call, item)


def _wait(store: Store, call: Call) -> None:
    wanted = call.options["--for"].removeprefix("condition=")
    for item in _documents(call):
        meta = item["metadata"]
        found = store.read(resource_of(item), meta.get("namespace", ""), meta["name"]) or {}
        states = {each["type"]: each["status"]
                  for each in found.get("status", {}).get("conditions", [])}  # fmt: skip
        if states.get(wanted) != "True":
            raise RefusedError(f"timed out waiting for the condition on {meta['name']}")
        print(f"{meta['name']} condition met")


def _rollout(store: Store, call: Call) -> None:
    if call.words[0] != "status":
        raise RefusedError("only rollout status is known here")
    resource, _, names = _named(Call(call.verb, call.words[1:], call.options))
    _must_read(store, call, resource, names[0])
    print(f"{names[0]} successfully rolled out")


def run(words: Sequence[str], saved: Path) -> int:
    """Do what a command line says to the objects below ``saved``."""
    call = parse_call(words)
    store = Store(saved / call.options.get("--context", "default"))
    if not store.directory.is_dir():
        raise RefusedError(f'context "{store.directory.name}" does not exist')
    verbs = {"get": _get, "apply": _apply, "patch": _patch, "wait": _wait, "rollout": _rollout}
    if call.verb == "diff":
        return _diff(store, call)
    if call.verb == "create":
        _create(call)
    elif call.verb in verbs:
        verbs[call.verb](store, call)
    else:
        raise RefusedError(f'unknown command "{call.verb}"')
    if call.verb in {"apply", "patch"}:
        reconcile(store.directory)
    return 0


def main() -> int:
    """Run as a program."""
    try:
        return run(sys.argv[1:], Path(os.environ["SAVED_CLUSTERS"]))
    except RefusedError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
