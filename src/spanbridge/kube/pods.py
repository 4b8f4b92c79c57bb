# SPDX-License-Identifier: Apache-2.0
"""
Pods on the migration network, from what Kubernetes and Multus say of them.

Source: Network Custom Resource Definition De-facto Standard 1.3, section 5 (network-status,
which Multus writes without prefix lengths); KubeVirt 1.9, pkg/virt-handler/migration.go
(the first global unicast address of ``migration0`` counts).
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from spanbridge.base.errors import ConfigError
from spanbridge.kube.objects import MIGRATION_INTERFACE, STATUS_ANNOTATION
from spanbridge.kube.saved import LEASE, ClusterObjects, Object, metadata, parse_time, subject
from spanbridge.model.addresses import Cidr, Ip, ip_from_text, parse_cidr
from spanbridge.model.observations import Endpoint, Remark, Role
from spanbridge.model.reader import Node, as_node, escape

HANDLER: Final = "virt-handler"
SYNC: Final = "virt-synchronization-controller"
COMPONENT_LABEL: Final = "kubevirt.io"

_STATUS_POINTER: Final = "/metadata/annotations/" + escape(STATUS_ANNOTATION)
_NOT_GLOBAL: Final = tuple(
    parse_cidr(each, "")
    for each in ("0.0.0.0/32", "255.255.255.255/32", "127.0.0.0/8", "169.254.0.0/16",
                 "224.0.0.0/4", "::/127", "fe80::/10", "ff00::/8")
)  # fmt: skip
"""What Go's IsGlobalUnicast refuses. Source: Go 1.26, net/ip.go."""

_GONE: Final = {"Succeeded", "Failed"}
_NOBODY_COMES: Final = "no virtual machine moves to or from this node"


@dataclass(frozen=True, slots=True)
class PodFacts:
    """
    One pod as its object says.

    Attributes:
        endpoint: With the role of a handler, or of a standby.
        remarks: What is wrong with it.
        known: Whether its addresses could be read.
    """

    endpoint: Endpoint
    remarks: tuple[Remark, ...] = ()
    known: bool = True


def read_pods(objects: ClusterObjects, network: str) -> tuple[list[Endpoint], list[Remark]]:
    """
    Read the virt-handlers and the synchronization controllers of a cluster.

    A pod that ended or is being deleted is left out; of one that does not run, or whose
    annotation cannot be read, a remark says so instead. Who leads is for `assign_roles`.
    """
    endpoints: list[Endpoint] = []
    remarks: list[Remark] = []
    for pod in objects.every("Pod"):
        labels = metadata(pod).get("labels")
        kind = labels.get(COMPONENT_LABEL) if isinstance(labels, Mapping) else None
        if kind not in (HANDLER, SYNC) or metadata(pod).get("deletionTimestamp"):
            continue
        facts = _read_pod(objects, pod, network, handler=kind == HANDLER)
        if facts is not None:
            remarks += facts.remarks
            endpoints += [facts.endpoint] if facts.known else []
    return endpoints, remarks


def _read_pod(
    objects: ClusterObjects, pod: Object, network: str, *, handler: bool
) -> PodFacts | None:
    root = Node(pod)
    name = str(metadata(pod).get("name", ""))
    bare = Endpoint(
        name=f"{objects.name}/{name}",
        cluster=objects.name,
        node="",
        role=Role.HANDLER if handler else Role.STANDBY,
        pod=name,
    )
    try:
        spec, status = root.node("spec"), root.node("status")
        node = spec.text("nodeName") if spec else ""
        phase = status.text("phase", "Unknown") if status else "Unknown"
        address = status.text("podIP") if status else ""
    except ConfigError as error:
        return PodFacts(bare, (_unread(objects, pod, error),), known=False)
    if phase in _GONE:
        return None
    named = replace(bare, node=node, pod_address=address)
    waiting, pointer = _waiting(root)
    if phase != "Running" or waiting:
        remark = Remark(
            objects.name,
            subject(pod),
            f"it is {phase}" + (f": {waiting}" if waiting else ""),
            pointer=pointer or "/status/phase",
            then=_NOBODY_COMES if handler else "it cannot take over from the leader",
            remedy=f"{_kubectl(objects)} describe pod {name}",
            node=node,
            grave=handler,
        )
        if phase != "Running":
            return PodFacts(named, (remark,), known=False)
        return _with_status(objects, pod, network, PodFacts(named, (remark,)))
    return _with_status(objects, pod, network, PodFacts(named))


def _waiting(root: Node) -> tuple[str, str]:
    """Say why a pod does not run as it should, and where that stands; empty where it does."""
    try:
        status = root.node("status")
        if status is None:
            return "", ""
        for group in ("initContainerStatuses", "containerStatuses"):
            for each in status.nodes(group) or ():
                state = each.node("state")
                held = state.node("waiting") if state else None
                if held is not None:
                    words = ": ".join(filter(None, (held.text("reason"), held.text("message"))))
                    return words or "a container waits", held.pointer
        for each in status.nodes("conditions") or ():
            if each.text("type") == "PodScheduled" and each.text("status") == "False":
                return each.text("message") or each.text("reason"), each.pointer
    except ConfigError:
        # What the kubelet wrote oddly explains nothing; the phase is said all the same.
        return "", ""
    return "", ""


def _with_status(objects: ClusterObjects, pod: Object, network: str, facts: PodFacts) -> PodFacts:
    """Add what Multus says of the pod's device."""
    try:
        entry = _find_entry(pod)
    except ConfigError as error:
        return replace(facts, remarks=(*facts.remarks, _unread(objects, pod, error)), known=False)
    if entry is None:
        return facts
    remarks = list(facts.remarks)
    try:
        mac, mtu = entry.text("mac"), entry.integer("mtu", minimum=0, maximum=1 << 31)
        of, texts = entry.text("name"), entry.texts("ips")
    except ConfigError as error:
        return replace(facts, remarks=(*remarks, _unread(objects, pod, error)), known=False)
    strange = []
    addresses = []
    for number, text in enumerate(texts):
        ip = ip_from_text(text.partition("/")[0])
        if ip is None:
            strange.append((f"{entry.at('ips')}/{number}", f"{text!r} is no IP address"))
        elif is_global(ip):
            addresses.append(str(ip))
    if of and of not in {network, f"{objects.namespace}/{network}"}:
        what = f"{MIGRATION_INTERFACE} is of network {of}, not of {network}"
        strange.append((entry.at("name"), what))
    node = facts.endpoint.node
    remarks += [replace(_strange(objects, pod, *each), node=node) for each in strange]
    endpoint = replace(facts.endpoint, addresses=tuple(addresses), mac=mac, mtu=mtu)
    return PodFacts(endpoint, tuple(remarks))


def _find_entry(pod: Object) -> Node | None:
    """Find the entry of ``migration0``; its pointer goes on behind that of the annotation."""
    annotations = metadata(pod).get("annotations")
    text = annotations.get(STATUS_ANNOTATION) if isinstance(annotations, Mapping) else None
    if text is None:
        return None
    if not isinstance(text, str):
        raise ConfigError("it is no text", pointer=_STATUS_POINTER)
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"it is no JSON: {error}", pointer=_STATUS_POINTER) from error
    if not isinstance(entries, list):
        raise ConfigError("it is no list", pointer=_STATUS_POINTER)
    for number, entry in enumerate(entries):
        found = as_node(entry, f"{_STATUS_POINTER}/{number}")
        if found.text("interface") == MIGRATION_INTERFACE:
            return found
    return None


def is_global(ip: Ip) -> bool:
    """Tell whether KubeVirt would take an address for migrations."""
    return not any(_inside(ip, each) for each in _NOT_GLOBAL)


def _inside(ip: Ip, net: Cidr) -> bool:
    return ip.version == net.version and ip in net


def _unread(objects: ClusterObjects, pod: Object, error: ConfigError) -> Remark:
    return Remark(
        objects.name,
        subject(pod),
        f"it cannot be understood: {error.message}",
        pointer=error.pointer,
        then="whether others reach it stays unknown",
        remedy=_restart(objects, pod),
        grave=True,
    )


def _strange(objects: ClusterObjects, pod: Object, pointer: str, what: str) -> Remark:
    return Remark(
        objects.name,
        subject(pod),
        what,
        pointer=pointer,
        then="migrations may use another network than was planned",
        remedy=_restart(objects, pod),
    )


def _kubectl(objects: ClusterObjects) -> str:
    return f"kubectl --context {objects.context} -n {objects.namespace}"


def _restart(objects: ClusterObjects, pod: Object) -> str:
    return f"restart it: {_kubectl(objects)} delete pod {metadata(pod).get('name', '')}"


@dataclass(frozen=True, slots=True)
class Leader:
    """
    Who leads, by the lease.

    Attributes:
        pod: Name of the pod; empty where nobody leads.
        known: Whether anybody looked.
        why: Why nobody leads; empty where somebody does.
        pointer: JSON pointer to what says so.
    """

    pod: str = ""
    known: bool = True
    why: str = ""
    pointer: str = ""


def read_leader(objects: ClusterObjects) -> Leader:
    """Find the leader of the synchronization controllers: only it listens."""
    if not objects.looked("Lease"):
        return Leader(known=False)
    lease = objects.named("Lease", LEASE)
    if lease is None:
        return Leader(why="there is none")
    try:
        spec = Node(lease).node("spec") or Node({}, "/spec")
        holder = spec.text("holderIdentity")
        if not holder:
            return Leader(why="it has no holder", pointer="/spec/holderIdentity")
        lasts = spec.integer("leaseDurationSeconds", minimum=0, maximum=1 << 31, default=15)
        renewed = parse_time(spec.take("renewTime"))
    except ConfigError as error:
        return Leader(why=f"it cannot be understood: {error.message}", pointer=error.pointer)
    late = objects.seen_at - renewed - lasts if renewed is not None else 0
    # Clocks of an API server and of this machine may differ by some seconds.
    if late > max(60, lasts):
        return Leader(why=f"{holder} let it end {late:.0f} s ago", pointer="/spec/renewTime")
    # client-go lets a program put something of its own behind the host name.
    return Leader(pod=holder.partition("_")[0])


def assign_roles(
    endpoints: list[Endpoint], leader: Leader, advertised: frozenset[str]
) -> Iterator[Endpoint]:
    """
    Tell leaders from standbys; where nobody looked who leads, neither is named.

    Args:
        endpoints: As `read_pods` gives them.
        leader: By the lease.
        advertised: Addresses that the status of KubeVirt names.
    """
    leads = any(each.role is not Role.HANDLER and each.pod == leader.pod for each in endpoints)
    for each in endpoints:
        if each.role is Role.HANDLER:
            yield each
        elif leader.known and each.pod == leader.pod:
            yield replace(each, role=Role.LEADER)
        elif leader.known:
            # Where nobody leads, that is the cause, whoever is advertised.
            named = leads and bool(advertised & set(each.addresses))
            yield replace(each, advertised=named)
