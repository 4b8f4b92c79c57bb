# SPDX-License-Identifier: Apache-2.0
"""Where an attachment lives: the node's namespace, the sandbox, and a place for locks."""

import errno
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from spanbridge.base.files import locked
from spanbridge.base.names import IfIndex, IfName, MacAddress
from spanbridge.rtnl import NetNs, Rtnl, del_link

_GONE: Final = frozenset({errno.ENODEV, errno.ENOENT})


class Site:
    """
    The two namespaces of one call, with a socket in each, opened when first used.

    Attributes:
        host: The node's network namespace: the caller's, not always our process's own.
        sandbox: The container's; None when it is gone or not needed.
        sandbox_path: As the runtime names it; goes into the result.
        run_dir: Directory for locks.

    Args:
        remove_link: How a link is removed from a namespace; None removes it at once.
    """

    def __init__(
        self,
        host: NetNs,
        sandbox: NetNs | None,
        *,
        sandbox_path: str,
        run_dir: Path,
        remove_link: Callable[[NetNs, IfIndex], None] | None = None,
    ) -> None:
        self.host = host
        self.sandbox = sandbox
        self.sandbox_path = sandbox_path
        self.run_dir = run_dir
        self._remove_link = remove_link
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

    def enter(self, sysctls: list[tuple[str, str]]) -> None:
        """
        Set sysctls in the sandbox, and open the socket there, in one visit.

        Those that the kernel does not have are skipped.
        """
        netns = self.entered
        if netns.identity in self._sockets:
            if sysctls:
                netns.write_sysctls(sysctls, missing_ok=True)
            return

        def arrive() -> Rtnl:
            netns.write_sysctls(sysctls, missing_ok=True)
            return Rtnl.open()

        self._sockets[netns.identity] = netns.run(arrive)

    def remove_port(self, index: IfIndex) -> None:
        """
        Remove a host port, and with it the other end; returns when it is gone.

        The kernel waits a grace period for each deletion, 20 ms: whoever has many of them
        going at once gathers them by ``remove_link``.
        """
        if self._remove_link is None:
            self.node.request(del_link(index=index), tolerate=_GONE)
        else:
            self._remove_link(self.host, index)

    def bridge_lock(self, bridge: IfName) -> AbstractContextManager[None]:
        """
        Exclude other calls from making, changing or removing one bridge.

        Between "the bridge is there" and "the port is on it", an ADD that undoes
        itself must not take the bridge away.
        """
        inode = self.host.identity[1]
        return locked(f"{self.run_dir}/locks/bridge-{inode}-{bridge}")

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
