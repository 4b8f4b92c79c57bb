# SPDX-License-Identifier: Apache-2.0
"""The planner: who gets which addresses, and what it refuses."""

import ipaddress
from collections.abc import Callable

import pytest

from spanbridge.base.errors import ConfigError
from spanbridge.model.intent import Intent
from spanbridge.stretch.lock import Lock, parse_lock, render_lock
from spanbridge.stretch.plan import Plan
from spanbridge.stretch.planner import Freed, plan_network

IntentOf = Callable[[str], Intent]


def spec(*clusters: str, subnet: str = "10.88.0.0/24", more: str = "") -> str:
    rows = "".join(f"  - {{name: {each}}}\n" for each in clusters)
    return f"  vlan: 2\n  subnets: [{subnet}]\n{more}  clusters:\n{rows}"


def pool(count: int) -> str:
    return f"nodePools: [{{uplink: eth1, count: {count}}}]"


def addresses(plan: Plan) -> dict[str, set[str]]:
    """List every address of every cluster, by the standard library's arithmetic."""
    found: dict[str, set[str]] = {}
    for one in plan.clusters:
        for span in one.all_spans:
            first, last = (ipaddress.ip_address(str(end)) for end in (span.first, span.last))
            every = {str(type(first)(n)) for n in range(int(first), int(last) + 1)}
            found.setdefault(one.cluster.name, set()).update(every)
    return found


def test_a_cluster_gets_room_for_nodes_sync_pods_surge_and_growth(intent_of: IntentOf) -> None:
    plan = plan_network(intent_of(spec(f"east, {pool(10)}")))

    assert plan.clusters[0].need == 10 + 2 + 1
    assert len(addresses(plan)["east"]) == 13 + 5


def test_nodes_that_run_no_virt_handler_need_no_address(intent_of: IntentOf) -> None:
    pools = (
        "east, nodePools: [{name: w, uplink: eth1, count: 4}, "
        "{name: m, uplink: eth1, count: 3, controlPlane: true}]"
    )
    assert plan_network(intent_of(spec(pools))).clusters[0].need == 4 + 3


def test_edges_router_and_reserved_addresses_belong_to_nobody(intent_of: IntentOf) -> None:
    more = "  gateway: 10.88.0.14\n  reserved: [10.88.0.2-10.88.0.3, 10.88.0.8/31]\n"
    text = spec(
        f"east, {pool(6)}", subnet="10.88.0.0/28", more=more + "  ipam: {growthPercent: 0}\n"
    )
    given = addresses(plan_network(intent_of(text)))["east"]

    assert given == {f"10.88.0.{n}" for n in (1, 4, 5, 6, 7, 10, 11, 12, 13)}


def test_without_a_named_router_the_first_address_is_kept_for_one(intent_of: IntentOf) -> None:
    plan = plan_network(intent_of(spec(f"east, {pool(2)}")))
    assert "10.88.0.1" not in addresses(plan)["east"]


def test_each_node_gets_its_own_addresses_from_host_local(intent_of: IntentOf) -> None:
    plan = plan_network(intent_of("host-local on KubeVirt without NMState"))
    blocks = [node.spans for one in plan.clusters for node in one.nodes]
    given = [span for spans in blocks for span in spans]

    assert len(blocks) == 5
    assert len({span.version for span in given}) == 2
    # A virt-handler, two synchronization controllers, one more while they roll, one spare.
    assert {span.size for span in given} == {5}
    assert not any(a.overlaps(b) for a in given for b in given if a is not b)


def test_nodes_without_names_cannot_have_addresses_of_their_own(intent_of: IntentOf) -> None:
    with pytest.raises(ConfigError, match="its nodes have no names") as caught:
        plan_network(intent_of(spec(f"east, {pool(2)}", more="  ipam: {type: host-local}\n")))

    assert caught.value.pointer == "/spec/clusters/0/nodePools/0/count"
    assert "kubectl --context east get nodes" in caught.value.hint


def test_a_subnet_that_is_too_small_names_one_that_is_not(intent_of: IntentOf) -> None:
    text = spec(f"east, {pool(9)}", f"west, {pool(9)}", subnet="10.88.0.16/28")
    fault = "cannot give west 12 addresses: .* has 1 left, and all clusters together need 24"
    with pytest.raises(ConfigError, match=fault) as caught:
        plan_network(intent_of(text))

    assert caught.value.pointer == "/spec/subnets/0"
    assert "10.88.0.0/27 would hold them all, without room for growth" in caught.value.hint


def test_the_proposed_subnet_does_hold_them_all(intent_of: IntentOf) -> None:
    text = spec(f"east, {pool(9)}", f"west, {pool(9)}", subnet="10.88.0.0/27")
    plan = plan_network(intent_of(text))

    assert len(addresses(plan)["east"] & addresses(plan)["west"]) == 0
    assert "no room for growth" in plan.notes[0]


def test_a_plan_without_room_for_growth_is_the_same_when_made_again(intent_of: IntentOf) -> None:
    intent = intent_of(spec(f"east, {pool(9)}", f"west, {pool(9)}", subnet="10.88.0.0/27"))
    first = plan_network(intent)

    assert plan_network(intent, first.lock) == first


def test_a_cluster_that_grows_keeps_its_addresses_and_gets_more(intent_of: IntentOf) -> None:
    before = plan_network(intent_of(spec(f"east, {pool(2)}", f"west, {pool(2)}")))
    after = plan_network(intent_of(spec(f"east, {pool(20)}", f"west, {pool(2)}")), before.lock)

    assert addresses(before)["east"] < addresses(after)["east"]
    assert addresses(before)["west"] == addresses(after)["west"]
    assert len(addresses(after)["east"]) >= 23


def test_a_removed_cluster_keeps_its_addresses_until_they_are_reclaimed(
    intent_of: IntentOf,
) -> None:
    both = plan_network(intent_of(spec(f"east, {pool(2)}", f"west, {pool(2)}")))
    gone = plan_network(intent_of(spec(f"west, {pool(2)}", f"new, {pool(2)}")), both.lock)
    back = plan_network(intent_of(spec(f"west, {pool(2)}", f"east, {pool(2)}")), gone.lock)
    freed = plan_network(
        intent_of(spec(f"west, {pool(2)}", f"other, {pool(2)}")), gone.lock, Freed(["all"])
    )

    assert not addresses(gone)["new"] & addresses(both)["east"]
    assert "--reclaim east" in gone.notes[0]
    assert addresses(back)["east"] == addresses(both)["east"]
    assert addresses(freed)["other"] == addresses(both)["east"]


def test_addresses_of_a_cluster_that_is_there_cannot_be_reclaimed(intent_of: IntentOf) -> None:
    intent = intent_of(spec(f"east, {pool(2)}"))
    with pytest.raises(ConfigError, match="cannot free 'east'"):
        plan_network(intent, plan_network(intent).lock, Freed(reclaim=["east"]))


def test_another_subnet_is_refused_unless_addresses_may_move(intent_of: IntentOf) -> None:
    lock = plan_network(intent_of(spec(f"east, {pool(2)}"))).lock
    other = intent_of(spec(f"east, {pool(2)}", subnet="10.99.0.0/24"))
    with pytest.raises(
        ConfigError, match=r"cannot keep 10\.88\.0\.2-10\.88\.0\.7 of east"
    ) as caught:
        plan_network(other, lock)
    moved = plan_network(other, lock, Freed(move=["all"]))

    assert "--move all" in caught.value.hint
    assert "10.99.0.2" in addresses(moved)["east"]


def test_a_larger_subnet_moves_nothing(intent_of: IntentOf) -> None:
    before = plan_network(intent_of(spec(f"east, {pool(2)}", subnet="10.88.1.0/28")))
    after = plan_network(intent_of(spec(f"east, {pool(2)}", subnet="10.88.0.0/23")), before.lock)

    assert addresses(before) == addresses(after)


def test_a_second_family_leaves_the_first_as_it_is(intent_of: IntentOf) -> None:
    before = plan_network(intent_of(spec(f"east, {pool(2)}")))
    both = intent_of(spec(f"east, {pool(2)}", subnet='10.88.0.0/24, "fd00:88::/64"'))
    after = plan_network(both, before.lock)

    assert addresses(before)["east"] < addresses(after)["east"]
    assert {span.version for span in after.clusters[0].spans} == {4, 6}


def test_an_address_reserved_later_is_taken_out_of_its_block(intent_of: IntentOf) -> None:
    before = plan_network(intent_of(spec(f"east, {pool(2)}")))
    text = spec(f"east, {pool(2)}", more="  reserved: [10.88.0.4]\n")
    after = plan_network(intent_of(text), before.lock)

    assert addresses(after)["east"] == addresses(before)["east"] - {"10.88.0.4"}
    assert after.lock.blocks == before.lock.blocks


def test_the_dhcp_server_hands_out_what_nobody_else_has(intent_of: IntentOf) -> None:
    lock = plan_network(intent_of(spec(f"gone, {pool(2)}"))).lock
    text = spec(f"east, {pool(2)}", more="  reserved: [10.88.0.20]\n  ipam: {type: dhcp}\n")
    plan = plan_network(intent_of(text), lock)

    assert plan.dhcp is not None
    assert str(plan.dhcp.server) == "10.88.0.254"
    assert [str(each) for each in plan.dhcp.pools] == [
        "10.88.0.8-10.88.0.19",
        "10.88.0.21-10.88.0.253",
    ]


def test_a_dhcp_pool_that_is_too_small_is_refused(intent_of: IntentOf) -> None:
    text = spec(f"east, {pool(9)}", subnet="10.88.0.0/29", more="  ipam: {type: dhcp}\n")
    with pytest.raises(ConfigError, match="cannot give all clusters 12 addresses"):
        plan_network(intent_of(text))


def test_one_plan_directory_is_for_one_network(intent_of: IntentOf) -> None:
    with pytest.raises(ConfigError, match="the lock is of network 'other'"):
        plan_network(intent_of(spec(f"east, {pool(2)}")), Lock(network="other"))


def test_pools_that_nothing_tells_apart_are_refused(intent_of: IntentOf) -> None:
    pools = "east, nodePools: [{name: a, uplink: e1, count: 1}, {name: b, uplink: e2, count: 1}]"
    with pytest.raises(ConfigError, match="nothing says which nodes") as caught:
        plan_network(intent_of(spec(pools)))

    assert "nodeSelector" in caught.value.hint


def test_workers_alone_are_noted_since_sync_pods_run_elsewhere(intent_of: IntentOf) -> None:
    pools = "east, nodePools: [{uplink: e1, count: 1, controlPlane: false}]"
    plan = plan_network(intent_of(spec(pools)))

    assert "controlPlane: true" in plan.clusters[0].notes[0]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"version": 2}', "2 is not 1"),
        ('{"version": 1, "files": {"../x": "0"}}', "it leaves the directory"),
        ('{"version": 1, "files": {"/etc/x": "0"}}', "it leaves the directory"),
        ('{"version": 1, "blocks": {"a": ["10.0.0.1-10.0.0.9"], "b": ["10.0.0.9"]}}', "share"),
        ('{"version": 1, "blocks": {"a": ["10.0.0.9-10.0.0.1"]}}', "does not follow"),
        ('{"version": 1, "block": {}}', "no such key"),
    ],
)
def test_a_damaged_lock_is_refused(text: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        parse_lock(text)


def test_a_lock_reads_back_as_it_was_written(intent_of: IntentOf) -> None:
    lock = plan_network(intent_of("dual stack, HyperConverged v1")).lock
    assert parse_lock(render_lock(lock)) == lock
