# SPDX-License-Identifier: Apache-2.0
"""Observing the agent for doctor: what it answers, and what its journal holds without it."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from spanbridge.agent.client import ask
from spanbridge.agent.journal import SUFFIX, Attachment, parse_attachment
from spanbridge.agent.settings import SOCKET, Places
from spanbridge.agent.stale import find_stale, observe_namespaces
from spanbridge.base.errors import DecodeError, NodeError, SpanbridgeError
from spanbridge.model.node_state import AgentState, AttachmentState, ConfState, LeaseState
from spanbridge.rtnl import NetNs, Rtnl

_UNIT: Final = "spanbridge-agent.service"
_UNIT_DIRS: Final = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
"""Source: systemd.unit(5)."""


def observe_agent(places: Places, host: NetNs) -> AgentState:
    """
    Ask the agent, and read its journal.

    Args:
        places: Where it is thought to be; what it says about itself counts more.
        host: The namespace that is observed.
    """
    state = AgentState(
        socket=str(places.socket),
        run_dir=str(places.run_dir),
        state_dir=str(places.state_dir),
        service=_has_service(places.socket),
    )
    try:
        status: Any = ask(places.socket, "status")
        leases: Any = ask(places.socket, "leases")
        state = replace(
            state,
            answers=True,
            version=str(status["version"]),
            run_dir=str(status["runDir"]),
            state_dir=str(status["stateDir"]),
            leases=tuple(map(parse_lease, leases)),
        )
    except (SpanbridgeError, KeyError, TypeError, ValueError) as exc:
        state = replace(state, fault=_fault(exc))
    return _with_journal(state, host)


def _fault(exc: Exception) -> str:
    """Say why nothing is known; another release may answer with other keys."""
    if isinstance(exc, SpanbridgeError):
        return exc.message
    return f"cannot read the answer of the agent: {type(exc).__name__} {exc}"


def _has_service(socket: Path) -> bool:
    # The unit is about the default socket; an agent elsewhere was started by hand.
    return str(socket) == SOCKET and any((Path(each) / _UNIT).exists() for each in _UNIT_DIRS)


def parse_lease(told: Mapping[str, Any]) -> LeaseState:
    """Read one lease of the agent's answer."""
    return LeaseState(
        network=str(told["network"]),
        container_id=str(told["containerId"]),
        ifname=str(told["ifname"]),
        state=str(told["state"]),
        address=str(told["address"]),
        server=str(told["server"]),
        renew_in_s=told["renewInSeconds"],
        expires_in_s=told["expiresInSeconds"],
    )


def _with_journal(state: AgentState, host: NetNs) -> AgentState:
    try:
        journal = read_journal(Path(state.state_dir))
        stale = {each.attachment.owner: each.cause for each in _stale(journal)}
    except (OSError, NodeError) as exc:
        return replace(state, journal_fault=f"cannot read the journal: {exc}")
    listed = [_attachment_state(each, stale.get(each.owner, ""), host) for each in journal]
    return replace(state, attachments=tuple(listed))


def _stale(journal: Iterable[Attachment]) -> Iterable[Any]:
    known = list(journal)
    return find_stale(known, observe_namespaces()) if known else ()


def read_journal(state_dir: Path) -> list[Attachment]:
    """
    Read what the agent has attached, the oldest first; no agent is needed for it.

    Damaged records are left out: the agent sets them aside when it starts.

    Raises:
        OSError: Not allowed.
    """
    found = []
    try:
        paths = sorted((state_dir / "attachments").iterdir())
    except FileNotFoundError:
        return []
    for path in paths:
        if path.name.startswith(".") or not path.name.endswith(SUFFIX):
            continue
        with contextlib.suppress(DecodeError, FileNotFoundError):
            found.append(parse_attachment(path.read_bytes()))
    return sorted(found, key=lambda each: each.attached_s)


def _attachment_state(attachment: Attachment, stale: str, host: NetNs) -> AttachmentState:
    owner = attachment.owner
    return AttachmentState(
        network=owner.network,
        container_id=owner.container_id,
        ifname=owner.ifname,
        netns=attachment.netns,
        here=attachment.host == host.identity,
        addresses=tuple(attachment.addresses),
        gateways=tuple(_gateways(attachment)),
        stale=stale,
        pod_mtu=0 if stale else _pod_mtu(attachment),
    )


def _gateways(attachment: Attachment) -> Iterator[str]:
    ips = attachment.result.get("ips")
    for ip in ips if isinstance(ips, list) else []:
        if isinstance(ip, dict) and isinstance(ip.get("gateway"), str):
            yield ip["gateway"]


def _pod_mtu(attachment: Attachment) -> int:
    """Look into the sandbox; 0 where it cannot be seen."""
    with (
        contextlib.suppress(OSError, SpanbridgeError),
        NetNs.open(attachment.netns) as sandbox,
        Rtnl.open(sandbox) as inside,
    ):
        link = inside.link(attachment.owner.ifname)
        same = sandbox.identity == attachment.sandbox
        return link.mtu if link is not None and same else 0
    return 0


def journal_bin_dirs(state_dir: Path) -> tuple[Path, ...]:
    """Give the directories that runtimes named in CNI_PATH, in their order."""
    with contextlib.suppress(PermissionError):  # told by observe_agent
        paths = [part for each in read_journal(state_dir) for part in each.path.split(":")]
        return tuple(Path(part) for part in dict.fromkeys(paths) if part)
    return ()


def journal_confs(state_dir: Path, host: NetNs) -> Iterator[ConfState]:
    """Give the configurations that attachments of a namespace were made with."""
    seen: set[bytes] = set()
    with contextlib.suppress(PermissionError):  # told by observe_agent
        for each in read_journal(state_dir):
            if each.host != host.identity or each.config in seen:
                continue
            seen.add(each.config)
            owner = each.owner
            origin = f"attachment of {owner.ifname} of container {owner.container_id}"
            yield ConfState(origin, each.config.decode(errors="replace"))
