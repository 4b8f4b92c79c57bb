# SPDX-License-Identifier: Apache-2.0
"""What is proved of leases, of an agent's end, and of the gateway's address, as data."""

from dataclasses import dataclass

from spanbridge.lab.topology import AddressRange


@dataclass(frozen=True, slots=True)
class Leased:
    """
    Whether a virt-handler's address is one that the DHCP server gave to it.

    Attributes:
        node: Name of its node.
        address: On ``migration0``; empty for none.
        mac: Of ``migration0``.
        by_server: What the server's lease file has for that MAC; empty for nothing.
    """

    node: str
    address: str
    mac: str
    by_server: str

    @property
    def right(self) -> bool:
        """Whether both say the same."""
        return bool(self.address) and self.address == self.by_server


@dataclass(frozen=True, slots=True)
class LeaseProof:
    """
    Every virt-handler's address, and who gave it.

    Attributes:
        server: Address of the DHCP server.
        pool: What it hands out.
        leased: One for each virt-handler.
    """

    server: str
    pool: AddressRange
    leased: tuple[Leased, ...]

    @property
    def right(self) -> int:
        """Count the addresses that the server gave."""
        return sum(each.right for each in self.leased)

    @property
    def passed(self) -> bool:
        """Whether it gave all of them, each once."""
        addresses = {each.address for each in self.leased}
        return self.right == len(self.leased) == len(addresses)


@dataclass(frozen=True, slots=True)
class Restart:
    """
    An agent that was killed, and its successor that renewed the lease.

    Attributes:
        node: Name of its node.
        address: Of the node's virt-handler, before.
        after: The same, after.
        killed: Process id of the agent that got SIGKILL.
        started: Process id of its successor.
        renewal: What the DHCP server logged of the renewal.
    """

    node: str
    address: str
    after: str
    killed: int
    started: int
    renewal: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether the lease lives on: renewed, with the same address."""
        acknowledged = any(line.startswith("DHCPACK(") for line in self.renewal)
        return acknowledged and bool(self.address) and self.address == self.after


@dataclass(frozen=True, slots=True)
class PodGateway:
    """
    Who answers a virt-handler for the gateway's address.

    Attributes:
        node: Name of its node.
        expected: MAC of the node's own gateway; empty where it has none.
        answers: MACs that answered.
    """

    node: str
    expected: str
    answers: tuple[str, ...]

    @property
    def right(self) -> bool:
        """Whether its own node answers, and nobody else."""
        return bool(self.expected) and self.answers == (self.expected,)


@dataclass(frozen=True, slots=True)
class GatewayProof:
    """
    That the gateway's address is on every node and leaves none.

    Attributes:
        address: The gateway's.
        asked: ARP probes for it from the DHCP server's place on the fabric.
        answers: MACs that answered them; must be none.
        control: Whether a virt-handler, asked in the same way, did answer.
        pods: One for each virt-handler.
        leaked: ARP frames that name the address and left a node through its uplink.
    """

    address: str
    asked: int
    answers: tuple[str, ...]
    control: bool
    pods: tuple[PodGateway, ...]
    leaked: int

    @property
    def at_home(self) -> bool:
        """Whether every pod is answered by its own node alone."""
        return all(pod.right for pod in self.pods)

    @property
    def kept(self) -> bool:
        """Whether nobody on the fabric sees the address."""
        return self.control and not self.answers and not self.leaked

    @property
    def passed(self) -> bool:
        """Whether both are so."""
        return self.at_home and self.kept


def render_leases(proof: LeaseProof) -> dict[str, object]:
    """Make a JSON object."""
    return {
        "server": proof.server,
        "pool": [str(proof.pool.first), str(proof.pool.last)],
        "passed": proof.passed,
        "leased": [
            {
                "node": each.node,
                "address": each.address,
                "mac": each.mac,
                "by_server": each.by_server,
            }
            for each in proof.leased
        ],
    }


def render_gateway(proof: GatewayProof) -> dict[str, object]:
    """Make a JSON object."""
    return {
        "address": proof.address,
        "passed": proof.passed,
        "asked_from_fabric": proof.asked,
        "answers_to_fabric": list(proof.answers),
        "control_answered": proof.control,
        "leaked_frames": proof.leaked,
        "pods": [
            {"node": pod.node, "expected": pod.expected, "answers": list(pod.answers)}
            for pod in proof.pods
        ],
    }
