# SPDX-License-Identifier: Apache-2.0
"""
How migration networks fail, and what finds it before the first migration.

Rules name the rows that they catch; ``docs/reference/failures.md`` is made of both.
"""

from dataclasses import dataclass
from typing import Final

from spanbridge.stretch.lint.catalogue import RULES


@dataclass(frozen=True, slots=True)
class Failure:
    """
    One way to fail.

    Attributes:
        row: Its number; never given to another one.
        symptom: What people see.
        cause: Why.
        plan: How planned manifests avoid it; empty where they cannot.
        doctor: What `spanbridge doctor` looks at on a node; empty where nothing is there.
        verify: What shows it between running pods; empty where nothing does.
        checks: Codes of doctor's checks that look at it.
        causes: Codes of verify's causes; none where verify does not find it yet.
    """

    row: int
    symptom: str
    cause: str
    plan: str = ""
    doctor: str = ""
    verify: str = ""
    checks: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()


FAILURES: Final = (
    Failure(
        1,
        "a migration stays in WaitingForSync or Synchronizing, without an event",
        "the other side's synchronization address cannot be reached",
        plan="network, gate and CA exchange come from one intent",
        verify="dials port 9185 of both leaders, in both directions",
        causes=("SBV10", "SBV11", "SBV12", "SBV14", "SBV50", "SBV51"),
    ),
    Failure(
        2,
        "the same, after a synchronization pod moved",
        "KubeVirt keeps its connection to the old address (kubevirt#18625)",
        verify="compares the leader's address with the one in the migration's status",
    ),
    Failure(
        3,
        "a trial inside of one cluster stalls, although two clusters would work",
        "KubeVirt 1.8 does not set the source node there (kubevirt#18259)",
        verify="tries pairs of different clusters",
    ),
    Failure(
        4,
        "the source's migration never becomes Succeeded, now and then",
        "a race in KubeVirt, mended since (kubevirt#15299)",
        verify="compares the two migration objects",
    ),
    Failure(
        5,
        "virt-handler restarts for ever once the network is set",
        "migration0 has no global address",
        plan="every network gets addresses, none of them link-local",
        verify="each virt-handler has an address of the plan on migration0",
        causes=("SBV21",),
    ),
    Failure(
        6,
        "migrations work, over the pod network",
        "virt-handler has no migration0: the setting did not arrive",
        plan="writes the setting in the shape that the cluster's API has",
        verify="each virt-handler has migration0; the target address is not the pod's",
        causes=("SBV20",),
    ),
    Failure(
        7,
        "virt-handler pods stay in ContainerCreating",
        "the network is not found, or its configuration cannot be used",
        plan="name, namespace and configuration come from one intent",
        verify="each virt-handler runs",
        causes=("SBV72",),
    ),
    Failure(
        8,
        "some nodes' virt-handlers get no address",
        "the range is too small, or old reservations fill it",
        plan="counts nodes, two controllers and one more, and keeps room to grow",
        verify="counts addresses in use against the plan",
    ),
    Failure(
        9,
        "duplicate addresses in two clusters, connections reset",
        "one range in both: address management knows its own cluster only",
        plan="blocks of clusters never meet, and never move",
        verify="two MACs answer for one address",
        causes=("SBV24",),
    ),
    Failure(
        10,
        "duplicate addresses inside of one cluster",
        "races of the address management, or one range on several nodes",
        plan="host-local gets a block for each node",
        verify="two pods report one address",
        causes=("SBV25",),
    ),
    Failure(
        11,
        "conflicts with the router or with a DHCP pool",
        "the gateway's address is on every node, or in the range",
        plan="writes no gateway onto nodes; router and reserved addresses are left out",
        doctor="more than one MAC answers for the gateway's address",
        verify="more than one MAC answers for the gateway's address",
        checks=("SBD14",),
        causes=("SBV26", "SBV28"),
    ),
    Failure(
        12,
        "a network with dhcp never starts",
        "no DHCP daemon on the node, or no answer by the uplink",
        plan="names bridge and uplink; writes the DHCP server's ranges",
        doctor="the agent answers; leases are renewed in time",
        verify="each virt-handler has an address",
        checks=("SBD21", "SBD23", "SBD24"),
        causes=("SBV21",),
    ),
    Failure(
        13,
        "no connection between nodes, although addresses look right",
        "the uplink does not carry the VLAN",
        plan="writes the VLAN into the policy, or the command that allows it",
        doctor="the VLAN is on the uplink",
        verify="every pair of nodes",
        checks=("SBD07",),
        causes=("SBV01", "SBV10"),
    ),
    Failure(
        14,
        "connections inside of a node only",
        "the bridge has no uplink",
        plan="every bridge is made with its uplink",
        doctor="the uplink is a port and has carrier",
        verify="every pair of nodes",
        checks=("SBD05", "SBD06"),
        causes=("SBV03",),
    ),
    Failure(
        15,
        "traffic in the wrong VLAN",
        "the bridge was there before, without VLAN filtering",
        plan="policies turn filtering on; Spanbridge's plugin refuses such a bridge",
        doctor="VLAN filtering is on",
        verify="every pair of nodes",
        checks=("SBD04",),
        causes=("SBV02", "SBV32"),
    ),
    Failure(
        16,
        "noise of VLAN 1 in the pod",
        "preserveDefaultVlan, whose default changed between versions",
        plan="writes it in every configuration",
        doctor="VLAN 1 is left on a port",
        checks=("SBD12",),
    ),
    Failure(
        17,
        "the VLAN vanishes after a change of the node's network",
        "NMState applies a policy that does not name it",
        plan="the policy names the VLAN",
        doctor="the VLAN is on the uplink, now",
        verify="every pair of nodes",
        checks=("SBD07",),
        causes=("SBV01",),
    ),
    Failure(
        18,
        "macvlan fails with EBUSY",
        "its master is a port of a bridge",
        plan="writes bridge networks only",
        doctor="the uplink's master is the bridge that is meant",
        checks=("SBD05",),
    ),
    Failure(
        19,
        "tagged frames disappear",
        "a VLAN device on the uplink takes them",
        doctor="a VLAN device on the uplink has the network's VLAN",
        verify="every pair of nodes",
        checks=("SBD08",),
        causes=("SBV05",),
    ),
    Failure(
        20,
        "small requests work, migrations hang",
        "MTUs differ on the way",
        plan="one MTU for uplinks, bridges and pods",
        doctor="MTU of uplink, bridge and pods",
        verify="the path's MTU in both directions, without fragments",
        checks=("SBD10",),
        causes=("SBV40", "SBV41", "SBV42", "SBV43", "SBV44"),
    ),
    Failure(
        21,
        "nothing passes on nodes that are virtual machines",
        "the hypervisor drops frames with foreign MACs",
        verify="frames of the pod's MAC do not arrive while those of the node do",
    ),
    Failure(
        22,
        "x509: unknown authority, or a common name is invalid",
        "the CA was not exchanged, has expired, or versions differ",
        plan="writes the script that exchanges CAs in both directions and proves it",
        verify="checks issuer and name of the peer's certificate",
        causes=("SBV60", "SBV61", "SBV63"),
    ),
    Failure(
        23,
        "a CA was pasted and has no effect",
        "one certificate in the bundle is damaged, or clocks differ",
        plan="the script checks that the peer's CA has arrived",
        verify="checks that the peer's CA is in the bundle",
        causes=("SBV60", "SBV62"),
    ),
    Failure(
        24,
        "synchronization pods do not start, workers are fine",
        "the bridge is on workers only, and they run on control-plane nodes",
        plan="control-plane nodes belong to a pool, or a note says that none does",
        verify="the synchronization controllers have migration0",
        causes=("SBV20",),
    ),
    Failure(
        25,
        "clusters in different subnets, or traffic leaves by eth0",
        "no route by migration0",
        plan="one subnet for all clusters",
        verify="the route to each peer goes by migration0",
        causes=("SBV30",),
    ),
    Failure(
        26,
        "one side has only IPv6, the other only IPv4",
        "families differ",
        plan="all clusters get the same families",
        verify="a family in common for each pair",
        causes=("SBV23",),
    ),
    Failure(
        27,
        "connection refused on port 9185",
        "the standby was asked, or the leader is being replaced",
        verify="asks the holder of the Lease",
        causes=("SBV52",),
    ),
    Failure(
        28,
        "an aborted migration is neither failed nor over",
        "KubeVirt takes the proxy away before the abort, mended in July 2026",
        verify="names KubeVirt's version",
    ),
    Failure(
        29,
        "virtual machines with vTPM or EFI lose state",
        "bugs in KubeVirt's backend storage (kubevirt#18181)",
        verify="names such machines before they are moved",
    ),
    Failure(
        30,
        "an outage after the move",
        "a switch has learned the MAC elsewhere, or two pods have one",
        verify="where switches and bridges have learned each MAC",
    ),
)


def codes_for(row: int) -> tuple[str, ...]:
    """Name the rules that catch a row."""
    return tuple(rule.code for rule in RULES if row in rule.rows)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _caught(failure: Failure) -> str:
    rules = ", ".join(f"[{code}](rules/{code}.md)" for code in codes_for(failure.row))
    later = "" if failure.causes else " (later)"
    parts = (
        ("lint", rules),
        ("plan", failure.plan),
        ("doctor", failure.doctor + _codes(failure.checks, "doctor.md#checks")),
        (f"verify{later}", failure.verify + _codes(failure.causes, "verify.md#causes")),
    )
    return "<br>".join(f"{name}: {text}" for name, text in parts if text)


def _codes(codes: tuple[str, ...], page: str) -> str:
    return f" ([{', '.join(codes)}]({page}))" if codes else ""


def render_failures() -> str:
    """Render the page of all failures."""
    lines = [
        "# How migration networks fail, and what finds it",
        "",
        "Thirty ways in which networks for live migration between clusters fail in practice. The",
        "last column says what finds each one: a rule of `spanbridge lint`, which reads files; the",
        "way in which `spanbridge plan` makes manifests, which cannot fail like that;",
        "`spanbridge doctor` on a node; or `spanbridge verify` between running pods. *Later* means",
        "that verify does not look at it yet.",
        "",
        "Made from the code by `tools/rule_pages.py`.",
        "",
        "| # | what is seen | cause | found by |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {each.row} | {_cell(each.symptom)} | {_cell(each.cause)} | {_cell(_caught(each))} |"
        for each in FAILURES
    ]
    return "\n".join(lines) + "\n"
