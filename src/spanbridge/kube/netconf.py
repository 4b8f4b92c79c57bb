# SPDX-License-Identifier: Apache-2.0
"""
Configurations of the bridge plugin, as planned: everything said, nothing left to defaults.

Source: documentation of the CNI project's bridge, host-local and static plugins, 1.9.1;
whereabouts 0.9, doc/extended-configuration.md.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from spanbridge.model.addresses import Cidr, Ip
from spanbridge.model.spans import Span, make_span, subtract, to_cidrs

Section = dict[str, object]
"""A part of a configuration, in the order in which it is written."""

_VERSION: Final = "1.0.0"

_VERSION_WHEREABOUTS: Final = "0.3.1"
"""whereabouts answers CHECK with an error; before 0.4.0 there is no CHECK."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """
    How a pod is attached.

    Attributes:
        bridge: The bridge on the node.
        uplink: Device that our plugin enslaves to it; empty leaves the key out.
        vlan: VLAN of the network; 0 is untagged.
        mtu: In bytes.
    """

    bridge: str
    uplink: str
    vlan: int
    mtu: int


def bridge_conf(name: str, wiring: Wiring, ipam: Section) -> Section:
    """
    Make the configuration of the bridge plugin.

    No isGateway: with the reference plugin every node would answer for the router's
    address. preserveDefaultVlan is said because its default changed in 1.8.0.
    """
    conf: Section = {
        "cniVersion": _VERSION_WHEREABOUTS if ipam["type"] == "whereabouts" else _VERSION,
        "name": name,
        "type": "bridge",
        "bridge": wiring.bridge,
    }
    if wiring.uplink:
        conf["uplink"] = wiring.uplink
    if wiring.vlan:
        conf["vlan"] = wiring.vlan
    conf["preserveDefaultVlan"] = not wiring.vlan
    return {**conf, "mtu": wiring.mtu, "ipam": ipam}


def render_conf(conf: Section) -> str:
    """Write a configuration as JSON, one key a line, for a manifest or a node's disk."""
    # By hand, since json.dumps with an indent takes ten times as long, for 100 000 nodes.
    rows = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in conf.items())
    return f"{{\n{rows}\n}}\n"


def _of_family(spans: Iterable[Span], subnet: Cidr) -> list[Span]:
    return sorted(span for span in spans if span.version == subnet.version)


def whereabouts_ipam(subnets: Sequence[Cidr], spans: Sequence[Span]) -> Section:
    """Hand out ``spans``; one range of each family, since each range gives an address."""
    ranges = [_whereabouts_range(subnet, _of_family(spans, subnet)) for subnet in subnets]
    if len(ranges) == 1:
        return {"type": "whereabouts", **ranges[0]}
    return {"type": "whereabouts", "ipRanges": ranges}


def _whereabouts_range(subnet: Cidr, spans: list[Span]) -> Section:
    whole = make_span(subnet.version, spans[0].first.number, spans[-1].last.number)
    found: Section = {
        "range": str(subnet),
        "range_start": str(whole.first),
        "range_end": str(whole.last),
    }
    holes = [str(cidr) for hole in subtract([whole], spans) for cidr in to_cidrs(hole)]
    return {**found, "exclude": holes} if holes else found


def host_local_ipam(
    subnets: Sequence[Cidr], spans: Sequence[Span], gateways: Sequence[Ip]
) -> Section:
    """Hand out ``spans``; one set of ranges of each family, since each set gives an address."""
    return {
        "type": "host-local",
        "ranges": [
            [_host_local_range(subnet, span, gateways) for span in _of_family(spans, subnet)]
            for subnet in subnets
        ],
    }


def _host_local_range(subnet: Cidr, span: Span, gateways: Sequence[Ip]) -> Section:
    found: Section = {
        "subnet": str(subnet),
        "rangeStart": str(span.first),
        "rangeEnd": str(span.last),
    }
    gateway = next((ip for ip in gateways if ip in subnet), None)
    return {**found, "gateway": str(gateway)} if gateway else found


def static_ipam(subnets: Sequence[Cidr], spans: Sequence[Span]) -> Section:
    """Give the first address of each family."""
    firsts = [(_of_family(spans, subnet)[0].first, subnet) for subnet in subnets]
    return {
        "type": "static",
        "addresses": [{"address": f"{ip}/{subnet.prefix_length}"} for ip, subnet in firsts],
    }


def dhcp_ipam() -> Section:
    """Ask a DHCP server."""
    return {"type": "dhcp"}
