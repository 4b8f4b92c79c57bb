# SPDX-License-Identifier: Apache-2.0
"""Faults that can be put into a modelled mesh, each with what must be diagnosed."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from spanbridge.model.observations import Handshake, Observations, Role
from spanbridge.model.verdict import Verdict
from spanbridge.stretch.observing import RunSettings, observe_mesh
from spanbridge.testing.mesh import GATEWAY, Mesh, MeshProber, ModelNode, ModelPod


def observe(mesh: Mesh, settings: RunSettings | None = None) -> Observations:
    """Run a verification of a mesh."""
    run = observe_mesh(MeshProber(mesh), mesh.expected, taken_at=TAKEN_AT, settings=settings)
    return asyncio.run(run)


@dataclass(frozen=True, slots=True)
class Blame:
    """
    What a diagnosis must name.

    Attributes:
        code: Of the cause.
        site: A node that must be blamed; empty for none.
        link: A pair of clusters that must be blamed; None for none.
        also: Other nodes and pairs of clusters that the fault touches.
    """

    code: str
    site: str = ""
    link: tuple[str, str] | None = None
    also: frozenset[object] = frozenset()

    @property
    def parts(self) -> frozenset[object]:
        """Everything that the fault touches; another one there may be hidden by it."""
        return self.also | {part for part in (self.site, self.link) if part}

    def fits(self, verdict: Verdict, *, first: bool = False) -> bool:
        """Whether a diagnosis, or the first one, names it."""
        return any(
            each.code == self.code
            and (not self.site or self.site in each.sites)
            and (self.link is None or self.link in each.links)
            for each in verdict.diagnoses[: 1 if first else None]
        )


TAKEN_AT: Final = "2026-11-24T18:00:00Z"


Fault = Callable[[Mesh, random.Random], Blame]
"""Breaks something of a mesh, and tells what must be named."""


def _node(mesh: Mesh, chance: random.Random) -> ModelNode:
    return mesh.nodes[chance.choice(sorted(mesh.nodes))]


def _pod(mesh: Mesh, chance: random.Random, role: Role = Role.HANDLER) -> ModelPod:
    return mesh.pods[chance.choice(sorted(n for n, pod in mesh.pods.items() if pod.role is role))]


def _clusters(mesh: Mesh, chance: random.Random) -> tuple[str, str]:
    first, second = chance.sample(mesh.clusters, 2)
    return first, second


def _link(names: tuple[str, str]) -> tuple[str, str]:
    return min(names), max(names)


def on_node(code: str, **values: object) -> Fault:
    """Make a fault that is some attributes of one node."""

    def break_node(mesh: Mesh, chance: random.Random) -> Blame:
        node = _node(mesh, chance)
        for name, value in values.items():
            setattr(node, name, value)
        return Blame(code, node.site)

    return break_node


def on_pod(code: str, role: Role = Role.HANDLER, **values: object) -> Fault:
    """Make a fault that is some attributes of one pod."""

    def break_pod(mesh: Mesh, chance: random.Random) -> Blame:
        pod = _pod(mesh, chance, role)
        for name, value in values.items():
            setattr(pod, name, value)
        return Blame(code, pod.site)

    return break_pod


def duplicate_between_clusters(mesh: Mesh, chance: random.Random) -> Blame:
    """Give two pods of different clusters one address."""
    here, there = _clusters(mesh, chance)
    pods = [f"{cluster}/virt-handler-1" for cluster in (here, there)]
    mesh.pods[pods[0]].addresses = mesh.pods[pods[1]].addresses
    also = frozenset({mesh.pods[pods[1]].site})
    return Blame("SBV24", mesh.pods[pods[0]].site, _link((here, there)), also)


def duplicate_within_cluster(mesh: Mesh, chance: random.Random) -> Blame:
    """Give two pods of a cluster one address."""
    cluster = chance.choice(mesh.clusters)
    pods = [mesh.pods[f"{cluster}/virt-handler-{number}"] for number in (1, 2)]
    pods[0].addresses = pods[1].addresses
    return Blame("SBV25", pods[0].site, also=frozenset({pods[1].site}))


def stranger(mesh: Mesh, chance: random.Random) -> Blame:
    """A machine of nobody's has a pod's address: it answers from that pod's node."""
    pod = _pod(mesh, chance)
    mac = f"02:00:00:00:ee:{pod.mac[-2:]}"
    other = ModelPod(f"none/{pod.name}", pod.site, Role.HANDLER, pod.addresses, mac, known=False)
    mesh.pods[other.name] = other
    return Blame("SBV27", pod.site)


def gateway_everywhere(mesh: Mesh, _: random.Random) -> Blame:
    """Let every node answer for the gateway."""
    for node in mesh.nodes.values():
        node.gateway = True
    return Blame("SBV28")


def link_cut(mesh: Mesh, chance: random.Random) -> Blame:
    """Cut two clusters off from each other."""
    here, there = _clusters(mesh, chance)
    mesh.cut |= {(here, there), (there, here)}
    return Blame("SBV12", link=_link((here, there)))


def cluster_cut(mesh: Mesh, chance: random.Random) -> Blame:
    """Cut a cluster off from all others."""
    here = chance.choice(mesh.clusters)
    others = [each for each in mesh.clusters if each != here]
    mesh.cut |= {pair for other in others for pair in ((here, other), (other, here))}
    also = frozenset(_link((here, other)) for other in others)
    return Blame("SBV11", link=_link((here, others[0])), also=also)


def link_mtu(mesh: Mesh, chance: random.Random) -> Blame:
    """Put a small MTU between two clusters."""
    link = _link(_clusters(mesh, chance))
    mesh.link_mtu[link] = 1500
    return Blame("SBV43", link=link)


def one_way_link(mesh: Mesh, chance: random.Random) -> Blame:
    """Drop all frames from one cluster to another."""
    names = _clusters(mesh, chance)
    mesh.cut.add(names)
    return Blame("SBV14", link=_link(names))


def one_way_node(mesh: Mesh, chance: random.Random) -> Blame:
    """Drop all frames that leave a node."""
    site = _node(mesh, chance).site
    mesh.filters |= {(site, other) for other in mesh.nodes if other != site}
    return Blame("SBV14", site)


def stateful_filter(mesh: Mesh, chance: random.Random) -> Blame:
    """Let one node answer another, but not begin."""
    here, there = chance.sample(sorted(mesh.nodes), 2)
    mesh.no_new.add((here, there))
    link = _link((here.partition("/")[0], there.partition("/")[0]))
    return Blame("SBV14", also=frozenset({here, there, link}))


def ca_not_exchanged(mesh: Mesh, chance: random.Random) -> Blame:
    """Let one cluster not trust another."""
    here, there = _clusters(mesh, chance)
    mesh.trusts[here].discard(there)
    return Blame("SBV60", link=_link((here, there)))


def ca_expired(mesh: Mesh, chance: random.Random) -> Blame:
    """Let the certificates of a cluster expire."""
    cluster = chance.choice(mesh.clusters)
    mesh.expired.add(cluster)
    return Blame("SBV61", also=frozenset({f"certificates of {cluster}"}))


def stale_certificate(mesh: Mesh, chance: random.Random) -> Blame:
    """Let one pod have a certificate of another authority than its cluster's."""
    pod = _pod(mesh, chance)
    pod.certificate = Handshake.UNKNOWN_AUTHORITY
    return Blame("SBV63", pod.site, also=frozenset({f"certificates of {pod.cluster}"}))


def tcp_filtered(mesh: Mesh, chance: random.Random) -> Blame:
    """Drop TCP between two clusters."""
    names = _clusters(mesh, chance)
    mesh.no_tcp |= {names, names[::-1]}
    return Blame("SBV51", link=_link(names))


def families(mesh: Mesh, chance: random.Random) -> Blame:
    """Give one pod an address of the other family only."""
    pod = _pod(mesh, chance)
    pod.addresses = (f"fd00:88::{pod.mac[-2:]}",)
    return Blame("SBV23", pod.site)


FAULTS: Final[dict[str, Fault]] = {
    "uplink-without-vlan": on_node("SBV01", uplink_vlans={1}),
    "filtering-off": on_node("SBV02", filtering=False),
    "no-uplink": on_node("SBV03", uplink=False),
    "uplink-down": on_node("SBV04", uplink_up=False),
    "stolen-vlan": on_node("SBV05", stolen=True),
    "bridge-down": on_node("SBV06", bridge_up=False),
    "switch-port-without-vlan": on_node("SBV10", switch_open=False),
    "cluster-cut": cluster_cut,
    "link-cut": link_cut,
    "one-way-link": one_way_link,
    "one-way-node": one_way_node,
    "stateful-filter": stateful_filter,
    "no-migration0": on_pod("SBV20", addresses=(), mac="", mtu=0, lease_s=None),
    "lease-expired": on_pod("SBV21", addresses=(), lease_s=-40),
    "family-mismatch": families,
    "duplicate-between-clusters": duplicate_between_clusters,
    "duplicate-within-cluster": duplicate_within_cluster,
    "duplicate-of-the-gateway": on_pod("SBV26", addresses=(GATEWAY,)),
    "gateway-everywhere": gateway_everywhere,
    "wrong-route": on_pod("SBV30", routed_by="eth0"),
    "pod-mtu": on_pod("SBV40", mtu=1500),
    "uplink-mtu": on_node("SBV41", uplink_mtu=1500, bridge_mtu=1500),
    "switch-port-mtu": on_node("SBV42", switch_mtu=1500),
    "link-mtu": link_mtu,
    "port-closed": on_pod("SBV50", closed=True),
    "tcp-filtered": tcp_filtered,
    "standby-probed": on_pod("SBV52", Role.STANDBY, advertised=True),
    "ca-not-exchanged": ca_not_exchanged,
    "ca-expired": ca_expired,
    "stranger": stranger,
    "stale-certificate": stale_certificate,
    "agent-down": on_node("SBV70", agent=False),
    "loss": on_node("SBV80", loss=0.3),
    "latency": on_node("SBV81", delay_us=20_000),
}
"""By name; each breaks one thing."""
