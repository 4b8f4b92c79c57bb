# SPDX-License-Identifier: Apache-2.0
"""The reference page of the configuration against the parser."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from spanbridge.base.errors import ConfigError
from spanbridge.ipam.dhcp.conf import _OPTIONS, parse_dhcp_conf
from spanbridge.model import netconf
from spanbridge.model.netconf import NetConf, parse_netconf
from spanbridge.model.reader import Node

PAGE = (Path(__file__).parents[3] / "docs/reference/configuration.md").read_text()
BRIDGE_PAGE, DHCP_PAGE = PAGE.split("\n## Addresses by DHCP\n")

Rows = dict[str, tuple[str, str, str]]


def rows(page: str) -> Rows:
    """Type, default and effect of each key in the tables of a page."""
    found = re.findall(
        r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \| (.+?) \| .+ \|$", page, re.MULTILINE
    )
    return {key: (kind, default, effect) for key, kind, default, effect in found}


ROWS, DHCP_ROWS = rows(BRIDGE_PAGE), rows(DHCP_PAGE)


def dhcp_keys() -> set[str]:
    ipam = Node({"type": "dhcp"})
    parse_dhcp_conf(ipam)
    return set(ipam._known.values())


def known_keys() -> set[str]:
    root = Node({"cniVersion": "1.0.0", "name": "net"})
    parse_netconf(root)
    return set(root._known.values()) | set(netconf._READ_ELSEWHERE)


EVERY_KEY = [(ROWS, key) for key in sorted(known_keys())] + [
    (DHCP_ROWS, key) for key in sorted(dhcp_keys())
]


@pytest.mark.parametrize(("documented", "key"), EVERY_KEY, ids=[key for _, key in EVERY_KEY])
def test_every_key_that_the_parser_knows_is_documented(documented: Rows, key: str) -> None:
    kind, default, effect = documented[key]

    assert kind in {"string", "integer", "boolean", "list", "object"}
    assert default in {"required", "not read", "absent"} or default.startswith("`")
    assert len(effect) > 15 or key == "type"


def test_no_key_is_documented_that_the_parser_does_not_know() -> None:
    assert set(ROWS) == known_keys()
    assert set(DHCP_ROWS) == dhcp_keys()


@pytest.mark.parametrize("key", [key for key, row in ROWS.items() if row[1].startswith("`")])
def test_writing_the_documented_default_changes_nothing(key: str) -> None:
    base = {"cniVersion": "1.0.0", "name": "net"}
    conf = parse_netconf(Node(base | {key: json.loads(ROWS[key][1].strip("`"))}))
    absent = parse_netconf(Node(base))

    assert replace(conf, root=absent.root) == absent


DHCP_DEFAULTS = {key: row[1].strip("`") for key, row in DHCP_ROWS.items() if row[1][0] == "`"}


@pytest.mark.parametrize(("key", "default"), DHCP_DEFAULTS.items(), ids=DHCP_DEFAULTS)
def test_writing_the_documented_default_of_a_dhcp_key_changes_nothing(
    key: str, default: str
) -> None:
    written = Node({"type": "dhcp", key: json.loads(default)})

    assert parse_dhcp_conf(written) == parse_dhcp_conf(Node({"type": "dhcp"}))


@pytest.mark.parametrize("name", sorted(_OPTIONS))
def test_every_option_of_dhcp_that_has_a_name_is_documented(name: str) -> None:
    assert f"`{name}`" in DHCP_PAGE


@pytest.mark.parametrize(
    ("key", "entries"),
    [("request", ("option", "skipDefault")), ("provide", ("option", "value", "fromArg"))],
)
def test_the_keys_of_a_dhcp_keys_entries_are_documented(key: str, entries: tuple[str, ...]) -> None:
    entry = {"option": "routers", "value": "x", "fromArg": "X", "skipDefault": True}
    ipam = Node({"type": "dhcp", key: [{name: entry[name] for name in entries}]})

    assert parse_dhcp_conf(ipam).unknown == ()
    assert all(f'"{name}"' in DHCP_ROWS[key][2] for name in entries)


BOOLEANS = [key for key, row in ROWS.items() if row[0] == "boolean" and row[1] == "`false`"]


@pytest.mark.parametrize("key", BOOLEANS)
def test_a_documented_boolean_is_no_string(key: str) -> None:
    with pytest.raises(ConfigError, match="true or false"):
        parse_netconf(Node({"cniVersion": "1.0.0", "name": "net", key: "true"}))


def _example(page: str) -> NetConf:
    example = re.search(r"```json\n(.+?)```", page, re.DOTALL)
    assert example is not None
    return parse_netconf(Node(json.loads(example[1])))


def test_the_example_of_the_page_is_a_good_configuration() -> None:
    conf = _example(BRIDGE_PAGE)

    assert (conf.bridge, conf.vlan, conf.unknown) == ("br-mig", 2, ())


def test_the_example_of_dhcp_is_a_good_configuration() -> None:
    conf = _example(DHCP_PAGE)
    assert conf.ipam is not None
    dhcp = parse_dhcp_conf(conf.ipam.node)

    assert (conf.vlan, conf.unknown, dhcp.unknown) == (2, (), ())
    assert (dhcp.client_id.value, dhcp.provide[0].from_arg) == ("pod", "K8S_POD_NAME")
