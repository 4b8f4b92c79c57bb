# SPDX-License-Identifier: Apache-2.0
"""A node on which all is well; each test breaks one thing of it."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from spanbridge.model.diagnosis import Diagnosis
from spanbridge.model.node_state import (
    AgentState,
    AttachmentState,
    ConfState,
    LeaseState,
    LinkState,
    NodeState,
    ProbeState,
    ProgramState,
    VlanEntry,
)
from spanbridge.model.owner import Owner
from spanbridge.stretch.doctor import Options, diagnose

CONF: dict[str, Any] = {
    "cniVersion": "1.0.0",
    "name": "bridge-net",
    "type": "bridge",
    "bridge": "br-mig",
    "isGateway": True,
    "vlan": 2,
    "ipam": {"type": "dhcp"},
}
OWNER = Owner.of("bridge-net", "handler", "migration0")
PORT, GATEWAY_PORT = OWNER.port_name(), "veth0a0b0c0d"
ACCESS = VlanEntry(2, 2, pvid=True, untagged=True)
TAGGED = VlanEntry(2, 2)
LEFT_OVER = VlanEntry(1, 1, untagged=True)

BRIDGE = LinkState("br-mig", "bridge", vlan_filtering=True, default_pvid=1, vlans=(LEFT_OVER,))
UPLINK = LinkState("eth1", master="br-mig", vlans=(TAGGED,))
POD = LinkState(PORT, "veth", master="br-mig", alias=OWNER.alias("ready"), vlans=(ACCESS,))
GATEWAY = LinkState("br-mig.2", "veth", lower=GATEWAY_PORT, addresses=("10.88.0.1/24",))
BEHIND = LinkState(
    GATEWAY_PORT,
    "veth",
    master="br-mig",
    lower="br-mig.2",
    alias="sb1:gateway port of br-mig.2",
    vlans=(ACCESS,),
)
LO = LinkState("lo", mtu=65536, loopback=True, addresses=("127.0.0.1/8",))
ETH0 = LinkState("eth0", addresses=("192.0.2.5/24",))

ATTACHMENT = AttachmentState(
    "bridge-net",
    "handler",
    "migration0",
    netns="/run/netns/handler",
    addresses=("10.88.0.50/24",),
    gateways=("10.88.0.1",),
    pod_mtu=1500,
)
LEASE = LeaseState(
    "bridge-net",
    "handler",
    "migration0",
    "bound",
    address="10.88.0.50/24",
    server="10.88.0.254",
    renew_in_s=1800.0,
    expires_in_s=3600.0,
)
AGENT = AgentState(
    "/run/spanbridge/agent.sock",
    answers=True,
    version="0.1.0",
    run_dir="/run/spanbridge",
    state_dir="/var/lib/spanbridge",
    attachments=(ATTACHMENT,),
    leases=(LEASE,),
)
SHIM = ProgramState(
    "/opt/cni/bin/bridge", "shim", oneshot="/opt/cni/bin/.spanbridge-oneshot", oneshot_there=True
)
PROBES = (
    ProbeState("eth1", 2, "10.88.0.1"),
    ProbeState("eth1", 2, "10.88.0.50"),
)


def conf(**fields: Any) -> ConfState:  # noqa: ANN401  # JSON
    """The documentation's example, with other fields."""
    return ConfState("/etc/cni/net.d/10-bridge.conf", json.dumps(CONF | fields))


WELL = NodeState(
    node="node1",
    taken_s=1700000000.0,
    package_version="0.1.0",
    links=(LO, ETH0, UPLINK, BRIDGE, POD, GATEWAY, BEHIND),
    agent=AGENT,
    sysctls={"net/ipv4/ip_forward": "1"},
    confs=(conf(),),
    programs=(SHIM,),
    free_bytes=1 << 30,
    probes=PROBES,
)


def with_link(state: NodeState, name: str, **changes: Any) -> NodeState:  # noqa: ANN401
    """The same node with one link changed."""
    links = [
        dataclasses.replace(each, **changes) if each.name == name else each for each in state.links
    ]
    return dataclasses.replace(state, links=tuple(links))


def with_agent(state: NodeState, **changes: Any) -> NodeState:  # noqa: ANN401
    """The same node with another agent."""
    return dataclasses.replace(state, agent=dataclasses.replace(state.agent, **changes))


def faults(state: NodeState, options: Options | None = None) -> list[Diagnosis]:
    """What is wrong or doubtful."""
    return [each for each in diagnose(state, options) if each.wrong]


@pytest.fixture
def find() -> Callable[..., list[Diagnosis]]:
    """Outcomes of one check."""

    def outcomes(state: NodeState, code: str, options: Options | None = None) -> list[Diagnosis]:
        return [each for each in diagnose(state, options) if each.code == code]

    return outcomes
