# SPDX-License-Identifier: Apache-2.0
"""
Verifying clusters through their API servers: a prober whose hands are the nodes' agents.

On every node that has a pod of the network, `spanbridge agent probe` runs in the agent's pod
for as long as the verification; see `spanbridge.agent.probe` for what they say to each other.
"""

import asyncio
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from spanbridge.base.errors import NodeError, SpanbridgeError
from spanbridge.kube.saved import BUNDLE, ClusterObjects, metadata
from spanbridge.model.compact import parse_compact, render_compact
from spanbridge.model.intent import Cluster, Intent, NodePool, PluginKind
from spanbridge.model.observations import (
    Claim,
    Endpoint,
    Expectations,
    NodeFacts,
    PairProbe,
    Stray,
)
from spanbridge.stretch.clusters import survey_clusters
from spanbridge.stretch.observing import Survey

if TYPE_CHECKING:
    from concurrent.futures import Future

PROTOCOL: Final = 1
"""Of `spanbridge.agent.probe`."""

_AT_ONCE: Final = 16
"""Sessions that are opened at a time."""

_ANSWER_S: Final = 60.0
"""For what looks at a whole node; probes have a limit of their own."""


class Asked(Protocol):
    """A program that answers, such as `spanbridge.kube.sessions.Session`."""

    hello: "Future[dict[str, Any]]"

    def ask(self, request: Mapping[str, object]) -> "Future[dict[str, Any]]":
        """Send a request."""
        ...

    def close(self) -> None:
        """End it."""
        ...


@dataclass(frozen=True, slots=True)
class ReachedCluster:
    """
    A cluster whose agents can be reached.

    Attributes:
        cluster: Of the intent.
        objects: What its API server said.
        agents: Starts `agent probe` on a node, by the node's name; blocks.
    """

    cluster: Cluster
    objects: ClusterObjects
    agents: Mapping[str, Callable[[], Asked]]


class ApiProber:
    """
    A prober as `spanbridge.stretch.observing` wants it.

    Args:
        intent: What the network was meant to be.
        expected: The same, for a verification.
        clusters: All of the intent.
    """

    def __init__(
        self, intent: Intent, expected: Expectations, clusters: Sequence[ReachedCluster]
    ) -> None:
        self._intent = intent
        self._expected = expected
        self._clusters = {each.cluster.name: each for each in clusters}
        self._sessions: dict[str, Asked] = {}
        self._troubles: dict[str, NodeError] = {}
        self._known = "".join(_bundle(each.objects) for each in clusters)

    async def survey(self) -> Survey:
        """Read the objects, and let every agent look at its own node."""
        base = survey_clusters(self._intent, [each.objects for each in self._clusters.values()])
        sites: dict[tuple[str, str], list[Endpoint]] = {}
        for each in base.endpoints:
            sites.setdefault((each.cluster, each.node), []).append(each)
        room = asyncio.Semaphore(_AT_ONCE)

        async def look(site: tuple[str, str]) -> tuple[NodeFacts, tuple[Endpoint, ...]]:
            async with room:
                return await self._look(*site, sites[site])

        found = await asyncio.gather(*map(look, sites))
        seen = {each.name: each for _, endpoints in found for each in endpoints}
        return dataclasses.replace(
            base,
            endpoints=tuple(seen.get(each.name, each) for each in base.endpoints),
            nodes=tuple(facts for facts, _ in found),
        )

    async def _look(
        self, cluster: str, node: str, endpoints: Sequence[Endpoint]
    ) -> tuple[NodeFacts, tuple[Endpoint, ...]]:
        site = f"{cluster}/{node}"
        # Where another plugin attaches pods, the node does not depend on our agent.
        silent = False if self._attaches(cluster) else None
        try:
            session = await asyncio.to_thread(self._start, cluster, node)
            self._sessions[site] = session
            request = self._looking(cluster, node, endpoints)
            answer = await asyncio.wait_for(asyncio.wrap_future(session.ask(request)), _ANSWER_S)
            facts = parse_compact(NodeFacts, answer.get("node"), "/node")
            seen = tuple(parse_compact(Endpoint, each) for each in answer.get("endpoints") or ())
        except TimeoutError:
            error = NodeError(f"cannot probe from {site}: its agent did not answer")
            self._troubles |= {each.name: error for each in endpoints}
            return NodeFacts(cluster, node, agent=silent), ()
        except SpanbridgeError as caught:
            error = NodeError(f"cannot probe from {site}: {caught}")
            self._troubles |= {each.name: error for each in endpoints}
            return NodeFacts(cluster, node, agent=silent), ()
        missing = answer.get("missing") or {}
        self._troubles |= {str(name): NodeError(str(why)) for name, why in missing.items()}
        return facts, seen

    def _attaches(self, cluster: str) -> bool:
        """Tell whether our agent attaches the pods of a cluster."""
        return self._clusters[cluster].cluster.plugin is PluginKind.SPANBRIDGE

    def _start(self, cluster: str, node: str) -> Asked:
        start = self._clusters[cluster].agents.get(node)
        if start is None:
            raise NodeError("no agent runs there")
        session = start()
        spoken = session.hello.result().get("protocol")
        if spoken != PROTOCOL:
            session.close()
            raise NodeError(
                f"its agent speaks protocol {spoken}, this program {PROTOCOL}",
                hint="use one release of Spanbridge on both",
            )
        return session

    def _looking(self, cluster: str, node: str, endpoints: Sequence[Endpoint]) -> dict[str, object]:
        reached = self._clusters[cluster]
        pool = _pool_of(reached, node)
        return {
            "do": "look",
            "cluster": cluster,
            "node": node,
            "expected": render_compact(self._expected),
            "bridge": pool.bridge if pool else "",
            "uplink": pool.uplink if pool else "",
            "agent": self._attaches(cluster),
            "trusted": _bundle(reached.objects),
            "known": self._known,
            "pods": [
                {
                    "endpoint": render_compact(each),
                    "namespace": reached.objects.namespace,
                    "containers": _containers(reached.objects, each.pod),
                }
                for each in endpoints
            ],
        }

    def _session(self, endpoint: Endpoint) -> Asked:
        if endpoint.name in self._troubles:
            raise self._troubles[endpoint.name]
        return self._sessions[endpoint.site]

    async def listen(self) -> None:
        """Let every agent watch the devices that must not carry the network."""
        await asyncio.gather(*(self._watch(site) for site in self._sessions))

    async def _watch(self, site: str) -> None:
        try:
            answer = asyncio.wrap_future(self._sessions[site].ask({"do": "listen"}))
            await asyncio.wait_for(answer, _ANSWER_S)
        except (TimeoutError, NodeError):
            # Without a watch nothing is seen going astray there; the pairs are measured.
            return

    async def probe(self, source: Endpoint, target: Endpoint) -> PairProbe:
        """Measure one ordered pair from the source's own namespace."""
        if not source.addresses or not target.addresses:
            return PairProbe(source.name, target.name)
        request = {"do": "probe", "source": source.name, "target": render_compact(target)}
        answer = await asyncio.wrap_future(self._session(source).ask(request))
        return parse_compact(PairProbe, answer.get("probe"), "/probe")

    async def claims(self, asker: Endpoint, gateways: tuple[str, ...]) -> tuple[Claim, ...]:
        """Ask who answers for gateways, and for the asker's own addresses."""
        request = {"do": "claims", "asker": asker.name, "gateways": list(gateways)}
        answer = await asyncio.wrap_future(self._session(asker).ask(request))
        return tuple(parse_compact(Claim, each) for each in answer.get("claims") or ())

    async def strays(self) -> tuple[Stray, ...]:
        """Tell what went astray, and end all programs."""
        try:
            found = await asyncio.gather(*(self._strays_of(site) for site in self._sessions))
        finally:
            await asyncio.to_thread(self.close)
        return tuple(stray for part in found for stray in part)

    async def _strays_of(self, site: str) -> tuple[Stray, ...]:
        try:
            answer = asyncio.wrap_future(self._sessions[site].ask({"do": "strays"}))
            said = await asyncio.wait_for(answer, _ANSWER_S)
        except (TimeoutError, NodeError):
            return ()
        return tuple(parse_compact(Stray, each) for each in said.get("strays") or ())

    def close(self) -> None:
        """End all programs; a second time does nothing."""
        while self._sessions:
            _, session = self._sessions.popitem()
            session.close()


def _bundle(objects: ClusterObjects) -> str:
    data = (objects.named("ConfigMap", BUNDLE) or {}).get("data")
    text = data.get("ca-bundle") if isinstance(data, Mapping) else None
    return text if isinstance(text, str) else ""


def _containers(objects: ClusterObjects, pod: str) -> list[str]:
    status = (objects.named("Pod", pod) or {}).get("status")
    listed = status.get("containerStatuses") if isinstance(status, Mapping) else None
    every = listed if isinstance(listed, list) else []
    return [str(each.get("containerID") or "") for each in every if isinstance(each, dict)]


def _pool_of(reached: ReachedCluster, node: str) -> NodePool | None:
    """Find the pool of a node: by its name, by its labels, or because there is one alone."""
    pools = reached.cluster.pools
    named = next((each for each in pools if node in each.nodes), None)
    if named is not None or len(pools) == 1:
        return named or pools[0]
    items = reached.objects.found.get("Node", ())
    item = next((each for each in items if metadata(each).get("name") == node), None)
    found = metadata(item or {}).get("labels")
    labels = found if isinstance(found, Mapping) else {}
    fitting = [
        each
        for each in pools
        if each.node_selector and all(labels.get(key) == value for key, value in each.node_selector)
    ]
    return fitting[0] if len(fitting) == 1 else None
