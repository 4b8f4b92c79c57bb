# SPDX-License-Identifier: Apache-2.0
"""What a warm process brings along for the calls it runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from spanbridge.base.names import IfIndex
from spanbridge.ipam.dhcp.keeper import LeaseKeeper
from spanbridge.rtnl import NetNs

Facts = Sequence[Mapping[str, object]]
"""What is shown of leases: one JSON object each, with its ``state`` among the keys."""


class Leasing(Protocol):
    """What is shown and counted of DHCP leases; read from any thread."""

    def facts(self) -> Facts:
        """List every lease."""

    def counters(self) -> Mapping[str, int]:
        """Count what happened since the start, by the kind of event."""

    async def renew(self) -> Facts:
        """
        Have every lease renewed now; on the event loop.

        Returns:
            As `facts`; the key ``asked`` of each has ``renewed``, and ``cause`` where
            that is false.
        """


class NoLeases:
    """Lease supervision that is not there."""

    def facts(self) -> Facts:
        """List none."""
        return ()

    def counters(self) -> Mapping[str, int]:
        """Count nothing."""
        return {}

    async def renew(self) -> Facts:
        """Renew none."""
        return ()


@dataclass(frozen=True, slots=True)
class Parts:
    """
    Helpers of the verbs that only a process which lives on can offer.

    Attributes:
        keeper: Keeps DHCP leases; None where there is none, and ADD with DHCP fails.
        remove_link: Removes a link of a namespace, together with others; None removes
            each at once.
        leases: What is shown and counted of leases.
    """

    keeper: LeaseKeeper | None = None
    remove_link: Callable[[NetNs, IfIndex], None] | None = None
    leases: Leasing = field(default_factory=NoLeases)
