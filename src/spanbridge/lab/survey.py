# SPDX-License-Identifier: Apache-2.0
"""
Who is where in a lab, for a verification: pods, leases, trust, and what the nodes say.

Read from the kernel, the agents and the files at the time of asking; absence is a fact.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from spanbridge.base.errors import SpanbridgeError
from spanbridge.lab.agents import Ask
from spanbridge.lab.kubevirt.identities import BUNDLE, Identity
from spanbridge.lab.parallel import on_each
from spanbridge.lab.place import Place
from spanbridge.lab.prober import Scene
from spanbridge.lab.runtime import POD_NAMESPACE, Runtime
from spanbridge.lab.standin import advertised
from spanbridge.lab.topology import POD_INTERFACE, Lab, Node, Pod, sync_pods
from spanbridge.lab.trust import authority, trust_dir, trusted
from spanbridge.model.node_state import LinkState
from spanbridge.model.observations import (
    AddressRange,
    ClusterFacts,
    Endpoint,
    Expectations,
    NodeFacts,
    Role,
)
from spanbridge.probing.dial import Credentials
from spanbridge.probing.links import observe_links
from spanbridge.probing.strays import Device, list_suspects
from spanbridge.rtnl import NetNs, Rtnl
from spanbridge.stretch.node_facts import node_facts
from spanbridge.stretch.observing import Survey

_POD_LINK: Final = "eth0"
_CERTIFICATE: Final = re.compile(
    r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL
)
_IDENTITIES: Final = {
    Role.HANDLER: (Identity.MIGRATION_CLIENT, Identity.HANDLER_SERVER),
    Role.LEADER: (Identity.SYNC_CLIENT, Identity.SYNC_SERVER),
}
"""What a pod shows when it dials, and who must be at the other end."""


@dataclass(frozen=True, slots=True)
class LabPod:
    """
    A pod on the migration network.

    Attributes:
        node: Where it runs.
        pod: What the lab made.
        role: What it is there for.
    """

    node: Node
    pod: Pod
    role: Role = Role.HANDLER

    @property
    def name(self) -> str:
        """Unique in a run."""
        return f"{self.node.cluster}/{self.pod.name}"


@dataclass(frozen=True, slots=True)
class _NodeView:
    """
    What a node says.

    Attributes:
        links: Of its own namespace; empty where that is gone.
        agent: Whether its agent answers; None where none is meant to run.
        leases: What that one keeps.
    """

    links: tuple[LinkState, ...]
    agent: bool | None
    leases: tuple[Mapping[str, Any], ...] = ()


def expect_lab(lab: Lab) -> Expectations:
    """Tell what a lab's network is meant to be, by its parameters alone."""
    planned = lab.parameters.planned is not None
    return Expectations(
        network=lab.nodes[0].handler.network,
        interface=POD_INTERFACE,
        vlan=lab.vlan,
        mtu=lab.mtu,
        subnets=(str(lab.subnet),),
        gateways=(str(lab.gateway),) if lab.has_gateway else (),
        ranges=() if planned else tuple(_ranges(lab)),
    )


def _ranges(lab: Lab) -> Iterator[AddressRange]:
    for node in lab.nodes:
        own = lab.dhcp.pool if lab.dhcp is not None else node.handler.addresses
        yield AddressRange(node.cluster, str(own.first), str(own.last))


def survey_lab(runtime: Runtime, *, ask: Ask) -> Scene:
    """
    Find out who is where.

    Args:
        runtime: Of the lab that is up.
        ask: Asks agents.
    """
    lab, place = runtime.lab, runtime.place
    seen = on_each(lambda node: _view(runtime, node, ask), lab.nodes)
    views = dict(zip(lab.nodes, seen, strict=True))
    pods = [LabPod(node, pod) for node, pod in lab.attachments()]
    pods += [
        LabPod(each.node, each.pod, Role.LEADER if each.leader else Role.STANDBY)
        for each in sync_pods(lab)
        if place.result_file(each.pod).exists()
    ]
    links = {each.name: observe_namespace(each.pod.netns) for each in pods}
    named = {each.name: advertised(place, each.name).rpartition(":")[0] for each in lab.clusters}
    endpoints = tuple(
        _advertise(_endpoint(each, links[each.name], views[each.node].leases), named)
        for each in pods
    )
    nodes = tuple(_facts(lab, node, view) for node, view in views.items() if view.links)
    return Scene(
        Survey(tuple(_cluster(place, each.name) for each in lab.clusters), endpoints, nodes),
        {each.name: each.pod.netns for each in pods},
        (*_node_devices(nodes, views), *_pod_devices(pods, links)),
        _credentials(place, lab),
    )


def observe_namespace(name: str) -> tuple[LinkState, ...]:
    """List the links of a namespace; none where it is gone."""
    try:
        with NetNs.open(name) as netns, Rtnl.open(netns) as rtnl:
            return observe_links(rtnl)
    except FileNotFoundError:
        return ()


def _view(runtime: Runtime, node: Node, ask: Ask) -> _NodeView:
    links = observe_namespace(node.netns)
    if not runtime.has_agents:
        return _NodeView(links, None)
    try:
        answer = ask(runtime.place.agent_socket(node), "leases")
    except SpanbridgeError:
        return _NodeView(links, agent=False)
    return _NodeView(links, agent=True, leases=tuple(answer) if isinstance(answer, list) else ())


def _endpoint(
    found: LabPod, links: tuple[LinkState, ...], leases: tuple[Mapping[str, Any], ...]
) -> Endpoint:
    by_name = {each.name: each for each in links}
    device, outside = by_name.get(POD_INTERFACE), by_name.get(_POD_LINK)
    lease = next((each for each in leases if each["containerId"] == found.pod.container_id), None)
    ends_s = lease["expiresInSeconds"] if lease is not None else None
    return Endpoint(
        name=found.name,
        cluster=found.node.cluster,
        node=found.node.name,
        role=found.role,
        pod=found.pod.name,
        addresses=tuple(_bare(each) for each in device.addresses) if device else (),
        pod_address=next(map(_bare, outside.addresses), "") if outside else "",
        mac=device.mac if device else "",
        mtu=device.mtu if device else 0,
        lease_s=round(ends_s) if ends_s is not None else None,
    )


def _bare(address: str) -> str:
    return address.partition("/")[0]


def _advertise(endpoint: Endpoint, named: Mapping[str, str]) -> Endpoint:
    """Mark a standby that its cluster names to others."""
    address = named[endpoint.cluster].strip("[]")
    wrong = endpoint.role is Role.STANDBY and address in endpoint.addresses
    return dataclasses.replace(endpoint, advertised=wrong)


def _cluster(place: Place, name: str) -> ClusterFacts:
    if not (trust_dir(place, name) / BUNDLE).exists():
        return ClusterFacts(name, POD_NAMESPACE)
    own, known = authority(place, name), trusted(place, name)
    return ClusterFacts(name, POD_NAMESPACE, authority=own, trusted=known)


def _credentials(place: Place, lab: Lab) -> dict[tuple[str, Role], Credentials]:
    """Tell what the pods of each cluster have when they dial each other."""
    homes = {each.name: trust_dir(place, each.name) for each in lab.clusters}
    there = {name: home for name, home in homes.items() if (home / BUNDLE).exists()}
    known = "".join(
        block
        for home in there.values()
        for block in _CERTIFICATE.findall((home / "ca.pem").read_text())
    )
    return {
        (name, role): Credentials(
            (home / BUNDLE).read_text(), home / shown.file, known, wanted.common_name
        )
        for name, home in there.items()
        for role, (shown, wanted) in _IDENTITIES.items()
    }


def _facts(lab: Lab, node: Node, view: _NodeView) -> NodeFacts:
    return node_facts(
        view.links,
        cluster=node.cluster,
        node=node.name,
        bridge=node.wiring.bridge,
        vlan=lab.vlan,
        uplink=node.wiring.uplink,
        agent=view.agent,
    )


def _node_devices(
    nodes: tuple[NodeFacts, ...], views: Mapping[Node, _NodeView]
) -> Iterator[Device]:
    """List what is watched on nodes: the uplinks, and all that is not of the bridge."""
    by_site = {f"{node.cluster}/{node.name}": (node, view) for node, view in views.items()}
    for facts in nodes:
        node, view = by_site[facts.site]
        uplinks = [node.wiring.uplink]
        for name in uplinks:
            yield Device(facts.cluster, facts.node, node.netns, name, uplink=True)
        for name in list_suspects(view.links, bridge=facts.bridge, uplinks=uplinks):
            yield Device(facts.cluster, facts.node, node.netns, name)


def _pod_devices(
    pods: list[LabPod], links: Mapping[str, tuple[LinkState, ...]]
) -> Iterator[Device]:
    """List what is watched in pods: all but the device of the network."""
    for each in pods:
        for link in links[each.name]:
            if not link.loopback and link.name != POD_INTERFACE:
                yield Device(each.node.cluster, each.node.name, each.pod.netns, link.name)
