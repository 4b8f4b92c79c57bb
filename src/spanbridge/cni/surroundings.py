# SPDX-License-Identifier: Apache-2.0
"""
What a call works in: namespaces, directories, and what a warm process brings along.

The one-shot program fills in its own namespace and opens the sandbox by its path; the
agent gets both as descriptors, so paths of another mount namespace need not mean
anything to it.
"""

import os
from typing import NamedTuple, Self

from spanbridge.base.errors import CallError, NodeError
from spanbridge.rtnl import NetNs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from spanbridge.base.names import IfIndex
    from spanbridge.ipam.dhcp.keeper import LeaseKeeper


def never() -> bool:
    """Tell that nobody gave the call up: a signal ends the one-shot program instead."""
    return False


class Surroundings(NamedTuple):
    """
    What a call works in.

    Attributes:
        host: The caller's network namespace.
        run_dir: Directory for locks.
        by_descriptor: The sandbox comes as a descriptor or not at all; False opens it
            by its path.
        sandbox_fd: That descriptor; stays the caller's. None where the caller could not
            open the sandbox.
        keeper: Who keeps DHCP leases; None asks the agent at its socket.
        remove_link: How links of a namespace are removed; None removes each at once.
        cancelled: Tells whether the caller has given up; asked before an ADD is final.
    """

    host: NetNs
    run_dir: "Path"
    by_descriptor: bool = False
    sandbox_fd: int | None = None
    keeper: "LeaseKeeper | None" = None
    remove_link: "Callable[[NetNs, IfIndex], None] | None" = None
    cancelled: "Callable[[], bool]" = never


class Sandbox:
    """
    The container's network namespace, opened when first asked for.

    Args:
        path: CNI_NETNS.
        around: Where it is looked for.
        may_be_host: The node's own namespace will do (CNI_NETNS_OVERRIDE).
    """

    def __init__(self, path: str, around: Surroundings, *, may_be_host: bool) -> None:
        self.path = path
        self._around = around
        self._may_be_host = may_be_host
        self._opened: NetNs | None = None

    def open(self) -> NetNs:
        """
        Open it, once.

        Raises:
            CallError: There is no such namespace, or it is the node's own.
        """
        if self._opened is None:
            self._opened = self._accepted(self._find())
        return self._opened

    def open_if_there(self) -> NetNs | None:
        """Open it for DEL; whatever is no other namespace counts as gone."""
        if not self.path:
            return None
        try:
            return self.open()
        except CallError:
            return None

    def _find(self) -> NetNs:
        try:
            if not self._around.by_descriptor:
                return NetNs.open(self.path)
            if self._around.sandbox_fd is not None:
                return NetNs.adopt(os.dup(self._around.sandbox_fd), label=repr(self.path))
        except OSError as exc:
            raise CallError(
                f"cannot use CNI_NETNS {self.path!r}: {exc.strerror}",
                hint="it must be the path of a network namespace, for example /run/netns/NAME",
            ) from exc
        except NodeError as exc:
            raise CallError(
                f"cannot use CNI_NETNS {self.path!r}: it is no network namespace"
            ) from exc
        raise CallError(
            f"cannot use CNI_NETNS {self.path!r}: the caller cannot open it",
            hint="it must be the path of a network namespace, for example /run/netns/NAME",
        )

    def _accepted(self, netns: NetNs) -> NetNs:
        if netns == self._around.host and not self._may_be_host:
            netns.close()
            raise CallError(
                f"cannot use CNI_NETNS {self.path!r}: it is the node's own network namespace",
                hint="give the container a namespace of its own, or set CNI_NETNS_OVERRIDE=1",
            )
        return netns

    def path_here(self) -> str:
        """Name it for a child process, also where ``path`` means nothing to this process."""
        if not self._around.by_descriptor:
            return self.path
        netns = self.open_if_there()
        if netns is None:
            return self.path
        try:
            seen = os.stat(self.path)  # noqa: PTH116  # importing pathlib takes milliseconds
        except OSError:
            return f"/proc/{os.getpid()}/fd/{netns.fd}"
        same = (seen.st_dev, seen.st_ino) == netns.identity
        return self.path if same else f"/proc/{os.getpid()}/fd/{netns.fd}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._opened is not None:
            self._opened.close()
