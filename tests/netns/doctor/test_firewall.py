# SPDX-License-Identifier: Apache-2.0
"""Other people's firewalls, as doctor sees them."""

import pytest

from spanbridge.firewall.policies import observe_dropping
from spanbridge.rtnl import NetNs
from spanbridge.testing.plugin import Netns


@pytest.mark.parametrize(
    ("policy", "found"), [("drop", ("ip filter FORWARD",)), ("accept", ())], ids=str
)
def test_a_chain_that_drops_what_no_rule_lets_pass_is_seen(
    node: Netns, policy: str, found: tuple[str, ...]
) -> None:
    chain = f"{{ type filter hook forward priority 0; policy {policy}; }}"
    node.run("nft", "add", "table", "ip", "filter")
    node.run("nft", "add", "chain", "ip", "filter", "FORWARD", chain)
    with NetNs.open(str(node.path)) as host:
        assert observe_dropping(host) == found
