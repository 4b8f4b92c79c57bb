# SPDX-License-Identifier: Apache-2.0
"""What other people's firewalls do to forwarded frames; only looked at, never changed."""

from collections.abc import Iterable, Mapping
from typing import Any

from spanbridge.base.errors import NodeError
from spanbridge.firewall.ruleset import TABLE
from spanbridge.firewall.session import RefusedError, reading
from spanbridge.rtnl import NetNs


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


def observe_dropping(host: NetNs) -> tuple[str, ...]:
    """Name the chains of `parse_dropping`; none where nftables cannot be asked."""
    try:
        with reading(host) as session:
            return parse_dropping(session.chains())
    except (NodeError, RefusedError):
        return ()
