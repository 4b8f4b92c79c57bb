# SPDX-License-Identifier: Apache-2.0
"""
The network of the virtual machines, and the place of a virt-launcher on it.

It has a switch of its own, a second card in every node that needs one (eth2) and a bridge
there, made on demand: so the bytes of a migration can be told from those of the guests.
The switch itself has the address of the peer that every guest talks to.
"""

import contextlib
import fcntl
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spanbridge.base.errors import NodeError
from spanbridge.base.names import IfName
from spanbridge.lab.build import LINK_WAIT_S
from spanbridge.lab.topology import NETNS_PREFIX, Node
from spanbridge.rtnl import (
    NetNs,
    Rtnl,
    create_named_netns,
    del_link,
    delete_named_netns,
    named_netns,
    new_address,
    new_bridge,
    new_veth,
    set_link,
)

VM_NETNS: Final = f"{NETNS_PREFIX}vms"
VM_SWITCH: Final = IfName("vms")
VM_CARD: Final = IfName("eth2")
VM_BRIDGE: Final = IfName("br-vm")
PEER_ADDRESS: Final = "192.0.2.1"
PREFIX_BITS: Final = 24
"""Addresses for documentation (RFC 5737): no migration network has them."""

POD_LINK: Final = IfName("eth0")
POD_BRIDGE: Final = IfName("k6t-eth0")
TAP: Final = IfName("tap0")
"""Names inside a launcher, as KubeVirt has them. Source: KubeVirt 1.7, pkg/network/link."""

_LAUNCHER: Final = "virt-launcher-"
_PORT: Final = "vl-"
_TUN: Final = Path("/dev/net/tun")
# Source: linux/if_tun.h. QEMU opens the tap again with the same flags.
_TUNSETIFF: Final = 0x400454CA
_TUNSETPERSIST: Final = 0x400454CB
_IFF_TAP: Final = 0x0002
_IFF_NO_PI: Final = 0x1000
_IFF_VNET_HDR: Final = 0x4000
_IFREQ: Final = struct.Struct("16sH22x")


@dataclass(frozen=True, slots=True)
class Launcher:
    """
    A virt-launcher: the namespace and the directory of one QEMU.

    Attributes:
        vm: Name of its virtual machine.
        node: Name of its node.
        suffix: Five letters that no other launcher has.
        directory: Where its files and sockets are.
    """

    vm: str
    node: str
    suffix: str
    directory: Path

    @property
    def name(self) -> str:
        """As Kubernetes would name the pod."""
        return f"{_LAUNCHER}{self.vm}-{self.suffix}"

    @property
    def netns(self) -> str:
        """Name of its network namespace."""
        return f"{NETNS_PREFIX}{self.node}.{self.name}"

    @property
    def port(self) -> IfName:
        """Name of its cable's end on the node's bridge."""
        return IfName(f"{_PORT}{self.suffix}")

    def socket(self, name: str) -> Path:
        """Tell where one of its unix sockets is: ``qmp``, ``control``, ``ram`` or ``console``."""
        return self.directory / name


def find_launchers(vm: str = "") -> tuple[str, ...]:
    """Name the namespaces of launchers that are there, of one virtual machine or of all."""
    mark = f".{_LAUNCHER}"
    names = (each for each in named_netns() if each.startswith(NETNS_PREFIX) and mark in each)
    return tuple(
        each for each in names if not vm or each.partition(mark)[2].rpartition("-")[0] == vm
    )


def ensure_switch() -> None:
    """Make the switch where there is none; it has the peer's address."""
    if VM_NETNS in named_netns():
        return
    _make_netns(VM_NETNS)
    with NetNs.open(VM_NETNS) as inside, Rtnl.open(inside) as rtnl:
        rtnl.request(new_bridge(VM_SWITCH, up=True))
        switch = rtnl.link(VM_SWITCH)
        if switch is None:
            raise NodeError(f"cannot build the lab: {VM_SWITCH} vanished while we made it")
        rtnl.request(new_address(switch.index, PEER_ADDRESS, PREFIX_BITS))


def ensure_node(node: Node) -> None:
    """Give a node its second card and the bridge of the virtual machines, where it has none."""
    with NetNs.open(VM_NETNS) as switch, NetNs.open(node.netns) as inside:
        with Rtnl.open(inside) as rtnl:
            if rtnl.link(VM_BRIDGE) is not None:
                return
            # What a command left that was killed while it made them.
            if rtnl.link(VM_CARD) is not None:
                rtnl.request(del_link(name=VM_CARD))
        _join(switch, IfName(node.name), to=(inside, VM_CARD), master=VM_SWITCH)
        with Rtnl.open(inside) as rtnl:
            rtnl.request(new_bridge(VM_BRIDGE))
            _no_ipv6(inside, VM_CARD, VM_BRIDGE)
            rtnl.request(set_link(VM_CARD, up=True))
            _enslave(rtnl, VM_CARD, VM_BRIDGE)
            rtnl.request(set_link(VM_BRIDGE, up=True))


def build_launcher(node: Node, launcher: Launcher) -> None:
    """Make a launcher's namespace: a cable to the node's bridge, and a tap for QEMU."""
    _make_netns(launcher.netns)
    with NetNs.open(node.netns) as outside, NetNs.open(launcher.netns) as inside:
        _join(outside, launcher.port, to=(inside, POD_LINK), master=VM_BRIDGE)
        inside.run(_make_tap)
        with Rtnl.open(inside) as rtnl:
            rtnl.request(new_bridge(POD_BRIDGE))
            for port in (POD_LINK, TAP):
                rtnl.request(set_link(port, up=True))
                _enslave(rtnl, port, POD_BRIDGE)
            rtnl.request(set_link(POD_BRIDGE, up=True))


def release_launcher(netns: str) -> None:
    """Remove a launcher's namespace, and with it tap and cable; its processes have ended."""
    with contextlib.suppress(FileNotFoundError):
        with NetNs.open(netns) as inside, Rtnl.open(inside) as rtnl:
            # At once: a namespace goes some time after its name.
            if rtnl.link(POD_LINK) is not None:
                rtnl.request(del_link(name=POD_LINK))
        delete_named_netns(netns)


def _make_netns(name: str) -> None:
    create_named_netns(name)
    with NetNs.open(name) as inside, Rtnl.open(inside) as rtnl:
        _no_ipv6(inside, "all", "default")
        rtnl.request(set_link("lo", up=True))


def _no_ipv6(netns: NetNs, *links: str) -> None:
    """Have nobody speak on this network but the guests."""
    netns.write_sysctls([(f"net/ipv6/conf/{link}/disable_ipv6", "1") for link in links])


def _join(outside: NetNs, port: IfName, *, to: tuple[NetNs, IfName], master: IfName) -> None:
    """Lay a cable from a bridge's port to a card in another namespace."""
    other, card = to
    with Rtnl.open(outside) as rtnl:
        bridge = rtnl.link(master)
        if bridge is None:
            raise NodeError(f"cannot build the lab: there is no bridge {master}")
        if rtnl.link(port) is not None:
            rtnl.request(del_link(name=port))
        rtnl.request(new_veth(port, peer=card, peer_netns=other, master=bridge.index))
        rtnl.request(set_link(port, up=True))


def _enslave(rtnl: Rtnl, port: IfName, bridge: IfName) -> None:
    master = rtnl.link(bridge)
    if master is None:
        raise NodeError(f"cannot build the lab: {bridge} vanished while we made it")
    rtnl.request(set_link(port, master=master.index))


def await_forwarding(netns: str, port: IfName) -> None:
    """
    Wait until a bridge port forwards frames.

    Raises:
        NodeError: It does not.
    """
    with NetNs.open(netns) as inside, Rtnl.open(inside) as rtnl:
        link = rtnl.link(port)
        if link is None:
            raise NodeError(f"cannot build the lab: {port} vanished while we made it")
        seen = rtnl.wait_link(
            link.index, lambda now: bool(now.port and now.port.forwarding), timeout_s=LINK_WAIT_S
        )
    if seen is None or not (seen.port and seen.port.forwarding):
        raise NodeError(f"cannot build the lab: {port} does not forward")


def _make_tap() -> None:
    """Make a tap that stays when its maker closes it; in the namespace of the calling thread."""
    try:
        made = os.open(_TUN, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise NodeError(
            f"cannot make a tap: {_TUN} cannot be opened: {error.strerror}",
            hint="load the kernel module tun",
        ) from error
    try:
        flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR
        fcntl.ioctl(made, _TUNSETIFF, _IFREQ.pack(TAP.encode(), flags))
        fcntl.ioctl(made, _TUNSETPERSIST, 1)
    finally:
        os.close(made)
