# SPDX-License-Identifier: Apache-2.0
"""From a configuration and an IPAM answer to the desired state, as tables."""

import pytest

from spanbridge.base.errors import ConfigError
from spanbridge.cni.desired import CONTAINER_INDEX, complete, desired
from spanbridge.model.addresses import parse_cidr
from spanbridge.model.desired import DesiredAttachment, GatewayState
from spanbridge.model.netconf import NetConf, parse_netconf
from spanbridge.model.owner import Owner
from spanbridge.model.reader import Node
from spanbridge.model.result import CniResult, Dns, IpConfig, RouteConfig

OWNER = Owner.of("net", "c1", "eth0")
V4, V6 = ("10.1.0.5/24", ""), ("fd00::5/64", "")
V4_GIVEN, V6_GIVEN = ("10.1.0.5/24", "10.1.0.254"), ("fd00::5/64", "fd00::fe")
Ips = list[tuple[str, str]]
Routes = list[tuple[str, str]]


def conf(**fields: object) -> NetConf:
    base = {"cniVersion": "1.0.0", "name": "net", "bridge": "br0", "ipam": {"type": "x"}}
    return parse_netconf(Node(base | fields))


def answer(ips: Ips, routes: Routes | None = None, dns: Dns | None = None) -> CniResult:
    return CniResult(
        ips=tuple(IpConfig(parse_cidr(address, ""), gateway) for address, gateway in ips),
        routes=tuple(RouteConfig(parse_cidr(dst, ""), gw) for dst, gw in routes or []),
        dns=dns or Dns(),
    )


def want(ips: Ips, routes: Routes | None = None, /, **fields: object) -> DesiredAttachment:
    one = conf(**fields)
    return desired(one, OWNER, mac=None, result=complete(one, answer(ips, routes)))


def gateway(ips: Ips, **fields: object) -> GatewayState:
    found = want(ips, **fields).gateway
    assert found is not None
    return found


def shown(routes: tuple[RouteConfig, ...]) -> Routes:
    return [(str(route.dst), route.gw) for route in routes]


# ---------------------------------------------------------------- gateways


@pytest.mark.parametrize(
    ("flags", "ips", "expected"),
    [
        ({}, [V4], [""]),
        ({}, [V4_GIVEN], ["10.1.0.254"]),
        ({"isGateway": True}, [V4], ["10.1.0.1"]),
        ({"isGateway": True}, [V4_GIVEN], ["10.1.0.254"]),
        ({"isGateway": True}, [V6], ["fd00::1"]),
        ({"isGateway": True}, [V4, V6_GIVEN], ["10.1.0.1", "fd00::fe"]),
        ({"isGateway": True}, [("10.1.0.0/31", "")], ["10.1.0.1"]),
        ({"isGateway": True}, [("10.1.0.9/32", "10.1.0.1")], ["10.1.0.1"]),
        ({"isGateway": True}, [("10.1.255.255/16", "")], ["10.1.0.1"]),
        ({"isDefaultGateway": True}, [V4], ["10.1.0.1"]),
    ],
    ids=repr,
)
def test_every_address_has_the_gateway_given_else_the_first_of_its_network(
    flags: dict[str, object], ips: Ips, expected: list[str]
) -> None:
    completed = complete(conf(**flags), answer(ips))

    assert [ip.gateway for ip in completed.ips] == expected
    assert {ip.interface for ip in completed.ips} == {CONTAINER_INDEX}


@pytest.mark.parametrize(
    ("address", "cause"),
    [
        ("10.1.0.9/32", "one address only"),
        ("fd00::9/128", "one address only"),
        ("10.1.0.1/24", "taken by the sandbox"),
        ("10.1.0.1/31", "taken by the sandbox"),
        ("fd00::1/64", "taken by the sandbox"),
    ],
)
def test_where_no_gateway_can_be_chosen_the_configuration_is_refused(
    address: str, cause: str
) -> None:
    with pytest.raises(ConfigError, match=cause) as caught:
        complete(conf(isGateway=True), answer([(address, "")]))

    assert caught.value.pointer == "/ipam"
    assert '"gateway"' in caught.value.hint


@pytest.mark.parametrize(
    ("ips", "addresses", "families"),
    [
        ([V4], ["10.1.0.1/24"], (4,)),
        ([V4_GIVEN, V6], ["10.1.0.254/24", "fd00::1/64"], (4, 6)),
        ([("10.1.0.5/24", ""), ("10.1.0.6/24", "")], ["10.1.0.1/24"], (4,)),
        ([V4, ("10.2.0.5/16", "")], ["10.1.0.1/24", "10.2.0.1/16"], (4,)),
    ],
    ids=repr,
)
def test_the_node_gets_each_gateway_once_with_the_pods_prefix_length(
    ips: Ips, addresses: list[str], families: tuple[int, ...]
) -> None:
    state = gateway(ips, isGateway=True)

    assert [str(each) for each in state.addresses] == addresses
    assert state.families == families
    assert (state.device, state.vlan, state.port) == ("br0", 0, None)


def test_a_gateway_in_a_vlan_has_a_device_and_a_port_of_its_own() -> None:
    state = gateway([V4], isGateway=True, vlan=100, hairpinMode=True, portIsolation=True)

    assert (state.device, state.vlan) == ("br0.100", 100)
    assert state.port is not None
    assert (state.port.pvid, state.port.tagged, state.port.keep_default_vlan) == (100, (), False)
    assert not state.port.hairpin
    assert not state.port.isolated


def test_preserve_default_vlan_applies_to_the_gateways_port_too() -> None:
    state = gateway([V4], isGateway=True, vlan=100, preserveDefaultVlan=True)

    assert state.port is not None
    assert state.port.keep_default_vlan


def test_a_trunk_without_native_vlan_has_its_gateway_on_the_bridge() -> None:
    assert gateway([V4], isGateway=True, vlanTrunk=[{"id": 5}]).device == "br0"


@pytest.mark.parametrize(
    "fields", [{}, {"isGateway": True, "ipam": {}}, {"vlan": 5}], ids=["no key", "layer 2", "vlan"]
)
def test_without_is_gateway_or_without_ipam_there_is_no_gateway(fields: dict[str, object]) -> None:
    assert want([], **fields).gateway is None


@pytest.mark.parametrize("force", [True, False])
def test_force_address_is_passed_on(*, force: bool) -> None:
    state = gateway([V4], isGateway=True, forceAddress=force)

    assert state.replace_conflicting is force


@pytest.mark.parametrize(
    ("fields", "stays"),
    [({}, True), ({"gatewayScope": "node"}, True), ({"gatewayScope": "network"}, False)],
    ids=repr,
)
def test_a_gateway_stays_on_its_node_unless_told_otherwise(
    fields: dict[str, object], *, stays: bool
) -> None:
    one = want([V4], isGateway=True, **fields)

    assert one.gateway is not None
    assert (one.gateway.stays_on_node, one.uses_firewall) == (stays, stays)


@pytest.mark.parametrize(
    ("fields", "uses"),
    [({}, False), ({"ipMasq": True}, True), ({"macspoofchk": True}, True)],
    ids=repr,
)
def test_only_what_needs_it_uses_the_firewall(fields: dict[str, object], *, uses: bool) -> None:
    assert want([V4], **fields).uses_firewall is uses


# ---------------------------------------------------------------- routes


@pytest.mark.parametrize(
    ("ips", "routes", "expected"),
    [
        ([V4], [], [("0.0.0.0/0", "10.1.0.1")]),
        ([V6_GIVEN], [], [("::/0", "fd00::fe")]),
        ([V4, V6], [], [("0.0.0.0/0", "10.1.0.1"), ("::/0", "fd00::1")]),
        ([V4], [("0.0.0.0/0", "10.1.0.9")], [("0.0.0.0/0", "10.1.0.9")]),
        ([V4], [("0.0.0.0/0", "")], [("0.0.0.0/0", "10.1.0.1")]),
        ([V4, V6], [("::/0", "")], [("::/0", "fd00::1"), ("0.0.0.0/0", "10.1.0.1")]),
        ([V4, ("10.2.0.5/24", "")], [], [("0.0.0.0/0", "10.1.0.1")]),
        ([V4], [("10.9.0.0/16", "")], [("10.9.0.0/16", "10.1.0.1"), ("0.0.0.0/0", "10.1.0.1")]),
    ],
    ids=repr,
)
def test_is_default_gateway_adds_the_default_routes_that_are_missing(
    ips: Ips, routes: Routes, expected: Routes
) -> None:
    assert shown(want(ips, routes, isDefaultGateway=True).sandbox.routes) == expected


def test_a_default_route_in_another_table_does_not_count_as_given() -> None:
    one = conf(isDefaultGateway=True)
    elsewhere = RouteConfig(parse_cidr("0.0.0.0/0", ""), "10.1.0.9", table=7)
    given = answer([V4])
    completed = complete(one, CniResult(ips=given.ips, routes=(elsewhere,)))

    assert shown(completed.routes) == [("0.0.0.0/0", "10.1.0.9"), ("0.0.0.0/0", "10.1.0.1")]


@pytest.mark.parametrize("flags", [{}, {"isGateway": True}], ids=repr)
def test_without_is_default_gateway_no_route_is_added(flags: dict[str, object]) -> None:
    assert want([V4], **flags).sandbox.routes == ()


@pytest.mark.parametrize(
    ("ips", "route", "next_hop"),
    [
        ([V4_GIVEN], ("10.9.0.0/16", ""), "10.1.0.254"),
        ([V4_GIVEN], ("10.9.0.0/16", "10.1.0.7"), "10.1.0.7"),
        ([V4], ("10.9.0.0/16", ""), ""),
        ([V4_GIVEN], ("fd99::/16", ""), ""),
        ([V4_GIVEN, V6_GIVEN], ("fd99::/16", ""), "fd00::fe"),
        ([V4, ("10.2.0.5/24", "10.2.0.1")], ("10.9.0.0/16", ""), "10.2.0.1"),
    ],
    ids=repr,
)
def test_a_route_without_next_hop_takes_the_first_gateway_of_its_family(
    ips: Ips, route: tuple[str, str], next_hop: str
) -> None:
    assert shown(want(ips, [route]).sandbox.routes) == [(route[0], next_hop)]


def test_the_result_keeps_routes_as_ipam_gave_them() -> None:
    completed = complete(conf(), answer([V4_GIVEN], [("10.9.0.0/16", "")]))

    assert shown(completed.routes) == [("10.9.0.0/16", "")]


# ---------------------------------------------------------------- VLANs and port


@pytest.mark.parametrize(
    ("fields", "pvid", "tagged", "keeps"),
    [
        ({}, None, [], True),
        ({"preserveDefaultVlan": True}, None, [], True),
        ({"vlan": 100}, 100, [], False),
        ({"vlan": 100, "preserveDefaultVlan": True}, 100, [], True),
        ({"vlan": 1}, 1, [], False),
        ({"vlanTrunk": [{"id": 101}, {"minID": 200, "maxID": 203}]}, 1, ["101", "200-203"], False),
        ({"vlanTrunk": [{"id": 101}], "preserveDefaultVlan": True}, 1, ["101"], True),
        ({"vlanTrunk": [{"id": 1}, {"id": 5}]}, 1, ["5"], False),
        ({"vlan": 100, "vlanTrunk": [{"id": 101}, {"id": 100}]}, 100, ["101"], False),
        ({"vlan": 5, "vlanTrunk": [{"minID": 1, "maxID": 9}]}, 5, ["1-4", "6-9"], False),
        ({"vlan": 1, "vlanTrunk": [{"minID": 1, "maxID": 9}]}, 1, ["2-9"], False),
        ({"vlan": 9, "vlanTrunk": [{"minID": 1, "maxID": 9}]}, 9, ["1-8"], False),
        ({"vlan": 9, "vlanTrunk": [{"minID": 9, "maxID": 9}]}, 9, [], False),
        ({"vlanTrunk": []}, None, [], True),
        ({"vlan": 7, "vlanTrunk": []}, 7, [], False),
    ],
    ids=repr,
)
def test_the_port_has_its_native_vlan_untagged_and_the_rest_tagged(
    fields: dict[str, object], pvid: int | None, tagged: list[str], *, keeps: bool
) -> None:
    port = want([], ipam={}, **fields).port

    assert (port.pvid, [str(each) for each in port.tagged]) == (pvid, tagged)
    assert port.keep_default_vlan is keeps


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({}, False), ({"vlan": 5}, True), ({"vlanTrunk": []}, True), ({"vlan": 0}, False)],
    ids=repr,
)
def test_the_bridge_filters_as_soon_as_a_vlan_key_is_there(
    fields: dict[str, object], *, expected: bool
) -> None:
    assert want([], **fields).bridge.vlan_filtering is expected


@pytest.mark.parametrize("on", [True, False])
def test_switches_reach_the_object_they_are_about(*, on: bool) -> None:
    one = want([], hairpinMode=on, portIsolation=on, macspoofchk=on, enabledad=on)

    assert (one.port.hairpin, one.port.isolated) == (on, on)
    assert (one.spoof_check, one.sandbox.duplicate_detection) == (on, on)
    assert want([], promiscMode=on).bridge.promisc is on
    assert want([], ipam={}, disableContainerInterface=on).sandbox.up is not on


# ---------------------------------------------------------------- sandbox and the rest


@pytest.mark.parametrize(
    ("ips", "expected"),
    [
        ([V4], [("10.1.0.5", "10.1.0.0/24")]),
        ([V4, V6], [("10.1.0.5", "10.1.0.0/24"), ("fd00::5", "fd00::/64")]),
    ],
    ids=["one family", "dual stack"],
)
def test_masquerade_has_an_entry_per_address(ips: Ips, expected: list[tuple[str, str]]) -> None:
    entries = want(ips, ipMasq=True).masquerade

    assert [(str(each.source), str(each.network)) for each in entries] == expected
    assert want(ips, ipMasq=False).masquerade == ()


def test_dual_stack_addresses_keep_the_order_of_the_answer() -> None:
    sandbox = want([V6, V4]).sandbox

    assert [str(each) for each in sandbox.addresses] == ["fd00::5/64", "10.1.0.5/24"]
    assert sandbox.layer3


def test_a_layer_2_network_manages_no_addresses() -> None:
    sandbox = want([], ipam={}).sandbox

    assert (sandbox.layer3, sandbox.addresses, sandbox.routes) == (False, (), ())


@pytest.mark.parametrize(
    ("mtu", "ips"), [(1280, [V4, V6]), (68, [V4]), (0, [V6]), (1279, [V4])], ids=repr
)
def test_an_mtu_that_ip_can_live_with_is_passed_on(mtu: int, ips: Ips) -> None:
    one = want(ips, mtu=mtu)

    assert (one.bridge.mtu, one.sandbox.mtu) == (mtu, mtu)


@pytest.mark.parametrize("mtu", [68, 1279])
def test_an_mtu_too_small_for_ipv6_is_refused(mtu: int) -> None:
    with pytest.raises(ConfigError, match="too small for IPv6") as caught:
        want([V4, V6], mtu=mtu)

    assert (caught.value.pointer, "1280" in caught.value.hint) == ("/mtu", True)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, Dns(("10.1.0.53",), "ipam")),
        ({"dns": {}}, Dns(("10.1.0.53",), "ipam")),
        ({"dns": {"domain": "conf"}}, Dns(domain="conf")),
        ({"dns": {"search": ["s"]}}, Dns(search=("s",))),
    ],
    ids=repr,
)
def test_dns_of_the_configuration_replaces_that_of_ipam(
    fields: dict[str, object], expected: Dns
) -> None:
    given = answer([V4], dns=Dns(("10.1.0.53",), "ipam"))

    assert complete(conf(**fields), given).dns == expected


def test_the_requested_mac_and_the_owner_are_passed_on() -> None:
    one = conf(runtimeConfig={"mac": "02:00:5e:10:00:01"})
    state = desired(one, OWNER, mac=one.mac, result=CniResult())

    assert (state.sandbox.mac, state.sandbox.ifname) == ("02:00:5e:10:00:01", "eth0")
    assert state.owner is OWNER
