# SPDX-License-Identifier: Apache-2.0
"""
A verification run: survey, probe pair after pair, gather what was observed.

How a pair is probed is the prober's business: in a lab's namespaces, or through a
Kubernetes API and the agents. Nothing here touches a network.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from spanbridge.base.errors import SpanbridgeError
from spanbridge.model.observations import (
    Claim,
    ClusterFacts,
    Endpoint,
    Expectations,
    NodeFacts,
    Observations,
    PairProbe,
    Remark,
    Stray,
)
from spanbridge.model.verdict import Pair
from spanbridge.stretch.sampling import ALL_PAIRS_MAX, SamplingPlan, Turns, plan_sampling

Progress = Callable[[int, int], None]
"""Called with the probes that are done, and with all there are."""


@dataclass(frozen=True, slots=True)
class Survey:
    """
    Who is there, before anybody is probed.

    Attributes:
        clusters: In the order shown.
        endpoints: In the order shown; also those without an address.
        nodes: What each node says; a node that cannot be asked may be missing.
        remarks: What objects of the clusters' APIs say besides.
    """

    clusters: tuple[ClusterFacts, ...]
    endpoints: tuple[Endpoint, ...]
    nodes: tuple[NodeFacts, ...] = ()
    remarks: tuple[Remark, ...] = ()


class Prober(Protocol):
    """
    One way to get observations.

    Calls of `probe` and `claims` run beside each other; what raises a SpanbridgeError is
    recorded as not measured, and the run goes on.
    """

    async def survey(self) -> Survey:
        """Find the pods, their addresses, their nodes and clusters."""
        ...

    async def listen(self) -> None:
        """Begin to count what arrives at targets, and frames where they must not be."""
        ...

    async def probe(self, source: Endpoint, target: Endpoint) -> PairProbe:
        """Measure one ordered pair, from within the source's network namespace."""
        ...

    async def claims(self, asker: Endpoint, gateways: tuple[str, ...]) -> tuple[Claim, ...]:
        """Ask by ARP or neighbour solicitation for gateways and the asker's own addresses."""
        ...

    async def strays(self) -> tuple[Stray, ...]:
        """Stop listening, and tell which frames were where they must not be."""
        ...


@dataclass(frozen=True, slots=True)
class RunSettings:
    """
    How to run.

    Attributes:
        concurrency: Probes at a time, over all nodes.
        per_node: Probes at a time that a node takes part in.
        probe_timeout_s: After which a pair counts as not measured.
        all_pairs_max: Pairs up to which all are probed; beyond it, a sample is.
        seed: Of the sample.
    """

    concurrency: int = 32
    per_node: int = 2
    probe_timeout_s: float = 30.0
    all_pairs_max: int = ALL_PAIRS_MAX
    seed: int = 0


@dataclass(slots=True)
class _Run:
    """Probes under way."""

    prober: Prober
    endpoints: dict[str, Endpoint]
    settings: RunSettings
    turns: Turns
    progress: Progress
    total: int
    probes: dict[Pair, PairProbe] = field(default_factory=dict)
    tasks: dict[asyncio.Task[PairProbe], Pair] = field(default_factory=dict)

    async def run(self) -> None:
        """Keep as many probes under way as are allowed, until none is left."""
        async with asyncio.TaskGroup() as group:
            while self.turns or self.tasks:
                self._begin(group)
                done, _ = await asyncio.wait(self.tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    pair = self.tasks.pop(task)
                    self.probes[pair] = task.result()
                    self.turns.end(pair)
                self.progress(len(self.probes), self.total)

    def _begin(self, group: asyncio.TaskGroup) -> None:
        while len(self.tasks) < self.settings.concurrency:
            pair = self.turns.begin()
            if pair is None:
                return
            task = group.create_task(self._probe(pair), name=f"probe {pair[0]} > {pair[1]}")
            self.tasks[task] = pair

    async def _probe(self, pair: Pair) -> PairProbe:
        source, target = (self.endpoints[name] for name in pair)
        limit_s = self.settings.probe_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return await self.prober.probe(source, target)
        except TimeoutError:
            return PairProbe(*pair, error=f"the probe did not end within {limit_s:g} s")
        except SpanbridgeError as error:
            return PairProbe(*pair, error=str(error))


async def observe_mesh(
    prober: Prober,
    expected: Expectations,
    *,
    taken_at: str,
    settings: RunSettings | None = None,
    progress: Progress = lambda _done, _total: None,
) -> Observations:
    """
    Run a verification.

    Args:
        prober: How pairs are measured.
        expected: What the network was meant to be.
        taken_at: Now, as ISO 8601 in UTC.
        settings: How to run.
        progress: Told after each probe.
    """
    chosen = settings or RunSettings()
    survey = await prober.survey()
    plan = plan_sampling(survey.endpoints, all_pairs_max=chosen.all_pairs_max, seed=chosen.seed)
    await prober.listen()
    try:
        probes = await _probe_all(prober, survey, plan, chosen, progress=progress)
        claims = await _ask_all(prober, survey, expected, chosen)
    finally:
        strays = await prober.strays()
    return Observations(
        taken_at=taken_at,
        expected=expected,
        clusters=survey.clusters,
        endpoints=survey.endpoints,
        nodes=survey.nodes,
        probes=probes,
        claims=claims,
        strays=strays,
        sampled_from=plan.total,
        remarks=survey.remarks,
    )


def observe_objects(survey: Survey, expected: Expectations, *, taken_at: str) -> Observations:
    """Take a survey alone for a run, where nobody can probe: no pair is measured."""
    return Observations(
        taken_at=taken_at,
        expected=expected,
        clusters=survey.clusters,
        endpoints=survey.endpoints,
        nodes=survey.nodes,
        sampled_from=plan_sampling(survey.endpoints).total,
        remarks=survey.remarks,
        measured=False,
    )


async def _probe_all(
    prober: Prober,
    survey: Survey,
    plan: SamplingPlan,
    settings: RunSettings,
    *,
    progress: Progress,
) -> tuple[PairProbe, ...]:
    """Probe the pairs of a plan; the order of the result is that of the endpoints."""
    endpoints = {each.name: each for each in survey.endpoints}
    sites = {each.name: each.site for each in survey.endpoints}
    turns = Turns(plan.pairs, sites, per_node=settings.per_node)
    run = _Run(prober, endpoints, settings, turns, progress, len(plan.pairs))
    progress(0, len(plan.pairs))
    await run.run()
    place = {name: at for at, name in enumerate(endpoints)}
    ordered = sorted(run.probes, key=lambda pair: (place[pair[0]], place[pair[1]]))
    return tuple(run.probes[pair] for pair in ordered)


async def _ask_all(
    prober: Prober, survey: Survey, expected: Expectations, settings: RunSettings
) -> tuple[Claim, ...]:
    """Let every endpoint that has an address ask who claims it, or a gateway's."""
    room = asyncio.Semaphore(settings.concurrency)

    async def ask(asker: Endpoint) -> tuple[Claim, ...]:
        async with room:
            try:
                async with asyncio.timeout(settings.probe_timeout_s):
                    return await prober.claims(asker, expected.gateways)
            except (TimeoutError, SpanbridgeError):
                # The pairs of this endpoint say already that nothing can be measured there.
                return ()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(each)) for each in survey.endpoints if each.addresses]
    return tuple(claim for task in tasks for claim in task.result())
