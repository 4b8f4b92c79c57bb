# SPDX-License-Identifier: Apache-2.0
"""The static implementation: whose addresses win, and what is refused."""

from collections.abc import Callable

import pytest

from spanbridge.base.errors import CallError, ConfigError, MismatchError
from spanbridge.ipam import Ipam, Releaser
from spanbridge.model.addresses import parse_cidr
from spanbridge.model.result import CniResult, IpConfig, render_result

ADDRESS = {"address": "10.10.0.1/24", "gateway": "10.10.0.254"}
ONE: dict[str, object] = {"type": "static", "addresses": [ADDRESS]}
NONE: dict[str, object] = {"type": "static"}

Opened = Callable[..., Ipam]


def _ips(ipam: Ipam) -> list[tuple[str, str]]:
    return [(str(each.address), each.gateway) for each in ipam.add().ips]


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_everything_configured_is_in_the_result(opened: Opened, version: str) -> None:
    routes = [{"dst": "0.0.0.0/0"}, {"dst": "192.168.0.0/16", "gw": "10.10.5.1"}]
    dns = {"nameservers": ["10.0.0.53"], "domain": "a.example", "search": ["b.example"]}
    result = opened(ONE | {"routes": routes, "dns": dns}, cniVersion=version).add()
    extra = {"version": "4"} if version < "1.0.0" else {}
    assert render_result(result, version) == {
        "cniVersion": version,
        "ips": [extra | {"address": "10.10.0.1/24", "gateway": "10.10.0.254"}],
        "routes": routes,
        "dns": dns,
    }


def test_addresses_of_cni_args_follow_the_configured(opened: Opened) -> None:
    ipam = opened(ONE, {"args": "IP=10.10.0.2/24,fd00::2/64"})
    assert _ips(ipam) == [
        ("10.10.0.1/24", "10.10.0.254"), ("10.10.0.2/24", ""), ("fd00::2/64", ""),
    ]  # fmt: skip


def test_args_replace_what_is_configured(opened: Opened) -> None:
    ipam = opened(ONE, {"args": "IP=10.10.0.2/24"}, args={"cni": {"ips": ["10.11.0.1/24"]}})
    assert _ips(ipam) == [("10.11.0.1/24", "")]


def test_the_runtime_replaces_everything(opened: Opened) -> None:
    top = {"args": {"cni": {"ips": ["10.11.0.1/24"]}}, "runtimeConfig": {"ips": ["10.12.0.1/24"]}}
    assert _ips(opened(ONE, {"args": "IP=10.10.0.2/24"}, **top)) == [("10.12.0.1/24", "")]


def test_an_empty_list_of_the_runtime_replaces_nothing(opened: Opened) -> None:
    assert _ips(opened(ONE, runtimeConfig={"ips": []})) == [("10.10.0.1/24", "10.10.0.254")]


def test_a_gateway_of_cni_args_reaches_every_address_of_its_network(opened: Opened) -> None:
    args = "IP=10.10.0.2/24,fd00::2/64;GATEWAY=10.10.0.9,fd00::1"
    assert [gateway for _, gateway in _ips(opened(ONE, {"args": args}))] == [
        "10.10.0.9", "10.10.0.9", "fd00::1",
    ]  # fmt: skip


def test_a_gateway_of_cni_args_reaches_addresses_of_the_runtime(opened: Opened) -> None:
    ipam = opened(NONE, {"args": "GATEWAY=10.12.0.9"}, runtimeConfig={"ips": ["10.12.0.1/24"]})
    assert _ips(ipam) == [("10.12.0.1/24", "10.12.0.9")]


@pytest.mark.parametrize("address", ["10.0.0.1/31", "10.0.0.1/32", "fd00::/127", "fd00::/128"])
def test_networks_without_edges_have_no_refused_address(opened: Opened, address: str) -> None:
    assert _ips(opened({"type": "static", "addresses": [{"address": address}]})) == [(address, "")]


REFUSED: dict[str, tuple[dict[str, str], str, str]] = {
    "no address": ({}, "/address", "no address with a prefix length"),
    "no prefix": ({"address": "10.0.0.5"}, "/address", "no address with a prefix length"),
    "network": ({"address": "10.0.0.0/24"}, "/address", "network address"),
    "network v6": ({"address": "fd00::/64"}, "/address", "network address"),
    "broadcast": ({"address": "10.0.0.255/24"}, "/address", "broadcast address"),
    "gateway outside": (
        {"address": "10.0.0.5/24", "gateway": "10.0.1.1"}, "/gateway", "not in 10.0.0.0/24",
    ),
    "gateway no address": (
        {"address": "10.0.0.5/24", "gateway": "x"}, "/gateway", "no IP address",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_address_is_refused_with_its_pointer(opened: Opened, case: str) -> None:
    entry, key, cause = REFUSED[case]
    with pytest.raises(ConfigError, match=cause) as caught:
        opened({"type": "static", "addresses": [ADDRESS, entry]})
    assert caught.value.pointer == f"/ipam/addresses/1{key}"


def test_an_address_listed_twice_is_refused(opened: Opened) -> None:
    with pytest.raises(ConfigError, match="listed twice") as caught:
        opened({"type": "static", "addresses": [ADDRESS, {"address": "10.10.0.1/16"}]})
    assert caught.value.pointer == "/ipam/addresses/1/address"


def test_no_address_at_all_is_refused(opened: Opened) -> None:
    with pytest.raises(ConfigError, match="no address at all"):
        opened(NONE)


@pytest.mark.parametrize(
    ("top", "pointer"),
    [
        ({"args": {"cni": {"ips": ["10.0.0.5"]}}}, "/args/cni/ips/0"),
        ({"runtimeConfig": {"ips": ["10.0.0.5/24", "x"]}}, "/runtimeConfig/ips/1"),
    ],
    ids=["args", "runtime"],
)
def test_a_bad_address_of_the_call_is_refused_with_its_pointer(
    opened: Opened, top: dict[str, object], pointer: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        opened(NONE, **top)
    assert caught.value.pointer == pointer


@pytest.mark.parametrize(
    "args",
    ["IP=10.0.0.5", "IP=10.0.0.0/24", "GATEWAY=x", "GATEWAY=192.0.2.1", "FOO=1", "IP=10.10.0.1/24"],
)
def test_a_bad_cni_args_is_a_fault_of_the_call(opened: Opened, args: str) -> None:
    with pytest.raises(CallError):
        opened(ONE, {"args": args})


def _previous(*addresses: tuple[str, str]) -> CniResult:
    return CniResult(ips=tuple(IpConfig(parse_cidr(ip, ""), gateway) for ip, gateway in addresses))


def test_check_confirms_what_add_answered(opened: Opened) -> None:
    ipam = opened(ONE, {"verb": "CHECK"})
    ipam.check(ipam.add())


@pytest.mark.parametrize(
    "address",
    [("10.10.0.2/24", "10.10.0.254"), ("10.10.0.1/24", "10.10.0.253"), ("10.10.0.1/24", "")],
    ids=["missing", "another gateway", "no gateway"],
)
def test_check_finds_a_difference(opened: Opened, address: tuple[str, str]) -> None:
    with pytest.raises(MismatchError):
        opened(ONE, {"verb": "CHECK"}).check(_previous(address))


def test_check_does_not_ask_for_a_gateway_that_nobody_named(opened: Opened) -> None:
    unnamed = {"type": "static", "addresses": [{"address": "10.10.0.5/24"}]}
    ipam = opened(unnamed, {"verb": "CHECK"})

    ipam.check(_previous(("10.10.0.5/24", "10.10.0.1")))


def test_check_needs_the_previous_result(opened: Opened) -> None:
    with pytest.raises(ConfigError) as caught:
        opened(ONE, {"verb": "CHECK"}).check(None)
    assert caught.value.pointer == "/prevResult"


@pytest.mark.parametrize("section", [NONE, NONE | {"addresses": 5}, ONE])
def test_a_release_needs_nothing(
    releaser: Callable[..., Releaser], section: dict[str, object]
) -> None:
    ipam = releaser(section, {"verb": "DEL", "args": "nonsense"})
    ipam.release()
    ipam.collect(frozenset())


def test_status_needs_no_address_where_the_runtime_brings_them(opened: Opened) -> None:
    opened(NONE, {"verb": "STATUS"}, capabilities={"ips": True}).status()


def test_the_preview_shows_every_address(opened: Opened) -> None:
    preview = opened(ONE | {"addrs": []}, {"verb": "STATUS"}).preview()
    sentence = "the fixed address 10.10.0.1/24; gateway 10.10.0.254; every attachment gets the same"
    assert preview.words == (sentence,)
    assert preview.example is not None
    assert [key.nearest for key in preview.unknown] == ["addresses"]


def test_the_preview_without_addresses_says_who_brings_them(opened: Opened) -> None:
    preview = opened(NONE, {"verb": "STATUS"}, capabilities={"ips": True}).preview()
    assert preview.words == ("the addresses come with the call (capability ips)",)
    assert preview.example is None
