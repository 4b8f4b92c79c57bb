# SPDX-License-Identifier: Apache-2.0
"""The environment of a call, verb by verb, and the grammar of CNI_ARGS."""

import pytest

from spanbridge.base.errors import CallError, Code
from spanbridge.model.request import VERBS, lenient_args, parse_args, parse_request

ATTACHMENT = {"CNI_CONTAINERID": "c1", "CNI_NETNS": "/run/netns/x", "CNI_IFNAME": "eth0"}
KNOWN = frozenset({"MAC", "IP"})


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_read_with_all_variables(verb: str) -> None:
    environ = ATTACHMENT | {
        "CNI_COMMAND": verb,
        "CNI_ARGS": "MAC=x",
        "CNI_PATH": "/a::/b",
        "CNI_NETNS_OVERRIDE": "TRUE",
    }
    request = parse_request(environ, b"{}")

    assert (request.verb, request.container_id, request.ifname) == (verb, "c1", "eth0")
    assert (request.netns, request.args, request.stdin) == ("/run/netns/x", "MAC=x", b"{}")
    assert (request.path, request.allow_same_netns) == (("/a", "/b"), True)
    assert request.environ == environ


@pytest.mark.parametrize(
    ("verb", "missing"),
    [
        ("ADD", ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS"]),
        ("CHECK", ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS"]),
        ("DEL", ["CNI_CONTAINERID", "CNI_IFNAME"]),
    ],
)
def test_all_missing_variables_are_named_at_once(verb: str, missing: list[str]) -> None:
    with pytest.raises(CallError) as caught:
        parse_request({"CNI_COMMAND": verb, "CNI_IFNAME": ""})

    assert caught.value.code is Code.INVALID_ENVIRONMENT
    assert [name for name in ATTACHMENT if name in caught.value.message] == sorted(
        missing, key=list(ATTACHMENT).index
    )
    assert caught.value.hint


@pytest.mark.parametrize("verb", ["GC", "STATUS", "VERSION"])
def test_verbs_about_the_node_need_no_attachment(verb: str) -> None:
    request = parse_request({"CNI_COMMAND": verb, "CNI_CONTAINERID": "-bad", "CNI_IFNAME": "a/b"})

    assert (request.verb, request.path, request.allow_same_netns) == (verb, (), False)


@pytest.mark.parametrize("verb", ["", "add", "ADD ", "UPDATE", "\udcff"], ids=repr)
def test_another_verb_is_refused(verb: str) -> None:
    with pytest.raises(CallError, match="CNI_COMMAND") as caught:
        parse_request(ATTACHMENT | {"CNI_COMMAND": verb})

    assert all(known in caught.value.hint for known in VERBS)


@pytest.mark.parametrize("verb", ["ADD", "CHECK", "DEL"])
@pytest.mark.parametrize("text", ["-a", ".a", "_a", "a/b", "a b", "a\n", "ä", "\udcff"], ids=repr)
def test_a_container_id_with_other_characters_is_refused(verb: str, text: str) -> None:
    with pytest.raises(CallError, match="CNI_CONTAINERID") as caught:
        parse_request(ATTACHMENT | {"CNI_COMMAND": verb, "CNI_CONTAINERID": text})

    assert caught.value.hint


@pytest.mark.parametrize("text", ["a", "0", "A-1_b.c", "x" * 300], ids=len)
def test_a_container_id_may_be_long(text: str) -> None:
    environ = ATTACHMENT | {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": text}

    assert parse_request(environ).container_id == text


@pytest.mark.parametrize(
    "text",
    [
        "a" * 16,
        "ä" * 8,
        ".",
        "..",
        "a/b",
        "a:b",
        "a b",
        "a\tb",
        "a\u2003b",
        "a\x01",
        "\udcff",
        "eth%d",
    ],
    ids=repr,
)
def test_an_interface_name_the_kernel_would_refuse_is_refused(text: str) -> None:
    with pytest.raises(CallError, match="CNI_IFNAME") as caught:
        parse_request(ATTACHMENT | {"CNI_COMMAND": "ADD", "CNI_IFNAME": text})

    assert caught.value.code is Code.INVALID_ENVIRONMENT


@pytest.mark.parametrize("text", ["a", "a" * 15, "ä" * 7, "...", "-", "migration0"], ids=repr)
def test_an_interface_name_the_kernel_takes_is_taken(text: str) -> None:
    assert parse_request(ATTACHMENT | {"CNI_COMMAND": "ADD", "CNI_IFNAME": text}).ifname == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", True), ("true", True), ("True", True), ("", False), ("0", False), ("yes", False)],
)
def test_the_netns_override_is_1_or_true(text: str, *, expected: bool) -> None:
    environ = ATTACHMENT | {"CNI_COMMAND": "ADD", "CNI_NETNS_OVERRIDE": text}

    assert parse_request(environ).allow_same_netns is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("MAC=a", {"MAC": "a"}),
        ("MAC=a;IP=b", {"MAC": "a", "IP": "b"}),
        ("MAC=a;", {"MAC": "a"}),
        (";;MAC=a", {"MAC": "a"}),
        ("MAC=a;MAC=b", {"MAC": "b"}),
        ("MAC=", {"MAC": ""}),
        ("MAC=a=b", {"MAC": "a=b"}),
        ("IgnoreUnknown=1;K8S_POD_NAME=p;MAC=a", {"MAC": "a"}),
        ("K8S_POD_NAME=p;IgnoreUnknown=TRUE", {}),
        ("IgnoreUnknown=0;MAC=a", {"MAC": "a"}),
        ("IgnoreUnknown=False", {}),
    ],
)
def test_pairs_are_read(text: str, expected: dict[str, str]) -> None:
    assert parse_args(text, KNOWN) == expected


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("MAC", "'MAC'"),
        ("MAC=a;IP", "'IP'"),
        ("=a", "'=a'"),
        (" ", "' '"),
        ("mac=a", "mac"),
        ("B=1;A=1", "A, B"),
        ("IgnoreUnknown=0;X=1", "X"),
        ("IgnoreUnknown=yes", "'yes'"),
        ("IgnoreUnknown=", "''"),
        ("ignoreunknown=1;X=1", "ignoreunknown"),
    ],
)
def test_what_is_wrong_in_cni_args_is_named(text: str, named: str) -> None:
    with pytest.raises(CallError) as caught:
        parse_args(text, KNOWN)

    assert "CNI_ARGS" in caught.value.message
    assert named in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", {}), ("X", {}), ("X=1;;Y;Z=2=3", {"X": "1", "Z": "2=3"}), ("MAC=a;", {"MAC": "a"})],
)
def test_release_reads_what_it_can_of_cni_args(text: str, expected: dict[str, str]) -> None:
    assert lenient_args(text) == expected
