# SPDX-License-Identifier: Apache-2.0
"""
The device by which a bridge reaches the outside.

``ensure_uplink`` is what ADD does for the key ``uplink``; ``ensure``, ``release`` and
``observe`` are `spanbridge uplink`, which remembers on disk what it did so that it can
be undone. Plans of changes are pure; nothing here runs a process.
"""

from spanbridge.bridge.uplink.attach import ensure_uplink, probe_uplink
from spanbridge.bridge.uplink.facts import (
    UplinkFacts,
    default_vlan,
    missing,
    observe_facts,
    port_plan,
    refuse_device,
    thieves,
)

__all__ = [
    "UplinkFacts",
    "default_vlan",
    "ensure_uplink",
    "missing",
    "observe_facts",
    "port_plan",
    "probe_uplink",
    "refuse_device",
    "thieves",
]
