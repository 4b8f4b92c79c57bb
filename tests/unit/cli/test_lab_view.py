# SPDX-License-Identifier: Apache-2.0
"""What the lab's findings look like, character by character."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from spanbridge.cli.lab_view import view_plan, view_removed, view_status, view_verdict
from spanbridge.cli.terminal import facts
from spanbridge.lab.lifecycle import Removed
from spanbridge.lab.ping import PingResult
from spanbridge.lab.place import Place
from spanbridge.lab.proofs import GatewayProof, Leased, LeaseProof, PodGateway, Restart
from spanbridge.lab.runtime import Runtime
from spanbridge.lab.standin.observing import StandinStatus
from spanbridge.lab.status import (
    AgentStatus,
    GivenLease,
    KeptLease,
    LabStatus,
    NodeStatus,
    PodStatus,
    PortStatus,
    ServerStatus,
    VlanEntry,
)
from spanbridge.lab.topology import LabParameters, plan_lab, sync_pods
from spanbridge.lab.verdict import Isolation, Pair, Trunk, Verdict
from spanbridge.model.observations import Role
from spanbridge.probing.capture import UNTAGGED, TagCount

GOLDEN = Path(__file__).parent / "golden"
SILENT = PingResult("10.88.0.2", 12, ())
SERVER = plan_lab(LabParameters()).dhcp or pytest.fail("no DHCP server")
RENEWAL = (
    "DHCPREQUEST(eth0) 10.88.0.11 02:00:00:00:00:02",
    "DHCPACK(eth0) 10.88.0.11 02:00:00:00:00:02",
)


class Ascii(io.StringIO):
    """A stream that cannot show more than ASCII."""

    encoding = "ascii"


def _printed(*what: RenderableType, file: io.StringIO | None = None) -> str:
    stream = file or io.StringIO()
    console = facts(stream)
    for each in what:
        console.print(each)
    return stream.getvalue()


def _golden(name: str) -> str:
    return (GOLDEN / name).read_text(encoding="utf-8")


def _verdict(nodes: int = 2) -> Verdict:
    names = [node.name for node in plan_lab(LabParameters(nodes=nodes)).nodes]
    pairs = [
        Pair(a, b, PingResult("10.88.0.9", 3, (0.2 + len(a) / 100, 0.1, 0.3)))
        for a in names
        for b in names
        if a != b
    ]
    addresses = {name: f"10.88.0.{9 + at}" for at, name in enumerate(names)}
    macs = {name: f"02:00:00:00:00:{at:02x}" for at, name in enumerate(names)}
    return Verdict(
        vlan=2,
        nodes=tuple(names),
        addresses=addresses,
        pairs=tuple(pairs),
        trunks=tuple(Trunk(name, TagCount({2: 44}), 36) for name in names),
        isolation=Isolation("east-1", "no-vlan-net", "10.88.0.202", (SILENT,) * len(names)),
        leases=LeaseProof(
            "10.88.0.254",
            SERVER.pool,
            tuple(Leased(name, at, macs[name], at) for name, at in addresses.items()),
        ),
        gateway=GatewayProof(
            "10.88.0.1",
            asked=3,
            answers=(),
            control=True,
            pods=tuple(PodGateway(name, mac, (mac,)) for name, mac in macs.items()),
            leaked=0,
        ),
        restart=Restart(
            "west-1", "10.88.0.11", "10.88.0.11", killed=313, started=367, renewal=RENEWAL
        ),
    )


def _broken() -> Verdict:
    good = _verdict()
    pairs = list(good.pairs)
    pairs[0] = Pair("east-1", "east-2", SILENT)
    pairs[1] = Pair("east-1", "west-1", PingResult("10.88.0.9", 4, (0.5, 0.6, 0.7), duplicates=2))
    reaching = replace(good.isolation, pings=(good.pairs[2].ping, SILENT, SILENT, SILENT))
    trunk = Trunk("east-1", TagCount({2: 30, UNTAGGED: 4, 7: 1}), 36)
    assert good.leases is not None
    assert good.gateway is not None
    assert good.restart is not None
    other = replace(good.leases.leased[1], by_server="10.88.0.77")
    by_two = replace(good.gateway.pods[0], answers=("02:00:00:00:00:00", "02:00:00:00:00:01"))
    return replace(
        good,
        pairs=tuple(pairs),
        isolation=reaching,
        trunks=(trunk, *good.trunks[1:]),
        faults=("cannot run CHECK for virt-handler-r6rlc on east-2: VLAN 2 missing",),
        leases=replace(good.leases, leased=(good.leases.leased[0], other, *good.leases.leased[2:])),
        gateway=replace(
            good.gateway, answers=by_two.answers, leaked=9, pods=(by_two, *good.gateway.pods[1:])
        ),
        restart=replace(good.restart, after="10.88.0.12", renewal=()),
    )


def _status() -> LabStatus:
    tagged = (VlanEntry(2, 2, pvid=False, untagged=False),)
    access = (VlanEntry(2, 2, pvid=True, untagged=True),)
    trunk = (VlanEntry(2, 4094, pvid=False, untagged=False),)
    nodes = []
    for number, node in enumerate(plan_lab(LabParameters()).nodes):
        handler = PodStatus(
            name=node.handler.name,
            netns=node.handler.netns,
            interface="migration0",
            up=True,
            mac="02:00:00:00:00:01",
            mtu=1500,
            addresses=(f"10.88.0.{9 + number}/24",),
            port=PortStatus("veth12345678", forwarding=True, vlans=access),
        )
        uplink = PortStatus("eth1", forwarding=True, vlans=tagged)
        port = PortStatus(node.name, forwarding=True, vlans=trunk)
        nodes.append(
            NodeStatus(
                node.name,
                node.cluster,
                node.netns,
                "br-mig",
                vlan_filtering=True,
                uplink=uplink,
                trunk=port,
                handler=handler,
                agent=AgentStatus(
                    300 + number,
                    "/run/spanbridge-lab/agent.sock",
                    (KeptLease(f"10.88.0.{9 + number}/24", "10.88.0.254", "bound", 47.6, 107.2),),
                ),
            )
        )
    leases = tuple(
        GivenLease(f"02:00:00:00:00:{number:02x}", f"10.88.0.{9 + number}", 107)
        for number in range(len(nodes))
    )
    server = ServerStatus(
        299, "sb-lab-dhcp", "10.88.0.254", str(SERVER.pool.first), str(SERVER.pool.last), leases
    )
    return LabStatus(2, tuple(nodes), server)


def _standins() -> LabStatus:
    lab = plan_lab(LabParameters(nodes=1))
    handler, sync = lab.nodes[0].handler, sync_pods(lab)[0].pod
    standins = (
        StandinStatus(
            *("the virt-handler of east-1", handler.name, handler.netns, Role.HANDLER, 311),
            *("/s/virt.sock", "10.88.0.9", ("m1",)),
        ),
        StandinStatus(
            "the leading sync controller of east", sync.name, sync.netns, Role.LEADER, None, ""
        ),
    )
    return replace(_status(), standins=standins)


def test_status_shows_stand_ins_where_they_were_started() -> None:
    assert _printed(*view_status(_standins())) == _golden("status-standins.txt")


def test_a_passing_verdict_is_a_matrix_and_a_line_for_each_proof() -> None:
    assert _printed(view_verdict(_verdict())) == _golden("verdict.txt")


def test_a_failing_verdict_says_what_failed_and_where() -> None:
    assert _printed(view_verdict(_broken())) == _golden("verdict-broken.txt")


def test_many_nodes_have_one_line_for_each_source() -> None:
    assert _printed(view_verdict(_verdict(nodes=4))) == _golden("verdict-many.txt")


def test_status_has_one_row_for_each_node() -> None:
    assert _printed(*view_status(_status())) == _golden("status.txt")


def test_status_names_what_is_missing() -> None:
    good = _status()
    handler = replace(good.nodes[1].handler, port=None, mtu=0, addresses=(), up=False)
    agent, server = good.nodes[2].agent, good.server
    assert agent is not None
    assert server is not None
    broken = (
        replace(
            good.nodes[0],
            uplink=replace(good.nodes[0].uplink or pytest.fail("no uplink"), vlans=()),
        ),
        replace(good.nodes[1], handler=handler, agent=replace(agent, leases=())),
        replace(good.nodes[2], agent=replace(agent, pid=None, leases=())),
        replace(good.nodes[3], agent=replace(agent, leases=(), trouble="cannot ask the agent")),
    )
    status = replace(good, nodes=broken, server=replace(server, pid=None, leases=()))
    assert _printed(*view_status(status)) == _golden("status-broken.txt")


def test_a_lab_without_agents_shows_none() -> None:
    good = _status()
    nodes = tuple(replace(node, agent=None) for node in good.nodes)
    text = _printed(*view_status(replace(good, nodes=nodes, server=None)))
    assert "agent" not in text
    assert "DHCP" not in text


def test_the_plan_shows_the_network_as_it_is_documented() -> None:
    runtime = Runtime(plan_lab(LabParameters()), Place(), Place().bin_dir)
    assert _printed(*view_plan(runtime)) == _golden("plan.txt")


def test_the_demo_fits_on_a_screen() -> None:
    runtime = Runtime(plan_lab(LabParameters()), Place(), Place().bin_dir)
    removed = Removed(detached=4, released=4, netns=("a",) * 10, had_files=True)
    text = _printed(*view_plan(runtime), view_verdict(_verdict()), *view_removed(removed))
    assert len(text.splitlines()) <= 25
    assert max(map(len, text.splitlines())) <= 100


def test_without_utf_8_everything_is_ascii() -> None:
    text = _printed(view_verdict(_broken()), *view_status(_status()), file=Ascii())
    assert text.isascii()


def test_in_a_pipe_there_are_no_control_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b" not in _printed(view_verdict(_broken()))


def test_no_color_takes_the_colours_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = io.StringIO()
    Console(file=stream, force_terminal=True, width=100).print(view_verdict(_broken()))
    assert "\x1b[3" not in stream.getvalue()
