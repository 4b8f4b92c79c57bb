# SPDX-License-Identifier: Apache-2.0
"""Each check: silent on a node that is well, and the first to speak when its thing is broken."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from tests.unit.stretch.doctor.conftest import (
    ACCESS,
    ATTACHMENT,
    BRIDGE,
    GATEWAY_PORT,
    LEASE,
    LEFT_OVER,
    PORT,
    SHIM,
    TAGGED,
    WELL,
    conf,
    faults,
    with_agent,
    with_link,
)

from spanbridge.model.diagnosis import Diagnosis, Status
from spanbridge.model.node_state import (
    ConfState,
    LinkState,
    NodeState,
    ProbeState,
    ProgramState,
    RouteState,
    UplinkRecord,
    VlanEntry,
)
from spanbridge.stretch.doctor import CHECKS, Options, diagnose

Find = Callable[..., list[Diagnosis]]


@dataclass(frozen=True, slots=True)
class Broken:
    """
    A node with one fault.

    Attributes:
        code: Of the check that has to find it first.
        state: The node.
        says: Part of the message.
        commands: What is proposed, comments left out.
        safe: ``--fix`` may do it.
        status: How bad it is.
    """

    code: str
    state: NodeState
    says: str
    commands: tuple[str, ...] = ()
    safe: bool = False
    status: Status = Status.FAIL


def without(state: NodeState, *names: str) -> NodeState:
    return replace(state, links=tuple(each for each in state.links if each.name not in names))


def plus(state: NodeState, *links: LinkState) -> NodeState:
    return replace(state, links=(*state.links, *links))


THIEF = LinkState("eth1.2", "vlan", lower="eth1", vlan_id=2)
SECOND = replace(ATTACHMENT, container_id="other")
NF_CALL = dict(WELL.sysctls) | {"net/bridge/bridge-nf-call-iptables": "1"}
STRICT = dict(WELL.sysctls) | {"net/ipv4/conf/all/rp_filter": "1"}
NETWORK_SCOPE = (conf(gatewayScope="network"),)
TWICE = replace(WELL.probes[0], macs=("02:00:00:00:00:01", "02:00:00:00:00:02"))
ONCE = replace(TWICE, macs=TWICE.macs[:1])
TAKEN = replace(WELL.probes[1], macs=("02:00:00:00:00:09",))
MTU = "ip link set dev {} mtu {}".format

ENSURE = "spanbridge uplink ensure eth1 --bridge br-mig --vlan 2"
START = (
    "nohup spanbridge agent run --socket /run/spanbridge/agent.sock"
    " --state-dir /var/lib/spanbridge --run-dir /run/spanbridge >/dev/null 2>&1 &"
)

FAULTS = {
    "a configuration is damaged": Broken(
        "SBD01",
        replace(WELL, confs=(*WELL.confs, ConfState("/etc/cni/net.d/9.conf", fault="no JSON"))),
        "no JSON",
        ("spanbridge explain /etc/cni/net.d/9.conf",),
        status=Status.WARN,
    ),
    "a configuration is wrong": Broken(
        "SBD01",
        replace(WELL, confs=(*WELL.confs, replace(conf(name="x", vlan="2"), given=True))),
        "'vlan'",
        ("spanbridge explain /etc/cni/net.d/10-bridge.conf",),
    ),
    "there is no configuration": Broken(
        "SBD01",
        replace(
            without(WELL, PORT, GATEWAY_PORT, "br-mig", "br-mig.2"), confs=(), agent=WELL.agent
        ),
        "no configuration",
        status=Status.WARN,
    ),
    "no bridge": Broken(
        "SBD02",
        without(WELL, "br-mig", PORT, "br-mig.2", GATEWAY_PORT),
        "there is no bridge",
        ("ip link add name br-mig type bridge vlan_filtering 1", "ip link set dev br-mig up"),
        safe=True,
    ),
    "no bridge, and the uplink is known": Broken(
        "SBD02",
        replace(
            with_link(without(WELL, "br-mig", PORT, "br-mig.2", GATEWAY_PORT), "eth1", master=""),
            uplinks=(UplinkRecord("eth1", "br-mig"),),
        ),
        "there is no bridge",
        (ENSURE,),
        safe=True,
    ),
    "the name is taken": Broken(
        "SBD02",
        with_link(WELL, "br-mig", kind="dummy", vlan_filtering=None),
        "of kind 'dummy'",
        ("ip link set dev br-mig down name br-mig-old",),
    ),
    "the bridge is down": Broken(
        "SBD03",
        with_link(WELL, "br-mig", up=False),
        "it is down",
        ("ip link set dev br-mig up",),
        safe=True,
    ),
    "filtering is off": Broken(
        "SBD04",
        with_link(WELL, "br-mig", vlan_filtering=False),
        "does not filter",
        ("ip link set dev br-mig type bridge vlan_filtering 1",),
        safe=True,
    ),
    "filtering is off, and others use the bridge": Broken(
        "SBD04",
        plus(
            with_link(WELL, "br-mig", vlan_filtering=False),
            LinkState("tap7", "tun", master="br-mig"),
        ),
        "does not filter",
        ("ip link set dev br-mig type bridge vlan_filtering 1",),
    ),
    "the uplink is no port, and named": Broken(
        "SBD05",
        replace(with_link(WELL, "eth1", master="", vlans=()), confs=(conf(uplink="eth1"),)),
        "eth1 is no port of it",
        (ENSURE,),
        safe=True,
    ),
    "the uplink is no port, and down": Broken(
        "SBD05",
        plus(
            with_link(WELL, "eth1", master="", vlans=(), up=False),
            LinkState("gre0", "gre"),
            LinkState("tap7", "tun"),
        ),
        "eth1 has neither addresses nor a bridge",
        (ENSURE,),
    ),
    "there are two devices to choose from": Broken(
        "SBD05",
        plus(with_link(WELL, "eth1", master="", vlans=()), LinkState("eth2")),
        "no uplink",
    ),
    "the uplink has addresses": Broken(
        "SBD05",
        replace(WELL, confs=(conf(uplink="eth0"),)),
        "carries 192.0.2.5/24",
        (
            "ip link set dev eth0 master br-mig",
            "bridge vlan del dev eth0 vid 1",
            "bridge vlan add dev eth0 vid 2",
        ),
    ),
    "the default route leaves by the uplink": Broken(
        "SBD05",
        replace(
            with_link(WELL, "eth1", master="", vlans=()),
            routes=(RouteState("default", "eth1", "192.0.2.1"),),
            confs=(conf(uplink="eth1"),),
        ),
        "carries the default route",
        (
            "ip link set dev eth1 master br-mig",
            "bridge vlan del dev eth1 vid 1",
            "bridge vlan add dev eth1 vid 2",
        ),
    ),
    "the uplink is another bridge's": Broken(
        "SBD05",
        replace(
            plus(with_link(WELL, "eth1", master="br1"), replace(BRIDGE, name="br1")),
            confs=(conf(uplink="eth1"),),
        ),
        "a port of br1 instead",
        (
            "ip link set dev eth1 master br-mig",
            "bridge vlan del dev eth1 vid 1",
            "bridge vlan add dev eth1 vid 2",
        ),
    ),
    "the uplink does not exist": Broken(
        "SBD05", replace(WELL, confs=(conf(uplink="eth9"),)), "no device eth9"
    ),
    "the uplink is down": Broken(
        "SBD06",
        with_link(WELL, "eth1", up=False, carrier=False, operstate="down"),
        "it is down",
        ("ip link set dev eth1 up",),
        safe=True,
    ),
    "the cable is out": Broken(
        "SBD06", with_link(WELL, "eth1", carrier=False, operstate="down"), "no carrier"
    ),
    "spanning tree blocks": Broken(
        "SBD06",
        with_link(WELL, "eth1", forwarding=False),
        "spanning tree",
        ("ip link set dev br-mig type bridge stp_state 0",),
        status=Status.WARN,
    ),
    "the uplink lacks the VLAN": Broken(
        "SBD07",
        with_link(WELL, "eth1", vlans=(VlanEntry(1, 1, pvid=True, untagged=True),)),
        "does not carry VLAN 2, only 1 PVID untagged",
        (ENSURE,),
        safe=True,
    ),
    "the uplink lacks the VLAN, and more than that is asked": Broken(
        "SBD07",
        replace(
            with_link(WELL, "eth1", vlans=(VlanEntry(100, 199),)),
            uplinks=(UplinkRecord("eth1", "br-mig", (VlanEntry(100, 199),), 9000),),
        ),
        "does not carry VLAN 2",
        (f"{ENSURE} --vlan 100-199 --mtu 9000",),
        safe=True,
    ),
    "the uplink lacks the VLAN, which another interface takes": Broken(
        "SBD07",
        plus(with_link(WELL, "eth1", vlans=()), THIEF),
        "does not carry VLAN 2",
        ("bridge vlan add dev eth1 vid 2",),
        safe=True,
    ),
    "the uplink lacks half of a trunk": Broken(
        "SBD07",
        replace(
            with_link(WELL, "eth1", vlans=(TAGGED, VlanEntry(10, 14))),
            confs=(conf(name="vms", vlanTrunk=[{"minID": 10, "maxID": 20}]), *WELL.confs),
        ),
        "VLANs 15-20",
        (f"{ENSURE} --vlan 10-20",),
        safe=True,
    ),
    "a VLAN interface steals": Broken(
        "SBD08", plus(WELL, THIEF), "eth1.2 takes the frames", ("ip link del dev eth1.2",)
    ),
    "the port has addresses": Broken(
        "SBD09",
        with_link(WELL, "eth1", addresses=("10.0.0.5/24",)),
        "carries 10.0.0.5/24",
        ("ip addr del 10.0.0.5/24 dev eth1",),
        status=Status.WARN,
    ),
    "the uplink is narrow": Broken(
        "SBD10",
        with_link(WELL, "eth1", mtu=1400, kind="veth"),
        "up to 1500 bytes, but eth1 1400",
        (MTU("eth1", 1500),),
        safe=True,
    ),
    "hardware is narrow": Broken(
        "SBD10", with_link(WELL, "eth1", mtu=1400), "eth1 1400", (MTU("eth1", 1500),)
    ),
    "bridge and port are narrow": Broken(
        "SBD10",
        replace(with_link(WELL, "eth1", mtu=9000), confs=(conf(mtu=9000),)),
        f"but br-mig 1500, {PORT} 1500",
        (MTU("br-mig", 9000), MTU(PORT, 9000)),
        safe=True,
    ),
    "the pod is older than its network's MTU": Broken(
        "SBD10",
        replace(
            with_link(
                with_link(with_link(WELL, "eth1", mtu=9000), PORT, mtu=9000), "br-mig", mtu=9000
            ),
            confs=(conf(mtu=9000),),
        ),
        "smaller than its network's MTU: migration0 of container handler",
        status=Status.WARN,
    ),
    "a pod's port is in another VLAN": Broken(
        "SBD11",
        with_link(WELL, PORT, vlans=()),
        "needs VLAN 2 untagged; its port has none",
        (f"bridge vlan add dev {PORT} vid 2 pvid untagged",),
        safe=True,
    ),
    "the gateway's port is in another VLAN": Broken(
        "SBD11",
        with_link(WELL, GATEWAY_PORT, vlans=()),
        "the gateway br-mig.2 needs VLAN 2",
        (f"bridge vlan add dev {GATEWAY_PORT} vid 2 pvid untagged",),
        safe=True,
    ),
    "a pod's port kept VLAN 1": Broken(
        "SBD12",
        with_link(WELL, PORT, vlans=(LEFT_OVER, ACCESS)),
        "is in VLAN 1 too",
        (f"bridge vlan del dev {PORT} vid 1",),
        safe=True,
    ),
    "the uplink kept VLAN 1": Broken(
        "SBD12",
        with_link(WELL, "eth1", vlans=(replace(LEFT_OVER, pvid=True), TAGGED)),
        "in VLAN 1 too, untagged",
        ("bridge vlan del dev eth1 vid 1",),
        safe=True,
        status=Status.WARN,
    ),
    "two pods have one address": Broken(
        "SBD13",
        with_agent(WELL, attachments=(ATTACHMENT, SECOND)),
        "10.88.0.50 belongs to container handler and to container other",
    ),
    "two hosts are the gateway": Broken(
        "SBD14",
        replace(WELL, probes=(TWICE, WELL.probes[1])),
        "2 hosts answer for the gateway 10.88.0.1",
        ("bridge fdb show | grep 02:00:00:00:00:01", "bridge fdb show | grep 02:00:00:00:00:02"),
    ),
    "the node and a router are the gateway": Broken(
        "SBD14",
        replace(WELL, confs=NETWORK_SCOPE, probes=(ONCE, WELL.probes[1])),
        "this node",
        ("bridge fdb show | grep 02:00:00:00:00:01", "ip addr del 10.88.0.1/24 dev br-mig.2"),
    ),
    "the router is silent": Broken(
        "SBD14",
        replace(with_link(WELL, "br-mig.2", addresses=()), confs=(conf(isGateway=False),)),
        "nobody answers for 10.88.0.1",
        status=Status.WARN,
    ),
    "another cluster has a pod's address": Broken(
        "SBD15",
        replace(WELL, probes=(WELL.probes[0], TAKEN)),
        "10.88.0.50 at 02:00:00:00:00:09",
    ),
    "the gateway does not forward": Broken(
        "SBD16",
        replace(WELL, sysctls={"net/ipv4/ip_forward": "0"}),
        "does not forward IPv4",
        ("sysctl -w net/ipv4/ip_forward=1",),
        safe=True,
    ),
    "a firewall drops bridged frames": Broken(
        "SBD17",
        replace(WELL, sysctls=NF_CALL, dropping=("ip filter FORWARD",)),
        "ip filter FORWARD drops",
        ("iptables -I FORWARD -i br-mig -o br-mig -j ACCEPT",),
        status=Status.WARN,
    ),
    "one subnet is on two interfaces": Broken(
        "SBD18",
        replace(with_link(WELL, "eth0", addresses=("10.88.0.9/24",)), sysctls=STRICT),
        "eth0 has 10.88.0.9/24",
        ("sysctl -w net/ipv4/conf/br-mig.2/rp_filter=2",),
        status=Status.WARN,
    ),
    "a program is missing": Broken(
        "SBD19",
        replace(WELL, programs=(SHIM, ProgramState("/opt/cni/bin/dhcp", "missing"))),
        "missing: dhcp",
        ("spanbridge cni install --bin-dir /opt/cni/bin",),
    ),
    "a program is somebody else's": Broken(
        "SBD19",
        replace(WELL, programs=(ProgramState("/opt/cni/bin/bridge", "foreign"),)),
        "not of Spanbridge: bridge",
        ("spanbridge cni install --bin-dir /opt/cni/bin",),
        status=Status.WARN,
    ),
    "the shim is old": Broken(
        "SBD19",
        replace(WELL, programs=(replace(SHIM, current=False),)),
        "of another build than this: bridge",
        ("spanbridge cni install --bin-dir /opt/cni/bin",),
        status=Status.WARN,
    ),
    "the one-shot program is gone": Broken(
        "SBD20",
        replace(WELL, programs=(replace(SHIM, oneshot_there=False),)),
        ".spanbridge-oneshot is missing",
        ("spanbridge cni install --bin-dir /opt/cni/bin",),
        status=Status.WARN,
    ),
    "the agent is down": Broken(
        "SBD21",
        with_agent(WELL, answers=False, fault="none runs", leases=(), service=True),
        "bridge-net leases its addresses through it: none runs",
        ("systemctl restart spanbridge-agent.service",),
    ),
    "the agent is down, and nobody needs it": Broken(
        "SBD21",
        replace(
            with_agent(WELL, answers=False, fault="none runs", attachments=(), leases=()),
            confs=(conf(ipam={}),),
        ),
        "calls are served without it",
        (START,),
        status=Status.WARN,
    ),
    "the agent is older": Broken(
        "SBD22",
        with_agent(WELL, version="0.0.9", service=True),
        "of version 0.0.9, this program of 0.1.0",
        ("systemctl restart spanbridge-agent.service",),
        status=Status.WARN,
    ),
    "nobody listens where DHCP is asked": Broken(
        "SBD23",
        replace(
            WELL, confs=(conf(ipam={"type": "dhcp", "daemonSocketPath": "/run/cni/dhcp.sock"}),)
        ),
        "nobody listens at /run/cni/dhcp.sock",
    ),
    "a lease is not renewed": Broken(
        "SBD24",
        with_agent(WELL, leases=(replace(LEASE, state="rebinding", expires_in_s=300.0),)),
        "rebinding, ends in 300 s; 10.88.0.254 has not answered",
        ("spanbridge agent leases --renew",),
        safe=True,
    ),
    "a lease is late": Broken(
        "SBD24",
        with_agent(WELL, leases=(replace(LEASE, state="renewing", renew_in_s=-9.0),)),
        "renewing, ends in 3600 s",
        ("spanbridge agent leases --renew",),
        safe=True,
        status=Status.WARN,
    ),
    "a sandbox is gone": Broken(
        "SBD25",
        with_agent(WELL, attachments=(replace(ATTACHMENT, stale="/run/netns/handler is gone"),)),
        "1 without sandbox: migration0 of container handler",
        ("spanbridge agent gc",),
        safe=True,
    ),
    "the disk is nearly full": Broken(
        "SBD26",
        replace(WELL, free_bytes=2 << 20),
        "2048 KiB are free",
        ("du -xh --max-depth=1 /var/lib/spanbridge | sort -h",),
        status=Status.WARN,
    ),
    "the disk is full": Broken(
        "SBD26",
        replace(WELL, free_bytes=4096),
        "4 KiB are free",
        ("du -xh --max-depth=1 /var/lib/spanbridge | sort -h",),
    ),
}


def test_a_node_that_is_well_has_no_fault() -> None:
    assert faults(WELL) == []


@pytest.mark.parametrize("broken", FAULTS.values(), ids=FAULTS)
def test_a_fault_is_the_first_that_is_named(broken: Broken) -> None:
    first = faults(broken.state)[0]

    assert (first.code, first.status) == (broken.code, broken.status)
    assert broken.says in first.message


@pytest.mark.parametrize("broken", FAULTS.values(), ids=FAULTS)
def test_a_fault_comes_with_the_commands_that_mend_it(broken: Broken) -> None:
    first = faults(broken.state)[0]
    assert first.remedy is not None
    assert first.finding is not None
    commands = first.remedy.commands

    assert tuple(each for each in commands if not each.startswith("#")) == broken.commands
    assert first.remedy.safe == broken.safe
    assert commands
    assert first.finding.remedy.splitlines() == list(commands)


def test_every_check_has_a_node_that_it_finds_something_on() -> None:
    assert {broken.code for broken in FAULTS.values()} == {check.code for check in CHECKS}


def test_codes_are_numbered_in_their_order() -> None:
    assert [check.code for check in CHECKS] == [f"SBD{n:02}" for n in range(1, len(CHECKS) + 1)]


@pytest.mark.parametrize("broken", FAULTS.values(), ids=FAULTS)
def test_every_check_says_something_about_every_node(broken: Broken) -> None:
    seen = {each.code for each in diagnose(broken.state, Options(bridge="br-mig"))}

    assert seen == {check.code for check in CHECKS}


SILENT = {
    "NMState allows everything on the uplink": with_link(
        WELL, "eth1", vlans=(VlanEntry(1, 1, pvid=True, untagged=True), VlanEntry(2, 4094))
    ),
    "VLAN 1 is wanted on the port": replace(
        with_link(WELL, PORT, vlans=(LEFT_OVER, ACCESS)), confs=(conf(preserveDefaultVlan=True),)
    ),
    "the uplink is an access port": with_link(WELL, "eth1", vlans=(ACCESS,)),
    "a VLAN interface of another VLAN": plus(WELL, replace(THIEF, vlan_id=3)),
    "a VLAN interface elsewhere": plus(WELL, replace(THIEF, lower="eth0")),
    "a router beside gateways that stay on their nodes": replace(
        WELL, probes=(ONCE, WELL.probes[1])
    ),
    "one router": replace(
        with_link(WELL, "br-mig.2", addresses=()),
        confs=(conf(isGateway=False),),
        probes=(ONCE, WELL.probes[1]),
    ),
    "bridged frames pass a firewall that accepts": replace(WELL, sysctls=NF_CALL),
    "a larger uplink": with_link(WELL, "eth1", mtu=9000),
    "a container runtime's own network": replace(
        plus(WELL, LinkState("cni-podman0", "bridge", vlan_filtering=False)),
        confs=(*WELL.confs, conf(name="podman", bridge="cni-podman0", vlan=0, ipam={})),
    ),
    "a bridge that the first pod makes": replace(
        without(WELL, "br-mig", PORT, "br-mig.2", GATEWAY_PORT, "eth1"),
        confs=(conf(uplink="eth1"),),
    ),
    "another network's bridge is not asked for": replace(
        WELL, confs=(*WELL.confs, conf(name="plain", bridge="cni0", vlan=0, ipam={}))
    ),
}


@pytest.mark.parametrize("state", SILENT.values(), ids=SILENT)
def test_what_is_right_is_not_called_wrong(state: NodeState) -> None:
    assert faults(state) == []


def test_after_the_first_fault_what_depends_on_it_is_skipped_with_the_reason(find: Find) -> None:
    state = with_link(WELL, "eth1", master="", vlans=())
    (carries,) = find(state, "SBD07")

    assert [each.code for each in faults(state)] == ["SBD05"]
    assert (carries.status, carries.message) == (Status.SKIPPED, "the bridge has no uplink")


def test_the_command_line_says_what_no_configuration_does(find: Find) -> None:
    bare = replace(WELL, confs=(), agent=dataclasses.replace(WELL.agent, attachments=()))
    options = Options(bridge="br-mig", uplink="eth1", vlan=3)
    (carries,) = find(bare, "SBD07", options)

    assert "does not carry VLAN 3" in carries.message
    assert carries.remedy is not None
    assert carries.remedy.commands == (ENSURE.removesuffix("2") + "3",)


def test_without_probes_the_reason_is_said(find: Find) -> None:
    (gateway,) = find(replace(WELL, probes=(), unprobed="--no-probe"), "SBD14")
    (failed,) = find(
        replace(WELL, probes=(ProbeState("eth1", 2, "10.88.0.1", fault="not permitted"),)), "SBD14"
    )

    assert (gateway.status, gateway.message) == (Status.SKIPPED, "--no-probe")
    assert (failed.status, failed.message) == (Status.SKIPPED, "not permitted")


def test_an_agent_elsewhere_is_named_in_the_command(find: Find) -> None:
    stale = replace(ATTACHMENT, stale="it is gone")
    (outcome,) = find(with_agent(WELL, socket="/x y/a.sock", attachments=(stale,)), "SBD25")

    assert outcome.remedy is not None
    assert outcome.remedy.commands == ("spanbridge agent gc --socket '/x y/a.sock'",)


def test_a_sandbox_that_is_gone_waits_for_the_agent(find: Find) -> None:
    stale = replace(ATTACHMENT, stale="it is gone")
    (outcome,) = find(with_agent(WELL, answers=False, attachments=(stale,)), "SBD25")

    assert outcome.remedy is not None
    assert not outcome.remedy.safe
