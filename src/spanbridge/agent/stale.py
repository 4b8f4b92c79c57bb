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
from spanbridge.rtnl import NETNS_DIR, NetNs


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

    What cannot be told counts as alive: a sandbox without a process, under a path that
    never led the agent to it.

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
    if attachment.sandbox in alive or not attachment.visible:
        return ""
    try:
        seen = Path(attachment.netns).stat()
    except (OSError, ValueError):
        return f"{attachment.netns} is gone"
    if (seen.st_dev, seen.st_ino) != attachment.sandbox:
        return f"{attachment.netns} is another namespace now"
    return ""


def open_host(attachment: Attachment, alive: Mapping[Identity, str]) -> NetNs:
    """
    Open the namespace that an attachment was made in, or an empty one where that is gone.

    With its namespace, everything is gone that the kernel held of the attachment; what
    is left to give back is on the disk, and on other hosts.

    Raises:
        NodeError: Not allowed.
    """
    path = alive.get(attachment.host) if attachment.boot_id == boot_id() else None
    if path is not None:
        with contextlib.suppress(FileNotFoundError, NodeError):
            netns = NetNs.open(path)
            if netns.identity == attachment.host:
                return netns
    return NetNs.empty()
