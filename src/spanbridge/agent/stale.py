# SPDX-License-Identifier: Apache-2.0
"""Which attachments have lost their sandbox, and where what is left of them can be undone."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from spanbridge.agent.journal import Attachment, Identity
from spanbridge.base.clock import boot_id
from spanbridge.base.errors import NodeError
from spanbridge.bridge.link import port_of
from spanbridge.rtnl import NETNS_DIR, NetNs, Rtnl


def observe_namespaces() -> dict[Identity, str]:
    """
    Find the network namespaces that a process is in or that have a name.

    Returns:
        A path of each, by its device and inode.
    """
    found: dict[Identity, str] = {}
    for path in _candidates():
        try:
            seen = os.stat(path)  # noqa: PTH116  # a node has thousands of processes
        except OSError:
            continue  # ended meanwhile
        found.setdefault((seen.st_dev, seen.st_ino), path)
    return found


def _candidates() -> Iterator[str]:
    yield "/proc/self/ns/net"
    for directory, suffix in ((NETNS_DIR, ""), ("/proc", "/ns/net")):
        try:
            names = sorted(os.listdir(directory))  # noqa: PTH208  # as above
        except FileNotFoundError:
            continue
        yield from (
            f"{directory}/{name}{suffix}" for name in names if not suffix or name.isdecimal()
        )


@dataclass(frozen=True, slots=True)
class Stale:
    """
    An attachment without its sandbox.

    Attributes:
        attachment: What was promised.
        cause: Why it counts as stale, in words.
    """

    attachment: Attachment
    cause: str


def find_stale(
    attachments: Iterable[Attachment], alive: Mapping[Identity, str]
) -> tuple[Stale, ...]:
    """
    Choose the attachments whose sandbox is gone.

    What cannot be told counts as alive: a sandbox under a path that never led the agent
    to it, and one whose port is still there.

    Args:
        attachments: What was promised.
        alive: The network namespaces there are, see `observe_namespaces`.
    """
    boot = boot_id()
    causes = ((each, _cause(each, alive, boot)) for each in attachments)
    return tuple(Stale(each, cause) for each, cause in causes if cause)


def _cause(attachment: Attachment, alive: Mapping[Identity, str], boot: str) -> str:
    if attachment.boot_id != boot:
        return "it was made before the last reboot"
    if not attachment.visible:
        return ""
    try:
        seen = Path(attachment.netns).stat()
        cause = f"{attachment.netns} is another namespace now"
    except (OSError, ValueError):
        seen, cause = None, f"{attachment.netns} is gone"
    if seen is not None and (seen.st_dev, seen.st_ino) == attachment.sandbox:
        return ""
    # Without its path it may live on in a process. But the kernel gives the number of a
    # dead namespace to the next new one; the port dies with the sandbox, and says which.
    return "" if attachment.sandbox in alive and _has_port(attachment, alive) else cause


def _has_port(attachment: Attachment, alive: Mapping[Identity, str]) -> bool:
    host = _find_host(attachment, alive)
    if host is None:
        return False
    with host, Rtnl.open(host) as node:
        return port_of(node, attachment.owner) is not None


def open_host(attachment: Attachment, alive: Mapping[Identity, str]) -> NetNs:
    """
    Open the namespace that an attachment was made in, or an empty one where that is gone.

    With its namespace, everything is gone that the kernel held of the attachment; what
    is left to give back is on the disk, and on other hosts.

    Raises:
        NodeError: Not allowed.
    """
    found = _find_host(attachment, alive) if attachment.boot_id == boot_id() else None
    return NetNs.empty() if found is None else found


def _find_host(attachment: Attachment, alive: Mapping[Identity, str]) -> NetNs | None:
    path = alive.get(attachment.host)
    if path is not None:
        with contextlib.suppress(FileNotFoundError, NodeError):
            netns = NetNs.open(path)
            if netns.identity == attachment.host:
                return netns
            netns.close()
    return None
