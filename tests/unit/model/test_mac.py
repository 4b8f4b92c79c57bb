# SPDX-License-Identifier: Apache-2.0
"""MAC addresses: notations, and whose request wins."""

import pytest

from spanbridge.base.errors import CallError, Code, ConfigError
from spanbridge.model.addresses import parse_mac
from spanbridge.model.netconf import NetConf, parse_netconf, requested_mac
from spanbridge.model.reader import Node

WANTED = "02:00:5e:10:00:01"
BY_CAPABILITY, BY_ARGUMENT, BY_VARIABLE = (f"02:00:00:00:00:0{n}" for n in (1, 2, 3))


def parse(**fields: object) -> NetConf:
    return parse_netconf(Node({"cniVersion": "1.0.0", "name": "net"} | fields))


@pytest.mark.parametrize(
    "text",
    [WANTED, "02:00:5E:10:00:01", "02-00-5e-10-00-01", "0200.5e10.0001", "0200.5E10.0001"],
)
def test_every_notation_means_the_same_address(text: str) -> None:
    assert parse_mac(text, "/mac") == WANTED


@pytest.mark.parametrize(
    "text",
    ["", "junk", "02005e100001", "02:00:5e:10:00", "02:00:5e:10:00:01:02:03", "2:0:5e:10:0:1",
     "02:00:5e:10:00:0g", "02:00:5e:10:00:", "0200.5e10", "02.00.5e.10.00.01", "2:0:5e:10:0:\u0660",
     " 02:00:5e:10:00:01", "020.05e.100.001"],
    ids=repr,
)  # fmt: skip
def test_what_is_not_six_octets_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="six octets") as caught:
        parse_mac(text, "/runtimeConfig/mac")

    assert caught.value.pointer == "/runtimeConfig/mac"
    assert WANTED in caught.value.hint


@pytest.mark.parametrize(
    "text", ["01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "0000.0000.0000"]
)
def test_what_cannot_be_an_interfaces_own_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="unicast") as caught:
        parse_mac(text, "/x")

    assert "even" in caught.value.hint


@pytest.mark.parametrize(
    ("runtime", "argument", "variable", "winner"),
    [
        (BY_CAPABILITY, BY_ARGUMENT, BY_VARIABLE, BY_CAPABILITY),
        (None, BY_ARGUMENT, BY_VARIABLE, BY_ARGUMENT),
        ("", BY_ARGUMENT, BY_VARIABLE, BY_ARGUMENT),
        (None, None, BY_VARIABLE, BY_VARIABLE),
        (BY_CAPABILITY, None, BY_VARIABLE, BY_CAPABILITY),
        (None, "", "", None),
        (None, None, None, None),
    ],
)
def test_runtime_config_wins_over_args_and_args_over_the_variable(
    runtime: str | None, argument: str | None, variable: str | None, winner: str | None
) -> None:
    conf = parse(runtimeConfig={"mac": runtime}, args={"cni": {"mac": argument}})

    assert requested_mac(conf, {} if variable is None else {"MAC": variable}) == winner


def test_a_mac_at_the_top_level_asks_for_nothing() -> None:
    conf = parse(mac=WANTED)

    assert conf.mac is None
    assert [key.key for key in conf.unknown] == ["mac"]


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"runtimeConfig": {"mac": "junk"}}, "/runtimeConfig/mac"),
        ({"RuntimeConfig": {"Mac": 5}}, "/RuntimeConfig/Mac"),
        ({"args": {"cni": {"mac": "01:00:5e:00:00:01"}}}, "/args/cni/mac"),
        ({"args": {"cni": "x"}}, "/args/cni"),
    ],
    ids=repr,
)
def test_a_bad_request_is_pointed_at(fields: dict[str, object], pointer: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(**fields)

    assert (caught.value.pointer, bool(caught.value.hint)) == (pointer, True)


def test_a_bad_mac_in_the_variable_is_a_fault_of_the_environment() -> None:
    with pytest.raises(CallError, match="CNI_ARGS MAC") as caught:
        requested_mac(parse(), {"MAC": "junk"})

    assert caught.value.code is Code.INVALID_ENVIRONMENT
    assert caught.value.hint
