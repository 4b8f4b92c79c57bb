# SPDX-License-Identifier: Apache-2.0
"""All that an ADD could need, made in tables of another name and removed at once; pure."""

from typing import Final

from spanbridge.firewall import gateways, ruleset
from spanbridge.firewall.ruleset import BRIDGE, INET, TABLE, Command, Json
from spanbridge.model.addresses import Cidr, Ip
from spanbridge.model.owner import Owner

_PROBE_TABLE: Final = "spanbridge-probe"
_NOBODY: Final = Owner.of("probe", "probe", "probe")


def _renamed(value: Json, name: str) -> Json:
    """Copy commands, with another table in place of ours."""
    if isinstance(value, dict):
        return {key: _renamed(each, name) for key, each in value.items()}
    if isinstance(value, list):
        return [_renamed(each, name) for each in value]
    return name if value == TABLE else value


def _nowhere(made: list[Command], *families: str) -> list[Command]:
    renamed: list[Command] = _renamed([*made, *map(ruleset.delete_table, families)], _PROBE_TABLE)
    return renamed


def probe_attachments() -> list[Command]:
    """Try masquerade and the MAC check."""
    networks = (Cidr(Ip(4, 0), 8), Cidr(Ip(6, 0), 8))
    return _nowhere(ruleset.table(networks, guarding=True), INET, BRIDGE)


def probe_gateways() -> list[Command]:
    """Try what keeps gateway addresses of both families on their node."""
    pinned = [gateways.create_gateway(Ip(version, 1), _NOBODY) for version in (4, 6)]
    return _nowhere([*gateways.structure(), *pinned[0], *pinned[1]], BRIDGE)
