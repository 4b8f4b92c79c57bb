# SPDX-License-Identifier: Apache-2.0
"""Stand-ins in a lab: brought to where they shall run, started, and found."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from spanbridge.base.errors import NodeError
from spanbridge.base.files import write_atomic
from spanbridge.lab.build import build_pod, find_netns
from spanbridge.lab.daemons import Daemon, find_daemon
from spanbridge.lab.faults.records import held_handlers
from spanbridge.lab.kubevirt.address import join_port
from spanbridge.lab.kubevirt.handler import HandlerSettings
from spanbridge.lab.kubevirt.identities import SYNC_PORT
from spanbridge.lab.kubevirt.sync import SyncSettings
from spanbridge.lab.parallel import on_each
from spanbridge.lab.place import Place
from spanbridge.lab.runtime import Runtime
from spanbridge.lab.standin.launching import Settings, await_standin, launch_standins
from spanbridge.lab.standin.paths import (
    handler_daemon,
    handler_socket,
    kubevirt_file,
    sync_daemon,
    sync_socket,
)
from spanbridge.lab.topology import Node, SyncPod, sync_pods
from spanbridge.lab.trust import ensure_trust, exchange, trust_dir


@dataclass(frozen=True, slots=True)
class Standins:
    """
    The stand-ins of a lab, all of which run.

    Attributes:
        nodes: With a virt-handler each.
        sync: Leader and standby of every cluster.
        started: Those that did not run before, in words.
    """

    nodes: tuple[Node, ...]
    sync: tuple[SyncPod, ...]
    started: tuple[str, ...]

    def leader(self, cluster: str) -> SyncPod:
        """Find the leading sync controller of a cluster."""
        return next(each for each in self.sync if each.leader and each.cluster == cluster)


def ensure_standins(runtime: Runtime, step: Callable[[str], None]) -> Standins:
    """
    Have a virt-handler run in every virt-handler's pod, and two sync controllers in each cluster.

    What is there stays as it is: who runs goes on, and trust that was made once is not exchanged
    again, so that what a fault has taken away stays away.

    Args:
        runtime: Of a lab that is up.
        step: Called with the progress.

    Raises:
        NodeError: A pod cannot be attached, or a stand-in does not start.
    """
    lab, place = runtime.lab, runtime.place
    pods = sync_pods(lab)
    clusters = tuple(cluster.name for cluster in lab.clusters)
    if ensure_trust(place, clusters):
        step("exchanging certificate authorities between the clusters")
        exchange(place, clusters)
    loose = [each for each in pods if not place.result_file(each.pod).exists()]
    if loose:
        step("attaching migration0 to the sync controllers with CNI ADD")
        on_each(lambda each: _attach(runtime, each), loose)
    for cluster in clusters:
        _advertise_leader(place, next(x for x in pods if x.leader and x.cluster == cluster))
    held = held_handlers(place)
    free = tuple(node for node in lab.nodes if node.name not in held)
    ended = [each for each in _programs(place, free, pods) if find_daemon(each[0]) is None]
    if ended:
        step("starting the stand-ins of virt-handlers and sync controllers")
        launch_standins(ended)
    for daemon, settings in ended:
        await_standin(daemon, Path(settings.control))
    return Standins(lab.nodes, pods, tuple(daemon.name for daemon, _ in ended))


def _attach(runtime: Runtime, pod: SyncPod) -> None:
    """Attach a sync controller's pod; what an interrupted attempt left is taken away first."""
    config = json.loads(pod.pod.config or "{}")
    if config.get("ipam", {}).get("type") == "static":
        raise NodeError(
            f"cannot attach {pod.pod.name}: the plan has one fixed address on {pod.node.name}, "
            "its virt-handler's",
            hint="plan with another ipam than static",
        )
    if pod.pod.netns in find_netns():
        runtime.delete(pod.node, pod.pod)
    else:
        build_pod(pod.pod)
    runtime.add(pod.node, pod.pod)


def _programs(
    place: Place, nodes: tuple[Node, ...], pods: tuple[SyncPod, ...]
) -> list[tuple[Daemon, Settings]]:
    programs: list[tuple[Daemon, Settings]] = []
    for node in nodes:
        control, trust = handler_socket(place, node), trust_dir(place, node.cluster)
        programs.append((handler_daemon(place, node), HandlerSettings(str(control), str(trust))))
    for pod in pods:
        control, trust = sync_socket(place, pod), trust_dir(place, pod.cluster)
        settings = SyncSettings(str(control), str(trust), leader=pod.leader)
        programs.append((sync_daemon(place, pod), settings))
    return programs


def advertised(place: Place, cluster: str) -> str:
    """
    Tell to which address a migration into a cluster is sent: the first that KubeVirt names.

    Returns:
        Address and port; empty where it names none.
    """
    try:
        found = json.loads(kubevirt_file(place, cluster).read_bytes())
    except FileNotFoundError:
        return ""
    addresses = found["status"]["synchronizationAddresses"]
    return str(addresses[0]) if addresses else ""


def advertise(place: Place, pod: SyncPod) -> None:
    """
    Have a cluster's KubeVirt name the address that its network gave to a sync controller.

    As virt-operator, from what the runtime noted and not from the pod itself.

    Raises:
        NodeError: The pod is not attached.

    Source: KubeVirt 1.9, pkg/virt-operator/resource/apply/core.go.
    """
    try:
        result = json.loads(place.result_file(pod.pod).read_bytes())
    except FileNotFoundError as error:
        raise NodeError(f"cannot advertise {pod.pod.name}: it is not attached") from error
    addresses = [each["address"].partition("/")[0] for each in result["ips"]]
    named = {"synchronizationAddresses": [join_port(each, SYNC_PORT) for each in addresses]}
    file = kubevirt_file(place, pod.cluster)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, json.dumps({"status": named}).encode())


def _advertise_leader(place: Place, leader: SyncPod) -> None:
    if not kubevirt_file(place, leader.cluster).exists():
        advertise(place, leader)
