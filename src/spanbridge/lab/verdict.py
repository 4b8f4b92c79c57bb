# SPDX-License-Identifier: Apache-2.0
"""What `lab verify` found, as data, and whether that is what must be."""

from dataclasses import dataclass

from spanbridge.lab.ping import PingResult
from spanbridge.lab.proofs import (
    GatewayProof,
    LeaseProof,
    Restart,
    render_gateway,
    render_leases,
)
from spanbridge.probing.capture import TagCount


@dataclass(frozen=True, slots=True)
class Pair:
    """
    One virt-handler asking another.

    Attributes:
        source: Name of the asking node.
        target: Name of the asked node.
        ping: What came back.
    """

    source: str
    target: str
    ping: PingResult

    @property
    def reachable(self) -> bool:
        """Whether at least one echo was answered."""
        return self.ping.received > 0


@dataclass(frozen=True, slots=True)
class Trunk:
    """
    What passed the fabric's port to one node while the pairs were measured.

    Attributes:
        node: Name of the node behind the port.
        count: Frames by VLAN.
        expected: Echoes and answers that must have passed here; other frames come on top.
    """

    node: str
    count: TagCount
    expected: int

    def proves(self, vlan: int) -> bool:
        """Whether everything that must have passed did, in ``vlan``, and nothing else."""
        count = self.count
        strangers = count.untagged or count.others(vlan) or count.missed
        return not strangers and count.tagged(vlan) >= self.expected


@dataclass(frozen=True, slots=True)
class Isolation:
    """
    The negative proof: a pod on the same bridge, attached without the VLAN.

    Attributes:
        node: Where it ran.
        network: The network without a VLAN.
        address: Its address, of the same subnet.
        pings: What every virt-handler answered; must be nothing.
    """

    node: str
    network: str
    address: str
    pings: tuple[PingResult, ...]

    @property
    def reached(self) -> int:
        """Virt-handlers that answered."""
        return sum(ping.received > 0 for ping in self.pings)


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    Everything that was measured.

    Attributes:
        vlan: VLAN of the migration network.
        nodes: Names in the order shown.
        addresses: Address of each node's virt-handler; empty where it has none.
        pairs: Every ordered pair, source by source.
        trunks: One for each node.
        isolation: The negative proof.
        faults: What the program's own CHECK found different from what ADD promised.
        leases: Who gave the addresses; None without a DHCP server.
        gateway: Who answers for the gateway's address; None where no node has it.
        restart: An agent that was killed; None where none was.
    """

    vlan: int
    nodes: tuple[str, ...]
    addresses: dict[str, str]
    pairs: tuple[Pair, ...]
    trunks: tuple[Trunk, ...]
    isolation: Isolation
    faults: tuple[str, ...] = ()
    leases: LeaseProof | None = None
    gateway: GatewayProof | None = None
    restart: Restart | None = None

    @property
    def reachable(self) -> int:
        """Pairs that reach each other."""
        return sum(pair.reachable for pair in self.pairs)

    @property
    def duplicates(self) -> int:
        """Answers beyond the first to one question, over all pairs."""
        return sum(pair.ping.duplicates for pair in self.pairs)

    @property
    def connected(self) -> bool:
        """Whether every pair reaches each other and nobody answers twice."""
        return self.reachable == len(self.pairs) and not self.duplicates

    @property
    def tagged(self) -> bool:
        """Whether every trunk carried the VLAN and nothing else."""
        return all(trunk.proves(self.vlan) for trunk in self.trunks)

    @property
    def isolated(self) -> bool:
        """Whether the pod without the VLAN reached nobody."""
        return self.isolation.reached == 0

    @property
    def passed(self) -> bool:
        """Whether all is as it must be."""
        further = (self.leases, self.gateway, self.restart)
        return (
            self.connected
            and self.tagged
            and self.isolated
            and not self.faults
            and all(proof is None or proof.passed for proof in further)
        )

    @property
    def witness(self) -> Trunk:
        """Choose the trunk to show: the first that proves nothing, else one in the middle."""
        bad = (trunk for trunk in self.trunks if not trunk.proves(self.vlan))
        return next(bad, self.trunks[len(self.trunks) // 2])


def render_verdict(verdict: Verdict) -> dict[str, object]:
    """Make the JSON document of `lab verify`; times in milliseconds, loss 0 to 1."""
    isolation = verdict.isolation
    return {
        "passed": verdict.passed,
        "vlan": verdict.vlan,
        "reachable": verdict.reachable,
        "pairs": [
            {"source": pair.source, "target": pair.target, **_render_ping(pair.ping)}
            for pair in verdict.pairs
        ],
        "trunks": [
            {
                "node": trunk.node,
                "proves_vlan": trunk.proves(verdict.vlan),
                "tagged": trunk.count.tagged(verdict.vlan),
                "untagged": trunk.count.untagged,
                "other_vlans": trunk.count.others(verdict.vlan),
                "missed": trunk.count.missed,
                "expected_at_least": trunk.expected,
            }
            for trunk in verdict.trunks
        ],
        "isolation": {
            "node": isolation.node,
            "network": isolation.network,
            "address": isolation.address,
            "tried": len(isolation.pings),
            "reached": isolation.reached,
        },
        "check_faults": list(verdict.faults),
        "leases": render_leases(verdict.leases) if verdict.leases else None,
        "gateway": render_gateway(verdict.gateway) if verdict.gateway else None,
    }


def _render_ping(ping: PingResult) -> dict[str, object]:
    return {
        "address": ping.target,
        "sent": ping.sent,
        "received": ping.received,
        "loss": round(ping.loss, 3),
        "rtt_min_ms": _rounded(ping.rtt_min_ms),
        "rtt_median_ms": _rounded(ping.rtt_median_ms),
        "duplicates": ping.duplicates,
    }


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 3)
