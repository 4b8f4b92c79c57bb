# SPDX-License-Identifier: Apache-2.0
"""Which pairs a big mesh is judged by."""

from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanbridge.model.observations import Endpoint, Role
from spanbridge.stretch.sampling import (
    PER_CLUSTER_PAIR,
    ROUNDS_ACROSS,
    ROUNDS_WITHIN,
    Pair,
    Turns,
    plan_sampling,
)


def _mesh(sizes: list[int]) -> list[Endpoint]:
    return [
        Endpoint(f"c{at}/h{node}", f"c{at}", f"n{node}", Role.HANDLER, f"h{node}")
        for at, size in enumerate(sizes)
        for node in range(size)
    ]


def _cluster(name: str) -> str:
    return name.partition("/")[0]


_SIZES = st.lists(st.integers(1, 12), min_size=1, max_size=7)


@given(_SIZES, st.integers(0, 5))
def test_each_endpoint_asks_and_is_asked(sizes: list[int], seed: int) -> None:
    mesh = _mesh(sizes)
    plan = plan_sampling(mesh, all_pairs_max=0, seed=seed)
    if len(mesh) > 1:
        assert {a for a, _ in plan.pairs} == {each.name for each in mesh}
        assert {b for _, b in plan.pairs} == {each.name for each in mesh}


@given(_SIZES, st.integers(0, 5))
def test_each_ordered_pair_of_clusters_is_tried(sizes: list[int], seed: int) -> None:
    plan = plan_sampling(_mesh(sizes), all_pairs_max=0, seed=seed)
    tried = Counter((_cluster(a), _cluster(b)) for a, b in plan.pairs)
    for a, of_a in enumerate(sizes):
        for b, of_b in enumerate(sizes):
            if a != b:
                assert tried[f"c{a}", f"c{b}"] >= min(PER_CLUSTER_PAIR, of_a * of_b)


@given(_SIZES, st.integers(0, 5))
def test_no_pair_is_tried_twice_nor_anybody_with_itself(sizes: list[int], seed: int) -> None:
    pairs = plan_sampling(_mesh(sizes), all_pairs_max=0, seed=seed).pairs
    assert len(set(pairs)) == len(pairs)
    assert all(a != b for a, b in pairs)


@given(_SIZES, st.integers(0, 5))
def test_nobody_is_asked_much_more_than_others(sizes: list[int], seed: int) -> None:
    plan = plan_sampling(_mesh(sizes), all_pairs_max=0, seed=seed)
    rounds = ROUNDS_ACROSS + ROUNDS_WITHIN
    for end in (0, 1):
        degree = Counter(pair[end] for pair in plan.pairs)
        for name, count in degree.items():
            size = sizes[int(_cluster(name)[1:])]
            # Pairs of clusters are shared out among the cluster's members.
            fill = PER_CLUSTER_PAIR * len(sizes)
            assert count <= rounds + 2 * -(-fill // size)


def test_a_small_mesh_is_tried_whole() -> None:
    plan = plan_sampling(_mesh([2, 2]))
    assert plan.complete
    assert len(plan.pairs) == 12


def test_the_same_seed_gives_the_same_plan_and_another_one_another() -> None:
    mesh = _mesh([30, 30])
    assert plan_sampling(mesh, seed=7) == plan_sampling(mesh, seed=7)
    assert set(plan_sampling(mesh, seed=7).pairs) != set(plan_sampling(mesh, seed=8).pairs)


def test_sync_leaders_are_all_tried_across_clusters_and_standbys_never() -> None:
    roles = (Role.LEADER, Role.STANDBY)
    pods = [Endpoint(f"c{c}/{r}", f"c{c}", "n", r, r) for c in range(3) for r in roles]
    pairs = plan_sampling(pods, all_pairs_max=0).pairs
    assert len(pairs) == 6
    assert all(name.endswith(Role.LEADER) for pair in pairs for name in pair)


def test_twenty_clusters_of_a_thousand_nodes_are_covered_by_few_pairs() -> None:
    plan = plan_sampling(_mesh([1000] * 20))
    assert plan.total == 20_000 * 19_999
    assert len(plan.pairs) < 6 * 20_000
    asked = Counter(b for _, b in plan.pairs)
    assert len(asked) == 20_000
    assert max(asked.values()) <= ROUNDS_ACROSS + ROUNDS_WITHIN + 1


@settings(deadline=None, max_examples=20)
@given(_SIZES, st.integers(1, 3))
def test_no_node_has_more_probes_at_a_time_than_allowed(sizes: list[int], per_node: int) -> None:
    mesh = _mesh(sizes)
    plan = plan_sampling(mesh, all_pairs_max=0)
    turns = Turns(plan.pairs, {each.name: each.site for each in mesh}, per_node=per_node)
    busy: dict[str, int] = defaultdict(int)
    under_way: list[Pair] = []
    done = 0
    while turns or under_way:
        while (pair := turns.begin()) is not None:
            under_way.append(pair)
            for name in pair:
                busy[name] += 1
        assert max(busy.values()) <= per_node
        finished = under_way.pop(0)
        turns.end(finished)
        done += 1
        for name in finished:
            busy[name] -= 1
    assert done == len(plan.pairs)


@pytest.mark.parametrize("per_node", [1, 2])
def test_the_order_keeps_many_probes_under_way(per_node: int) -> None:
    mesh = _mesh([20, 20])
    plan = plan_sampling(mesh)
    turns = Turns(plan.pairs, {each.name: each.site for each in mesh}, per_node=per_node)
    begun = 0
    while turns.begin() is not None:
        begun += 1
    assert begun >= 12 * per_node
