# SPDX-License-Identifier: Apache-2.0
"""What status reads of an agent's own answer."""

from spanbridge.lab.status import KeptLease, parse_kept


def test_a_lease_is_read_from_what_the_agent_tells() -> None:
    # Part of an answer of `spanbridge agent leases --format json`.
    told = {
        "ifname": "migration0",
        "state": "bound",
        "address": "10.88.0.144/24",
        "server": "10.88.0.254",
        "renewInSeconds": 51.9,
        "rebindInSeconds": 96.9,
        "expiresInSeconds": None,
    }
    assert parse_kept(told) == KeptLease("10.88.0.144/24", "10.88.0.254", "bound", 51.9, None)
