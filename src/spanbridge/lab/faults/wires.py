# SPDX-License-Identifier: Apache-2.0
"""Faults of bridges and uplinks on a node, and of the fabric's ports: each as commands."""

from typing import Final

from spanbridge.base.errors import NodeError
from spanbridge.lab.faults.looking import (
    bring_back_vlans,
    fabric_filters,
    filters_vlans,
    link,
    port_vlans,
    restored_mtu,
    smaller_mtu,
)
from spanbridge.lab.faults.recipes import Recipe, Scene, sh
from spanbridge.lab.topology import FABRIC_NETNS

_GONE: Final = ("Cannot find device", "Cannot delete qdisc", "Invalid handle")


def _uplink_words(scene: Scene) -> str:
    return f"uplink {scene.node.wiring.uplink} of {scene.node.name}"


def _bridge_words(scene: Scene) -> str:
    return f"bridge {scene.node.wiring.bridge} of {scene.node.name}"


def _port_words(scene: Scene) -> str:
    return f"the fabric's port to {scene.node.name}"


def _recipe(scene: Scene, make: str, *undo: str, touches: str, netns: str = "") -> Recipe:
    """Make the recipe of one command on the node, or elsewhere."""
    where = netns or scene.node.netns
    return Recipe(
        make=(sh(where, make),),
        undo=tuple(sh(where, line, already=_GONE) for line in undo),
        touches=frozenset({touches}),
        sites=(scene.node.name,),
    )


def require_filtering(netns: str, bridge: str) -> None:
    """
    Make sure that a bridge filters VLANs, which is what a fault is about.

    Raises:
        NodeError: It does not.
    """
    if not filters_vlans(netns, bridge):
        raise NodeError(
            f"cannot take a VLAN away from a port of {bridge} in {netns}: it filters no VLANs"
        )


def uplink_without_vlan(scene: Scene) -> Recipe:
    """Take the VLAN off the uplink."""
    wiring, netns, vlan = scene.node.wiring, scene.node.netns, scene.runtime.lab.vlan
    require_filtering(netns, wiring.bridge)
    return Recipe(
        make=(sh(netns, f"bridge vlan del dev {wiring.uplink} vid {vlan}"),),
        undo=bring_back_vlans(netns, wiring.uplink),
        touches=frozenset({_uplink_words(scene)}),
        sites=(scene.node.name,),
    )


def filtering_off(scene: Scene) -> Recipe:
    """Let the bridge take no notice of VLANs."""
    bridge = scene.node.wiring.bridge
    require_filtering(scene.node.netns, bridge)
    command = f"ip link set dev {bridge} type bridge vlan_filtering"
    return _recipe(scene, f"{command} 0", f"{command} 1", touches=_bridge_words(scene))


def no_uplink(scene: Scene) -> Recipe:
    """Take the uplink out of the bridge."""
    wiring, netns = scene.node.wiring, scene.node.netns
    command = f"ip link set dev {wiring.uplink}"
    had = {span for span, _ in port_vlans(netns, wiring.uplink)}
    # A bridge gives every new port its default VLAN.
    default = () if "1" in had else (f"bridge vlan del dev {wiring.uplink} vid 1",)
    made = _recipe(
        scene,
        f"{command} nomaster",
        f"{command} master {wiring.bridge}",
        *(default if filters_vlans(netns, wiring.bridge) else ()),
        touches=_uplink_words(scene),
    )
    return Recipe(
        made.make,
        (*made.undo, *bring_back_vlans(netns, wiring.uplink)),
        made.touches,
        made.sites,
    )


def uplink_down(scene: Scene) -> Recipe:
    """Let the uplink be down."""
    command = f"ip link set dev {scene.node.wiring.uplink}"
    return _recipe(scene, f"{command} down", f"{command} up", touches=_uplink_words(scene))


def bridge_down(scene: Scene) -> Recipe:
    """Let the bridge be down."""
    command = f"ip link set dev {scene.node.wiring.bridge}"
    return _recipe(scene, f"{command} down", f"{command} up", touches=_bridge_words(scene))


def stolen_vlan(scene: Scene) -> Recipe:
    """Make a VLAN device on the uplink, which takes what the bridge would have got."""
    uplink, vlan = scene.node.wiring.uplink, scene.runtime.lab.vlan
    thief, netns = f"{uplink}.{vlan}", scene.node.netns
    return Recipe(
        make=(
            sh(netns, f"ip link add link {uplink} name {thief} type vlan id {vlan}"),
            sh(netns, f"ip link set dev {thief} up"),
        ),
        undo=(sh(netns, f"ip link del dev {thief}", already=_GONE),),
        touches=frozenset({_uplink_words(scene)}),
        sites=(scene.node.name,),
    )


def uplink_mtu(scene: Scene) -> Recipe:
    """Give the uplink a smaller MTU."""
    uplink, netns = scene.node.wiring.uplink, scene.node.netns
    mtu = smaller_mtu(link(netns, uplink)["mtu"])
    undo = restored_mtu(netns, uplink)
    return Recipe(
        make=(sh(netns, f"ip link set dev {uplink} mtu {mtu}"),),
        undo=(undo,),
        touches=frozenset({_uplink_words(scene)}),
        sites=(scene.node.name,),
    )


def switch_port_without_vlan(scene: Scene) -> Recipe:
    """Let the switch's port to the node not carry the VLAN."""
    if not fabric_filters():
        require_filtering(FABRIC_NETNS, "fabric")
    port = scene.node.name
    return Recipe(
        make=(sh(FABRIC_NETNS, f"bridge vlan del dev {port} vid {scene.runtime.lab.vlan}"),),
        undo=bring_back_vlans(FABRIC_NETNS, port),
        touches=frozenset({_port_words(scene)}),
        sites=(port,),
    )


def switch_port_mtu(scene: Scene) -> Recipe:
    """Give the switch's port to the node a smaller MTU."""
    port = scene.node.name
    mtu = smaller_mtu(link(FABRIC_NETNS, port)["mtu"])
    return Recipe(
        make=(sh(FABRIC_NETNS, f"ip link set dev {port} mtu {mtu}"),),
        undo=(restored_mtu(FABRIC_NETNS, port),),
        touches=frozenset({_port_words(scene)}),
        sites=(port,),
    )


def _queue(scene: Scene, what: str) -> Recipe:
    command = f"tc qdisc {{}} dev {scene.node.name} root"
    return _recipe(
        scene,
        command.format("add") + f" netem {what}",
        command.format("del"),
        touches=f"the queue of {_port_words(scene)}",
        netns=FABRIC_NETNS,
    )


def loss(scene: Scene) -> Recipe:
    """Lose part of what is sent to the node."""
    return _queue(scene, "loss 30%")


def latency(scene: Scene) -> Recipe:
    """Delay what is sent to the node."""
    return _queue(scene, "delay 20ms")
