# SPDX-License-Identifier: Apache-2.0
"""The checks with their codes, in the order of causes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from spanbridge.model.diagnosis import Diagnosis, Status
from spanbridge.model.findings import Finding, Severity
from spanbridge.model.node_state import NodeState
from spanbridge.stretch.doctor import addresses, links, ports, services
from spanbridge.stretch.doctor.addresses import Question
from spanbridge.stretch.doctor.case import BridgeCase, Case, Options
from spanbridge.stretch.doctor.outcome import Outcome

_SEVERITIES: Final = {Status.FAIL: Severity.ERROR, Status.WARN: Severity.WARNING}


@dataclass(frozen=True, slots=True)
class Check:
    """
    One check; either of a bridge or of the whole node.

    Attributes:
        code: Stable; documented in docs/reference/doctor.md.
        title: What is so when all is well.
        consequence: What happens in practice when it is not.
        of_bridge: Looks at a bridge; None for a check of the node.
        of_node: Looks at the node; None for a check of a bridge.
    """

    code: str
    title: str
    consequence: str
    of_bridge: Callable[[BridgeCase], Iterator[Outcome]] | None = None
    of_node: Callable[[Case], Iterator[Outcome]] | None = None


CHECKS: Final = (
    Check(
        "SBD01",
        "network configurations can be read",
        "pods of that network stay in ContainerCreating, and doctor does not know what they need",
        of_node=services.confs_are_readable,
    ),
    Check(
        "SBD02",
        "the bridge exists",
        "the plugin makes a bridge without uplink: pods reach each other on this node only",
        of_bridge=links.bridge_exists,
    ),
    Check(
        "SBD03",
        "the bridge is up",
        "no frame passes it",
        of_bridge=links.bridge_up,
    ),
    Check(
        "SBD04",
        "the bridge filters VLANs",
        "Spanbridge refuses to attach pods; other plugins ignore the VLAN silently, and frames"
        " land untagged in the native VLAN of the switch",
        of_bridge=links.bridge_filters,
    ),
    Check(
        "SBD05",
        "the uplink is a port of the bridge",
        "pods reach each other on this node, and no other node",
        of_bridge=links.uplink_is_port,
    ),
    Check(
        "SBD06",
        "the uplink is up, with carrier",
        "pods reach each other on this node, and no other node",
        of_bridge=links.uplink_works,
    ),
    Check(
        "SBD07",
        "the uplink carries the VLANs",
        "addresses look right, yet no other node answers: the bridge drops the frames there",
        of_bridge=links.uplink_carries_vlans,
    ),
    Check(
        "SBD08",
        "no VLAN interface takes the bridge's frames",
        "what comes in with that tag goes to the VLAN interface and never to the bridge",
        of_bridge=links.nothing_steals,
    ),
    Check(
        "SBD09",
        "the uplink has no addresses of its own",
        "the node cannot be reached by them: the bridge takes all that comes in",
        of_bridge=links.uplink_has_no_addresses,
    ),
    Check(
        "SBD10",
        "the MTU fits from pod to uplink",
        "small packets pass and large ones vanish: a migration starts, then hangs",
        of_bridge=ports.mtu_fits,
    ),
    Check(
        "SBD11",
        "ports are in the VLANs of their networks",
        "the pod talks to nobody, or to those of another network",
        of_bridge=ports.ports_carry_vlans,
    ),
    Check(
        "SBD12",
        "no port kept the default VLAN",
        "broadcasts of an untagged network reach the pod",
        of_bridge=ports.no_vlan_left_over,
    ),
    Check(
        "SBD13",
        "no address twice on the node",
        "connections break off at random, as frames go to one or the other",
        of_bridge=addresses.no_duplicates_here,
    ),
    Check(
        "SBD14",
        "one host answers for the gateway",
        "what pods send to other networks goes to one host or the other, and gets lost there",
        of_bridge=addresses.gateway_is_one,
    ),
    Check(
        "SBD15",
        "nobody else has the address of a pod",
        "two clusters use one address: connections are reset, migrations fail at random",
        of_bridge=addresses.pods_are_alone,
    ),
    Check(
        "SBD16",
        "the node forwards where it is the gateway",
        "pods reach their own network, and no other",
        of_bridge=addresses.forwards,
    ),
    Check(
        "SBD17",
        "the IP firewall lets bridged frames pass",
        "pods on this node reach neither each other nor the uplink, though the bridge is right",
        of_bridge=addresses.firewall_lets_pass,
    ),
    Check(
        "SBD18",
        "reverse path filtering fits the routes",
        "the kernel drops what pods send to their gateway, without a trace",
        of_bridge=addresses.reverse_path_fits,
    ),
    Check(
        "SBD19",
        "CNI programs are installed",
        "pods of these networks stay in ContainerCreating, or another plugin serves them",
        of_node=services.programs_are_installed,
    ),
    Check(
        "SBD20",
        "the shim finds its one-shot program",
        "while no agent runs, pods can be neither attached nor removed",
        of_node=services.oneshot_is_there,
    ),
    Check(
        "SBD21",
        "the agent answers",
        "leases are renewed by nobody, and run out; calls that need it fail until it runs again",
        of_node=services.agent_answers,
    ),
    Check(
        "SBD22",
        "agent and command line are of one version",
        "after an upgrade the old agent still serves all calls",
        of_node=services.versions_agree,
    ),
    Check(
        "SBD23",
        "somebody leases addresses where DHCP is wanted",
        "pods of that network stay in ContainerCreating",
        of_node=services.dhcp_is_served,
    ),
    Check(
        "SBD24",
        "leases are renewed in time",
        "when a lease ends, the pod loses its address and the server gives it to somebody else",
        of_node=services.leases_are_renewed,
    ),
    Check(
        "SBD25",
        "every attachment has its sandbox",
        "addresses, leases and firewall entries of dead pods are held for ever",
        of_node=services.nothing_is_stale,
    ),
    Check(
        "SBD26",
        "the state directory has room",
        "attachments and leases cannot be written down, and ADD fails",
        of_node=services.state_has_room,
    ),
)


def diagnose(state: NodeState, options: Options | None = None) -> tuple[Diagnosis, ...]:
    """
    Judge a node.

    Args:
        state: As it was observed, or read from a file.
        options: What an administrator said; None for nothing.

    Returns:
        At least one for each check: those of configurations, of each bridge, of the node.
    """
    case = Case(state, options or Options())
    first, *rest = CHECKS
    order = [*_of_node(first, case)]
    order += [each for bridge in case.bridges for one in rest for each in _of_bridge(one, bridge)]
    return tuple(order + [each for one in rest for each in _of_node(one, case)])


def _of_node(check: Check, case: Case) -> list[Diagnosis]:
    return [] if check.of_node is None else [_stamp(check, each) for each in check.of_node(case)]


def _of_bridge(check: Check, bridge: BridgeCase) -> list[Diagnosis]:
    if check.of_bridge is None:
        return []
    return [_stamp(check, each) for each in check.of_bridge(bridge)]


def _stamp(check: Check, outcome: Outcome) -> Diagnosis:
    severity = _SEVERITIES.get(outcome.status)
    finding = None
    if severity is not None:
        finding = Finding(
            check.code,
            severity,
            outcome.message,
            subject=outcome.subject,
            consequence=check.consequence,
            remedy="\n".join(outcome.remedy.commands) if outcome.remedy else "",
        )
    return Diagnosis(
        check.code,
        check.title,
        outcome.subject,
        outcome.status,
        outcome.message,
        finding=finding,
        remedy=outcome.remedy,
    )


def list_questions(state: NodeState, options: Options | None = None) -> tuple[Question, ...]:
    """List the addresses to ask for by ARP, before a state is judged."""
    case = Case(state, options or Options())
    found = [each for bridge in case.bridges for each in addresses.questions(bridge)]
    return tuple(dict.fromkeys(found))
