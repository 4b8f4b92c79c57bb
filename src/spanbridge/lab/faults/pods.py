# SPDX-License-Identifier: Apache-2.0
"""Faults of pods: their device, their addresses, their routes."""

from typing import Final

from spanbridge.base.errors import InputError, NodeError
from spanbridge.lab.faults.looking import (
    bring_back_addresses,
    fabric_filters,
    lab_addresses,
    link,
    pod_addresses,
    restored_mtu,
    smaller_mtu,
    take_addresses,
)
from spanbridge.lab.faults.recipes import Kind, Recipe, Scene, Step, sh
from spanbridge.lab.topology import (
    FABRIC_BRIDGE,
    FABRIC_NETNS,
    NETNS_PREFIX,
    POD_INTERFACE,
    Node,
)

_GONE: Final = ("Cannot find device", "Cannot assign requested address", "address not found")
_STRANGER: Final = "stranger"
_POD_NETWORK: Final = ("10.244.0.2/24", "10.244.0.1")
"""Address of the pod on its first network, and the router there; the lab has no such network."""


def _device_words(node: Node) -> str:
    return f"{POD_INTERFACE} on {node.name}"


def _agent(node: Node, what: str, said: str) -> Step:
    return Step(Kind.AGENT, node.name, (what,), said=said)


def kill_agent(node: Node) -> Step:
    """Make the step that ends a node's agent."""
    return _agent(node, "kill", "systemctl kill --signal KILL spanbridge-agent")


def start_agent(node: Node) -> Step:
    """Make the step that starts it, where it does not run."""
    return _agent(node, "start", "systemctl start spanbridge-agent")


def no_migration0(scene: Scene) -> Recipe:
    """Take the pod off the network."""
    node, pod = scene.node, scene.pod
    return Recipe(
        make=(Step(Kind.POD, node.name, ("detach",), said=f"CNI DEL for {pod.name}"),),
        undo=(Step(Kind.POD, node.name, ("attach",), said=f"CNI ADD for {pod.name}"),),
        touches=frozenset({_device_words(node), f"agent of {node.name}"}),
        sites=(node.name,),
    )


def lease_expired(scene: Scene) -> Recipe:
    """End the agent, and do what it would have done at the end of the lease."""
    node = scene.node
    if scene.runtime.lab.dhcp is None:
        raise NodeError(
            "cannot let a lease expire: the nodes of this lab hand out the addresses",
            hint="use a lab with `--ipam dhcp`",
        )
    return Recipe(
        make=(kill_agent(node), *take_addresses(scene.pod)),
        undo=(*bring_back_addresses(scene.pod), start_agent(node)),
        touches=frozenset({_device_words(node), f"agent of {node.name}"}),
        sites=(node.name,),
    )


def agent_down(scene: Scene) -> Recipe:
    """End the agent, as a crash does."""
    node = scene.node
    if not scene.runtime.has_agents:
        raise NodeError("cannot end an agent: this lab has none")
    touches = frozenset({f"agent of {node.name}"})
    return Recipe((kill_agent(node),), (start_agent(node),), touches, (node.name,))


def _give(scene: Scene, address: str) -> Recipe:
    """Give the pod another address in place of those that it has."""
    netns = scene.pod.netns
    nodad = " nodad" if ":" in address else ""
    wrong = f"{address} dev {POD_INTERFACE}"
    return Recipe(
        make=(*take_addresses(scene.pod), sh(netns, f"ip address add {wrong}{nodad}")),
        undo=(
            sh(netns, f"ip address del {wrong}", already=_GONE),
            *bring_back_addresses(scene.pod),
        ),
        touches=frozenset({_device_words(scene.node)}),
        sites=(scene.node.name,),
    )


def _same(scene: Scene, other: Node) -> Recipe:
    made = _give(scene, pod_addresses(other.handler)[0])
    touches = made.touches | {_device_words(other)}
    return Recipe(made.make, made.undo, touches, made.sites)


def duplicate_between_clusters(scene: Scene) -> Recipe:
    """Give the pod the address of another cluster's pod, as one range in both does."""
    others = scene.others(scene.cluster)
    if not others:
        raise NodeError("cannot double an address between clusters: the lab has one only")
    return _same(scene, others[0])


def duplicate_within_cluster(scene: Scene) -> Recipe:
    """Give the pod the address of another one in its cluster."""
    others = [each for each in scene.cluster.nodes if each is not scene.node]
    if not others:
        raise NodeError(
            f"cannot double an address within {scene.cluster.name}: it has one node only"
        )
    return _same(scene, others[0])


def duplicate_of_the_gateway(scene: Scene) -> Recipe:
    """Give the pod the gateway's address."""
    lab = scene.runtime.lab
    if not lab.has_gateway:
        raise NodeError("cannot double the gateway's address: this lab has no gateway")
    return _give(scene, f"{lab.gateway}/{lab.subnet.prefixlen}")


def family_mismatch(scene: Scene) -> Recipe:
    """Give the pod an address of IPv6 only."""
    number = int(scene.runtime.lab.subnet[2]) & 0xFF
    at = scene.runtime.lab.nodes.index(scene.node)
    return _give(scene, f"fd00:88::{number + at:x}/64")


def pod_mtu(scene: Scene) -> Recipe:
    """Give the pod's device a smaller MTU."""
    netns = scene.pod.netns
    mtu = smaller_mtu(link(netns, POD_INTERFACE)["mtu"])
    return Recipe(
        make=(sh(netns, f"ip link set dev {POD_INTERFACE} mtu {mtu}"),),
        undo=(restored_mtu(netns, POD_INTERFACE),),
        touches=frozenset({f"MTU of {_device_words(scene.node)}"}),
        sites=(scene.node.name,),
    )


def wrong_route(scene: Scene) -> Recipe:
    """Let the pod send to the other clusters by its first network."""
    lab, netns = scene.runtime.lab, scene.pod.netns
    others = [each.name for each in lab.clusters if each.name != scene.node.cluster]
    own, router = _POD_NETWORK
    peers = list(lab_addresses(lab, others))
    if not peers:
        raise InputError("cannot misdirect a pod: no other cluster has an address")
    make = [
        f"ip link add eth0 type veth peer pod-eth0 netns {scene.node.netns}",
        "ip link set dev eth0 addrgenmode none",
        "ip link set dev eth0 up",
        f"ip address add {own} dev eth0",
        *(f"ip route add {peer}/32 via {router} dev eth0 onlink" for peer in peers),
    ]
    return Recipe(
        make=(
            *(sh(netns, line) for line in make[:1]),
            sh(scene.node.netns, "ip link set dev pod-eth0 addrgenmode none"),
            sh(scene.node.netns, "ip link set dev pod-eth0 up"),
            *(sh(netns, line) for line in make[1:]),
        ),
        undo=(sh(netns, "ip link del dev eth0", already=_GONE),),
        touches=frozenset({f"routes in the pod of {scene.node.name}"}),
        sites=(scene.node.name,),
    )


def stranger(scene: Scene) -> Recipe:
    """Put a host of nobody's into the VLAN, with the pod's address."""
    lab, fabric = scene.runtime.lab, FABRIC_NETNS
    netns, address = f"{NETNS_PREFIX}{_STRANGER}", pod_addresses(scene.pod)[0]
    access = [f"bridge vlan add dev {_STRANGER} vid {lab.vlan} pvid untagged"]
    in_fabric = [
        f"ip link add {_STRANGER} mtu {lab.mtu} type veth peer eth0 netns {netns} mtu {lab.mtu}",
        f"ip link set dev {_STRANGER} master {FABRIC_BRIDGE} up",
        *(access if fabric_filters() else []),
    ]
    inside = [
        "ip link set dev eth0 addrgenmode none up",
        f"ip address add {address} dev eth0",
    ]
    return Recipe(
        make=(
            Step(Kind.NETNS, netns, ("add",), said="another machine is plugged in"),
            *(sh(fabric, line) for line in in_fabric),
            *(sh(netns, line) for line in inside),
        ),
        undo=(
            sh(fabric, f"ip link del dev {_STRANGER}", already=_GONE),
            Step(Kind.NETNS, netns, ("delete",), said="it is unplugged"),
        ),
        touches=frozenset({f"{_STRANGER} in the fabric"}),
        sites=(scene.node.name,),
    )
