# SPDX-License-Identifier: Apache-2.0
"""Where an attachment lives: the node's namespace, the sandbox, and a place for locks."""

import os
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

from spanbridge.base.files import locked
from spanbridge.base.names import IfName, MacAddress
from spanbridge.rtnl import NetNs, Rtnl


class Site:
    """
    The two namespaces of one call, with a socket in each, opened when first used.

    Attributes:
        host: The node's network namespace: the caller's, not always our process's own.
        sandbox: The container's; None when it is gone or not needed.
        sandbox_path: As the runtime names it; goes into the result.
        run_dir: Directory for locks.
    """

    def __init__(
        self, host: NetNs, sandbox: NetNs | None, *, sandbox_path: str, run_dir: Path
    ) -> None:
        self.host = host
        self.sandbox = sandbox
        self.sandbox_path = sandbox_path
        self.run_dir = run_dir
        self._sockets: dict[tuple[int, int], Rtnl] = {}

    def _socket(self, netns: NetNs) -> Rtnl:
        found = self._sockets.get(netns.identity)
        if found is None:
            found = self._sockets[netns.identity] = Rtnl.open(netns)
        return found

    @property
    def node(self) -> Rtnl:
        """Socket in the node's namespace."""
        return self._socket(self.host)

    @property
    def inside(self) -> Rtnl:
        """Socket in the sandbox."""
        return self._socket(self.entered)

    @property
    def entered(self) -> NetNs:
        """The sandbox, where it must be there."""
        if self.sandbox is None:
            raise AssertionError("ADD and CHECK open the sandbox before anything else")
        return self.sandbox

    def bridge_lock(self, bridge: IfName) -> AbstractContextManager[None]:
        """
        Exclude other calls from making, changing or removing one bridge.

        Between "the bridge is there" and "the port is on it", an ADD that undoes
        itself must not take the bridge away.
        """
        inode = self.host.identity[1]
        return locked(self.run_dir / "locks" / f"bridge-{inode}-{bridge}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        for socket in self._sockets.values():
            socket.close()
        self._sockets.clear()


def random_mac() -> MacAddress:
    """
    Make a random unicast, locally administered address.

    An explicit address at creation keeps udev's MACAddressPolicy from changing it
    later: addresses of assign type "set" are left alone.
    """
    octets = bytearray(os.urandom(6))
    octets[0] = octets[0] & 0xFC | 0x02
    return MacAddress(octets.hex(":"))
