# SPDX-License-Identifier: Apache-2.0
"""Whatever comes in: a configuration, or an InputError that says something."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbridge.base.errors import InputError, SpanbridgeError
from spanbridge.model.netconf import (
    parse_netconf,
    parse_netconf_bytes,
    parse_valid_attachments,
)
from spanbridge.model.reader import Node, parse_object
from spanbridge.model.release import parse_release_conf

# Lone surrogates too: JSON can write them, UTF-8 cannot.
TEXTS = st.text(st.characters(exclude_categories=()), max_size=20)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=12
)
FLAGS = ["isGateway", "isDefaultGateway", "forceAddress", "ipMasq", "hairpinMode", "promiscMode"]
FLAGS += ["preserveDefaultVlan", "macspoofchk", "enabledad", "disableContainerInterface"]
KEYS = ["cniVersion", "name", "type", "bridge", "ipMasqBackend", "mtu", "vlan", "vlanTrunk", *FLAGS]
KEYS += ["portIsolation", "ipam", "dns", "args", "runtimeConfig", "prevResult"]
NEAR = st.sampled_from(
    ["", "net", "br0", "\ud800", "02:00:5e:10:00:01", "10.0.0.1/24", "fd00::1", 0, 1, 4094, 4095]
)
TRUNKS = st.lists(st.dictionaries(st.sampled_from(["id", "minID", "maxID"]), NEAR | JSON))


def objects(*keys: str) -> st.SearchStrategy[list[dict[str, object]]]:
    return st.lists(st.dictionaries(st.sampled_from(keys), NEAR))


RESULTS = st.fixed_dictionaries(
    {},
    optional={
        "interfaces": objects("name", "mac", "mtu"),
        "ips": objects("address", "gateway", "interface"),
        "routes": objects("dst", "gw", "table"),
    },
)
CONFS = st.dictionaries(st.sampled_from(KEYS), JSON | NEAR | TRUNKS | RESULTS).map(
    lambda conf: {"cniVersion": "1.0.0", "name": "net"} | conf
)


def check(parse: Callable[[], object]) -> None:
    """Let every other exception than ``InputError`` out."""
    refused = None
    try:
        parse()
    except InputError as exc:
        refused = exc
    assert refused is None or refused.message.startswith("cannot ")
    assert refused is None or json.dumps(refused.details)


@given(CONFS)
def test_a_mutilated_configuration_is_parsed_or_refused(conf: dict[str, object]) -> None:
    check(lambda: parse_netconf(Node(conf)))


@given(JSON)
def test_any_json_is_parsed_or_refused(value: object) -> None:
    check(lambda: parse_netconf_bytes(json.dumps(value).encode()))


@given(st.binary() | TEXTS.map(lambda text: text.encode(errors="surrogatepass")))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    check(lambda: parse_netconf_bytes(data))


@given(CONFS)
def test_release_and_collection_parse_or_refuse_too(conf: dict[str, object]) -> None:
    check(lambda: parse_release_conf(Node(conf)))
    check(lambda: parse_valid_attachments(Node({"cni.dev/valid-attachments": conf})))


@pytest.mark.parametrize("depth", range(850, 1000, 10))
def test_no_depth_of_nesting_gets_through(depth: int) -> None:
    nested = "[" * depth + "]" * depth
    data = f'{{"cniVersion": "1.0.0", "name": "net", "vlan": {nested}}}'

    with pytest.raises(SpanbridgeError) as caught:
        parse_netconf(parse_object(data.encode()))
    assert isinstance(caught.value, InputError)
