# SPDX-License-Identifier: Apache-2.0
"""`spanbridge verify INTENT.yaml`: clusters through their API servers, or saved objects."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from spanbridge.base.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from spanbridge.kube.reading import AgentPod, ClusterApi
    from spanbridge.kube.saved import ClusterObjects
    from spanbridge.kube.sessions import Session
    from spanbridge.model.intent import Cluster, Intent
    from spanbridge.model.observations import Expectations, Observations
    from spanbridge.stretch.api_prober import ReachedCluster

_PROBE: Final = ("spanbridge", "agent", "probe")


@dataclass(frozen=True, slots=True)
class ClusterRun:
    """
    How clusters are observed.

    Attributes:
        intent: The file that says what the network was meant to be, and which clusters.
        objects: Directory with saved objects; None asks the API servers.
        static: Nothing is measured.
        agents: Namespace of the agents' pods.
        kubeconfig: Its file; empty for the usual one.
    """

    intent: Path
    objects: Path | None
    static: bool
    agents: str
    kubeconfig: str = ""


def observe_clusters(run: ClusterRun) -> "Observations":
    """
    Read what the clusters' objects say, and measure unless that is not wanted.

    Raises:
        NodeError: Pairs are to be measured, and no agent can do it.
    """
    from spanbridge.stretch.clusters import expect_ranges, survey_clusters
    from spanbridge.stretch.expect import expect_intent
    from spanbridge.stretch.observing import observe_objects

    intent = _load(run.intent)
    objects = _objects(intent, run)
    expected = expect_ranges(expect_intent(intent), intent, objects)
    if run.objects is None and not run.static:
        return _measure(intent, expected, _reach(intent, objects, run))
    return observe_objects(survey_clusters(intent, objects), expected, taken_at=_now())


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _measure(
    intent: "Intent", expected: "Expectations", clusters: "list[ReachedCluster]"
) -> "Observations":
    import asyncio

    from spanbridge.cli.terminal import progress_bar
    from spanbridge.stretch.api_prober import ApiProber
    from spanbridge.stretch.observing import observe_mesh

    prober = ApiProber(intent, expected, clusters)
    try:
        with progress_bar("probing pairs") as bar:
            return asyncio.run(observe_mesh(prober, expected, taken_at=_now(), progress=bar))
    finally:
        prober.close()


def _reach(
    intent: "Intent", objects: "list[ClusterObjects]", run: ClusterRun
) -> "list[ReachedCluster]":
    """Find the agents of all clusters."""
    from spanbridge.kube.reading import AGENT_LABEL, open_cluster, read_agents
    from spanbridge.stretch.api_prober import ReachedCluster

    found = []
    for cluster, known in zip(intent.clusters, objects, strict=True):
        api = open_cluster(cluster.name, cluster.context, run.kubeconfig)
        pods = read_agents(api, run.agents)
        agents = {node: _starter(api, pod) for node, pod in pods.items()}
        found.append(ReachedCluster(cluster, known, agents))
    if not any(each.agents for each in found):
        raise NodeError(
            "cannot measure pairs: in no cluster an agent's pod runs "
            f"(label {AGENT_LABEL}, namespace {run.agents})",
            hint="name their namespace by --agents; --static judges objects and measures nothing",
        )
    return found


def _starter(api: "ClusterApi", pod: "AgentPod") -> "Callable[[], Session]":
    from spanbridge.kube.sessions import open_session

    return lambda: open_session(api, pod, _PROBE)


def _load(path: Path) -> "Intent":
    from spanbridge.kube.source import read_source
    from spanbridge.stretch.intent_file import find_intent, load_intent

    return load_intent(find_intent(read_source(path), str(path)))


def _objects(intent: "Intent", run: ClusterRun) -> "list[ClusterObjects]":
    """Read all clusters; those of API servers beside each other."""
    if run.objects is not None:
        directory = run.objects
        return [_read_saved(directory, each) for each in intent.clusters]
    from concurrent.futures import ThreadPoolExecutor

    from spanbridge.cli.terminal import progress

    with progress() as steps, ThreadPoolExecutor(len(intent.clusters)) as pool:
        steps(f"reading {len(intent.clusters)} clusters")
        found = list(pool.map(lambda each: _read_live(intent, each, run), intent.clusters))
        steps.done()
    return found


def _read_saved(directory: Path, cluster: "Cluster") -> "ClusterObjects":
    from spanbridge.kube.saved import ClusterObjects, read_saved

    found, seen_at = read_saved(directory, cluster.name)
    return ClusterObjects(cluster.name, cluster.namespace, cluster.context, seen_at, found)


def _read_live(intent: "Intent", cluster: "Cluster", run: ClusterRun) -> "ClusterObjects":
    from spanbridge.kube.reading import open_cluster, read_cluster, wishes
    from spanbridge.stretch.clusters import hyperconverged_version

    api = open_cluster(cluster.name, cluster.context, run.kubeconfig)
    return read_cluster(
        api, cluster.namespace, wishes(intent.name, hyperconverged_version(cluster))
    )
