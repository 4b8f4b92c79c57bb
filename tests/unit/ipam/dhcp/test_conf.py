# SPDX-License-Identifier: Apache-2.0
"""The dhcp section: every key, every complaint."""

import json
import math

import pytest

from spanbridge.base.errors import CallError, ConfigError, InputError
from spanbridge.ipam.dhcp.conf import (
    ClientIdMode,
    DhcpConf,
    Probe,
    identity,
    parse_dhcp_conf,
    provided_options,
)
from spanbridge.model.reader import Node

DEFAULT = (121, 1, 33, 3, 6, 15, 119, 26, 42, 51, 58, 59)


def parse(**section: object) -> DhcpConf:
    return parse_dhcp_conf(Node({"type": "dhcp"} | section, "/ipam"))


def test_an_empty_section_has_defaults() -> None:
    assert parse() == DhcpConf(
        parameters=DEFAULT,
        provide=(),
        priority=0,
        daemon_socket="",
        broadcast=False,
        timeout_s=20,
        probe=Probe.FAST,
        client_id=ClientIdMode.CONTAINER,
    )


def test_every_key_is_read() -> None:
    conf = parse(
        priority=77, daemonSocketPath="/run/x.sock", broadcast=True, timeout=2.5, probe="rfc",
        clientId="pod", request=[{"skipDefault": True, "option": "121"}],
        provide=[{"option": "host-name", "value": "vm"}],
    )  # fmt: skip

    assert (conf.priority, conf.daemon_socket, conf.broadcast) == (77, "/run/x.sock", True)
    assert (conf.timeout_s, conf.probe, conf.client_id) == (2.5, Probe.RFC, ClientIdMode.POD)
    assert conf.parameters == (121,)
    assert provided_options(conf, "") == {12: b"vm"}
    assert conf.unknown == ()


@pytest.mark.parametrize(
    ("option", "code"),
    [
        ("dhcp-client-identifier", 61),
        ("subnet-mask", 1),
        ("routers", 3),
        ("host-name", 12),
        ("user-class", 77),
        ("vendor-class-identifier", 60),
        ("1", 1),
        ("254", 254),
        ("077", 77),
        (42, 42),
    ],
)
def test_an_option_is_a_name_or_a_number(option: object, code: int) -> None:
    conf = parse(request=[{"skipDefault": True}, {"option": option}])

    assert conf.parameters == (code,)


@pytest.mark.parametrize(
    ("request_", "parameters"),
    [
        ([], DEFAULT),
        ([{"option": "66"}], (66, *DEFAULT)),
        ([{"option": "66"}, {"option": "15"}], (66, 15, *[c for c in DEFAULT if c != 15])),
        ([{"option": "routers"}], (121, 3, *[c for c in DEFAULT if c not in {3, 121}])),
        ([{"option": "33"}], (121, 33, *[c for c in DEFAULT if c not in {33, 121}])),
        ([{"skipDefault": True}], (1, 3, 15, 6)),
        ([{"skipDefault": True}, {"option": "3"}, {"option": "121"}], (121, 3)),
        ([{"skipDefault": True, "option": "3"}, {"option": "3"}], (3,)),
        ([{"skipDefault": False, "option": "66"}], (66, *DEFAULT)),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_asked_for_is_the_users_list_and_all_that_is_used(
    request_: list[dict[str, object]], parameters: tuple[int, ...]
) -> None:
    assert parse(request=request_).parameters == parameters


@pytest.mark.parametrize(
    ("entries", "args", "options"),
    [
        ([{"option": "12", "value": "a"}], "", {12: b"a"}),
        ([{"option": "12", "fromArg": "K8S_POD_NAME"}], "K8S_POD_NAME=p;X=1", {12: b"p"}),
        ([{"option": "12", "value": "a", "fromArg": "NAME"}], "NAME=b", {12: b"b"}),
        ([{"option": "12", "value": "a", "fromArg": "NAME"}], "OTHER=b", {12: b"a"}),
        ([{"option": "12", "fromArg": "NAME"}], "", {}),
        ([{"option": "12", "fromArg": "NAME"}], "NAME=", {}),
        ([{"option": "12", "value": ""}], "", {}),
        ([{"option": "12", "value": "a"}, {"option": 12, "value": "b"}], "", {12: b"b"}),
        ([{"option": "77", "value": "ü"}], "", {77: "ü".encode()}),
        ([{"option": "60", "fromArg": "A"}], "no pair;;A=1=2", {60: b"1=2"}),
        ([{"option": "60", "fromArg": "A"}], "A=\udcff", {60: b"\xff"}),
        ([{"option": "51", "value": "\0\0\x0e\x10"}], "", {51: b"\0\0\x0e\x10"}),
    ],
    ids=str,
)
def test_provided_options_come_from_the_section_or_from_cni_args(
    entries: list[dict[str, object]], args: str, options: dict[int, bytes]
) -> None:
    assert provided_options(parse(provide=entries), args) == options


@pytest.mark.parametrize(
    ("section", "pointer", "cause", "hint"),
    [
        ({"request": {}}, "/request", "it is an object", "a list"),
        ({"request": ["3"]}, "/request/0", "it is a string", "an object"),
        ({"request": [{}]}, "/request/0/option", "it is missing", "from 1 to 254"),
        ({"request": [{"skipDefault": False}]}, "/request/0/option", "it is missing", "254"),
        ({"request": [{"skipDefault": "yes"}]}, "/request/0/skipDefault", "a string", "true or"),
        ({"request": [{"option": "0"}]}, "/request/0/option", "out of range", "from 1 to 254"),
        ({"request": [{"option": 255}]}, "/request/0/option", "out of range", "from 1 to 254"),
        ({"request": [{"option": -1}]}, "/request/0/option", "out of range", "from 1 to 254"),
        ({"request": [{"option": "1000"}]}, "/request/0/option", "no DHCP option", "1 to 254"),
        ({"request": [{"option": "router"}]}, "/request/0/option", "no DHCP", "you mean routers?"),
        ({"request": [{"option": "²"}]}, "/request/0/option", "no DHCP option", "1 to 254"),
        ({"request": [{"option": 3.0}]}, "/request/0/option", "no DHCP option", "1 to 254"),
        ({"request": [{"option": True}]}, "/request/0/option", "no DHCP option", "1 to 254"),
        ({"request": [{"option": []}]}, "/request/0/option", "no DHCP option", "1 to 254"),
        ({"provide": [{"option": "12"}]}, "/provide/0/value", "it is missing", "fromArg"),
        ({"provide": [{"value": "a"}]}, "/provide/0/option", "it is missing", "host-name"),
        ({"provide": [{"option": "12", "value": 1}]}, "/provide/0/value", "an integer", "string"),
        ({"provide": [{"option": "12", "fromArg": 1}]}, "/provide/0/fromArg", "integer", "string"),
        ({"provide": [{"option": 12, "value": "x" * 256}]}, "/provide/0/value", "256 b", "fits"),
        ({"provide": [{"option": 12, "value": "\ud800"}]}, "/provide/0/value", "Unicode", "who"),
        ({"provide": [{"option": 61, "value": "x"}]}, "/provide/0/value", "at least 2", "fits"),
        ({"provide": [{"option": 55, "value": "x"}]}, "/provide/0/option", "itself", "request"),
        ({"provide": [{"option": 50, "value": "x"}]}, "/provide/0/option", "itself", "leave it"),
        ({"provide": [{"option": 52, "value": "x"}]}, "/provide/0/option", "itself", "leave it"),
        ({"provide": [{"option": 53, "value": "x"}]}, "/provide/0/option", "itself", "leave it"),
        ({"provide": [{"option": 54, "value": "x"}]}, "/provide/0/option", "itself", "leave it"),
        ({"provide": [{"option": 57, "value": "x"}]}, "/provide/0/option", "itself", "leave it"),
        (
            {"provide": [{"option": code, "value": "x" * 250} for code in (12, 60, 77)]},
            "/provide", "756 bytes, not 640", "fewer",
        ),
        ({"priority": -1}, "/priority", "-1 is out of range", "from 0"),
        ({"priority": "7"}, "/priority", "a string", "integer"),
        ({"broadcast": 1}, "/broadcast", "an integer", "true or false"),
        ({"daemonSocketPath": "x.sock"}, "/daemonSocketPath", "no absolute path", "leave it out"),
        ({"daemonSocketPath": "/x\0"}, "/daemonSocketPath", "no absolute path", "leave it out"),
        ({"probe": "slow"}, "/probe", '"slow" is not known', "off, fast, rfc"),
        ({"clientId": "duid"}, "/clientId", '"duid" is not known', "container, pod, mac"),
        ({"clientId": 1}, "/clientId", "an integer", "string"),
        ({"timeout": 0}, "/timeout", "0 is no time", "at most 600"),
        ({"timeout": 600.5}, "/timeout", "600.5 is no time", "at most 600"),
        ({"timeout": -1}, "/timeout", "-1 is no time", "at most 600"),
        ({"timeout": "20"}, "/timeout", '"20" is no time', "without quotes"),
        ({"timeout": True}, "/timeout", "true is no time", "at most 600"),
        ({"timeout": math.nan}, "/timeout", "NaN is no time", "at most 600"),
        ({"timeout": math.inf}, "/timeout", "Infinity is no time", "at most 600"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else "",
)  # fmt: skip
def test_a_bad_value_is_refused_with_its_place_and_a_remedy(
    section: dict[str, object], pointer: str, cause: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(**section)

    assert caught.value.message.startswith("cannot use ")
    assert cause in caught.value.message
    assert caught.value.pointer == f"/ipam{pointer}"
    assert hint in caught.value.hint


@pytest.mark.parametrize("timeout", [600, 0.001, 1])
def test_the_bounds_of_the_timeout_are_good(timeout: float) -> None:
    assert parse(timeout=timeout).timeout_s == timeout


def test_unknown_keys_are_named_with_the_nearest_one_also_in_entries() -> None:
    conf = parse(
        timeuot=3,
        colour="red",
        request=[{"option": 3, "skipdefaults": True}],
        provide=[{"option": 12, "fromArgs": "x", "value": "y"}],
    )

    assert [(each.pointer, each.nearest) for each in conf.unknown] == [
        ("/ipam/timeuot", "timeout"),
        ("/ipam/colour", ""),
        ("/ipam/request/0/skipdefaults", "skipDefault"),
        ("/ipam/provide/0/fromArgs", "fromArg"),
    ]


def test_keys_match_in_any_case() -> None:
    conf = parse(ClientID="mac", TIMEOUT=3)

    assert (conf.client_id, conf.timeout_s, conf.unknown) == (ClientIdMode.MAC, 3, ())


@pytest.mark.parametrize(
    ("option", "args", "cause"),
    [
        (12, "NAME=" + "x" * 256, "256 bytes, more than 255"),
        (61, "NAME=x", "at least 2 bytes"),
    ],
)
def test_a_value_of_cni_args_that_does_not_fit_is_refused(
    option: int, args: str, cause: str
) -> None:
    conf = parse(provide=[{"option": option, "fromArg": "NAME"}])

    with pytest.raises(CallError, match=cause):
        provided_options(conf, args)


def test_values_of_cni_args_count_towards_the_size_of_the_packet() -> None:
    conf = parse(provide=[{"option": code, "fromArg": "NAME"} for code in (12, 60, 77)])

    with pytest.raises(ConfigError, match="756 bytes") as caught:
        provided_options(conf, "NAME=" + "x" * 250)
    assert caught.value.pointer == "/ipam/provide"


def test_the_identity_is_the_section_and_the_interface() -> None:
    conf = parse(
        broadcast=True,
        provide=[{"option": 61, "value": "MYID"}, {"option": 12, "fromArg": "NAME"}],
    )

    who = identity(conf, b"MYID", args="NAME=pod", mac="02:00:00:00:00:0a")

    assert (who.chaddr, who.client_id) == (b"\2\0\0\0\0\x0a", b"MYID")
    assert (who.parameters, who.broadcast) == (DEFAULT, True)
    assert who.provided == {12: b"pod"}


@pytest.mark.parametrize("mac", ["", "02:00", "zz:00:00:00:00:00", "02:00:00:00:00:00:00:01"])
def test_no_identity_has_another_address_than_ethernet(mac: str) -> None:
    with pytest.raises(InputError, match="not six octets"):
        identity(parse(), b"\0x", args="", mac=mac)
