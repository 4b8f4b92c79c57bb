# SPDX-License-Identifier: Apache-2.0
"""
What the CNI verbs see of leases: ask for one, look at it, give it back.

A lease has to be renewed long after ADD has ended, so whoever keeps it outlives the
calls: the node agent. The one-shot program has no keeper.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from spanbridge.ipam.dhcp.conf import DhcpConf
from spanbridge.ipam.dhcp.lease import Lease
from spanbridge.model.owner import Owner
from spanbridge.rtnl import NetNs


@dataclass(frozen=True, slots=True)
class LeaseAsk:
    """
    What a keeper needs to lease an address.

    Attributes:
        owner: The attachment; its interface is there already, without the address.
        netns: The sandbox; used during the call and left open.
        netns_path: Where the sandbox is found again for a renewal, CNI_NETNS.
        conf: The ``ipam`` section, read.
        client_id: Option 61, the same in every message of the lease.
        section: The ``ipam`` section as written, so that a restarted keeper can read it.
        args: CNI_ARGS, for provided options that are taken from there.
    """

    owner: Owner
    netns: NetNs
    netns_path: str
    conf: DhcpConf
    client_id: bytes
    section: Mapping[str, object]
    args: str


class LeaseKeeper(Protocol):
    """
    Keeps leases alive; every call blocks, and comes from any thread.

    The thread must not be the one that the keeper itself works in.
    """

    def acquire(self, ask: LeaseAsk, *, cancelled: Callable[[], bool]) -> Lease:
        """
        Lease an address, or answer with the live lease of the same owner and sandbox.

        The lease is in the journal when this returns, and the address was probed; the
        caller puts it on the interface.

        Args:
            ask: For whom, where and how.
            cancelled: Asked several times a second; True gives up.

        Raises:
            AddressError: None was to be had within ``conf.timeout_s``, or ``cancelled``
                turned true; says what was heard. Nothing is left behind.
            RetryError: The keeper stops, or the owner was released meanwhile.
            NodeError: The sandbox or its interface cannot be used.
        """

    def find(self, owner: Owner) -> Lease | None:
        """Return the live lease of an owner, without waiting for anything."""

    def release(self, owner: Owner) -> None:
        """
        Give a lease back, while its interface is there, and forget it.

        Also ends an `acquire` of the same owner that is still under way. Succeeds on
        an unknown owner.
        """

    def collect(self, network: str, valid: frozenset[tuple[str, str]]) -> None:
        """
        Give back the leases of a network whose attachments are dead (GC).

        Args:
            network: Its name.
            valid: Pairs of container id and interface name that stay.
        """

    def status(self) -> None:
        """Raise ``NotReadyError`` when no lease could be had or kept now."""
