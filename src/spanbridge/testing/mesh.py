# SPDX-License-Identifier: Apache-2.0
"""
A mesh that exists in memory only, and a prober for it.

Frames are forwarded as bridges, uplinks, switch ports and filters of the model say; a
test breaks one of them and looks at what a verification makes of the observations.
Nothing of the verifier is used to make them.
"""

import dataclasses
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from spanbridge.model.observations import (
    Authority,
    Claim,
    ClusterFacts,
    Connection,
    Dial,
    Echo,
    Endpoint,
    Expectations,
    Handshake,
    Neighbour,
    NodeFacts,
    PairProbe,
    PathMtu,
    Role,
    Route,
    Stray,
    Tls,
    Uplink,
    VlanSpan,
)
from spanbridge.stretch.observing import Survey

NATIVE: Final = 1
GATEWAY: Final = "10.88.0.1"
GATEWAY_MAC: Final = "02:00:00:00:ff:01"
PORTS: Final = {Role.HANDLER: 8443, Role.LEADER: 9185, Role.STANDBY: 9185}
_ECHOES: Final = 20
_SMALL: Final = 98
"""Bytes of an echo request as ping sends it."""


@dataclass(slots=True)
class ModelNode:
    """
    One node, as it really is.

    Attributes:
        cluster: Name of its cluster.
        name: Its own name.
        tells: Whether its kernel can be asked; a verifier may have to do without.
        agent: Whether its agent answers.
        bridge_up: Whether the bridge is up.
        filtering: Whether the bridge tells VLANs apart.
        bridge_mtu: In bytes.
        uplink: Whether the bridge has one.
        uplink_up: Whether it has a carrier.
        uplink_mtu: In bytes.
        uplink_vlans: What the bridge lets through it.
        stolen: Whether a VLAN device on the uplink takes the frames that come in.
        switch_mtu: Of the switch port that the node is connected to.
        switch_open: Whether that port carries the VLAN.
        gateway: Whether its bridge answers everybody for the gateway's address.
        loss: Share of frames that it loses.
        delay_us: Added to each frame.
    """

    cluster: str
    name: str
    tells: bool = True
    agent: bool = True
    bridge_up: bool = True
    filtering: bool = True
    bridge_mtu: int = 9000
    uplink: bool = True
    uplink_up: bool = True
    uplink_mtu: int = 9000
    uplink_vlans: set[int] = field(default_factory=lambda: {NATIVE, 2})
    stolen: bool = False
    switch_mtu: int = 9000
    switch_open: bool = True
    gateway: bool = False
    loss: float = 0.0
    delay_us: int = 0

    @property
    def site(self) -> str:
        """Unique in the mesh."""
        return f"{self.cluster}/{self.name}"


@dataclass(slots=True)
class ModelPod:
    """
    One pod, as it really is.

    Attributes:
        name: As ``cluster/pod``.
        site: Its node.
        role: What it is there for.
        addresses: Of ``migration0``.
        mac: Empty where it has no such device.
        mtu: 0 where it has no such device.
        lease_s: Until its lease ends.
        routed_by: Device by which it sends to other clusters.
        closed: Whether it listens on no port.
        advertised: As `Endpoint` says.
        known: Whether it belongs to a cluster; a stranger has an address, and no more.
        certificate: As a server: ``ok``, or what a client finds wrong with it.
    """

    name: str
    site: str
    role: Role
    addresses: tuple[str, ...]
    mac: str
    mtu: int = 9000
    lease_s: int | None = 3600
    routed_by: str = "migration0"
    closed: bool = False
    advertised: bool = False
    known: bool = True
    certificate: Handshake = Handshake.OK

    @property
    def cluster(self) -> str:
        """Name of its cluster."""
        return self.site.partition("/")[0]


@dataclass(slots=True)
class Mesh:
    """
    Everything that there really is.

    Attributes:
        nodes: By site.
        pods: By name.
        trusts: Clusters whose authority each cluster trusts, by cluster.
        cut: Ordered pairs of clusters between which nothing passes.
        link_mtu: Bytes that pass between two clusters, in the order of their names.
        filters: Ordered pairs of sites; nothing passes from the first to the second.
        no_new: The same, but answers pass.
        no_tcp: Ordered pairs of clusters between which TCP is dropped.
        expired: Clusters whose certificates have expired.
        listens: Whether somebody counts what arrives at targets.
        vlan: Of the network.
        mtu: That it was meant to have.
        chance: Of lost echoes and of round-trip times.
        noise: Share of pairs that lose one echo by chance.
    """

    nodes: dict[str, ModelNode]
    pods: dict[str, ModelPod]
    trusts: dict[str, set[str]]
    cut: set[tuple[str, str]] = field(default_factory=set)
    link_mtu: dict[tuple[str, str], int] = field(default_factory=dict)
    filters: set[tuple[str, str]] = field(default_factory=set)
    no_new: set[tuple[str, str]] = field(default_factory=set)
    no_tcp: set[tuple[str, str]] = field(default_factory=set)
    expired: set[str] = field(default_factory=set)
    listens: bool = True
    vlan: int = 2
    mtu: int = 9000
    chance: random.Random = field(default_factory=lambda: random.Random(0))  # noqa: S311  # a model
    noise: float = 0.0
    untagged: dict[str, int] = field(default_factory=dict)

    @property
    def clusters(self) -> list[str]:
        """Names, in order."""
        return list(self.trusts)

    @property
    def expected(self) -> Expectations:
        """What the intent would say."""
        return Expectations(
            "bridge-net", "migration0", self.vlan, self.mtu, ("10.88.0.0/16",), (GATEWAY,)
        )


def build_mesh(sizes: dict[str, int], *, sync: bool = True, seed: int = 0) -> Mesh:
    """
    Build a mesh in which all is well.

    Args:
        sizes: Nodes of each cluster.
        sync: Whether each cluster has a sync leader and a standby.
        seed: Of chance.
    """
    nodes, pods = {}, {}
    for at, (cluster, size) in enumerate(sizes.items(), start=1):
        for number in range(1, size + 1):
            node = ModelNode(cluster, f"{cluster}-{number}")
            nodes[node.site] = node
            name = f"{cluster}/virt-handler-{number}"
            pods[name] = _pod(name, node, Role.HANDLER, at * 256 + 10 + number)
        roles = (Role.LEADER, Role.STANDBY) if sync else ()
        for number, role in enumerate(roles):
            site = f"{cluster}/{cluster}-{1 + number % size}"
            name = f"{cluster}/virt-synchronization-controller-{'ab'[number]}"
            pods[name] = _pod(name, nodes[site], role, at * 256 + 200 + number)
    trusts = {cluster: set(sizes) for cluster in sizes}
    return Mesh(nodes, pods, trusts, chance=random.Random(seed))  # noqa: S311  # a model


def _pod(name: str, node: ModelNode, role: Role, number: int) -> ModelPod:
    address = f"10.88.{number // 256}.{number % 256}"
    mac = f"02:00:00:00:{number // 256:02x}:{number % 256:02x}"
    return ModelPod(name, node.site, role, (address,), mac)


def carries(mesh: Mesh, source: str, target: str, size: int = _SMALL) -> bool:
    """Tell whether a frame passes from the pods of one node to the pods of another."""
    if not mesh.nodes[source].bridge_up:
        return False
    if source == target:
        return True
    if (source, target) in mesh.filters:
        return False
    tag = _leaves(mesh, mesh.nodes[source], size)
    return (
        tag is not None
        and _crosses(mesh, source, target, size)
        and _enters(mesh.nodes[target], tag, size)
    )


def _leaves(mesh: Mesh, node: ModelNode, size: int) -> int | None:
    """Send a frame out of a node; gives its tag on the wire, 0 for none, or None."""
    fits = size <= min(node.bridge_mtu, node.uplink_mtu, node.switch_mtu)
    if not (node.uplink and node.uplink_up and fits):
        return None
    if not node.filtering:
        mesh.untagged[node.site] = mesh.untagged.get(node.site, 0) + 1
        return 0
    if mesh.vlan not in node.uplink_vlans or not node.switch_open:
        return None
    return mesh.vlan


def _crosses(mesh: Mesh, source: str, target: str, size: int) -> bool:
    a, b = mesh.nodes[source].cluster, mesh.nodes[target].cluster
    first, second = sorted((a, b))
    return (a, b) not in mesh.cut and size <= mesh.link_mtu.get((first, second), 9000)


def _enters(node: ModelNode, tag: int, size: int) -> bool:
    """Take a frame into a node; untagged ones belong to the native VLAN there."""
    fits = size <= min(node.bridge_mtu, node.uplink_mtu, node.switch_mtu)
    if not (node.bridge_up and node.uplink and node.uplink_up and fits):
        return False
    if tag == 0:
        return not node.filtering
    open_ = node.switch_open and not node.stolen
    return open_ and node.filtering and tag in node.uplink_vlans


class MeshProber:
    """A prober, as `spanbridge.stretch.observing` wants it, for a mesh."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh

    async def survey(self) -> Survey:
        """Tell what pods, nodes and clusters say of themselves."""
        mesh = self._mesh
        return Survey(
            tuple(self._cluster(name) for name in mesh.clusters),
            tuple(_endpoint(pod) for pod in mesh.pods.values() if pod.known),
            tuple(_facts(mesh, node) for node in mesh.nodes.values() if node.tells),
        )

    def _cluster(self, name: str) -> ClusterFacts:
        until = "2026-01-01T00:00:00Z" if name in self._mesh.expired else "2027-01-01T00:00:00Z"
        return ClusterFacts(
            name,
            "openshift-cnv",
            name,
            Authority(_fingerprint(name), "2025-01-01T00:00:00Z", until),
            tuple(_fingerprint(each) for each in sorted(self._mesh.trusts[name])),
        )

    async def listen(self) -> None:
        """Forget what was heard so far."""
        self._mesh.untagged.clear()

    async def probe(self, source: Endpoint, target: Endpoint) -> PairProbe:
        """Measure a pair as a prober in the source's namespace would."""
        here, there = self._mesh.pods[source.name], self._mesh.pods[target.name]
        if not self._mesh.nodes[here.site].agent:
            return PairProbe(source.name, target.name, error="the agent does not answer")
        address = _common(here, there)
        if not address:
            return PairProbe(source.name, target.name)
        device = here.routed_by if here.cluster != there.cluster else "migration0"
        if device != "migration0":
            route = Route(device, "10.128.0.9", "10.128.0.1")
            return PairProbe(source.name, target.name, address, route, echo=Echo(_ECHOES))
        return self._on_link(here, there, address)

    def _on_link(self, here: ModelPod, there: ModelPod, address: str) -> PairProbe:
        neighbour, answerer = self._neighbour(here, there, address)
        probe = PairProbe(
            here.name, there.name, address, Route("migration0", here.addresses[0]), neighbour
        )
        if answerer is None:
            return dataclasses.replace(probe, echo=Echo(_ECHOES))
        echo = self._echo(here, there, answerer)
        if not echo.received:
            return dataclasses.replace(probe, echo=echo)
        return dataclasses.replace(
            probe,
            echo=echo,
            path_mtu=self._path_mtu(here, answerer),
            dials=(self._dial(here, answerer),),
        )

    def _neighbour(
        self, here: ModelPod, there: ModelPod, address: str
    ) -> tuple[Neighbour, ModelPod | None]:
        """Ask by ARP; gives who the source will send to: the first to answer, by chance."""
        mesh = self._mesh
        asked = [
            pod
            for pod in mesh.pods.values()
            if pod is not here and address in pod.addresses and carries(mesh, here.site, pod.site)
        ]
        answers = [pod for pod in asked if carries(mesh, pod.site, here.site)]
        mesh.chance.shuffle(answers)
        heard = (3 if there in asked else 0) if mesh.listens else None
        macs = tuple(pod.mac for pod in answers)
        return Neighbour(3, macs, heard), answers[0] if answers else None

    def _echo(self, here: ModelPod, there: ModelPod, answerer: ModelPod) -> Echo:
        mesh = self._mesh
        if answerer.routed_by != "migration0" and here.cluster != answerer.cluster:
            # What comes in is answered by another way, which does not lead here.
            return Echo(_ECHOES, heard=_ECHOES if mesh.listens else None)
        if (here.site, answerer.site) in mesh.no_new:
            return Echo(_ECHOES, heard=0 if mesh.listens else None)
        nodes = (mesh.nodes[here.site], mesh.nodes[answerer.site])
        loss = 1 - (1 - nodes[0].loss) * (1 - nodes[1].loss)
        delay_us = 2 * sum(node.delay_us for node in nodes)
        base_us = 150 if here.cluster == answerer.cluster else 900
        rtt_us = [
            base_us + delay_us + mesh.chance.randrange(base_us)
            for _ in range(_ECHOES)
            if mesh.chance.random() >= loss
        ]
        if mesh.chance.random() < mesh.noise and len(rtt_us) == _ECHOES:
            rtt_us.pop()
        heard = (_ECHOES if answerer is there else 0) if mesh.listens else None
        return Echo(_ECHOES, tuple(rtt_us), heard=heard)

    def _path_mtu(self, here: ModelPod, there: ModelPod) -> PathMtu:
        mesh, ends = self._mesh, min(here.mtu, there.mtu)
        sizes = sorted({size for size in (1280, 1400, 1500, 4000, mesh.mtu) if size <= mesh.mtu})
        passed = [
            size
            for size in sizes
            if size <= ends
            and carries(mesh, here.site, there.site, size)
            and carries(mesh, there.site, here.site, size)
        ]
        return PathMtu(mesh.mtu, max(passed, default=0))

    def _dial(self, here: ModelPod, there: ModelPod) -> Dial:
        port = PORTS[there.role]
        if (here.cluster, there.cluster) in self._mesh.no_tcp:
            return Dial(port, Connection.TIMEOUT, error="timed out")
        if there.closed or there.role is Role.STANDBY:
            return Dial(port, Connection.REFUSED, error="connection refused")
        return Dial(port, Connection.OK, self._handshake(here, there))

    def _handshake(self, here: ModelPod, there: ModelPod) -> Tls:
        issuer = _fingerprint(there.cluster)
        if there.cluster in self._mesh.expired:
            return Tls(Handshake.EXPIRED, issuer, "certificate has expired")
        if here.cluster in self._mesh.expired:
            return Tls(Handshake.REJECTED, issuer, "sslv3 alert certificate expired")
        if there.certificate is not Handshake.OK:
            return Tls(there.certificate, "dead" * 16, "as the model says")
        if there.cluster not in self._mesh.trusts[here.cluster]:
            return Tls(Handshake.UNKNOWN_AUTHORITY, issuer, "unable to get issuer certificate")
        if here.cluster not in self._mesh.trusts[there.cluster]:
            return Tls(Handshake.REJECTED, issuer, "alert unknown ca")
        return Tls(Handshake.OK, issuer)

    async def claims(self, asker: Endpoint, gateways: tuple[str, ...]) -> tuple[Claim, ...]:
        """Ask for gateways, and for the asker's own addresses."""
        mesh, here = self._mesh, self._mesh.pods[asker.name]
        if not mesh.nodes[here.site].agent:
            return ()
        own = tuple(Claim(here.name, each, self._holders(here, each)) for each in here.addresses)
        routers = [GATEWAY_MAC, *self._gateway_nodes(here)]
        return own + tuple(
            Claim(here.name, each, (*routers, *self._holders(here, each))) for each in gateways
        )

    def _holders(self, here: ModelPod, address: str) -> tuple[str, ...]:
        mesh = self._mesh
        return tuple(
            pod.mac
            for pod in mesh.pods.values()
            if pod is not here
            and address in pod.addresses
            and carries(mesh, here.site, pod.site)
            and carries(mesh, pod.site, here.site)
        )

    def _gateway_nodes(self, here: ModelPod) -> Iterator[str]:
        mesh = self._mesh
        for at, node in enumerate(mesh.nodes.values(), start=1):
            if node.gateway and carries(mesh, here.site, node.site):
                yield f"02:00:00:00:fe:{at:02x}"

    async def strays(self) -> tuple[Stray, ...]:
        """Tell which frames left a node without a tag."""
        mesh = self._mesh
        return tuple(
            Stray(
                node.cluster, node.name, "eth1", mesh.untagged[site], 0, "10.88.1.11 > 10.88.2.11"
            )
            for site, node in mesh.nodes.items()
            if mesh.listens and mesh.untagged.get(site)
        )


def _common(here: ModelPod, there: ModelPod) -> str:
    """Choose the target's address in a family that both have."""
    families = {":" in each for each in here.addresses}
    return next((each for each in there.addresses[:1] if (":" in each) in families), "")


def _fingerprint(cluster: str) -> str:
    return (cluster.encode().hex() * 64)[:64]


def _endpoint(pod: ModelPod) -> Endpoint:
    return Endpoint(
        name=pod.name,
        cluster=pod.cluster,
        node=pod.site.partition("/")[2],
        role=pod.role,
        pod=pod.name.partition("/")[2],
        addresses=pod.addresses,
        pod_address="10.128.0.9",
        mac=pod.mac,
        mtu=pod.mtu,
        advertised=pod.advertised,
        lease_s=pod.lease_s,
    )


def _facts(mesh: Mesh, node: ModelNode) -> NodeFacts:
    """Tell what the node's kernel says; the switch is not asked."""
    spans = tuple(VlanSpan(vlan, vlan) for vlan in sorted(node.uplink_vlans))
    stolen = (f"eth1.{mesh.vlan}",) if node.stolen else ()
    uplink = Uplink("eth1", node.uplink_up, node.uplink_mtu, spans, stolen)
    return NodeFacts(
        cluster=node.cluster,
        node=node.name,
        agent=node.agent,
        bridge="br-mig",
        bridge_up=node.bridge_up,
        vlan_filtering=node.filtering,
        bridge_mtu=node.bridge_mtu,
        uplinks=(uplink,) if node.uplink else (),
    )
