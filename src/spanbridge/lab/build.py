# SPDX-License-Identifier: Apache-2.0
"""
Building a planned lab in the kernel, and removing whatever is there of one.

All of it lives in network namespaces of our prefix: the machine's own namespace is
never entered and no link passes through it.
"""

import subprocess
import sys
from typing import Final

from spanbridge.base.errors import NodeError
from spanbridge.base.names import IfIndex, IfName
from spanbridge.lab.agents import render_directories
from spanbridge.lab.place import Place
from spanbridge.lab.topology import (
    DHCP_LINK,
    DHCP_NETNS,
    DHCP_PORT,
    FABRIC_BRIDGE,
    FABRIC_NETNS,
    NETNS_PREFIX,
    DhcpServer,
    Lab,
    Node,
    Pod,
)
from spanbridge.rtnl import (
    Link,
    NetNs,
    Rtnl,
    add_vlans,
    create_named_netns,
    del_vlans,
    delete_named_netns,
    named_netns,
    new_address,
    new_bridge,
    new_veth,
    set_link,
)

LINK_WAIT_S: Final = 30.0
"""Time for a link to come up: at once as a rule, later when the kernel is emulated."""

COMMAND_WAIT_S: Final = 120.0
"""Time for a command on a node: half a second, in an emulated guest many times that."""

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DEFAULT_VLAN: Final = (1, 1)
_FABRIC_VLANS: Final = (2, 4094)


def build_fabric(lab: Lab) -> None:
    """Make the switch: a bridge that filters VLANs and has no port yet."""
    create_named_netns(FABRIC_NETNS)
    with NetNs.open(FABRIC_NETNS) as fabric:
        # A switch has no addresses: no frame on it is its own.
        fabric.write_sysctls(
            [(f"net/ipv6/conf/{each}/disable_ipv6", "1") for each in ("all", "default")]
        )
        with Rtnl.open(fabric) as rtnl:
            rtnl.request(new_bridge(FABRIC_BRIDGE, vlan_filtering=True, default_pvid=0))
            rtnl.request(set_link(FABRIC_BRIDGE, mtu=lab.mtu, up=True))


def build_node(lab: Lab, node: Node) -> None:
    """
    Make a node, its uplink to a trunk port of the fabric, and the bridge an admin would make.

    Where a plan has a command or the plugin make the bridge, the uplink is left alone.
    """
    create_named_netns(node.netns)
    uplink = IfName(node.wiring.uplink)
    planned = lab.parameters.planned is not None
    with NetNs.open(FABRIC_NETNS) as fabric, NetNs.open(node.netns) as inside:
        port = IfName(node.name)
        _make_cable(lab, fabric, port, to=(inside, uplink))
        with Rtnl.open(fabric) as rtnl:
            made = _link(rtnl, port)
            rtnl.request(add_vlans(made.index, [_FABRIC_VLANS]), set_link(made.index, up=True))
        # As NetworkManager leaves a bridge port: the uplink speaks for others, never for itself.
        inside.write_sysctls([(f"net/ipv6/conf/{uplink}/disable_ipv6", "1")])
        with Rtnl.open(inside) as rtnl:
            rtnl.request(set_link("lo", up=True))
            if not planned:
                _make_bridge(rtnl, node, mtu=lab.mtu, vlans=(lab.vlan,))
            elif node.wiring.vlans:
                _make_bridge(rtnl, node, mtu=node.wiring.mtu, vlans=node.wiring.vlans)


def _make_bridge(rtnl: Rtnl, node: Node, *, mtu: int, vlans: tuple[int, ...]) -> None:
    """Do what an administrator does, or NMState with a policy."""
    rtnl.request(new_bridge(IfName(node.wiring.bridge), vlan_filtering=True))
    bridge = _link(rtnl, IfName(node.wiring.bridge))
    uplink = _link(rtnl, IfName(node.wiring.uplink))
    rtnl.request(
        set_link(bridge.index, mtu=mtu),
        set_link(uplink.index, master=bridge.index, mtu=mtu),
        del_vlans(uplink.index, [_DEFAULT_VLAN]),
        add_vlans(uplink.index, [(vlan, vlan) for vlan in vlans]),
        set_link(bridge.index, up=True),
        set_link(uplink.index, up=True),
    )
    _await_forwarding(rtnl, uplink.index, f"{uplink.name} of {node.name}")


def prepare_node(place: Place, node: Node) -> None:
    """
    Run the command that a plan prepares a node with.

    Raises:
        NodeError: It failed; its own words are passed on.
    """
    # The nodes share this machine's disk, where nothing may be kept for the next boot.
    words = [sys.executable, "-m", "spanbridge.cli", *node.wiring.command, "--persist", "none"]
    environment = {"PATH": _PATH, "LANG": "C.UTF-8", **render_directories(place, node)}
    with NetNs.open(node.netns) as netns:
        done = netns.run(
            lambda: subprocess.run(
                words,
                env=environment,
                cwd="/",
                capture_output=True,
                text=True,
                timeout=COMMAND_WAIT_S,
                check=False,
            )
        )
    if done.returncode:
        raise NodeError(f"cannot prepare {node.name}: {done.stderr.strip() or done.stdout.strip()}")


def build_dhcp(lab: Lab, server: DhcpServer) -> None:
    """Make the place of the DHCP server: a host on an access port of the fabric, in the VLAN."""
    create_named_netns(DHCP_NETNS)
    with NetNs.open(FABRIC_NETNS) as fabric, NetNs.open(DHCP_NETNS) as inside:
        _make_cable(lab, fabric, DHCP_PORT, to=(inside, DHCP_LINK))
        inside.write_sysctls([(f"net/ipv6/conf/{DHCP_LINK}/disable_ipv6", "1")])
        with Rtnl.open(inside) as rtnl:
            link = _link(rtnl, DHCP_LINK)
            address = new_address(link.index, str(server.address), lab.subnet.prefixlen)
            rtnl.request(set_link("lo", up=True), set_link(link.index, up=True), address)
        with Rtnl.open(fabric) as rtnl:
            port = _link(rtnl, DHCP_PORT)
            access = add_vlans(port.index, [(lab.vlan, lab.vlan)], pvid=True, untagged=True)
            rtnl.request(access, set_link(port.index, up=True))
            _await_forwarding(rtnl, port.index, f"{DHCP_PORT} of the fabric")


def build_pod(pod: Pod) -> None:
    """Make the sandbox of a pod, as a runtime does before it calls CNI."""
    create_named_netns(pod.netns)
    with NetNs.open(pod.netns) as netns, Rtnl.open(netns) as rtnl:
        rtnl.request(set_link("lo", up=True))


def find_netns() -> tuple[str, ...]:
    """Name the namespaces that are a lab's, of this run or of one that crashed."""
    return tuple(sorted(name for name in named_netns() if name.startswith(NETNS_PREFIX)))


def release_netns() -> tuple[str, ...]:
    """Remove every namespace of a lab, and with them all links; return their names."""
    names = find_netns()
    for name in names:
        delete_named_netns(name)
    return names


def _make_cable(lab: Lab, fabric: NetNs, port: IfName, *, to: tuple[NetNs, IfName]) -> None:
    """Make a port of the fabric, not up yet, and its other end."""
    other, name = to
    with Rtnl.open(fabric) as rtnl:
        switch = _link(rtnl, FABRIC_BRIDGE)
        rtnl.request(new_veth(port, peer=name, peer_netns=other, master=switch.index, mtu=lab.mtu))


def _link(rtnl: Rtnl, name: IfName) -> Link:
    found = rtnl.link(name)
    if found is None:
        raise NodeError(f"cannot build the lab: {name} vanished while we made it")
    return found


def _await_forwarding(rtnl: Rtnl, index: IfIndex, subject: str) -> None:
    def forwards(link: Link) -> bool:
        return link.port is not None and link.port.forwarding

    seen = rtnl.wait_link(index, forwards, timeout_s=LINK_WAIT_S)
    if seen is None or not forwards(seen):
        raise NodeError(
            f"cannot build the lab: {subject} does not forward after {LINK_WAIT_S:.0f} s"
        )
