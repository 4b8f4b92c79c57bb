# SPDX-License-Identifier: Apache-2.0
"""What a lab is planned to be, for whatever a user may ask."""

import ipaddress
from itertools import combinations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from spanbridge.base.errors import InputError
from spanbridge.base.names import ifname_fault, is_identifier
from spanbridge.lab.topology import (
    NETNS_PREFIX,
    IpamKind,
    LabParameters,
    cut_addresses,
    plan_lab,
    sync_pods,
)

SUBNETS = st.builds(
    lambda address, length: ipaddress.IPv4Network((address, length), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(8, 30),
)
CLUSTERS = st.lists(
    st.from_regex(r"[a-z]([a-z0-9-]{0,9}[a-z0-9])?", fullmatch=True),
    min_size=1,
    max_size=4,
    unique=True,
).map(tuple)


@given(subnet=SUBNETS, parts=st.integers(1, 40))
def test_ranges_share_no_address(subnet: ipaddress.IPv4Network, parts: int) -> None:
    assume(subnet.num_addresses - 4 >= parts)
    ranges = cut_addresses(subnet, parts)
    assert len(ranges) == parts
    assert all(one.first <= one.last for one in ranges)
    assert all(one.last < other.first for one, other in combinations(ranges, 2))


@given(subnet=SUBNETS, parts=st.integers(1, 40))
def test_ranges_hold_no_reserved_address(subnet: ipaddress.IPv4Network, parts: int) -> None:
    assume(subnet.num_addresses - 4 >= parts)
    reserved = (subnet.network_address, subnet[1], subnet[-2], subnet.broadcast_address)
    ranges = cut_addresses(subnet, parts)
    assert not any(address in one for address in reserved for one in ranges)
    assert all(one.first in subnet and one.last in subnet for one in ranges)


@given(subnet=SUBNETS, parts=st.integers(1, 40))
def test_ranges_waste_less_than_one_address_each(subnet: ipaddress.IPv4Network, parts: int) -> None:
    free = subnet.num_addresses - 4
    assume(free >= parts)
    used = sum(int(one.last) - int(one.first) + 1 for one in cut_addresses(subnet, parts))
    assert free - used < parts


@given(parts=st.integers(2, 40))
def test_a_subnet_too_small_for_its_nodes_is_refused(parts: int) -> None:
    with pytest.raises(InputError, match=r"cannot cut 10\.0\.0\.0/30 into"):
        cut_addresses(ipaddress.IPv4Network("10.0.0.0/30"), parts)


@given(clusters=CLUSTERS, nodes=st.integers(2, 8))
def test_the_kernel_and_cni_accept_every_name_of_a_plan(
    clusters: tuple[str, ...], nodes: int
) -> None:
    lab = plan_lab(LabParameters(clusters, nodes))
    pods = [*(node.handler for node in lab.nodes), lab.outsider]
    namespaces = [node.netns for node in lab.nodes] + [pod.netns for pod in pods]
    assert not any(ifname_fault(node.name) for node in lab.nodes)
    assert all(is_identifier(pod.container_id) for pod in pods)
    assert len(set(namespaces)) == len(namespaces) == 2 * len(lab.nodes) + 1
    assert all(name.startswith(NETNS_PREFIX) for name in namespaces)


@given(clusters=CLUSTERS, nodes=st.integers(2, 8))
def test_no_two_pods_may_get_the_same_address(clusters: tuple[str, ...], nodes: int) -> None:
    lab = plan_lab(LabParameters(clusters, nodes))
    ranges = [node.handler.addresses for node in lab.nodes] + [lab.outsider.addresses]
    assert all(one.last < other.first for one, other in combinations(ranges, 2))
    assert not any(lab.gateway in one for one in ranges)


@given(clusters=CLUSTERS, nodes=st.integers(2, 8))
def test_the_dhcp_server_hands_out_every_handlers_address_and_no_other_ones(
    clusters: tuple[str, ...], nodes: int
) -> None:
    lab = plan_lab(LabParameters(clusters, nodes))
    assert lab.dhcp is not None
    pool = lab.dhcp.pool
    ranges = [node.handler.addresses for node in lab.nodes]
    assert all(one.first in pool and one.last in pool for one in ranges)
    assert not any(
        each in pool for each in (lab.dhcp.address, lab.gateway, lab.outsider.addresses.first)
    )
    assert not any(lab.dhcp.address in one for one in [*ranges, lab.outsider.addresses])


def test_a_lab_whose_nodes_hand_out_addresses_has_no_dhcp_server() -> None:
    assert plan_lab(LabParameters(ipam=IpamKind.HOST_LOCAL)).dhcp is None


def test_the_default_is_two_clusters_of_two_nodes_on_vlan_2() -> None:
    lab = plan_lab(LabParameters())
    assert [node.name for node in lab.nodes] == ["east-1", "east-2", "west-1", "west-2"]
    assert [cluster.name for cluster in lab.clusters] == ["east", "west"]
    assert {node.handler.vlan for node in lab.nodes} == {2}
    assert str(lab.nodes[0].handler.addresses) == "10.88.0.2 to 10.88.0.51"


def test_the_outsider_has_no_vlan_and_shares_a_node_with_a_handler() -> None:
    lab = plan_lab(LabParameters())
    assert lab.outsider.vlan is None
    assert lab.outsider.network == "no-vlan-net"
    assert lab.outsider_node in lab.nodes


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (LabParameters(clusters=()), "names missing or repeated"),
        (LabParameters(clusters=("east", "east")), "names missing or repeated"),
        (LabParameters(clusters=("East",)), "'East' is no cluster name"),
        (LabParameters(clusters=("a/b",)), "'a/b' is no cluster name"),
        (LabParameters(clusters=("east",), nodes=1), "a lab of one node"),
        (LabParameters(nodes=0), "cannot use --nodes 0"),
        (LabParameters(nodes=17), "cannot use --nodes 17"),
        (LabParameters(vlan=1), "cannot use --vlan 1"),
        (LabParameters(vlan=4095), "cannot use --vlan 4095"),
        (LabParameters(mtu=68), "cannot use --mtu 68"),
        (LabParameters(subnet="10.88.0.1/24"), "has host bits set"),
        (LabParameters(subnet="fd00::/64"), "cannot use --subnet"),
        (LabParameters(subnet="10.88.0.0/29", nodes=3), "has 4 free addresses"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_cannot_be_built_is_refused(parameters: LabParameters, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        plan_lab(parameters)
    assert caught.value.hint


@given(clusters=CLUSTERS, nodes=st.integers(1, 8))
def test_a_cluster_has_a_leading_and_a_standby_sync_controller_on_its_first_nodes(
    clusters: tuple[str, ...], nodes: int
) -> None:
    assume(nodes * len(clusters) > 1)
    pods = sync_pods(plan_lab(LabParameters(clusters, nodes)))
    second = "1" if nodes == 1 else "2"
    assert [(pod.node.name, pod.cluster, pod.leader) for pod in pods] == [
        (f"{cluster}-{number}", cluster, number == "1" and place == 0)
        for cluster in clusters
        for place, number in enumerate(("1", second))
    ]


@given(clusters=CLUSTERS, nodes=st.integers(2, 8))
def test_sync_controllers_have_names_of_their_own_that_everybody_accepts(
    clusters: tuple[str, ...], nodes: int
) -> None:
    lab = plan_lab(LabParameters(clusters, nodes))
    pods = [*(node.handler for node in lab.nodes), *(each.pod for each in sync_pods(lab))]
    for names in ([pod.netns for pod in pods], [pod.container_id for pod in pods]):
        assert len(set(names)) == len(pods)
        assert all(name.startswith(NETNS_PREFIX) and is_identifier(name) for name in names)


def test_a_sync_controller_takes_an_address_of_its_nodes_range() -> None:
    for each in sync_pods(plan_lab(LabParameters(nodes=1))):
        assert each.pod.addresses == each.node.handler.addresses
        assert (each.pod.network, each.pod.vlan) == ("bridge-net", 2)
