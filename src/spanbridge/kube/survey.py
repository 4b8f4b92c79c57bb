# SPDX-License-Identifier: Apache-2.0
"""
From the objects of clusters to who is on the migration network, and what speaks against it.

Pure: the same objects give the same survey. What cannot be understood is a remark about that
object, and the rest is read all the same.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from spanbridge.kube.authorities import Trust, tell_authorities
from spanbridge.kube.pods import Leader, assign_roles, read_leader, read_pods
from spanbridge.kube.saved import LEASE, ClusterObjects, Object, metadata, subject
from spanbridge.kube.settings import (
    Wanted,
    advertised_addresses,
    find_kubevirt,
    judge_network,
    judge_settings,
    read_trust,
    renew_before_s,
)
from spanbridge.model.addresses import ip_from_text
from spanbridge.model.observations import Authority, ClusterFacts, Endpoint, Remark, Role
from spanbridge.model.reader import Node

SCHEDULABLE_LABEL: Final = "kubevirt.io/schedulable"
"""virt-handler says by it that its node takes virtual machines. Source: KubeVirt 1.9, types.go."""


@dataclass(frozen=True, slots=True)
class ObjectSurvey:
    """
    What the objects of all clusters say.

    Attributes:
        clusters: In the order given.
        endpoints: Cluster after cluster, in the order of their objects.
        remarks: What speaks against migrations, or was not understood.
    """

    clusters: tuple[ClusterFacts, ...]
    endpoints: tuple[Endpoint, ...]
    remarks: tuple[Remark, ...]


@dataclass(frozen=True, slots=True)
class _Part:
    """What one cluster's own objects say."""

    endpoints: tuple[Endpoint, ...]
    trust: Trust | None
    remarks: tuple[Remark, ...]


def survey_objects(clusters: Sequence[ClusterObjects], wanted: Wanted) -> ObjectSurvey:
    """
    Tell who is on the network, and what speaks against migrations.

    Args:
        clusters: Their objects.
        wanted: What the intent says of the network.
    """
    parts = {each.name: _survey_one(each, wanted) for each in clusters}
    trusts = {name: part.trust for name, part in parts.items() if part.trust is not None}
    authorities = tell_authorities(trusts)
    return ObjectSurvey(
        tuple(_facts(each, parts[each.name], authorities.get(each.name)) for each in clusters),
        tuple(one for part in parts.values() for one in part.endpoints),
        tuple(one for part in parts.values() for one in part.remarks),
    )


def _facts(objects: ClusterObjects, part: _Part, authority: Authority | None) -> ClusterFacts:
    trusted = None
    if part.trust is not None:
        trusted = tuple(each.fingerprint for each in part.trust.certificates)
    return ClusterFacts(
        name=objects.name,
        namespace=objects.namespace,
        context=objects.context,
        authority=authority,
        trusted=trusted,
    )


def _survey_one(objects: ClusterObjects, wanted: Wanted) -> _Part:
    found, remarks = read_pods(objects, wanted.network)
    leader = read_leader(objects)
    advertised = advertised_addresses(objects)
    usual = frozenset(_usual(host) for host, _ in advertised)
    endpoints = tuple(assign_roles(found, leader, usual))
    has_sync = any(each.role is not Role.HANDLER for each in found)
    bundle, of_trust = read_trust(objects)
    remarks += of_trust
    remarks += judge_settings(objects, wanted, has_sync=has_sync)
    remarks += judge_network(objects, wanted)
    if has_sync:
        remarks += _judge_leader(objects, leader, endpoints)
        remarks += _judge_advertised(objects, endpoints, advertised)
    told = {each.node for each in remarks}
    remarks += (each for each in _judge_nodes(objects, endpoints) if each.node not in told)
    trust = None
    if bundle is not None:
        now = objects.seen_at
        trust = Trust(bundle.valid_at(now), now, renew_before_s(find_kubevirt(objects)))
    return _Part(endpoints, trust, tuple(remarks))


def _usual(address: str) -> str:
    """Write an address as all others are written; what is none stays as it is."""
    ip = ip_from_text(address)
    return address if ip is None else str(ip)


def _judge_leader(
    objects: ClusterObjects, leader: Leader, endpoints: Sequence[Endpoint]
) -> Iterator[Remark]:
    name = f"Lease {objects.namespace}/{LEASE}"
    look = f"kubectl --context {objects.context} -n {objects.namespace} get lease {LEASE} -o yaml"
    if not leader.known:
        yield Remark(objects.name, name, "it is not among the objects",
                     then="who of the synchronization controllers listens stays unknown",
                     remedy="save it too, see docs/reference/verify.md")  # fmt: skip
        return
    why, pointer = leader.why, leader.pointer
    if not why and not any(each.role is Role.LEADER for each in endpoints):
        why = f"its holder {leader.pod} is none of the pods that run"
        pointer = "/spec/holderIdentity"
    if why:
        then = "no synchronization controller listens: migrations do not begin"
        yield Remark(objects.name, name, why, pointer=pointer, grave=True, remedy=look, then=then)


def _judge_advertised(
    objects: ClusterObjects, endpoints: Sequence[Endpoint], advertised: Sequence[tuple[str, str]]
) -> Iterator[Remark]:
    """Hold what the status tells others against the pods; a standby has a cause of its own."""
    kubevirt = find_kubevirt(objects)
    if kubevirt is None:
        return
    then = "a migration that is told this address never begins"
    look = (
        f"kubectl --context {objects.context} -n {objects.namespace} get kubevirts "
        "-o jsonpath='{.items[0].status.synchronizationAddresses}'"
    )
    if not advertised:
        yield Remark(objects.name, subject(kubevirt), "its status names no address to connect to",
                     pointer="/status/synchronizationAddresses", grave=True, remedy=look,
                     then="migrations cannot be sent to this cluster")  # fmt: skip
    sync = [each for each in endpoints if each.role is not Role.HANDLER]
    for host, pointer in advertised if sync else ():
        address = _usual(host)
        if any(address in each.addresses for each in sync):
            continue
        pod = next((each for each in sync if address == _usual(each.pod_address)), None)
        what = f"its status names {address}, which no synchronization controller has"
        if pod is not None:
            what = f"its status names {address}, which {pod.pod} has on the pod network"
        yield Remark(objects.name, subject(kubevirt), what, pointer=pointer, then=then,
                     remedy=look, grave=True)  # fmt: skip


def _judge_nodes(objects: ClusterObjects, endpoints: Sequence[Endpoint]) -> Iterator[Remark]:
    """Find nodes that are not ready, or take virtual machines without a virt-handler."""
    covered = {each.node for each in endpoints if each.role is Role.HANDLER}
    for item in objects.found.get("Node", ()):
        name = str(metadata(item).get("name", ""))
        labels = metadata(item).get("labels")
        takes = isinstance(labels, dict) and labels.get(SCHEDULABLE_LABEL) == "true"
        describe = f"kubectl --context {objects.context} describe node {name}"
        if name in covered and not _is_ready(item):
            yield Remark(objects.name, subject(item), "it is not Ready",
                         pointer="/status/conditions", node=name, remedy=describe,
                         then="its virt-handler may not answer")  # fmt: skip
        if takes and name not in covered and objects.looked("Pod"):
            yield Remark(objects.name, subject(item),
                         "it takes virtual machines, but no virt-handler runs there",
                         pointer=f"/metadata/labels/{SCHEDULABLE_LABEL.replace('/', '~1')}",
                         node=name, remedy=describe,
                         then="no virtual machine moves to or from this node")  # fmt: skip


def _is_ready(item: Object) -> bool:
    """Tell whether a node says that it is ready; one that says nothing is."""
    status = Node(item).raw.get("status")
    conditions = status.get("conditions") if isinstance(status, dict) else None
    for each in conditions if isinstance(conditions, list) else ():
        if isinstance(each, dict) and each.get("type") == "Ready":
            return bool(each.get("status") == "True")
    return True
