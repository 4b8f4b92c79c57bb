# SPDX-License-Identifier: Apache-2.0
"""What the agent's answers look like on a terminal."""

import io
from typing import Any

from spanbridge.cli.agent_view import leases_view
from spanbridge.cli.terminal import facts

LEASE: dict[str, Any] = {
    "network": "bridge-net",
    "containerId": "c1",
    "ifname": "eth0",
    "address": "10.88.0.144/24",
    "server": "10.88.0.254",
    "state": "bound",
    "renewInSeconds": 51.9,
    "expiresInSeconds": None,
    "renewals": 1,
}


def _printed(*leases: dict[str, Any]) -> str:
    stream = io.StringIO()
    facts(stream).print(leases_view(leases))
    return stream.getvalue()


def test_a_renewal_that_was_asked_for_is_told_for_each_lease() -> None:
    text = _printed(
        LEASE | {"asked": {"renewed": True, "cause": ""}},
        LEASE | {"asked": {"renewed": False, "cause": "its server did not answer"}},
    )
    assert "1 of 2 leases renewed now\n" in text
    assert "not renewed: 10.88.0.144/24: its server did not answer\n" in text


def test_without_a_request_nothing_is_told_of_it() -> None:
    text = _printed(LEASE)
    assert "10.88.0.144/24" in text
    assert "renewed now" not in text


def test_what_is_read_most_stays_whole_beside_a_runtimes_container_id() -> None:
    text = _printed(LEASE | {"containerId": "0123456789abcdef" * 4, "ifname": "migration0"})
    assert "10.88.0.144/24" in text
    assert "renews in" in text
    assert max(map(len, text.splitlines())) <= 100
