# SPDX-License-Identifier: Apache-2.0
"""Property: whatever is edited, no two holders ever share an address and none ever moves."""

import dataclasses
from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from spanbridge.base.errors import ConfigError
from spanbridge.base.names import IfName
from spanbridge.model.addresses import parse_cidr
from spanbridge.model.intent import (
    Cluster,
    Flavor,
    HyperConvergedApi,
    Intent,
    IntentIpam,
    IpamType,
    NodePool,
    PluginKind,
)
from spanbridge.model.spans import Span, parse_span
from spanbridge.stretch.lock import parse_lock, render_lock
from spanbridge.stretch.plan import Plan
from spanbridge.stretch.planner import Freed, plan_network

SUBNETS = (parse_cidr("10.88.0.0/24", ""), parse_cidr("fd00:88::/120", ""))
NAMES = [f"c{number}" for number in range(6)]


def make_pool(name: str, nodes: tuple[str, ...]) -> NodePool:
    return NodePool(
        name, nodes, len(nodes), IfName("br-mig"), IfName("eth1"),
        nmstate=False, node_selector=(), control_plane=None, schedulable=True, pointer="",
    )  # fmt: skip


def make_cluster(name: str, pools: tuple[NodePool, ...]) -> Cluster:
    return Cluster(name, name, "kubevirt", Flavor.KUBEVIRT, HyperConvergedApi.NONE,
                   PluginKind.REFERENCE, pools, pointer="")  # fmt: skip


def given(plan: Plan) -> Iterator[tuple[str, Span]]:
    """Every holder with what it may use."""
    for one in plan.clusters:
        yield from ((one.cluster.name, span) for span in one.spans)
        if not one.spans:
            yield from ((f"{one.cluster.name}/{node.name}", span)
                        for node in one.nodes for span in node.spans)  # fmt: skip


def numbers(span: Span) -> set[tuple[int, int]]:
    return {(span.version, n) for n in range(span.first.number, span.last.number + 1)}


class Edits(RuleBasedStateMachine):
    """An administrator who edits an intent and plans after each edit."""

    intent: Intent
    plan: Plan

    @initialize(kind=st.sampled_from([IpamType.WHEREABOUTS, IpamType.HOST_LOCAL, IpamType.STATIC]),
                dual=st.booleans())  # fmt: skip
    def begin(self, kind: IpamType, dual: bool) -> None:  # noqa: FBT001  # drawn by hypothesis
        self.intent = Intent(
            "net", 2, 1500, SUBNETS if dual else SUBNETS[:1], (), (),
            IntentIpam(kind, None, 3600, 50),
            (make_cluster("c0", (make_pool("p", ("n0",)),)),),
        )  # fmt: skip
        self.plan = plan_network(self.intent)
        self.promised: dict[str, set[tuple[int, int]]] = {}
        self._promise()

    def _edit(self, freed: Freed | None = None, **changes: object) -> None:
        intent = dataclasses.replace(self.intent, **changes)  # type: ignore[arg-type]  # any field
        try:
            # By way of the file: what is lost in writing would be lost to the next plan.
            plan = plan_network(intent, parse_lock(render_lock(self.plan.lock)), freed)
        except ConfigError as error:
            if "cannot give" in error.message:
                return
            raise
        self.intent, self.plan = intent, plan
        self._promise()

    def _promise(self) -> None:
        for holder, span in given(self.plan):
            self.promised.setdefault(holder, set()).update(numbers(span))

    def _holders(self) -> set[str]:
        return {holder for holder, _ in given(self.plan)}

    @rule(name=st.sampled_from(NAMES), count=st.integers(1, 12), front=st.booleans())
    def add_cluster(self, name: str, count: int, front: bool) -> None:  # noqa: FBT001  # drawn
        if name in {each.name for each in self.intent.clusters}:
            return
        new = make_cluster(name, (make_pool("p", tuple(f"n{n}" for n in range(count))),))
        old = self.intent.clusters
        self._edit(clusters=(new, *old) if front else (*old, new))

    @precondition(lambda self: len(self.intent.clusters) > 1)
    @rule(number=st.integers(0, 5))
    def remove_cluster(self, number: int) -> None:
        kept = list(self.intent.clusters)
        kept.pop(number % len(kept))
        self._edit(clusters=tuple(kept))

    @rule(number=st.integers(0, 5), names=st.sets(st.integers(0, 20), min_size=1, max_size=14))
    def change_nodes(self, number: int, names: set[int]) -> None:
        clusters = list(self.intent.clusters)
        at = number % len(clusters)
        first, *others = clusters[at].pools
        taken = {node for pool in others for node in pool.nodes}
        nodes = tuple(name for n in sorted(names) if (name := f"n{n}") not in taken)
        pools = (make_pool("p", nodes or first.nodes), *others)
        clusters[at] = make_cluster(clusters[at].name, pools)
        self._edit(clusters=tuple(clusters))

    @rule(number=st.integers(0, 5), count=st.integers(1, 4))
    def change_second_pool(self, number: int, count: int) -> None:
        clusters = list(self.intent.clusters)
        at = number % len(clusters)
        first, *others = clusters[at].pools
        second = () if others else (make_pool("q", tuple(f"q{n}" for n in range(count))),)
        clusters[at] = make_cluster(clusters[at].name, (first, *second))
        self._edit(clusters=tuple(clusters))

    @rule(number=st.integers(2, 254))
    def reserve(self, number: int) -> None:
        span = parse_span(f"10.88.0.{number}", "")
        self._edit(reserved=(span,))

    @rule()
    def plan_again(self) -> None:
        before = self.plan
        self._edit()
        assert self.plan == before

    @precondition(lambda self: self.plan.lock.retired)
    @rule()
    def reclaim_everything(self) -> None:
        self._edit(Freed(reclaim=["all"]))
        gone = set(self.promised) - self._holders()
        if not self.plan.lock.retired:
            for holder in gone:
                del self.promised[holder]

    @invariant()
    def nobody_shares(self) -> None:
        seen: dict[tuple[int, int], str] = {}
        for holder, mine in self.promised.items():
            for number in mine:
                assert seen.setdefault(number, holder) == holder

    @invariant()
    def nobody_moved(self) -> None:
        now: dict[str, set[tuple[int, int]]] = {}
        for holder, span in given(self.plan):
            now.setdefault(holder, set()).update(numbers(span))
        reserved = {n for span in self.intent.reserved for n in numbers(span)}
        for holder, mine in now.items():
            assert self.promised[holder] - reserved <= mine | self._once_reserved(holder)

    def _once_reserved(self, holder: str) -> set[tuple[int, int]]:
        """Tell what is in the holder's block beside what it may use."""
        return {n for span in self.plan.lock.blocks[holder] for n in numbers(span)}

    @invariant()
    def everybody_has_enough(self) -> None:
        size: dict[tuple[str, int], int] = {}
        for holder, span in given(self.plan):
            key = (holder, span.version)
            size[key] = size.get(key, 0) + span.size
        if self.intent.ipam.type is IpamType.WHEREABOUTS:
            for one in self.plan.clusters:
                for subnet in self.intent.subnets:
                    assert size[one.cluster.name, subnet.version] >= one.need
        assert all(size.values())


TestEdits = Edits.TestCase
TestEdits.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestEdits = pytest.mark.timeout(60)(TestEdits)


def test_adding_a_fifth_cluster_and_removing_the_second_moves_nobody() -> None:
    pool = make_pool("p", tuple(f"n{n}" for n in range(6)))
    four = tuple(make_cluster(f"c{n}", (pool,)) for n in range(4))
    intent = Intent("net", 2, 1500, SUBNETS[:1], (), (),
                    IntentIpam(IpamType.WHEREABOUTS, None, 3600, 50), four)  # fmt: skip
    before = plan_network(intent)
    five = dataclasses.replace(intent, clusters=(*four, make_cluster("c4", (pool,))))
    added = plan_network(five, before.lock)
    left = dataclasses.replace(intent, clusters=(four[0], *four[2:], five.clusters[4]))
    after = plan_network(left, added.lock)

    assert dict(given(before)).items() <= dict(given(added)).items()
    assert dict(given(after)).items() <= dict(given(added)).items()
    assert dict(given(after)).keys() == {"c0", "c2", "c3", "c4"}
