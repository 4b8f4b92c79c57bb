# SPDX-License-Identifier: Apache-2.0
"""
Objects of a cluster whose migration network works, as its API server gives them.

For tests that take one thing out. Shapes: KubeVirt 1.9 and its CustomResourceDefinition,
Multus 4.3 (network-status without prefix lengths), Kubernetes 1.34.
"""

import copy
import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final

from spanbridge.testing.clusters import make_certificate

Object = dict[str, Any]

NAMESPACE: Final = "openshift-cnv"
NETWORK: Final = "migration-net"
STATUS: Final = "k8s.v1.cni.cncf.io/network-status"


def iso(seconds: float) -> str:
    """Write a time as the API does, with microseconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def make_pod(name: str, component: str, *, node: str, address: str, mac: str = "") -> Object:
    """Make a pod that has the network."""
    last = address.rpartition(".")[2] or "1"
    status = [
        {"name": "ovn-kubernetes", "interface": "eth0", "ips": [f"10.128.2.{last}"],
         "mac": f"0a:58:0a:80:02:{int(last):02x}", "default": True, "dns": {}},
        {"name": f"{NAMESPACE}/{NETWORK}", "interface": "migration0", "ips": [address],
         "mac": mac or f"2e:11:5a:04:77:{int(last):02x}", "dns": {}},
    ]  # fmt: skip
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": f"uid-of-{name}",
            "labels": {"kubevirt.io": component},
            "annotations": {
                "k8s.v1.cni.cncf.io/networks": f"{NETWORK}@migration0",
                STATUS: json.dumps(status, indent=4),
            },
        },
        "spec": {"nodeName": node, "containers": [{"name": component, "image": "registry/it"}]},
        "status": {
            "phase": "Running",
            "podIP": f"10.128.2.{last}",
            "podIPs": [{"ip": f"10.128.2.{last}"}],
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [
                {"name": component, "ready": True, "restartCount": 0, "image": "registry/it",
                 "imageID": "", "containerID": f"cri-o://{name}",
                 "state": {"running": {"startedAt": "2026-11-24T10:00:00Z"}}}
            ],
        },
    }  # fmt: skip


def make_node(name: str) -> Object:
    """Make a node that is ready and takes virtual machines."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubevirt.io/schedulable": "true"}},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }


def _kubevirt(leader_address: str) -> Object:
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "KubeVirt",
        "metadata": {"name": "kubevirt-kubevirt-hyperconverged", "namespace": NAMESPACE},
        "spec": {
            "certificateRotateStrategy": {
                "selfSigned": {"ca": {"duration": "48h0m0s", "renewBefore": "24h0m0s"}}
            },
            "configuration": {
                "developerConfiguration": {"featureGates": ["DecentralizedLiveMigration"]},
                "migrations": {"network": NETWORK},
            },
        },
        "status": {"phase": "Deployed", "synchronizationAddresses": [f"{leader_address}:9185"]},
    }


def _network(first: str, last: str) -> Object:
    ipam = {"type": "whereabouts", "range": "10.88.0.0/24", "range_start": first, "range_end": last}
    conf = {"cniVersion": "0.3.1", "name": NETWORK, "type": "bridge", "bridge": "br-mig",
            "vlan": 2, "preserveDefaultVlan": False, "mtu": 1500, "ipam": ipam}  # fmt: skip
    return {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": NETWORK, "namespace": NAMESPACE},
        "spec": {"config": json.dumps(conf)},
    }


def make_lease(holder: str, renewed: float) -> Object:
    """Make the lease of the synchronization controllers."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "virt-synchronization-controller", "namespace": NAMESPACE},
        "spec": {
            "holderIdentity": holder,
            "leaseDurationSeconds": 15,
            "acquireTime": iso(renewed - 3600),
            "renewTime": iso(renewed),
            "leaseTransitions": 3,
        },
    }


def make_config_map(name: str, bundle: str) -> Object:
    """Make a ConfigMap with a bundle of authorities."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "data": {"ca-bundle": bundle},
    }


def make_objects(
    cluster: str, *, first: int, seen_at: float, trusted: Iterable[str] = ("east", "west")
) -> list[Object]:
    """
    Make all objects of a cluster with two nodes.

    Args:
        cluster: Its name.
        first: Last part of the address of its first pod; the range goes on for 90.
        seen_at: When its leader renewed the lease, in seconds since 1970.
        trusted: Names of the clusters whose authorities are in its bundle.
    """
    nodes = [f"{cluster}-1", f"{cluster}-2"]
    addresses = [f"10.88.0.{first + number}" for number in range(4)]
    handlers = [
        make_pod(f"virt-handler-{cluster[0]}{number}", "virt-handler", node=node, address=address)
        for number, (node, address) in enumerate(zip(nodes, addresses, strict=False), 1)
    ]
    sync = "virt-synchronization-controller"
    pods = [
        make_pod(f"{sync}-6c9d-{cluster[0]}{number}", sync, node=node, address=address)
        for number, (node, address) in enumerate(zip(nodes, addresses[2:], strict=False), 1)
    ]
    bundle = "".join(make_certificate(each) for each in trusted)
    return [
        *map(make_node, nodes),
        *handlers,
        *pods,
        make_lease(f"{sync}-6c9d-{cluster[0]}1", seen_at),
        _kubevirt(addresses[2]),
        _network(f"10.88.0.{first}", f"10.88.0.{first + 89}"),
        make_config_map("kubevirt-ca", bundle),
        make_config_map("kubevirt-external-ca", ""),
    ]


def changed(objects: Iterable[Object], kind: str, name: str, change: Callable[[Object], Any]) -> (
    list[Object]
):  # fmt: skip
    """Copy objects, with one changed; its name may be the beginning of it."""
    found = copy.deepcopy(list(objects))
    hits = [each for each in found
            if each["kind"] == kind and each["metadata"]["name"].startswith(name)]  # fmt: skip
    assert hits, f"there is no {kind} {name}"
    change(hits[0])
    return found


def without(objects: Iterable[Object], kind: str, name: str = "") -> list[Object]:
    """Copy objects, without those of a kind whose names begin with ``name``."""
    return [
        each for each in copy.deepcopy(list(objects))
        if not (each["kind"] == kind and each["metadata"]["name"].startswith(name))
    ]  # fmt: skip
