# SPDX-License-Identifier: Apache-2.0
"""What the kernel has on a pod's ``migration0``."""

from typing import Final

from spanbridge.lab.topology import POD_INTERFACE, Pod
from spanbridge.rtnl import Link, NetNs, Rtnl

_AF_INET: Final = 2


def pod_address(pod: Pod) -> str:
    """
    Read the address a virt-handler would announce: the first IPv4 one of ``migration0``.

    Empty where there is no such interface, or it has no address.

    Source: KubeVirt 1.7, pkg/virt-handler/migration.go.
    """
    with NetNs.open(pod.netns) as netns, Rtnl.open(netns) as rtnl:
        link = rtnl.link(POD_INTERFACE)
        found = [] if link is None else rtnl.addresses(link.index, family=_AF_INET)
    return found[0].address if found else ""


def pod_link(pod: Pod) -> Link | None:
    """Read ``migration0`` itself; None where there is none."""
    with NetNs.open(pod.netns) as netns, Rtnl.open(netns) as rtnl:
        return rtnl.link(POD_INTERFACE)
