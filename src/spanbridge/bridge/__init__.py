# SPDX-License-Identifier: Apache-2.0
"""
One attachment on links: from a ``DesiredAttachment`` to observe, ensure, release.

``ensure_*`` change the least and push what undoes them on an ``Undo``;
``check`` compares; ``release`` and ``collect`` remove by owner. May import ``rtnl``,
``model``, ``base``. Never runs a process, never knows what IPAM or a firewall is.
"""

from spanbridge.bridge.announce import announce
from spanbridge.bridge.check import check
from spanbridge.bridge.gateway import ensure_gateway, gateway_port
from spanbridge.bridge.link import (
    Attached,
    ensure_link,
    find_attached,
    mark_ready,
    may_have_firewall,
    pinned_gateways,
    refuse_unsuitable,
    wait_for_port,
)
from spanbridge.bridge.release import collect, release
from spanbridge.bridge.sandbox import ensure_sandbox, raise_sandbox, renumber_sandbox
from spanbridge.bridge.site import Site

__all__ = [
    "Attached",
    "Site",
    "announce",
    "check",
    "collect",
    "ensure_gateway",
    "ensure_link",
    "ensure_sandbox",
    "find_attached",
    "gateway_port",
    "mark_ready",
    "may_have_firewall",
    "pinned_gateways",
    "raise_sandbox",
    "refuse_unsuitable",
    "release",
    "renumber_sandbox",
    "wait_for_port",
]
