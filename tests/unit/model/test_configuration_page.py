# SPDX-License-Identifier: Apache-2.0
"""The reference page of the configuration against the parser."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from spanbridge.base.errors import ConfigError
from spanbridge.model import netconf
from spanbridge.model.netconf import parse_netconf
from spanbridge.model.reader import Node

PAGE = (Path(__file__).parents[3] / "docs/reference/configuration.md").read_text()
ROWS = {
    key: (kind, default, effect)
    for key, kind, default, effect in re.findall(
        r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \| (.+?) \| .+ \|$", PAGE, re.MULTILINE
    )
}


def known_keys() -> set[str]:
    root = Node({"cniVersion": "1.0.0", "name": "net"})
    parse_netconf(root)
    return set(root._known.values()) | set(netconf._READ_ELSEWHERE)


@pytest.mark.parametrize("key", sorted(known_keys()))
def test_every_key_that_the_parser_knows_is_documented(key: str) -> None:
    kind, default, effect = ROWS[key]

    assert kind in {"string", "integer", "boolean", "list", "object"}
    assert default in {"required", "not read", "absent"} or default.startswith("`")
    assert len(effect) > 15


def test_no_key_is_documented_that_the_parser_does_not_know() -> None:
    assert set(ROWS) == known_keys()


@pytest.mark.parametrize("key", [key for key, row in ROWS.items() if row[1].startswith("`")])
def test_writing_the_documented_default_changes_nothing(key: str) -> None:
    base = {"cniVersion": "1.0.0", "name": "net"}
    conf = parse_netconf(Node(base | {key: json.loads(ROWS[key][1].strip("`"))}))
    absent = parse_netconf(Node(base))

    assert replace(conf, root=absent.root) == absent


BOOLEANS = [key for key, row in ROWS.items() if row[0] == "boolean" and row[1] == "`false`"]


@pytest.mark.parametrize("key", BOOLEANS)
def test_a_documented_boolean_is_no_string(key: str) -> None:
    with pytest.raises(ConfigError, match="true or false"):
        parse_netconf(Node({"cniVersion": "1.0.0", "name": "net", key: "true"}))


def test_the_example_of_the_page_is_a_good_configuration() -> None:
    example = re.search(r"```json\n(.+?)```", PAGE, re.DOTALL)

    assert example is not None
    conf = parse_netconf(Node(json.loads(example[1])))
    assert (conf.bridge, conf.vlan, conf.unknown) == ("br-mig", 2, ())
