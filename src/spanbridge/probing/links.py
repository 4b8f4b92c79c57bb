# SPDX-License-Identifier: Apache-2.0
"""The links of a namespace, as data."""

from collections.abc import Mapping

from spanbridge.model.node_state import LinkState, VlanEntry
from spanbridge.rtnl import SCOPE_LINK, Address, Link, Rtnl


def observe_links(node: Rtnl) -> tuple[LinkState, ...]:
    """List all links with their addresses and VLANs."""
    found = sorted(node.links(vlans=True), key=lambda link: link.index)
    names: dict[int, str] = {link.index: link.name for link in found}
    addresses: dict[int, list[str]] = {}
    for each in node.addresses():
        if _counts(each):
            listed = addresses.setdefault(each.index, [])
            listed.append(f"{each.address}/{each.prefix_length}")
    return tuple(_link_state(link, names, addresses.get(link.index, [])) for link in found)


def _counts(address: Address) -> bool:
    return not (":" in address.address and address.scope == SCOPE_LINK)


def _link_state(link: Link, names: Mapping[int, str], addresses: list[str]) -> LinkState:
    bridge, port = link.bridge, link.port
    return LinkState(
        name=link.name,
        kind=link.kind,
        mac=link.mac,
        mtu=link.mtu,
        up=link.up,
        carrier=link.carrier,
        operstate=link.operstate,
        master=names.get(link.master, ""),
        lower=names.get(link.link, "") if link.link_netnsid is None else "",
        vlan_id=link.vlan_id,
        alias=link.alias,
        loopback=link.loopback,
        addresses=tuple(addresses),
        vlans=tuple(VlanEntry(v.vid, v.vid_end, v.pvid, v.untagged) for v in link.vlans),
        vlan_filtering=bridge.vlan_filtering if bridge else None,
        default_pvid=bridge.default_pvid if bridge else 0,
        forwarding=port is None or port.forwarding or not (link.up and link.carrier),
    )
