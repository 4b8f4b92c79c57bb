# SPDX-License-Identifier: Apache-2.0
"""What the lab's findings look like on a terminal."""

import json
import textwrap
from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from spanbridge.lab.lifecycle import describe
from spanbridge.lab.runtime import Runtime, render_example

if TYPE_CHECKING:
    from spanbridge.lab.lifecycle import Removed
    from spanbridge.lab.ping import PingResult
    from spanbridge.lab.proofs import GatewayProof, LeaseProof, Restart
    from spanbridge.lab.status import AgentStatus, LabStatus, NodeStatus, PortStatus, ServerStatus
    from spanbridge.lab.verdict import Pair, Trunk, Verdict

MATRIX_MAX_NODES: Final = 6
"""More do not fit beside each other; then there is one line for each source."""

_JSON_COLUMNS: Final = 88
"""Where the example is broken, so that no key loses its value."""


def view_plan(runtime: Runtime) -> list[Text]:
    """Show in a few words what was built."""
    lab = runtime.lab
    agent = ", an agent" if runtime.has_agents else ""
    made = (
        f" {len(lab.nodes)} nodes on a switch that trunks VLANs; on each a bridge{agent} and a pod"
    )
    title = _title(f"Lab: {describe(lab.parameters)}, MTU {lab.mtu}")
    config = lab.nodes[0].handler.config
    if lab.dhcp is None and not config:
        return [title, Text(made), Text()]
    shown = json.loads(config) if config else render_example(lab, lab.vlan)
    printed = textwrap.wrap(json.dumps(shown), _JSON_COLUMNS)
    network = [Text(f"   {line}", style="cyan") for line in printed]
    return [title, Text(f"{made} of this network:"), *network, Text()]


def view_status(status: "LabStatus") -> list[RenderableType]:
    """Show one row for each node, and one for each lease."""
    wrong = [_line(good=False, text=fault) for fault in status.faults]
    fine = _line(good=True, text=f"{len(status.nodes)} nodes are as they were built")
    hint = "take it back: spanbridge lab fault --clear"
    injected = [_line(good=False, text=f"injected: {each}; {hint}") for each in status.injected]
    return [
        _title(f"Lab, VLAN {status.vlan}"),
        Text(),
        _nodes(status),
        Text(),
        *_agents(status),
        *injected,
        *_standins(status),
        *(wrong or [fine]),
    ]


def _nodes(status: "LabStatus") -> Table:
    table = _table()
    for heading in ("node", "bridge", "uplink", "switch port", "pod port", "virt-handler"):
        table.add_column(heading)
    for node in status.nodes:
        table.add_row(*_node_row(node))
    return table


def _agents(status: "LabStatus") -> list[RenderableType]:
    """Show who keeps what lease, and who gave it; nothing in a lab without agents."""
    table = _table()
    for heading in ("node", "agent", "lease", "from", "state"):
        table.add_column(heading)
    for heading in ("renews in", "ends in"):
        table.add_column(heading, justify="right")
    for node in status.nodes:
        if node.agent is not None:
            for row in _agent_rows(node.agent):
                table.add_row(node.name, *row)
    shown: list[RenderableType] = [table, Text()] if table.row_count else []
    if status.server is not None:
        shown += [Text(f" {_server(status.server)}"), Text()]
    return shown


def _standins(status: "LabStatus") -> list[RenderableType]:
    """Show who stands in for KubeVirt's programs; nothing before somebody was asked to."""
    table = _table()
    for heading in ("stand-in", "pod", "process", "address", "migrations"):
        table.add_column(heading)
    for each in status.standins:
        runs = "does not run" if each.pid is None else f"pid {each.pid}"
        migrations = ", ".join(each.migrations) or "none"
        row = (each.address, "cannot be asked" if each.trouble else migrations)
        table.add_row(each.role, f"{each.pod}\n{each.netns}", runs, *row)
    return [table, Text()] if table.row_count else []


def _agent_rows(agent: "AgentStatus") -> list[list[str]]:
    if agent.pid is None:
        return [["does not run", "", "", "", "", ""]]
    name = f"pid {agent.pid}"
    if agent.trouble or not agent.leases:
        return [[name, "cannot be asked" if agent.trouble else "none", "", "", "", ""]]
    return [
        [name, each.address, each.server, each.state, _left(each.renew_s), _left(each.expiry_s)]
        for each in agent.leases
    ]


def _left(seconds: float | None) -> str:
    return "never" if seconds is None else f"{max(0, round(seconds))} s"


def _server(server: "ServerStatus") -> str:
    runs = "does not run" if server.pid is None else f"pid {server.pid}"
    return (
        f"DHCP server {server.address} in {server.netns} ({runs}), {server.first} to "
        f"{server.last}: {len(server.leases)} leases"
    )


def _node_row(node: "NodeStatus") -> list[str]:
    filtering = "VLAN filtering" if node.vlan_filtering else "no VLAN filtering"
    handler = node.handler
    attached = f"{', '.join(handler.addresses) or 'no address'}, MTU {handler.mtu}"
    return [
        node.name,
        f"{node.bridge}\n{filtering}" if node.bridge else "missing",
        _port(node.uplink),
        _port(node.trunk),
        _port(handler.port),
        f"{handler.name}\n{attached if handler.mtu else 'no migration0'}",
    ]


def _port(port: "PortStatus | None") -> str:
    if port is None:
        return "missing"
    vlans = ", ".join(str(each) for each in port.vlans) or "no VLAN"
    return f"{port.name}\n{vlans}" + ("" if port.forwarding else ", not forwarding")


def view_verdict(verdict: "Verdict") -> Group:
    """Show the matrix and what it, and the rest, proves."""
    few = len(verdict.nodes) <= MATRIX_MAX_NODES
    title = "RTT in ms, minimum / median" if few else "Each virt-handler to all others"
    table = _matrix(verdict) if few else _summary(verdict)
    heading = _title(f"{title}, VLAN {verdict.vlan}")
    return Group(heading, Text(), table, Text(), *view_checks(verdict))


def view_checks(verdict: "Verdict") -> list[Table]:
    """Show one line for each thing that was to be proved."""
    isolation, tried = verdict.isolation, len(verdict.isolation.pings)
    reached = f"reaches {isolation.reached} of {tried}, "
    return [
        _line(good=verdict.connected, text=_connected(verdict)),
        _line(good=verdict.tagged, text=_tagged(verdict)),
        _line(
            good=verdict.isolated,
            text=f"a pod on {isolation.node} without the VLAN ({isolation.network}, "
            f"{isolation.address}) "
            + reached
            + ("as expected" if verdict.isolated else "but must reach none"),
        ),
        _line(good=not verdict.faults, text=_checked(verdict)),
        *(_view_leases(verdict.leases) if verdict.leases else ()),
        *(_view_gateway(verdict.gateway) if verdict.gateway else ()),
        *(_view_restart(verdict.restart) if verdict.restart else ()),
    ]


def _view_leases(proof: "LeaseProof") -> list[Table]:
    text = (
        f"{proof.right} of {len(proof.leased)} addresses are leases of the DHCP server "
        f"{proof.server}, by its lease file"
    )
    wrong = (each for each in proof.leased if not each.right)
    causes = [
        f"; {each.node} has {each.address or 'no address'}, the server gave "
        f"{each.by_server or 'none'}"
        for each in wrong
    ]
    return [_line(good=proof.passed, text="".join([text, *causes[:1]]))]


def _view_gateway(proof: "GatewayProof") -> list[Table]:
    right = sum(pod.right for pod in proof.pods)
    home = (
        f"{right} of {len(proof.pods)} pods get the gateway {proof.address} from their own node "
        "alone"
    )
    if not proof.at_home:
        pod = next(pod for pod in proof.pods if not pod.right)
        home += f"; on {pod.node} {', '.join(pod.answers) or 'nobody'} answered"
    kept = (
        f"{proof.asked} ARP probes for {proof.address} by the DHCP server: "
        f"{len(proof.answers)} answers; {proof.leaked} frames of it on the uplinks"
    )
    if not proof.control:
        kept += "; but a virt-handler was not heard there either"
    return [_line(good=proof.at_home, text=home), _line(good=proof.kept, text=kept)]


def _view_restart(restart: "Restart") -> list[Table]:
    text = (
        f"agent of {restart.node} killed (SIGKILL) and restarted, pid {restart.killed} to "
        f"{restart.started}; "
    )
    if restart.passed:
        text += "renewal in dnsmasq's log:"
    else:
        text += f"no renewal of {restart.address or 'its lease'}, now {restart.after or 'none'}"
    return [_line(good=restart.passed, text="\n".join([text, *restart.renewal]))]


def view_removed(removed: "Removed") -> list[Table]:
    """Show what the end of a lab left, which must be nothing."""
    left = f"{removed.leases} addresses left" if removed.leases else "no address left"
    if removed.released is not None:
        left = f"dnsmasq logged {removed.released} DHCPRELEASE, {left}"
    lines = [
        _line(
            good=removed.clean,
            text=f"CNI DEL detached {removed.detached} pods, {left}; "
            f"{len(removed.netns)} namespaces removed",
        )
    ]
    return lines + [_line(good=False, text=trouble) for trouble in removed.troubles]


def _line(*, good: bool, text: str) -> Table:
    """Make a line with its mark; a long one goes on below its own beginning."""
    mark = Text(" ok  ", style="bold green") if good else Text(" FAIL", style="bold red")
    line = Table.grid(padding=(0, 1, 0, 0))
    line.add_row(mark, Text(text))
    return line


def _checked(verdict: "Verdict") -> str:
    total = len(verdict.nodes)
    good = total - len(verdict.faults)
    text = f"CNI CHECK finds {good} of {total} attachments as ADD promised"
    return "; ".join([text, *verdict.faults[:1]])


def _connected(verdict: "Verdict") -> str:
    sent = sum(pair.ping.sent for pair in verdict.pairs)
    received = sum(pair.ping.received for pair in verdict.pairs)
    text = (
        f"{verdict.reachable} of {len(verdict.pairs)} directed pairs reachable "
        f"over VLAN {verdict.vlan}; {received} of {sent} echoes answered"
    )
    return f"{text}, {verdict.duplicates} answered twice" if verdict.duplicates else text


def _tagged(verdict: "Verdict") -> str:
    trunk = verdict.witness
    count = trunk.count
    text = (
        f"on the trunk of {trunk.node}: {count.tagged(verdict.vlan)} frames tagged "
        f"802.1Q VLAN {verdict.vlan}, {count.untagged} untagged"
    )
    others = count.others(verdict.vlan)
    text += f", {others} of other VLANs" if others else ""
    text += _shortfall(trunk, verdict.vlan)
    alike = sum(each.proves(verdict.vlan) for each in verdict.trunks)
    return f"{text} (all {alike} trunks alike)" if verdict.tagged else text


def _shortfall(trunk: "Trunk", vlan: int) -> str:
    if trunk.count.missed:
        return f"; the capture missed {trunk.count.missed}"
    missing = trunk.expected - trunk.count.tagged(vlan)
    return f"; {trunk.expected} were to be expected" if missing > 0 else ""


def _matrix(verdict: "Verdict") -> Table:
    table = _table()
    table.add_column("from")
    table.add_column("address")
    for node in verdict.nodes:
        table.add_column(f"to {node}", justify="right")
    cells = {(pair.source, pair.target): pair for pair in verdict.pairs}
    for source in verdict.nodes:
        row = [_cell(cells.get((source, target))) for target in verdict.nodes]
        table.add_row(source, verdict.addresses[source], *row)
    return table


def _cell(pair: "Pair | None") -> Text:
    if pair is None:
        return Text("-", style="dim")
    if not pair.reachable:
        return Text("unreachable", style="bold red")
    text = Text(_times(pair.ping), style="green")
    if pair.ping.loss:
        text.append(f" {pair.ping.loss:.0%} lost", style="bold red")
    if pair.ping.duplicates:
        text.append(f" {pair.ping.duplicates} twice", style="bold red")
    return text


def _times(ping: "PingResult") -> str:
    return f"{ping.rtt_min_ms or 0:.2f} / {ping.rtt_median_ms or 0:.2f}"


def _summary(verdict: "Verdict") -> Table:
    table = _table()
    for heading in ("from", "address"):
        table.add_column(heading)
    for heading in ("reached", "least ms", "worst median ms", "lost"):
        table.add_column(heading, justify="right")
    for source in verdict.nodes:
        pairs = [pair for pair in verdict.pairs if pair.source == source]
        table.add_row(source, verdict.addresses[source], *_row(pairs))
    return table


def _row(pairs: "list[Pair]") -> list[Text]:
    reached = [pair for pair in pairs if pair.reachable]
    least = min((pair.ping.rtt_min_ms or 0 for pair in reached), default=None)
    worst = max((pair.ping.rtt_median_ms or 0 for pair in reached), default=None)
    sent = sum(pair.ping.sent for pair in pairs)
    lost = sent - sum(pair.ping.received for pair in pairs)
    return [
        _coloured(f"{len(reached)} of {len(pairs)}", good=len(reached) == len(pairs)),
        Text("-" if least is None else f"{least:.2f}"),
        Text("-" if worst is None else f"{worst:.2f}"),
        _coloured(f"{lost} of {sent}", good=not lost),
    ]


def _coloured(text: str, *, good: bool) -> Text:
    return Text(text, style="green" if good else "bold red")


def _title(text: str) -> Text:
    return Text(f" {text}", style="bold")


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, show_edge=False)


def show(console: Console, *what: RenderableType) -> None:
    """Print, one below the other."""
    for each in what:
        console.print(each)
