# SPDX-License-Identifier: Apache-2.0
"""
Where a pod's network namespace is, on its own node.

By the attachments that this agent made, or, where another plugin attached the pod, by a
process of one of its containers. Reads files alone, and never the journal of an agent that
runs, which sweeps its directory when it is opened.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spanbridge.agent.journal import SUFFIX, Attachment, parse_attachment
from spanbridge.base.errors import DecodeError, NodeError

PROC: Final = Path("/proc")

_SCHEME: Final = re.compile(r"[a-z0-9-]+://")
_ID: Final = re.compile(r"[0-9a-f]{12,64}")


@dataclass(frozen=True, slots=True)
class PodIdentity:
    """
    A pod as Kubernetes knows it.

    Attributes:
        namespace: Its namespace, of Kubernetes.
        name: Its name.
        containers: Ids of its containers, with or without the runtime's ``cri-o://``.
    """

    namespace: str
    name: str
    containers: tuple[str, ...] = ()


def find_pod_netns(pod: PodIdentity, ifname: str, attachments: Path, proc: Path = PROC) -> str:
    """
    Find a pod's network namespace.

    Args:
        pod: Which one.
        ifname: Its device on the network.
        attachments: Where the agent keeps what it promised.
        proc: Of the node: the agent must see the node's processes (``hostPID``).

    Returns:
        A path that can be opened.

    Raises:
        NodeError: Neither way leads there.
    """
    for attachment in _read_attachments(attachments):
        names = _kubernetes_args(attachment.args)
        same = (names.get("K8S_POD_NAMESPACE"), names.get("K8S_POD_NAME")) == (
            pod.namespace,
            pod.name,
        )
        if same and attachment.owner.ifname == ifname and Path(attachment.netns).exists():
            return attachment.netns
    for identifier in pod.containers:
        pid = _find_process(_SCHEME.sub("", identifier), proc)
        if pid:
            return f"{proc}/{pid}/ns/net"
    raise NodeError(
        f"cannot find the network of pod {pod.namespace}/{pod.name}: no attachment of this agent "
        "is its own, and no process is of its containers",
        hint="does it run on this node? The agent's own pod needs hostPID to see it",
    )


def _read_attachments(directory: Path) -> Iterator[Attachment]:
    """Read what was promised; what is damaged, or gone meanwhile, is passed over."""
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        try:
            yield parse_attachment(path.read_bytes())
        except (DecodeError, OSError):
            continue


def _kubernetes_args(args: str) -> dict[str, str]:
    """Take CNI_ARGS apart. Source: CNI specification 1.1.0, section 2."""
    parts = (each.partition("=") for each in args.split(";"))
    return {key: value for key, equals, value in parts if equals}


def _find_process(identifier: str, proc: Path) -> int:
    """Find a process of a container by its control group; 0 for none."""
    if not _ID.fullmatch(identifier):
        return 0
    for path in proc.glob("[0-9]*/cgroup"):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if identifier in text:
            return int(path.parent.name)
    return 0
