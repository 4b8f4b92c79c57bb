# SPDX-License-Identifier: Apache-2.0
"""
Verifying from within network namespaces: a prober for everything that is on this machine.

`NamespaceProber` needs to know who is where; `spanbridge.lab.survey` tells it of a lab.
"""

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from spanbridge.base.errors import NodeError
from spanbridge.model.observations import (
    Claim,
    Endpoint,
    Expectations,
    Observations,
    PairProbe,
    Role,
    Stray,
    Throughput,
)
from spanbridge.probing.dial import Credentials, Dialler
from spanbridge.probing.pair import ProbeSettings, ask_claims, common_address, probe_pair
from spanbridge.probing.station import Station
from spanbridge.probing.strays import Device, Watch
from spanbridge.probing.throughput import Bounds, measure_throughput
from spanbridge.stretch.observing import Progress, RunSettings, Survey, observe_mesh


@dataclass(frozen=True, slots=True)
class Scene:
    """
    Who is where.

    Attributes:
        survey: Clusters, endpoints, nodes.
        netns: Name or path of each endpoint's namespace.
        devices: What must not carry the network, and uplinks.
        credentials: What the endpoints of a cluster have when they dial, by its name and
            their role; who is not there does not go beyond TCP.
    """

    survey: Survey
    netns: Mapping[str, str]
    devices: tuple[Device, ...] = ()
    credentials: Mapping[tuple[str, Role], Credentials] = field(default_factory=dict)


class NamespaceProber:
    """
    A prober as `spanbridge.stretch.observing` wants it.

    Args:
        look: Finds out who is where.
        expected: What the network was meant to be.
        settings: How to probe.
    """

    def __init__(
        self, look: Callable[[], Scene], expected: Expectations, settings: ProbeSettings
    ) -> None:
        self._look = look
        self._expected = expected
        self._settings = dataclasses.replace(settings, mtu=settings.mtu or expected.mtu)
        self._scene = Scene(Survey((), ()), {})
        self._stations: dict[str, Station] = {}
        self._troubles: dict[str, NodeError] = {}
        self._diallers: dict[tuple[str, Role], Dialler] = {}
        self._watch: Watch | None = None
        self._stack = contextlib.ExitStack()

    async def survey(self) -> Survey:
        """Look."""
        self._scene = self._look()
        return self._scene.survey

    async def listen(self) -> None:
        """Open the stations of all endpoints that have an address, and watch devices."""
        try:
            for endpoint in self._scene.survey.endpoints:
                if endpoint.addresses:
                    self._open(endpoint)
            for key, credentials in self._scene.credentials.items():
                self._diallers[key] = Dialler(credentials)
            self._watch = Watch(self._scene.devices, self._expected)
            self._stack.callback(self._watch.close)
        except BaseException:
            self._stack.close()
            raise

    def _open(self, endpoint: Endpoint) -> None:
        netns = self._scene.netns[endpoint.name]
        try:
            station = Station.open(endpoint, netns, self._expected.interface)
        except NodeError as exc:
            self._troubles[endpoint.name] = exc
        else:
            self._stations[endpoint.name] = self._stack.enter_context(station)

    def _station(self, endpoint: Endpoint) -> Station:
        if endpoint.name in self._troubles:
            raise self._troubles[endpoint.name]
        return self._stations[endpoint.name]

    async def probe(self, source: Endpoint, target: Endpoint) -> PairProbe:
        """Measure one ordered pair from the source's namespace."""
        if not source.addresses or not target.addresses:
            return PairProbe(source.name, target.name)
        return await probe_pair(
            self._station(source),
            target,
            self._settings,
            ear=self._stations.get(target.name),
            dialler=self._diallers.get((source.cluster, source.role)),
        )

    async def claims(self, asker: Endpoint, gateways: tuple[str, ...]) -> tuple[Claim, ...]:
        """Ask who answers for gateways, and for the asker's own addresses."""
        return await ask_claims(self._station(asker), gateways, self._settings)

    async def strays(self) -> tuple[Stray, ...]:
        """Tell what was seen, and close everything."""
        try:
            return self._watch.read() if self._watch is not None else ()
        finally:
            self._stack.close()
            self._stations.clear()

    async def throughput(self, observations: Observations, bounds: Bounds) -> Observations:
        """Measure one answering pair of each ordered pair of clusters, one after the other."""
        endpoints = {each.name: each for each in observations.endpoints}
        chosen: dict[tuple[str, str], tuple[str, str]] = {}
        for probe in observations.probes:
            if probe.echo is not None and probe.echo.received:
                link = (endpoints[probe.source].cluster, endpoints[probe.target].cluster)
                chosen.setdefault(link, probe.pair)
        measured: dict[tuple[str, str], Throughput] = {}
        for pair in chosen.values():
            # A pair that cannot be measured has been told as such by its probe.
            with contextlib.suppress(NodeError):
                source, target = (endpoints[name] for name in pair)
                measured[pair] = await self._carry(source, target, bounds)
        probes = (
            dataclasses.replace(each, throughput=measured.get(each.pair))
            for each in observations.probes
        )
        return dataclasses.replace(observations, probes=tuple(probes))

    async def _carry(self, source: Endpoint, target: Endpoint, bounds: Bounds) -> Throughput:
        netns, interface = self._scene.netns, self._expected.interface
        with (
            Station.open(source, netns[source.name], interface) as sending,
            Station.open(target, netns[target.name], interface) as taking,
        ):
            address = common_address(source, target)
            pace = self._settings.pace
            return await measure_throughput(sending, taking, address, bounds=bounds, pace=pace)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """
    How a verification runs.

    Attributes:
        run: Which pairs, and how many at a time.
        probe: How each is measured.
        throughput: What measuring it may cost; None does not.
        progress: Told after each probe.
    """

    run: RunSettings = field(default_factory=RunSettings)
    probe: ProbeSettings = field(default_factory=ProbeSettings)
    throughput: Bounds | None = None
    progress: Progress = lambda _done, _total: None


def observe_scene(
    look: Callable[[], Scene], expected: Expectations, options: RunOptions
) -> Observations:
    """
    Run a verification of what is on this machine.

    Args:
        look: Finds out who is where.
        expected: What the network was meant to be.
        options: How.

    Raises:
        NodeError: Something that all probes need is missing.
    """
    return asyncio.run(_observe(look, expected, options))


async def _observe(
    look: Callable[[], Scene], expected: Expectations, options: RunOptions
) -> Observations:
    prober = NamespaceProber(look, expected, options.probe)
    taken_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    found = await observe_mesh(
        prober, expected, taken_at=taken_at, settings=options.run, progress=options.progress
    )
    if options.throughput is None:
        return found
    return await prober.throughput(found, options.throughput)
