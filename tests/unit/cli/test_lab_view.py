# SPDX-License-Identifier: Apache-2.0
"""What the lab's findings look like, character by character."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from spanbridge.cli.lab_view import view_plan, view_removed, view_status, view_verdict
from spanbridge.cli.terminal import facts
from spanbridge.lab.capture import UNTAGGED, TagCount
from spanbridge.lab.lifecycle import Removed
from spanbridge.lab.ping import PingResult
from spanbridge.lab.status import LabStatus, NodeStatus, PodStatus, PortStatus, VlanEntry
from spanbridge.lab.topology import LabParameters, plan_lab
from spanbridge.lab.verdict import Isolation, Pair, Trunk, Verdict

GOLDEN = Path(__file__).parent / "golden"
SILENT = PingResult("10.88.0.2", 12, ())


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
    return Verdict(
        vlan=2,
        nodes=tuple(names),
        addresses={name: f"10.88.0.{9 + at}" for at, name in enumerate(names)},
        pairs=tuple(pairs),
        trunks=tuple(Trunk(name, TagCount({2: 44}), 36) for name in names),
        isolation=Isolation("east-1", "no-vlan-net", "10.88.0.202", (SILENT,) * len(names)),
    )


def _broken() -> Verdict:
    good = _verdict()
    pairs = list(good.pairs)
    pairs[0] = Pair("east-1", "east-2", SILENT)
    pairs[1] = Pair("east-1", "west-1", PingResult("10.88.0.9", 4, (0.5, 0.6, 0.7), duplicates=2))
    reaching = replace(good.isolation, pings=(good.pairs[2].ping, SILENT, SILENT, SILENT))
    trunk = Trunk("east-1", TagCount({2: 30, UNTAGGED: 4, 7: 1}), 36)
    return replace(
        good,
        pairs=tuple(pairs),
        isolation=reaching,
        trunks=(trunk, *good.trunks[1:]),
        faults=("cannot run CHECK for virt-handler-r6rlc on east-2: VLAN 2 missing",),
    )


def _status() -> LabStatus:
    tagged = (VlanEntry(2, 2, pvid=False, untagged=False),)
    access = (VlanEntry(2, 2, pvid=True, untagged=True),)
    trunk = (VlanEntry(2, 4094, pvid=False, untagged=False),)
    nodes = []
    for node in plan_lab(LabParameters()).nodes:
        handler = PodStatus(
            name=node.handler.name,
            netns=node.handler.netns,
            interface="migration0",
            up=True,
            mac="02:00:00:00:00:01",
            mtu=1500,
            addresses=(f"{node.handler.addresses.first}/24",),
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
            )
        )
    return LabStatus(2, tuple(nodes))


def test_a_passing_verdict_is_a_matrix_and_four_lines() -> None:
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
    broken = (
        replace(
            good.nodes[0],
            uplink=replace(good.nodes[0].uplink or pytest.fail("no uplink"), vlans=()),
        ),
        replace(good.nodes[1], handler=handler),
        *good.nodes[2:],
    )
    assert _printed(*view_status(replace(good, nodes=broken))) == _golden("status-broken.txt")


def test_the_demo_fits_on_a_screen() -> None:
    lab = plan_lab(LabParameters())
    removed = Removed(detached=4, netns=("a",) * 9, had_files=True)
    text = _printed(*view_plan(lab), view_verdict(_verdict()), *view_removed(removed))
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
