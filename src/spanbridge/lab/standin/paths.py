# SPDX-License-Identifier: Apache-2.0
"""Where the stand-ins of a lab have their sockets, and what their processes are called."""

from pathlib import Path

from spanbridge.lab.daemons import Daemon
from spanbridge.lab.place import Place
from spanbridge.lab.topology import Node, SyncPod

# Names are no longer than the agent's, for whose socket the path was checked.


def handler_socket(place: Place, node: Node) -> Path:
    """Tell where the virt-handler of a node obeys."""
    return place.node_dir(node) / "virt.sock"


def sync_socket(place: Place, pod: SyncPod) -> Path:
    """Tell where a sync controller obeys."""
    return place.node_dir(pod.node) / f"sync{pod.number}.sock"


def handler_daemon(place: Place, node: Node) -> Daemon:
    """Describe the process of a virt-handler."""
    name = f"the virt-handler of {node.name}"
    return Daemon(name, node.handler.netns, place.node_dir(node), "virt")


def sync_daemon(place: Place, pod: SyncPod) -> Daemon:
    """Describe the process of a sync controller."""
    role = "leading" if pod.leader else "standby"
    name = f"the {role} sync controller of {pod.cluster}"
    return Daemon(name, pod.pod.netns, place.node_dir(pod.node), f"sync{pod.number}")


def kubevirt_file(place: Place, cluster: str) -> Path:
    """Tell where what a cluster's KubeVirt object says is kept."""
    return place.directory / "clusters" / cluster / "kubevirt.json"
