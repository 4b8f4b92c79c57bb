# SPDX-License-Identifier: Apache-2.0
"""
Masquerade, source-MAC check, and gateways that stay on their node, in nftables tables.

Owns the tables ``inet spanbridge`` and ``bridge spanbridge`` of a namespace: an
attachment has elements in their maps and sets, with its owner's tag as comment, and
is removed by that tag. Every change is one transaction; a table appears with its
first element and goes with its last. May import ``rtnl``, ``model``, ``base``. Never
runs a process, never writes or reads nft's own language, never touches a table of
others.
"""

from spanbridge.firewall.apply import (
    collect,
    ensure,
    observe,
    probe,
    probe_gateways,
    release,
    release_pins,
    unpin,
    withdraw,
)
from spanbridge.firewall.entries import Entries, GatewayPin, SpoofGuard
from spanbridge.firewall.session import is_available

__all__ = [
    "Entries",
    "GatewayPin",
    "SpoofGuard",
    "collect",
    "ensure",
    "is_available",
    "observe",
    "probe",
    "probe_gateways",
    "release",
    "release_pins",
    "unpin",
    "withdraw",
]
