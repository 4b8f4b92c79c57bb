# SPDX-License-Identifier: Apache-2.0
"""
What KubeVirt, HyperConverged and the network's own object say against migrations.

Source: KubeVirt 1.9, kubevirt.io/api/core/v1/types.go and pkg/virt-operator/resource/apply
(core.go, certificates.go); HyperConverged Cluster Operator 1.18, api/v1 and api/v1beta1.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from spanbridge.base.errors import ConfigError
from spanbridge.kube.authorities import Bundle, parse_bundle
from spanbridge.kube.objects import GATE
from spanbridge.kube.saved import BUNDLE, DOOR, ClusterObjects, Object, metadata, subject
from spanbridge.model.observations import Remark
from spanbridge.model.reader import Node

CA_DURATION_S: Final = 7 * 86400.0
RENEW_SHARE: Final = 0.2
"""Of an authority's life, left when it is replaced, where nothing else is configured."""

SYNC_PORT: Final = "9185"

_UNITS_S: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART: Final = re.compile(r"([0-9.]+)(h|ms|m|s|us|µs|ns)")
_BRIDGES: Final = {"bridge", "cnv-bridge"}
_NEVER: Final = "migrations between the clusters do not begin"


@dataclass(frozen=True, slots=True)
class Wanted:
    """
    What the intent says of one network.

    Attributes:
        network: Name of the NetworkAttachmentDefinition.
        vlan: Its VLAN; 0 is untagged.
        mtu: In bytes.
    """

    network: str
    vlan: int
    mtu: int


def parse_duration(text: str) -> float | None:
    """Read a Go duration in seconds; None where it is none. Source: Go 1.26, time.ParseDuration."""
    parts = _PART.findall(text)
    if not parts or "".join(map("".join, parts)) != text:
        return None
    try:
        return sum(float(number) * _UNITS_S[unit] for number, unit in parts)
    except ValueError:
        return None


def renew_before_s(kubevirt: Object | None) -> float:
    """
    Tell how long before its end KubeVirt replaces its authority, in seconds.

    Source: KubeVirt 1.9, pkg/virt-operator/resource/apply/certificates.go.
    """
    own = _at(kubevirt, "spec", "certificateRotateStrategy", "selfSigned")
    own = own if isinstance(own, Mapping) else {}
    ca = own.get("ca")
    ca = ca if isinstance(ca, Mapping) else {}
    lasts = _first_duration(own.get("caRotateInterval"), ca.get("duration"))
    before = _first_duration(own.get("caOverlapInterval"), ca.get("renewBefore"))
    return before if before is not None else RENEW_SHARE * (lasts or CA_DURATION_S)


def _first_duration(*texts: object) -> float | None:
    found = (parse_duration(text) for text in texts if isinstance(text, str))
    return next((each for each in found if each is not None), None)


def _at(item: Object | None, *keys: str) -> Any:  # noqa: ANN401  # JSON
    """Follow keys into an object; None where it does not go on."""
    value: Any = item
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def find_kubevirt(objects: ClusterObjects) -> Object | None:
    """Find the KubeVirt of the namespace; there is one at most."""
    return next(iter(objects.every("KubeVirt")), None)


def advertised_addresses(objects: ClusterObjects) -> tuple[tuple[str, str], ...]:
    """Give what the status tells others to connect to: the address, and its JSON pointer."""
    listed = _at(find_kubevirt(objects), "status", "synchronizationAddresses")
    found = []
    for number, text in enumerate(listed if isinstance(listed, list) else ()):
        host = str(text)
        if host.startswith("["):
            host = host[1:].partition("]")[0]
        elif host.count(":") == 1:
            host = host.partition(":")[0]
        found.append((host, f"/status/synchronizationAddresses/{number}"))
    return tuple(found)


def judge_settings(objects: ClusterObjects, wanted: Wanted, *, has_sync: bool) -> Iterator[Remark]:
    """Say what KubeVirt's own settings lack; ``has_sync``: synchronization controllers run."""
    if not objects.looked("KubeVirt"):
        return
    kubevirt = find_kubevirt(objects)
    kube = f"kubectl --context {objects.context} -n {objects.namespace}"
    if kubevirt is None:
        yield Remark(
            objects.name, f"KubeVirt in namespace {objects.namespace}", "there is none",
            then=_NEVER, grave=True,
            remedy=f"find it: kubectl --context {objects.context} get kubevirts -A; "
            "then write its namespace into the intent",
        )  # fmt: skip
        return
    network = _at(kubevirt, "spec", "configuration", "migrations", "network")
    if network != wanted.network:
        yield _unnamed(objects, kubevirt, wanted, network)
    gates = _at(kubevirt, "spec", "configuration", "developerConfiguration", "featureGates")
    if not has_sync and objects.looked("Pod"):
        on = isinstance(gates, list) and GATE in gates
        yield Remark(
            objects.name, subject(kubevirt),
            "no virt-synchronization-controller runs"
            + ("" if on else f", and feature gate {GATE} is not on"),
            pointer="/spec/configuration/developerConfiguration/featureGates", then=_NEVER,
            remedy=f"{kube} get pod -l kubevirt.io=virt-synchronization-controller -o wide"
            if on else "run apply.sh of the cluster, which spanbridge plan wrote",
            grave=True,
        )  # fmt: skip
    port = _at(kubevirt, "spec", "synchronizationPort")
    if port not in (None, "", SYNC_PORT):
        yield Remark(
            objects.name, subject(kubevirt), f"synchronization uses port {port}",
            pointer="/spec/synchronizationPort",
            then=f"probes ask for port {SYNC_PORT}, and find it closed",
            remedy="leave the port out, or trust no word about it",
        )  # fmt: skip


def _unnamed(objects: ClusterObjects, kubevirt: Object, wanted: Wanted, network: object) -> Remark:
    """Blame whoever has to name the network: HyperConverged where there is one."""
    settings = next(iter(objects.every("HyperConverged")), None)
    item, pointer = kubevirt, "/spec/configuration/migrations/network"
    if settings is not None:
        v1 = str(settings.get("apiVersion", "")).endswith("/v1")
        keys = ("virtualization",) if v1 else ()
        named = _at(settings, "spec", *keys, "liveMigrationConfig", "network")
        if named != wanted.network:
            item, network = settings, named
            pointer = "/" + "/".join(("spec", *keys, "liveMigrationConfig", "network"))
    says = f"it names {network}" if network else "it names no migration network"
    return Remark(
        objects.name, subject(item), f"{says}, not {wanted.network}", pointer=pointer,
        then="virt-handlers use the pod network, without a word", grave=True,
        remedy="run apply.sh of the cluster, which spanbridge plan wrote",
    )  # fmt: skip


def judge_network(objects: ClusterObjects, wanted: Wanted) -> Iterator[Remark]:
    """Say how the cluster's network differs from the intent."""
    if not objects.looked("NetworkAttachmentDefinition"):
        return
    name = f"NetworkAttachmentDefinition {objects.namespace}/{wanted.network}"
    apply = "run apply.sh of the cluster, which spanbridge plan wrote"
    not_started = "pods that are to have the network do not start"
    item = objects.named("NetworkAttachmentDefinition", wanted.network)
    if item is None:
        yield Remark(objects.name, name, "there is none", grave=True, then=not_started,
                     remedy=apply)  # fmt: skip
        return
    try:
        conf = read_conf(item)
    except ConfigError as error:
        yield Remark(objects.name, name, error.message, pointer=error.pointer, grave=True,
                     then=not_started, remedy=apply)  # fmt: skip
        return
    if conf is None:
        return
    for key, value in (("vlan", wanted.vlan), ("mtu", wanted.mtu)):
        found = conf.raw.get(key, 0)
        silent = key == "mtu" and not found
        if str(conf.raw.get("type")) in _BRIDGES and found != value and not silent:
            yield Remark(
                objects.name, name, f"{key} is {found}, the intent says {value}",
                pointer=f"/spec/config{conf.at(key)}", grave=True, remedy=apply,
                then="virt-handlers of the clusters do not reach each other"
                if key == "vlan" else "migrations start and hang at the first large packet",
            )  # fmt: skip


def read_conf(item: Object) -> Node | None:
    """
    Read the configuration of the main plugin; None where a file on the nodes has it.

    Raises:
        ConfigError: It is no configuration; the pointer says where in the object.
    """
    text = _at(item, "spec", "config")
    if text is None or (isinstance(text, str) and not text.strip()):
        return None
    if not isinstance(text, str):
        raise ConfigError("its configuration is no text", pointer="/spec/config")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"its configuration is no JSON: {error}", pointer="/spec/config"
        ) from error
    plugins = value.get("plugins") if isinstance(value, dict) else None
    if isinstance(plugins, list) and plugins and isinstance(plugins[0], dict):
        return Node(plugins[0], "/plugins/0")
    if not isinstance(value, dict):
        raise ConfigError("its configuration is no object", pointer="/spec/config")
    return Node(value)


def read_trust(objects: ClusterObjects) -> tuple[Bundle | None, list[Remark]]:
    """Read whom the cluster trusts; None where nobody looked."""
    if not objects.looked("ConfigMap"):
        return None, []
    remarks = list(_judge_door(objects))
    item = objects.named("ConfigMap", BUNDLE)
    name = f"ConfigMap {objects.namespace}/{BUNDLE}"
    look = f"kubectl --context {objects.context} -n {objects.namespace} get cm {BUNDLE} -o yaml"
    text = _at(item, "data", "ca-bundle")
    bundle = parse_bundle(text) if isinstance(text, str) else None
    if bundle is None or bundle.fatal:
        why = "there is none" if item is None else "it has no ca-bundle"
        fatal = Remark(
            objects.name,
            name,
            bundle.fatal if bundle else why,
            pointer="/data/ca-bundle" if item is not None else "",
            then="the cluster trusts nobody, itself neither: migrations fail",
            remedy=look,
            grave=True,
        )
        remarks.append(fatal)
    if bundle and bundle.certificates and not bundle.valid_at(objects.seen_at):
        what = f"none of its {len(bundle.certificates)} certificates is valid now"
        then = "the cluster trusts nobody: migrations fail; or a clock is wrong"
        remarks.append(Remark(objects.name, name, what, "/data/ca-bundle", then, look, grave=True))
    remarks += [
        Remark(objects.name, name, each, pointer="/data/ca-bundle",
               then="KubeVirt passes over it", remedy=look)
        for each in (bundle.skipped if bundle else ())
    ]  # fmt: skip
    return bundle or Bundle(), remarks


def _judge_door(objects: ClusterObjects) -> Iterator[Remark]:
    """Say what still lies in the door: virt-operator empties it once it has taken it."""
    item = objects.named("ConfigMap", DOOR)
    text = _at(item, "data", "ca-bundle")
    if item is None or not isinstance(text, str) or not text.strip():
        return
    bundle = parse_bundle(text)
    what = "authorities lie in it that virt-operator has not taken yet"
    if bundle.fatal:
        what = f"{bundle.fatal}; virt-operator ignores all of it"
    yield Remark(
        objects.name, f"ConfigMap {metadata(item).get('namespace', objects.namespace)}/{DOOR}",
        what, pointer="/data/ca-bundle", then="other clusters are not trusted",
        remedy="run exchange-ca.sh again, which spanbridge plan wrote", grave=bool(bundle.fatal),
    )  # fmt: skip
