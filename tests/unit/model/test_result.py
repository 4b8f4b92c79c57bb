# SPDX-License-Identifier: Apache-2.0
"""Results of every version spoken: golden documents, round trips, merging."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbridge.base.errors import ConfigError
from spanbridge.model.addresses import Cidr, Ip, parse_cidr
from spanbridge.model.reader import Node, parse_object
from spanbridge.model.result import (
    CniResult,
    Dns,
    Interface,
    IpConfig,
    RouteConfig,
    merge_results,
    parse_result,
    render_result,
)
from spanbridge.model.version import SUPPORTED, has_ip_version

FULL = CniResult(
    interfaces=(
        Interface("br0", "02:00:00:00:00:01", mtu=1400),
        Interface("eth0", "02:00:00:00:00:02", "/run/netns/x", 1400, "/run/s", "0000:00:1f.6"),
    ),
    ips=(
        IpConfig(parse_cidr("10.1.0.5/24", ""), "10.1.0.1", 1),
        IpConfig(parse_cidr("fd00::5/64", ""), "", 0),
    ),
    routes=(
        RouteConfig(parse_cidr("0.0.0.0/0", ""), "10.1.0.1"),
        RouteConfig(parse_cidr("10.2.0.0/16", ""), "", 1400, 1360, 50, 0, 0),
    ),
    dns=Dns(("10.1.0.53",), "example.org", ("a.example", "b.example"), ("ndots:2",)),
)

INTERFACES_OLD = (
    '[{"name": "br0", "mac": "02:00:00:00:00:01"},'
    ' {"name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": "/run/netns/x"}]'
)
INTERFACES_NEW = (
    '[{"name": "br0", "mac": "02:00:00:00:00:01", "mtu": 1400},'
    ' {"name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": "/run/netns/x", "mtu": 1400,'
    ' "socketPath": "/run/s", "pciID": "0000:00:1f.6"}]'
)
IPS_OLD = (
    '[{"version": "4", "interface": 1, "address": "10.1.0.5/24", "gateway": "10.1.0.1"},'
    ' {"version": "6", "interface": 0, "address": "fd00::5/64"}]'
)
IPS_NEW = (
    '[{"interface": 1, "address": "10.1.0.5/24", "gateway": "10.1.0.1"},'
    ' {"interface": 0, "address": "fd00::5/64"}]'
)
ROUTES = (
    '[{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}, {"dst": "10.2.0.0/16", "mtu": 1400,'
    ' "advmss": 1360, "priority": 50, "table": 0, "scope": 0}]'
)
DNS = (
    '{"nameservers": ["10.1.0.53"], "domain": "example.org",'
    ' "search": ["a.example", "b.example"], "options": ["ndots:2"]}'
)
GOLDEN = {
    version: f'{{"cniVersion": "{version}", "interfaces": {interfaces}, "ips": {ips},'
    f' "routes": {ROUTES}, "dns": {DNS}}}'
    for version, interfaces, ips in (
        ("0.3.1", INTERFACES_OLD, IPS_OLD),
        ("0.4.0", INTERFACES_OLD, IPS_OLD),
        ("1.0.0", INTERFACES_OLD, IPS_NEW),
        ("1.1.0", INTERFACES_NEW, IPS_NEW),
    )
}

TEXTS = st.text(max_size=8)
UINTS = st.integers(0, 2**32 - 1)
IPS = st.builds(Ip, st.just(4), UINTS) | st.builds(Ip, st.just(6), st.integers(2**64, 2**128 - 1))
CIDRS = IPS.flatmap(lambda ip: st.builds(Cidr, st.just(ip), st.integers(0, ip.bits)))
INTERFACES = st.builds(
    Interface, TEXTS, st.sampled_from(["", "02:00:00:00:00:01"]), TEXTS, UINTS, TEXTS, TEXTS
)
DNSES = st.builds(
    Dns,
    *(st.lists(TEXTS, max_size=3).map(tuple), TEXTS),
    *[st.lists(TEXTS, max_size=3).map(tuple)] * 2,
)
OPTIONAL = st.none() | st.integers(0, 255)


def with_gateway(cidr: Cidr) -> st.SearchStrategy[str]:
    return st.sampled_from(["", str(cidr.network.ip), str(cidr.last)])


ROUTE_CONFIGS = CIDRS.flatmap(
    lambda dst: st.builds(
        RouteConfig, st.just(dst), with_gateway(dst), UINTS, UINTS, UINTS, OPTIONAL, OPTIONAL
    )
)


@st.composite
def results(draw: st.DrawFn) -> CniResult:
    interfaces = tuple(draw(st.lists(INTERFACES, max_size=3)))
    indexes = st.sampled_from([None, *range(len(interfaces))])
    addresses = draw(st.lists(CIDRS, max_size=3))
    ips = tuple(IpConfig(each, draw(with_gateway(each)), draw(indexes)) for each in addresses)
    return CniResult(interfaces, ips, tuple(draw(st.lists(ROUTE_CONFIGS, max_size=3))), draw(DNSES))


def seen_in(version: str, result: CniResult) -> CniResult:
    """Return what of a result its version can say."""
    if version == "1.1.0":
        return result
    plain = (Interface(one.name, one.mac, one.sandbox) for one in result.interfaces)
    return replace(result, interfaces=tuple(plain))


def parse(result: object) -> CniResult:
    return parse_result(parse_object(json.dumps(result).encode()))


@pytest.mark.parametrize("version", SUPPORTED)
def test_a_full_result_renders_as_its_version_says(version: str) -> None:
    assert render_result(FULL, version) == json.loads(GOLDEN[version])


@pytest.mark.parametrize("version", SUPPORTED)
def test_a_golden_document_is_understood(version: str) -> None:
    assert parse(json.loads(GOLDEN[version])) == seen_in(version, FULL)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("0.3.1", {"cniVersion": "0.3.1", "dns": {}}),
        ("0.4.0", {"cniVersion": "0.4.0", "dns": {}}),
        ("1.0.0", {"cniVersion": "1.0.0"}),
        ("1.1.0", {"cniVersion": "1.1.0"}),
    ],
)
def test_an_empty_result_has_dns_before_1_0_only(version: str, expected: dict[str, object]) -> None:
    assert render_result(CniResult(), version) == expected


@given(result=results(), version=st.sampled_from(SUPPORTED))
def test_a_result_survives_rendering_and_parsing(result: CniResult, version: str) -> None:
    assert parse(render_result(result, version)) == seen_in(version, result)


@given(result=results(), version=st.sampled_from(SUPPORTED), over=st.sampled_from(SUPPORTED))
def test_conversion_over_another_version_loses_only_what_that_cannot_say(
    result: CniResult, version: str, over: str
) -> None:
    converted = parse(render_result(result, over))

    assert render_result(converted, version) == render_result(seen_in(over, result), version)


@given(result=results(), version=st.sampled_from(SUPPORTED))
def test_ip_versions_stand_there_exactly_where_the_version_wants_them(
    result: CniResult, version: str
) -> None:
    ips = render_result(result, version).get("ips", [])

    assert isinstance(ips, list)
    expected = [str(ip.address.version) for ip in result.ips] if has_ip_version(version) else []
    assert [each["version"] for each in ips if "version" in each] == expected


@pytest.mark.parametrize(
    ("result", "pointer"),
    [
        ({"cniVersion": "0.2.0"}, "/cniVersion"),
        ({"cniVersion": 1}, "/cniVersion"),
        ({"interfaces": {}}, "/interfaces"),
        ({"interfaces": ["eth0"]}, "/interfaces/0"),
        ({"interfaces": [{"mtu": -1}]}, "/interfaces/0/mtu"),
        ({"ips": [{}]}, "/ips/0/address"),
        ({"ips": [{"address": "10.1.0.5"}]}, "/ips/0/address"),
        ({"ips": [{"address": "10.1.0.5/24", "gateway": "x"}]}, "/ips/0/gateway"),
        ({"ips": [{"address": "10.1.0.5/24", "gateway": "fd00::1"}]}, "/ips/0/gateway"),
        ({"ips": [{"address": "fd00::5/64", "gateway": "10.1.0.1"}]}, "/ips/0/gateway"),
        ({"ips": [{"address": "10.1.0.5/24", "interface": 0}]}, "/ips/0/interface"),
        ({"ips": [{"address": "10.1.0.5/24", "interface": -1}]}, "/ips/0/interface"),
        ({"routes": [{}]}, "/routes/0/dst"),
        ({"routes": [{"dst": "0.0.0.0/0", "gw": "fd00::1"}]}, "/routes/0/gw"),
        ({"routes": [{"dst": "0.0.0.0/0", "table": -1}]}, "/routes/0/table"),
        ({"routes": [{"dst": "0.0.0.0/0", "scope": 256}]}, "/routes/0/scope"),
        ({"dns": []}, "/dns"),
    ],
    ids=repr,
)
def test_a_malformed_result_is_pointed_at(result: dict[str, object], pointer: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_result(Node(result, "/prevResult"))

    assert caught.value.pointer == "/prevResult" + pointer
    assert caught.value.hint


def test_macs_are_folded_to_lower_case() -> None:
    assert parse({"interfaces": [{"mac": "02:00:00:00:00:AB"}]}).interfaces[0].mac.endswith("ab")


def test_merging_puts_ours_behind_and_shifts_our_indexes() -> None:
    previous = CniResult(
        (Interface("eth0"),), (IpConfig(Cidr(Ip(4, 1), 8), interface=0),), dns=Dns(domain="p")
    )
    ours = CniResult(
        (Interface("br0"), Interface("net1")),
        (IpConfig(Cidr(Ip(4, 2), 8), interface=1), IpConfig(Cidr(Ip(4, 3), 8))),
        (RouteConfig(Cidr(Ip(4, 0), 0)),),
    )
    merged = merge_results(previous, ours)

    assert [each.name for each in merged.interfaces] == ["eth0", "br0", "net1"]
    assert [ip.interface for ip in merged.ips] == [0, 2, None]
    assert (merged.routes, merged.dns) == (ours.routes, previous.dns)


def test_our_dns_replaces_the_previous_one() -> None:
    merged = merge_results(CniResult(dns=Dns(domain="p")), CniResult(dns=Dns(("10.1.0.53",))))

    assert merged.dns == Dns(("10.1.0.53",))


@given(results(), results())
def test_every_merged_address_stays_on_its_interface(one: CniResult, other: CniResult) -> None:
    merged = merge_results(one, other)
    places = [(each, ip) for each in (one, other) for ip in each.ips]

    for (source, before), after in zip(places, merged.ips, strict=True):
        if before.interface is None or after.interface is None:
            assert before.interface is after.interface
            continue
        assert merged.interfaces[after.interface] == source.interfaces[before.interface]
