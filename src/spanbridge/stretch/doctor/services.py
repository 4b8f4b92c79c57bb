# SPDX-License-Identifier: Apache-2.0
"""Checks of what runs on the node: programs, the agent, its leases and attachments."""

import os
import shlex
from collections.abc import Iterator
from typing import Final

from spanbridge.model.node_state import AgentState, LeaseState, NodeState, ProgramState
from spanbridge.model.repair import AskAgent, Paste
from spanbridge.stretch.doctor.case import Case
from spanbridge.stretch.doctor.outcome import Outcome, advice, doubtful, fine, skipped, wrong

DEFAULT_SOCKET: Final = "/run/spanbridge/agent.sock"

LOW_BYTES: Final = 64 << 20
"""Below this the state directory's file system is nearly full."""

FULL_BYTES: Final = 1 << 20
"""Below this the next attachment may not be written down."""

NEAR_S: Final = 60.0
"""A lease that ends so soon, and is not renewed, is near its end."""

NO_AGENT: Final = "the agent does not answer"

_AGENT: Final = "agent"
_UNIT: Final = "spanbridge-agent.service"


def confs_are_readable(case: Case) -> Iterator[Outcome]:
    """See that configurations were found, and can be read."""
    for conf, fault in case.faults:
        line = advice("mend the file; it is no use to the plugin either:")
        look = Paste((f"spanbridge explain {shlex.quote(conf.origin)}",))
        judge = wrong if conf.given else doubtful
        yield judge(f"file {conf.origin}", fault, line, look)
    if case.networks:
        names = ", ".join(sorted({one.conf.name for one in case.networks}))
        yield fine("", f"found: {names}")
    elif case.options.bridge:
        yield skipped("", "no configuration is known; --bridge says what to look at")
    elif not case.faults:
        yield doubtful(
            "",
            "no configuration of the bridge plugin is known",
            advice("name one, or the bridge:", "spanbridge doctor --bridge BRIDGE --vlan VLAN"),
        )


# ---------------------------------------------------------------- programs


def programs_are_installed(case: Case) -> Iterator[Outcome]:
    """See that the runtime finds our programs."""
    for directory, programs in _by_directory(case.state).items():
        subject = f"directory {directory}"
        command = Paste((f"spanbridge cni install --bin-dir {shlex.quote(directory)}",))
        missing = [each for each in programs if each.kind == "missing"]
        foreign = [each for each in programs if each.kind == "foreign"]
        old = [each for each in programs if not each.current]
        if missing:
            yield wrong(subject, f"missing: {_names(missing)}", command)
        elif foreign:
            yield doubtful(subject, f"not of Spanbridge: {_names(foreign)}", command)
        elif old:
            yield doubtful(subject, f"of another build than this: {_names(old)}", command)
        else:
            yield fine(subject, f"{_names(programs)} are there")


def _by_directory(state: NodeState) -> dict[str, list[ProgramState]]:
    found: dict[str, list[ProgramState]] = {}
    for each in state.programs:
        found.setdefault(os.path.dirname(each.path), []).append(each)  # noqa: PTH120  # text
    return found


def _names(programs: list[ProgramState]) -> str:
    return ", ".join(os.path.basename(each.path) for each in programs)  # noqa: PTH119  # text


def oneshot_is_there(case: Case) -> Iterator[Outcome]:
    """See that a shim finds the program that it executes where no agent runs."""
    for directory, programs in _by_directory(case.state).items():
        subject = f"directory {directory}"
        shims = [each for each in programs if each.kind == "shim"]
        lost = next((each for each in shims if each.oneshot and not each.oneshot_there), None)
        if not shims:
            yield skipped(subject, "there is no shim in it")
        elif lost is not None:
            command = Paste((f"spanbridge cni install --bin-dir {shlex.quote(directory)}",))
            judge = doubtful if case.state.agent.answers else wrong
            yield judge(subject, f"{lost.oneshot} is missing or cannot be executed", command)
        elif shims[0].oneshot:
            yield fine(subject, f"without an agent, the shim executes {shims[0].oneshot}")
        else:
            yield fine(subject, "the shim was installed without a program to fall back on")


# ---------------------------------------------------------------- the agent


def agent_answers(case: Case) -> Iterator[Outcome]:
    """See that the agent answers."""
    agent = case.state.agent
    if agent.answers:
        yield fine(_AGENT, f"it answers at {agent.socket}")
        return
    needed = _who_needs_agent(case)
    if needed:
        message = f"it does not answer, and {needed}: {agent.fault}"
        yield wrong(_AGENT, message, _starting(agent))
    else:
        message = f"it does not answer; calls are served without it: {agent.fault}"
        yield doubtful(_AGENT, message, _starting(agent))


def _who_needs_agent(case: Case) -> str:
    dhcp = [one.conf.name for one in case.wants_dhcp]
    if dhcp:
        return f"{', '.join(dhcp)} leases its addresses through it"
    if case.state.agent.attachments:
        return f"its journal has {len(case.state.agent.attachments)} attachments"
    if any(each.kind == "shim" and not each.oneshot_there for each in case.state.programs):
        return "the shim has no program to fall back on"
    return ""


def _starting(agent: AgentState) -> Paste:
    if agent.service:
        return Paste((f"systemctl restart {_UNIT}",))
    options = [
        f"{option} {shlex.quote(value)}"
        for option, value in (
            ("--socket", agent.socket),
            ("--state-dir", agent.state_dir),
            ("--run-dir", agent.run_dir),
        )
        if value
    ]
    command = " ".join(["nohup spanbridge agent run", *options])
    return Paste((f"{command} >/dev/null 2>&1 &",))


def versions_agree(case: Case) -> Iterator[Outcome]:
    """See that agent and command line are of one version."""
    agent, version = case.state.agent, case.state.package_version
    if not agent.answers:
        yield skipped(_AGENT, NO_AGENT)
    elif agent.version == version:
        yield fine(_AGENT, f"it is of version {version}, as this program is")
    else:
        restart = f"systemctl restart {_UNIT}"
        line = Paste((restart,)) if agent.service else advice("restart the agent")
        yield doubtful(_AGENT, f"it is of version {agent.version}, this program of {version}", line)


def dhcp_is_served(case: Case) -> Iterator[Outcome]:
    """See that somebody listens where configurations send their DHCP requests."""
    networks = case.wants_dhcp
    if not networks:
        yield skipped("", "no network leases addresses")
    for network in networks:
        subject = f"network {network.conf.name}"
        ipam = network.conf.ipam
        path = ipam.node.text("daemonSocketPath") if ipam else ""
        if not path:
            known = fine(subject, "the agent leases its addresses")
            yield known if case.state.agent.answers else skipped(subject, NO_AGENT)
        elif case.state.sockets.get(path):
            yield fine(subject, f"somebody listens at {path}")
        else:
            yield wrong(
                subject,
                f"nobody listens at {path}, which its configuration names",
                advice("start what is to listen there, or leave daemonSocketPath out"),
            )


def leases_are_renewed(case: Case) -> Iterator[Outcome]:
    """See that no lease nears its end without being renewed."""
    agent = case.state.agent
    if not agent.answers:
        yield skipped("leases", NO_AGENT)
        return
    renew = AskAgent("leases --renew", "renew", agent.socket, agent.socket == DEFAULT_SOCKET)
    faults = [each for each in agent.leases if _is_unwell(each)]
    for lease in faults:
        judge = wrong if _is_ending(lease) else doubtful
        subject = f"lease {lease.address or lease.network}"
        yield judge(subject, _tell(lease), renew)
    if not faults:
        number = len(agent.leases)
        yield fine("leases", f"{number} in time" if number else "there are none")


def _is_unwell(lease: LeaseState) -> bool:
    late = lease.renew_in_s is not None and lease.renew_in_s < 0
    return lease.state != "bound" or late


def _is_ending(lease: LeaseState) -> bool:
    soon = lease.expires_in_s is not None and lease.expires_in_s < NEAR_S
    return soon or lease.state not in {"bound", "renewing", "rebooting"}


def _tell(lease: LeaseState) -> str:
    who = f"{lease.ifname} of container {lease.container_id} on {lease.network}"
    end = "" if lease.expires_in_s is None else f", ends in {max(0, round(lease.expires_in_s))} s"
    server = f"; {lease.server} has not answered" if lease.server else ""
    return f"{who}: {lease.state}{end}{server}"


def nothing_is_stale(case: Case) -> Iterator[Outcome]:
    """See that every attachment still has its sandbox."""
    agent = case.state.agent
    if agent.journal_fault:
        yield skipped("attachments", agent.journal_fault)
        return
    stale = [each for each in agent.attachments if each.stale]
    if not stale:
        number = len(agent.attachments)
        yield fine("attachments", f"{number} with their sandboxes" if number else "there are none")
        return
    listed = "; ".join(
        f"{each.ifname} of container {each.container_id} on {each.network}: {each.stale}"
        for each in stale
    )
    collect = AskAgent("gc", "gc", agent.socket, agent.socket == DEFAULT_SOCKET)
    hazard = "" if agent.answers else NO_AGENT
    yield wrong("attachments", f"{len(stale)} without sandbox: {listed}", collect, hazard=hazard)


def state_has_room(case: Case) -> Iterator[Outcome]:
    """See that attachments and leases can be written down."""
    free, directory = case.state.free_bytes, case.state.agent.state_dir
    subject = f"directory {directory}"
    if free is None:
        yield skipped(subject, "it is not there yet")
    elif free < LOW_BYTES:
        judge = wrong if free < FULL_BYTES else doubtful
        words = advice("make room in this file system:")
        look = Paste((f"du -xh --max-depth=1 {shlex.quote(directory)} | sort -h",))
        yield judge(subject, f"{free >> 10} KiB are free", words, look)
    else:
        yield fine(subject, f"{free >> 20} MiB are free")
