# SPDX-License-Identifier: Apache-2.0
"""
Who answers for the gateway's address: from the fabric nobody, in each pod its own node.

``isGateway`` puts the same address on every node. All nodes share the VLAN, so an
answer that leaves a node would send a pod's traffic, or a router's, to the wrong one.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from spanbridge.base.names import IfName
from spanbridge.lab.arp import ArpSettings, count_naming, open_arp_socket, who_has
from spanbridge.lab.parallel import on_each
from spanbridge.lab.proofs import GatewayProof, PodGateway
from spanbridge.lab.topology import DHCP_LINK, DHCP_NETNS, NODE_BRIDGE, POD_INTERFACE, Lab, Node
from spanbridge.probing.capture import Recording
from spanbridge.rtnl import NetNs, Rtnl

_SETTINGS: Final = ArpSettings()


@dataclass(frozen=True, slots=True)
class _Question:
    """Where to ask, and for what."""

    netns: str
    interface: IfName
    addresses: tuple[str, ...]


def measure_gateway(lab: Lab, handler: str) -> GatewayProof:
    """
    Ask for the gateway's address from the DHCP server's place and from every pod, at once.

    Args:
        lab: With a DHCP server.
        handler: Address of a virt-handler: proves that an answer would have been heard.

    Returns:
        The proof, still without the frames that left a node.
    """
    gateway = str(lab.gateway)
    outside = _Question(DHCP_NETNS, DHCP_LINK, (gateway, handler))
    inside = [_Question(node.handler.netns, POD_INTERFACE, (gateway,)) for node in lab.nodes]
    on_fabric, *in_pods = on_each(_ask, [outside, *inside])
    pods = tuple(
        PodGateway(node.name, _gateway_mac(lab, node), answers[gateway])
        for node, answers in zip(lab.nodes, in_pods, strict=True)
    )
    return GatewayProof(
        address=gateway,
        asked=_SETTINGS.probes,
        answers=on_fabric[gateway],
        control=bool(on_fabric[handler]),
        pods=pods,
        leaked=0,
    )


def count_leaked(recordings: Collection[Recording], address: str) -> int:
    """Count what came from the nodes to the fabric's ports and names ``address``."""
    return sum(count_naming(recording.frames, address) for recording in recordings)


def _ask(question: _Question) -> dict[str, tuple[str, ...]]:
    with (
        NetNs.open(question.netns) as netns,
        netns.run(lambda: open_arp_socket(question.interface)) as sock,
    ):
        return who_has(sock, question.addresses, _SETTINGS)


def _gateway_mac(lab: Lab, node: Node) -> str:
    """Read the MAC of the interface that has the gateway's address on a node."""
    with NetNs.open(node.netns) as netns, Rtnl.open(netns) as rtnl:
        link = rtnl.link(IfName(f"{NODE_BRIDGE}.{lab.vlan}"))
    return link.mac if link is not None else ""
