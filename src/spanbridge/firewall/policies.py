# SPDX-License-Identifier: Apache-2.0
"""What other people's firewalls do to forwarded frames; only looked at, never changed."""

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from spanbridge.base.errors import NodeError
from spanbridge.firewall.ruleset import TABLE
from spanbridge.firewall.session import RefusedError, reading
from spanbridge.rtnl import NetNs

_CAP_NET_ADMIN: Final = 12
"""Source: linux/capability.h."""


def parse_dropping(objects: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """
    Name the chains that drop IPv4 forwarded frames unless a rule lets them pass.

    Args:
        objects: What ``list chains`` answers.
    """
    chains = [each["chain"] for each in objects if "chain" in each]
    return tuple(
        sorted(
            f"{each['family']} {each['table']} {each['name']}"
            for each in chains
            if each["family"] in {"ip", "inet"}
            and each.get("hook") == "forward"
            and each.get("policy") == "drop"
            and each["table"] != TABLE
        )
    )


def _may_look() -> bool:
    """Tell whether this process has CAP_NET_ADMIN."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/thread-self/status").read_text().splitlines()
        effective = next(line.split()[1] for line in lines if line.startswith("CapEff:"))
        return bool(int(effective, 16) >> _CAP_NET_ADMIN & 1)
    return False


def observe_dropping(host: NetNs) -> tuple[str, ...]:
    """Name the chains of `parse_dropping`; none where nftables cannot be asked."""
    if not _may_look():  # libnftables would complain on standard error itself
        return ()
    try:
        with reading(host) as session:
            return parse_dropping(session.chains())
    except (NodeError, RefusedError):
        return ()
