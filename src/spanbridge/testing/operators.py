# SPDX-License-Identifier: Apache-2.0
"""
What the operators of a cluster do with saved objects, as far as a migration network goes.

HyperConverged hands its settings to KubeVirt; virt-operator annotates the pods that get
the network, publishes synchronization addresses and merges certificate authorities; NMState
reports policies as applied; pods get addresses from the range of whereabouts.

Source: facts about KubeVirt 1.8 and HyperConverged 1.18, read in their code; see
``spanbridge.stretch.trust`` and ``spanbridge.kube.objects``.
"""

import ipaddress
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

Object = dict[str, Any]

_PEM: Final = re.compile(
    r"-----BEGIN CERTIFICATE-----\s+[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\n?"
)
_NETWORKS: Final = "k8s.v1.cni.cncf.io/networks"
_STATUS: Final = "k8s.v1.cni.cncf.io/network-status"
_WORKLOADS: Final = {"virt-handler": "daemonsets.apps", "virt-synchronization-controller":
                     "deployments.apps"}  # fmt: skip


def reconcile(cluster: Path) -> None:
    """Do what the operators would, after any change."""
    for path in (cluster / "nodenetworkconfigurationpolicies.nmstate.io").glob("*/*.json"):
        _change(path, _apply_policy)
    for path in (cluster / "kubevirts.kubevirt.io").glob("*/*.json"):
        namespace = path.parent.name
        for settings in (cluster / "hyperconvergeds.hco.kubevirt.io" / namespace).glob("*.json"):
            _change(path, _hand_over, json.loads(settings.read_text()))
        kubevirt = json.loads(path.read_text())
        _roll(cluster, namespace, kubevirt)
        _publish(cluster, path)
        _merge_authorities(cluster / "configmaps" / namespace)


def _change(path: Path, change: Any, *more: object) -> None:  # noqa: ANN401  # any function
    item = json.loads(path.read_text())
    change(item, *more)
    path.write_text(json.dumps(item, indent=1))


def _apply_policy(policy: Object) -> None:
    policy["status"] = {"conditions": [{"type": "Available", "status": "True"}]}


def _hand_over(kubevirt: Object, settings: Object) -> None:
    spec = settings["spec"]
    if settings["apiVersion"].endswith("/v1"):
        migrations = spec.get("virtualization", {}).get("liveMigrationConfig", {})
        states = {each["name"]: each["state"] for each in spec.get("featureGates", [])}
        gate = states.get("decentralizedLiveMigration", "Enabled") == "Enabled"
    else:
        migrations = spec.get("liveMigrationConfig", {})
        gate = spec.get("featureGates", {}).get("decentralizedLiveMigration", False)
    configuration = kubevirt["spec"].setdefault("configuration", {})
    configuration["migrations"] = migrations
    developer = configuration.setdefault("developerConfiguration", {})
    gates = [each for each in developer.get("featureGates", []) if each != _GATE]
    developer["featureGates"] = gates + ([_GATE] if gate else [])


_GATE: Final = "DecentralizedLiveMigration"


def _roll(cluster: Path, namespace: str, kubevirt: Object) -> None:
    """Annotate the pods that get the network, and give them addresses."""
    configuration = kubevirt["spec"].get("configuration", {})
    network = configuration.get("migrations", {}).get("network", "")
    gates = configuration.get("developerConfiguration", {}).get("featureGates", [])
    sync = cluster / "deployments.apps" / namespace / "virt-synchronization-controller.json"
    if _GATE not in gates:
        sync.unlink(missing_ok=True)
    elif not sync.exists():
        sync.parent.mkdir(parents=True, exist_ok=True)
        sync.write_text(json.dumps({"kind": "Deployment", "metadata": {"name": sync.stem},
                                    "spec": {"template": {"metadata": {}}}}))  # fmt: skip
    if not network:
        return
    for name, resource in _WORKLOADS.items():
        path = cluster / resource / namespace / f"{name}.json"
        if path.exists():
            _change(path, _annotate, {_NETWORKS: f"{network}@migration0"})
    addresses = _addresses(cluster / "network-attachment-definitions.k8s.cni.cncf.io" / namespace
                           / f"{network}.json")  # fmt: skip
    for path in sorted((cluster / "pods" / namespace).glob("*.json")):
        kind = json.loads(path.read_text())["metadata"].get("labels", {}).get("kubevirt.io")
        if kind in _WORKLOADS:
            entry = {"name": f"{namespace}/{network}", "interface": "migration0",
                     "ips": next(addresses, [])}  # fmt: skip
            _change(path, _attach, [entry] if entry["ips"] else [])


def _annotate(item: Object, annotations: dict[str, str]) -> None:
    meta = item["spec"]["template"].setdefault("metadata", {})
    meta.setdefault("annotations", {}).update(annotations)


def _attach(pod: Object, entries: list[Object]) -> None:
    default = {"name": "cluster-default", "interface": "eth0", "ips": ["10.128.2.7"]}
    pod["metadata"].setdefault("annotations", {})[_STATUS] = json.dumps([default, *entries])


def _addresses(nad: Path) -> Iterator[list[str]]:
    """Hand out what whereabouts would, lowest first; nothing for other address management."""
    if not nad.exists():
        return
    ipam = json.loads(json.loads(nad.read_text())["spec"].get("config") or "{}").get("ipam", {})
    if ipam.get("type") != "whereabouts":
        return
    families = [list(_free(each)) for each in ipam.get("ipRanges", [ipam])]
    for ips in zip(*families, strict=False):
        yield list(ips)


def _free(ranged: Object) -> Iterator[str]:
    network = ipaddress.ip_network(ranged["range"])
    first = ipaddress.ip_address(ranged["range_start"])
    last = ipaddress.ip_address(ranged["range_end"])
    if first not in network or last not in network:
        return
    excluded = [ipaddress.ip_network(each) for each in ranged.get("exclude", [])]
    for number in range(int(first), int(last) + 1):
        ip = type(first)(number)
        if not any(ip in each for each in excluded):
            yield str(ip)


def _publish(cluster: Path, path: Path) -> None:
    namespace = path.parent.name
    for pod in sorted((cluster / "pods" / namespace).glob("*.json")):
        meta = json.loads(pod.read_text())["metadata"]
        if meta.get("labels", {}).get("kubevirt.io") != "virt-synchronization-controller":
            continue
        status = json.loads(meta.get("annotations", {}).get(_STATUS, "[]"))
        ips = [ip for one in status if one["interface"] == "migration0" for ip in one["ips"]]
        shown = [f"[{ip}]:9185" if ":" in ip else f"{ip}:9185" for ip in ips]
        _change(path, lambda item, found=shown: item.setdefault("status", {}).update(
            synchronizationAddresses=found))  # fmt: skip
        return


def _merge_authorities(configmaps: Path) -> None:
    """Merge what lies in the door; one unreadable block makes all of it be ignored."""
    door, bundle = configmaps / "kubevirt-external-ca.json", configmaps / "kubevirt-ca.json"
    if not door.exists() or not bundle.exists():
        return
    text = json.loads(door.read_text())["data"].get("ca-bundle", "")
    found = _PEM.findall(text)
    if not text or len(found) != text.count("-----BEGIN"):
        return
    own = json.loads(bundle.read_text())["data"]["ca-bundle"]
    merged = dict.fromkeys(each.strip() for each in [*_PEM.findall(own), *found])
    _change(bundle, lambda item: item["data"].update({"ca-bundle": "\n".join(merged) + "\n"}))
    _change(door, lambda item: item["data"].update({"ca-bundle": ""}))
