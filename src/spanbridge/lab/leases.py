# SPDX-License-Identifier: Apache-2.0
"""Proofs on leases: who gave the addresses, and that a lease outlives its agent."""

from collections.abc import Mapping

from spanbridge.base.errors import NodeError
from spanbridge.lab.agents import Ask, agent_daemon, start_agents
from spanbridge.lab.daemons import find_daemon, kill
from spanbridge.lab.dhcp import Dnsmasq, about
from spanbridge.lab.pods import pod_address, pod_link
from spanbridge.lab.proofs import Leased, LeaseProof, Restart
from spanbridge.lab.runtime import Runtime
from spanbridge.lab.topology import DhcpServer, Node


def prove_leases(runtime: Runtime, server: DhcpServer, addresses: Mapping[str, str]) -> LeaseProof:
    """Compare the virt-handlers' addresses, by node, with the server's own lease file."""
    given = {lease.mac: lease.address for lease in Dnsmasq(runtime.place).leases()}
    leased = []
    for node, pod in runtime.lab.attachments():
        link = pod_link(pod)
        mac = link.mac if link is not None else ""
        leased.append(Leased(node.name, addresses[node.name], mac, given.get(mac, "")))
    return LeaseProof(str(server.address), server.pool, tuple(leased))


def restart_agent(runtime: Runtime, node: Node, *, ask: Ask) -> Restart:
    """
    Kill the agent of a node, start another, and have that one renew the lease.

    Raises:
        NodeError: No agent runs, or the new one does not start.
    """
    place, server = runtime.place, Dnsmasq(runtime.place)
    daemon, address = agent_daemon(place, node), pod_address(node.handler)
    killed = kill(daemon)
    start_agents(place, [node])
    logged = len(server.log())
    ask(place.agent_socket(node), "renew")
    news = server.log()[logged:]
    renewal = (about(news, "DHCPREQUEST", address)[:1], about(news, "DHCPACK", address)[:1])
    started = find_daemon(daemon)
    if started is None:
        raise NodeError(f"cannot restart {daemon.name}: it ended after it was ready")
    return Restart(
        node=node.name,
        address=address,
        after=pod_address(node.handler),
        killed=killed,
        started=started,
        renewal=tuple(line for lines in renewal for line in lines),
    )
