# SPDX-License-Identifier: Apache-2.0
"""The objects of one cluster that a verification looks at, as an API server gives them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from spanbridge.base.errors import DecodeError, InputError
from spanbridge.kube.source import read_source

Object = Mapping[str, Any]
"""One object as decoded JSON."""

LEASE: Final = "virt-synchronization-controller"
"""Source: KubeVirt 1.9, cmd/synchronization-controller."""

BUNDLE: Final = "kubevirt-ca"
DOOR: Final = "kubevirt-external-ca"

KINDS: Final = (
    "Pod", "Lease", "KubeVirt", "HyperConverged", "ConfigMap", "NetworkAttachmentDefinition",
    "Node",
)  # fmt: skip
"""What is looked at."""


@dataclass(frozen=True, slots=True)
class ClusterObjects:
    """
    What is known of one cluster's objects.

    Attributes:
        name: Of the cluster.
        namespace: Where KubeVirt is installed.
        context: Of the kubeconfig.
        seen_at: When they were read, in seconds since 1970.
        found: By kind; a kind that nobody asked for is missing, one without objects is empty.
    """

    name: str
    namespace: str
    context: str
    seen_at: float
    found: Mapping[str, tuple[Object, ...]] = field(default_factory=dict)

    def every(self, kind: str) -> tuple[Object, ...]:
        """Give the objects of a kind, of KubeVirt's namespace where they have one."""
        return tuple(
            each
            for each in self.found.get(kind, ())
            if metadata(each).get("namespace", self.namespace) == self.namespace
        )

    def named(self, kind: str, name: str) -> Object | None:
        """Find an object; None where there is none, or where nobody looked."""
        every = self.every(kind)
        return next((each for each in every if metadata(each).get("name") == name), None)

    def looked(self, kind: str) -> bool:
        """Tell whether anybody asked for objects of a kind."""
        return kind in self.found


def metadata(item: Object) -> Mapping[str, Any]:
    """Give an object's metadata; empty where it has none that can be used."""
    found = item.get("metadata")
    return found if isinstance(found, Mapping) else {}


def subject(item: Object) -> str:
    """Name an object by kind, namespace and name."""
    meta = metadata(item)
    home = f"{meta['namespace']}/" if meta.get("namespace") else ""
    return f"{item.get('kind', 'object')} {home}{meta.get('name', 'without a name')}"


def parse_time(text: object) -> float | None:
    """Read a time as Kubernetes writes it; None where it is none. Source: RFC 3339."""
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def flatten(items: Iterable[object]) -> list[Object]:
    """Take lists of objects apart, as ``kubectl get -o json`` makes them."""
    found: list[Object] = []
    for item in items:
        if not isinstance(item, Mapping):
            continue
        inner = item.get("items")
        if str(item.get("kind", "")).endswith("List") and isinstance(inner, list):
            kind = str(item["kind"]).removesuffix("List")
            # Elements of a typed list carry no kind of their own.
            found += flatten({"kind": kind, **each} if kind and isinstance(each, Mapping) else each
                             for each in inner)  # fmt: skip
        else:
            found.append(item)
    return found


def sort_objects(items: Iterable[Object]) -> dict[str, tuple[Object, ...]]:
    """Sort objects by kind; the kinds that are not looked at are left out."""
    found: dict[str, list[Object]] = {}
    for item in items:
        kind = item.get("kind")
        if kind in KINDS:
            found.setdefault(str(kind), []).append(item)
    return {kind: tuple(each) for kind, each in found.items()}


def read_saved(directory: Path, cluster: str) -> tuple[dict[str, tuple[Object, ...]], float]:
    """
    Read the objects of a cluster that somebody saved.

    Args:
        directory: Holds ``CLUSTER.json`` or ``CLUSTER.yaml``, or a directory ``CLUSTER``
            with such files.
        cluster: Its name in the intent.

    Returns:
        The objects by kind, and when they were saved, in seconds since 1970: the newest
        lease says so, since its holder renews it every few seconds; else the newest file.

    Raises:
        InputError: There is no such file, or it holds no object that is looked at.
        DecodeError: A file is neither JSON nor YAML.
        OSError: A file cannot be read.
    """
    files = _files_of(directory, cluster)
    if not files:
        raise InputError(
            f"cannot judge cluster {cluster}: {directory} holds neither {cluster}.json nor "
            f"a directory {cluster}",
            hint="save its objects first, see docs/reference/verify.md",
        )
    values: list[object] = []
    for file in files:
        values += [_read_json(file)] if file.suffix == ".json" else [
            each.value for each in read_source(file)
        ]  # fmt: skip
    found = sort_objects(flatten(values))
    if not found:
        raise InputError(
            f"cannot judge cluster {cluster}: {files[0]} holds none of {', '.join(KINDS)}",
            hint="save its objects first, see docs/reference/verify.md",
        )
    return found, saved_at(found) or max(file.stat().st_mtime for file in files)


def _files_of(directory: Path, cluster: str) -> list[Path]:
    endings = (".json", ".yaml", ".yml")
    beside = [directory / f"{cluster}{ending}" for ending in endings]
    below = (directory / cluster).rglob("*") if (directory / cluster).is_dir() else ()
    return [each for each in beside if each.is_file()] + sorted(
        each for each in below if each.suffix in endings and each.is_file()
    )


def _read_json(file: Path) -> object:
    # Lists of a thousand pods are large: nobody asks for places in them.
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DecodeError(
            f"cannot decode {file}: {error}", hint="save it with kubectl get -o json"
        ) from error


def saved_at(found: Mapping[str, Sequence[Object]]) -> float | None:
    """Tell when objects were read, by the newest renewal of a lease; None without one."""
    specs = [each.get("spec") for each in found.get("Lease", ())]
    times = [parse_time(spec.get("renewTime")) for spec in specs if isinstance(spec, Mapping)]
    return max((each for each in times if each is not None), default=None)
