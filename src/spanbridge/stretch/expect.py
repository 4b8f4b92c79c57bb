# SPDX-License-Identifier: Apache-2.0
"""From an intent to what a verification expects of the network; pure."""

from spanbridge.model.intent import Intent
from spanbridge.model.observations import Expectations


def expect_intent(intent: Intent) -> Expectations:
    """
    Tell what a network is meant to be.

    Ranges of clusters are left out: they follow from earlier plans too, not from the intent
    alone.
    """
    return Expectations(
        network=intent.name,
        vlan=intent.vlan,
        mtu=intent.mtu,
        subnets=tuple(map(str, intent.subnets)),
        gateways=tuple(map(str, intent.gateways)),
    )
