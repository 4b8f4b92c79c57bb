# SPDX-License-Identifier: Apache-2.0
"""From the links of a node to the facts that a verification needs."""

from collections.abc import Sequence

from spanbridge.model.node_state import LinkState
from spanbridge.model.observations import NodeFacts, Uplink, VlanSpan
from spanbridge.stretch.doctor.case import is_uplink_like


def node_facts(  # noqa: PLR0913  # what is wanted of a node, and what it says
    links: Sequence[LinkState],
    *,
    cluster: str,
    node: str,
    bridge: str,
    vlan: int,
    uplink: str = "",
    agent: bool | None = None,
) -> NodeFacts:
    """
    Make the facts of one node; pure.

    Args:
        links: All of the node's own namespace.
        cluster: Name of its cluster.
        node: Its own name there.
        bridge: The bridge that pods are attached to.
        vlan: Of the network; 0 for none.
        uplink: The device that leads out; empty for every port that looks like one.
        agent: Whether its agent answers; None where none is meant to run.
    """
    found = next((each for each in links if each.name == bridge), None)
    there = found is not None and found.kind == "bridge"
    ports = [each for each in links if each.master == bridge]
    chosen = [each for each in ports if (each.name == uplink if uplink else is_uplink_like(each))]
    return NodeFacts(
        cluster=cluster,
        node=node,
        agent=agent,
        bridge=bridge,
        bridge_up=there and found is not None and found.up,
        vlan_filtering=bool(found is not None and found.vlan_filtering),
        bridge_mtu=found.mtu if there and found is not None else 0,
        uplinks=tuple(_uplink(links, each, vlan) for each in chosen),
    )


def _uplink(links: Sequence[LinkState], link: LinkState, vlan: int) -> Uplink:
    return Uplink(
        name=link.name,
        up=link.up and link.carrier,
        mtu=link.mtu,
        vlans=tuple(VlanSpan(each.first, each.last) for each in link.vlans),
        stolen_by=tuple(
            each.name
            for each in links
            if vlan and each.lower == link.name and each.vlan_id == vlan and each.up
        ),
    )
