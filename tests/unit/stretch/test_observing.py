# SPDX-License-Identifier: Apache-2.0
"""A run keeps within its limits, and goes on where a probe fails."""

import asyncio
from collections import Counter

import pytest

from spanbridge.base.errors import NodeError
from spanbridge.model.observations import Claim, Endpoint, Observations, PairProbe
from spanbridge.model.verdict import PairState
from spanbridge.stretch.observing import RunSettings, observe_mesh
from spanbridge.stretch.verify import verify
from spanbridge.testing.mesh import MeshProber, build_mesh


class _Watched(MeshProber):
    """Yields in each probe, and notes who is probed at the same time."""

    def __init__(self, sizes: dict[str, int]) -> None:
        super().__init__(build_mesh(sizes))
        self.busy: Counter[str] = Counter()
        self.most = 0
        self.most_per_node = 0
        self.listened: list[str] = []

    async def probe(self, source: Endpoint, target: Endpoint) -> PairProbe:
        sites = {source.site, target.site}
        self.busy.update(sites)
        self.most = max(self.most, sum(self.busy.values()) // 2)
        self.most_per_node = max(self.most_per_node, *self.busy.values())
        await asyncio.sleep(0)
        self.busy.subtract(sites)
        return await super().probe(source, target)


class _Faulty(MeshProber):
    """Fails in one way for each of three sources."""

    async def probe(self, source: Endpoint, target: Endpoint) -> PairProbe:
        if source.name == "east/virt-handler-1":
            raise NodeError("cannot enter the pod: it is gone")
        if source.name == "east/virt-handler-2":
            await asyncio.sleep(60)
        return await super().probe(source, target)

    async def claims(self, asker: Endpoint, gateways: tuple[str, ...]) -> tuple[Claim, ...]:
        if asker.name == "east/virt-handler-1":
            raise NodeError("cannot enter the pod: it is gone")
        return await super().claims(asker, gateways)


def _run(prober: MeshProber, settings: RunSettings, told: list[tuple[int, int]]) -> Observations:
    expected = build_mesh({"east": 1}).expected
    return asyncio.run(
        observe_mesh(
            prober,
            expected,
            taken_at="now",
            settings=settings,
            progress=lambda done, total: told.append((done, total)),
        )
    )


def test_no_more_probes_run_at_a_time_than_allowed() -> None:
    prober = _Watched({"east": 6, "west": 6})
    _run(prober, RunSettings(concurrency=5, per_node=2), [])
    assert 3 <= prober.most <= 5
    assert prober.most_per_node == 2


def test_progress_goes_from_none_to_all() -> None:
    told: list[tuple[int, int]] = []
    seen = _run(_Watched({"east": 3, "west": 3}), RunSettings(), told)
    total = len(seen.probes)
    assert total == seen.sampled_from == 32
    assert told[0] == (0, total)
    assert told[-1] == (total, total)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_probe_that_fails_or_hangs_is_recorded_and_the_others_go_on() -> None:
    prober = _Faulty(build_mesh({"east": 3, "west": 2}, sync=False))
    seen = _run(prober, RunSettings(probe_timeout_s=0.05), [])
    errors = {each.source: each.error for each in seen.probes}
    assert errors["east/virt-handler-1"] == "cannot enter the pod: it is gone"
    assert errors["east/virt-handler-2"] == "the probe did not end within 0.05 s"
    assert not errors["east/virt-handler-3"]
    verdict = verify(seen)
    assert verdict.counts[PairState.UNKNOWN] == 8
    assert [each.code for each in verdict.diagnoses] == ["SBV71", "SBV71"]
    assert not verdict.passed


def test_observations_come_in_the_order_of_the_endpoints_whoever_is_first() -> None:
    seen = _run(_Watched({"east": 4, "west": 4}), RunSettings(seed=3), [])
    other = _run(_Watched({"east": 4, "west": 4}), RunSettings(seed=4), [])
    assert [each.pair for each in seen.probes] == [each.pair for each in other.probes]


def test_a_bug_in_a_prober_ends_the_run_after_listening_has_ended() -> None:
    ended = []

    class Broken(MeshProber):
        async def probe(self, source: Endpoint, target: Endpoint) -> PairProbe:
            raise ZeroDivisionError(f"{source.name} > {target.name}")

        async def strays(self) -> tuple[()]:
            ended.append(True)
            return ()

    with pytest.raises(ExceptionGroup):
        _run(Broken(build_mesh({"east": 2})), RunSettings(), [])
    assert ended
