# SPDX-License-Identifier: Apache-2.0
"""
Telling the link who has an address now: gratuitous ARP and unsolicited advertisements.

The kernel's first announcement is sent when the sandbox end goes up, which may be before
the port forwards. A neighbour that kept the address's former MAC would talk into the
void until its entry expires.
"""

from spanbridge.bridge.link import Attached
from spanbridge.bridge.site import Site
from spanbridge.model.desired import SandboxState
from spanbridge.rtnl import set_link


def announce(site: Site, want: SandboxState, attached: Attached) -> None:
    """
    Announce every address of the sandbox once.

    The kernel does it, as ``arp_notify`` and ``ndisc_notify`` say: when the MAC is set,
    also to what it is. A packet socket of our own would take 13 ms to close, the grace
    period that the kernel waits for then.

    Raises:
        KernelError: The interface is gone.

    Source: Documentation/networking/ip-sysctl.rst; net/packet/af_packet.c,
    packet_release(), Linux 6.1 and 6.18.
    """
    if want.up and want.addresses:
        site.inside.request(set_link(attached.sandbox.index, mac=attached.sandbox.mac))
