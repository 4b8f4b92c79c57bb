# SPDX-License-Identifier: Apache-2.0
"""
Everything that a verification run observes, as data.

A run writes it to a file, and a verdict can be had from the file at any time. None
always means "nobody looked", never "nothing there": a diagnosis must not be drawn from
what was not observed.
"""

import enum
from dataclasses import dataclass, field

from spanbridge.model.timeline import Migration


class Role(enum.StrEnum):
    """What a pod on the migration network is there for."""

    HANDLER = "virt-handler"
    LEADER = "sync-leader"
    STANDBY = "sync-standby"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """
    One pod on the migration network.

    Attributes:
        name: Unique in a run, as ``cluster/pod``.
        cluster: Name of its cluster.
        node: Name of its node, unique in the cluster.
        role: What it is there for.
        pod: Name of the pod.
        addresses: Global addresses of ``migration0`` in the kernel's order. KubeVirt takes
            the first. Source: KubeVirt 1.9 pkg/virt-handler/migration.go.
        pod_address: Address on the pod network, to which KubeVirt falls back silently.
        mac: Of ``migration0``; empty where there is no such device.
        mtu: Of ``migration0`` in bytes; 0 where there is no such device.
        advertised: For a standby: KubeVirt's status names its address, wrongly, to those
            who want to send it a migration.
        lease_s: Seconds until the DHCP lease ends, negative when it has ended; None
            without a lease.
    """

    name: str
    cluster: str
    node: str
    role: Role
    pod: str
    addresses: tuple[str, ...] = ()
    pod_address: str = ""
    mac: str = ""
    mtu: int = 0
    advertised: bool = False
    lease_s: int | None = None

    @property
    def site(self) -> str:
        """Its node, unique in a run, as ``cluster/node``."""
        return f"{self.cluster}/{self.node}"


@dataclass(frozen=True, slots=True)
class VlanSpan:
    """VLANs ``first`` to ``last`` that a port carries, both included."""

    first: int
    last: int

    def __contains__(self, vlan: int) -> bool:
        return self.first <= vlan <= self.last

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class Uplink:
    """
    The bridge's port towards the fabric.

    Attributes:
        name: Of the device.
        up: Administratively up, with a carrier.
        mtu: In bytes.
        vlans: What the bridge lets through it.
        stolen_by: VLAN devices on top of it that take the network's VLAN away from the
            bridge.
    """

    name: str
    up: bool
    mtu: int
    vlans: tuple[VlanSpan, ...] = ()
    stolen_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """
    What a node's own kernel says.

    Attributes:
        cluster: Name of the cluster.
        node: Name of the node.
        agent: Whether the node agent answers; None where none is meant to run.
        bridge: Name of the bridge; empty where nobody looked.
        bridge_up: Whether it is there and up.
        vlan_filtering: Whether it tells VLANs apart.
        bridge_mtu: In bytes.
        uplinks: Its ports that lead out of the node; empty means there is none.
    """

    cluster: str
    node: str
    agent: bool | None = None
    bridge: str = ""
    bridge_up: bool = True
    vlan_filtering: bool = True
    bridge_mtu: int = 0
    uplinks: tuple[Uplink, ...] = ()

    @property
    def site(self) -> str:
        """Unique in a run, as ``cluster/node``."""
        return f"{self.cluster}/{self.node}"


@dataclass(frozen=True, slots=True)
class Authority:
    """
    A cluster's certificate authority.

    Attributes:
        fingerprint: SHA-256 of its certificate, in hex.
        not_before: ISO 8601 in UTC; empty where unknown.
        not_after: The same.
    """

    fingerprint: str
    not_before: str = ""
    not_after: str = ""


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """
    What a cluster's API says.

    Attributes:
        name: Of the cluster.
        namespace: Where KubeVirt is installed.
        context: Of the kubeconfig; empty where there is no API.
        authority: Its own CA; None where nobody looked.
        trusted: Fingerprints in its trust bundle, its own among them; None where nobody
            looked.
    """

    name: str
    namespace: str = "kubevirt"
    context: str = ""
    authority: Authority | None = None
    trusted: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Remark:
    """
    What an object of a cluster's API says against migrations, or fails to say.

    Attributes:
        cluster: Whose object it is.
        subject: Kind and name, as ``Pod openshift-cnv/virt-handler-x7k2p``.
        what: What is wrong with it.
        pointer: JSON pointer to the field; empty where the object as a whole is meant.
        then: What happens in practice if it stays.
        remedy: Command or step that mends it.
        node: Node that it is about; empty where it is about the cluster.
        grave: Migrations fail because of it; else something was merely not understood.
    """

    cluster: str
    subject: str
    what: str
    pointer: str = ""
    then: str = ""
    remedy: str = ""
    node: str = ""
    grave: bool = False


@dataclass(frozen=True, slots=True)
class AddressRange:
    """Addresses ``first`` to ``last`` that a cluster may hand out, both included."""

    cluster: str
    first: str
    last: str


@dataclass(frozen=True, slots=True)
class Expectations:
    """
    What the network was meant to be.

    Attributes:
        network: Its name.
        interface: Name of the pods' device on it. Source: KubeVirt 1.9, types.go.
        vlan: 802.1Q id; 0 for an untagged network.
        mtu: Bytes of the largest IP packet; 0 for whatever the pods have.
        subnets: Networks in CIDR notation.
        gateways: Addresses of routers; nobody else may answer for them.
        ranges: What each cluster hands out; empty where it was not planned.
    """

    network: str = "migration"
    interface: str = "migration0"
    vlan: int = 0
    mtu: int = 0
    subnets: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    ranges: tuple[AddressRange, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """
    What the source's kernel would do with a packet to the target.

    Attributes:
        device: Through which it leaves; empty where there is no route.
        source: Source address it would carry.
        next_hop: Router; empty on the same link.
    """

    device: str
    source: str = ""
    next_hop: str = ""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """
    Answers to ARP or neighbour solicitation for the target's address.

    Attributes:
        asked: Questions sent.
        macs: Everybody who answered, in order, each once.
        heard: Questions that arrived at the target; None where nobody listened there.
    """

    asked: int
    macs: tuple[str, ...] = ()
    heard: int | None = None


@dataclass(frozen=True, slots=True)
class Echo:
    """
    Answers to ICMP echo requests.

    Attributes:
        sent: Requests.
        rtt_us: Round-trip times in microseconds, one for each answered request.
        duplicates: Answers beyond the first to one request.
        heard: Requests that arrived at the target; None where nobody listened there.
    """

    sent: int
    rtt_us: tuple[int, ...] = ()
    duplicates: int = 0
    heard: int | None = None

    @property
    def received(self) -> int:
        """Answered requests."""
        return len(self.rtt_us)

    @property
    def lost(self) -> int:
        """Unanswered requests."""
        return self.sent - self.received


@dataclass(frozen=True, slots=True)
class PathMtu:
    """
    The largest IP packet that was answered whole.

    Attributes:
        tried: The largest that was sent, "don't fragment" set.
        passed: The largest that was answered; 0 for none.
    """

    tried: int
    passed: int


class Connection(enum.StrEnum):
    """What became of an attempt to connect by TCP."""

    OK = "ok"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    ERROR = "error"


class Handshake(enum.StrEnum):
    """What became of a TLS handshake."""

    OK = "ok"
    UNKNOWN_AUTHORITY = "unknown-authority"
    """We do not trust the server's CA."""
    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    REJECTED = "rejected"
    """The server does not trust our certificate."""
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Tls:
    """
    A TLS handshake.

    Attributes:
        result: What became of it.
        issuer: SHA-256 of the certificate that signed the server's, in hex.
        error: What the TLS library said.
    """

    result: Handshake
    issuer: str = ""
    error: str = ""

    @property
    def trusted(self) -> bool:
        """Whether the chain was fine."""
        return self.result is Handshake.OK


@dataclass(frozen=True, slots=True)
class Dial:
    """
    One attempt to connect to a port of the target.

    Attributes:
        port: 8443 of a virt-handler, 9185 of a sync leader.
        result: What became of it.
        tls: The handshake; None where it did not come to that.
        error: What the kernel said.
    """

    port: int
    result: Connection
    tls: Tls | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Throughput:
    """Bits per second, measured for ``seconds``."""

    bits_per_s: int
    seconds: float


@dataclass(frozen=True, slots=True)
class PairProbe:
    """
    What one endpoint saw of another.

    Attributes:
        source: Name of the asking endpoint.
        target: Name of the asked one.
        address: The address that was asked; empty where the two have no family in common.
        route: Route lookup.
        neighbour: Who answered ARP or neighbour solicitation.
        echo: ICMP echo.
        path_mtu: Path MTU; None where echo got no answer.
        dials: TCP and TLS.
        throughput: Only where it was asked for.
        error: Why nothing could be measured; empty where something was.
    """

    source: str
    target: str
    address: str = ""
    route: Route | None = None
    neighbour: Neighbour | None = None
    echo: Echo | None = None
    path_mtu: PathMtu | None = None
    dials: tuple[Dial, ...] = ()
    throughput: Throughput | None = None
    error: str = ""

    @property
    def pair(self) -> tuple[str, str]:
        """Source and target."""
        return self.source, self.target


@dataclass(frozen=True, slots=True)
class Claim:
    """
    Who answers for an address that is not a peer's: the gateway's, or the asker's own.

    Attributes:
        asker: Name of the endpoint that asked.
        address: Asked for.
        macs: Everybody who answered, each once. For its own address, nobody must.
    """

    asker: str
    address: str
    macs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stray:
    """
    Frames of the migration network where they must not be.

    Attributes:
        cluster: Where they were seen.
        node: The same.
        device: The device that carried them, of the node or of the pod.
        frames: How many.
        vlan: The tag they had; 0 for none.
        example: One of them, as ``10.88.0.14 > 10.88.0.20``.
    """

    cluster: str
    node: str
    device: str
    frames: int
    vlan: int = 0
    example: str = ""

    @property
    def site(self) -> str:
        """Unique in a run, as ``cluster/node``."""
        return f"{self.cluster}/{self.node}"


@dataclass(frozen=True, slots=True)
class Observations:
    """
    One verification run.

    Attributes:
        taken_at: ISO 8601 in UTC.
        expected: What the network was meant to be.
        clusters: In the order shown.
        endpoints: In the order shown.
        nodes: What each node says; a node may be missing.
        probes: One for each pair that was tried.
        claims: Who answers for gateways and for the askers' own addresses.
        strays: Frames where they must not be.
        sampled_from: Ordered pairs there would be; equal to ``len(probes)`` where all
            were tried.
        migrations: Live migrations watched in the same run.
        remarks: What objects of the clusters' APIs say besides.
        measured: Whether pairs were to be probed; else only objects were read.
    """

    taken_at: str
    expected: Expectations = field(default=Expectations())
    clusters: tuple[ClusterFacts, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    nodes: tuple[NodeFacts, ...] = ()
    probes: tuple[PairProbe, ...] = ()
    claims: tuple[Claim, ...] = ()
    strays: tuple[Stray, ...] = ()
    sampled_from: int = 0
    migrations: tuple[Migration, ...] = ()
    remarks: tuple[Remark, ...] = ()
    measured: bool = True
