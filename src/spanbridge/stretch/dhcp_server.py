# SPDX-License-Identifier: Apache-2.0
"""What the one DHCP server of a network is told, ready for dnsmasq. Source: dnsmasq(8) 2.90."""

from typing import Final

from spanbridge.model.intent import Intent
from spanbridge.stretch.plan import DhcpPlan

_TEXT: Final = """\
# DHCP for the migration network {name}, for all clusters together.
# Written by `spanbridge plan`: change the intent, not this file.
#
# One server answers, on a host with {server}/{length} on the VLAN:
#   ip address add {server}/{length} dev DEVICE
#   dnsmasq --conf-file=dnsmasq.conf --interface=DEVICE
port=0
bind-interfaces
dhcp-authoritative
# Addresses of leases that ended are tried by ping before they are given to others.
dhcp-leasefile=/var/lib/misc/{name}.leases
dhcp-lease-max={size}
{ranges}
# No router: a default route by the migration network would take over the pods' own.
dhcp-option=option:router
dhcp-option=option:mtu,{mtu}
# To pin an address to a pod's interface (its MAC is in the pod's network-status):
#   dhcp-host=02:00:00:00:00:01,{example}
# To let one in by hand, outside of what is handed out: add it to spec.reserved.
"""


def dnsmasq_conf(intent: Intent, dhcp: DhcpPlan) -> str:
    """Write the configuration of dnsmasq."""
    (subnet,) = intent.subnets
    mask = str(type(subnet.ip)(4, (1 << 32) - (1 << (32 - subnet.prefix_length))))
    ranges = "\n".join(
        f"dhcp-range={pool.first},{pool.last},{mask},{intent.ipam.lease_s}" for pool in dhcp.pools
    )
    return _TEXT.format(
        name=intent.name,
        server=dhcp.server,
        length=subnet.prefix_length,
        size=sum(pool.size for pool in dhcp.pools),
        ranges=ranges,
        mtu=intent.mtu,
        example=dhcp.pools[0].first,
    )
