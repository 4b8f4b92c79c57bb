# SPDX-License-Identifier: Apache-2.0
"""The address that a pod of KubeVirt tells others to come to."""

from dataclasses import dataclass
from typing import Final

from spanbridge.base.errors import NodeError
from spanbridge.base.names import IfName
from spanbridge.rtnl import SCOPE_HOST, SCOPE_LINK, NetNs, Rtnl

POD_NETWORK: Final = "pod network"

_LOCAL: Final = ("127.", "169.254.", "fe8", "fe9", "fea", "feb")


@dataclass(frozen=True, slots=True)
class Taken:
    """
    The address that is advertised until the process ends, whatever becomes of the device.

    Attributes:
        address: Of either family.
        network: Name of the device that has it; ``POD_NETWORK`` where that is missing.
    """

    address: str
    network: str


def take_address(interface: str, pod_address: str) -> Taken:
    """
    Take the first global unicast address of ``interface``, in the kernel's order.

    Where there is no such device, it is the pod's address, and nobody is warned.

    Raises:
        NodeError: The device has no address that counts, or there is neither.

    Source: KubeVirt 1.9, pkg/virt-handler/migration.go.
    """
    with NetNs.current() as netns, Rtnl.open(netns) as rtnl:
        link = rtnl.link(IfName(interface))
        found = [] if link is None else rtnl.addresses(link.index)
    if link is None and pod_address:
        return Taken(pod_address, POD_NETWORK)
    if link is None:
        raise NodeError(f"cannot take an address: there is neither {interface} nor a pod network")
    for each in found:
        if each.scope not in {SCOPE_LINK, SCOPE_HOST} and not each.address.startswith(_LOCAL):
            return Taken(each.address, interface)
    raise NodeError(f"cannot take an address: {interface} has no global one")


def join_port(address: str, port: int) -> str:
    """Write address and port as one word."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def split_port(text: str) -> tuple[str, int]:
    """
    Read address and port from one word.

    Raises:
        NodeError: They are not in it.
    """
    address, colon, port = text.rpartition(":")
    if not colon or not port.isdigit():
        raise NodeError(f"cannot use {text!r}: it is no ADDRESS:PORT")
    return address.strip("[]"), int(port)
