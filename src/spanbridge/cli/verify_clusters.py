# SPDX-License-Identifier: Apache-2.0
"""`spanbridge verify INTENT.yaml`: clusters through their API servers, or saved objects."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from spanbridge.base.errors import NodeError

if TYPE_CHECKING:
    from spanbridge.kube.saved import ClusterObjects
    from spanbridge.model.intent import Cluster, Intent
    from spanbridge.model.observations import Observations


@dataclass(frozen=True, slots=True)
class ClusterRun:
    """
    How clusters are observed.

    Attributes:
        intent: The file that says what the network was meant to be, and which clusters.
        objects: Directory with saved objects; None asks the API servers.
        static: Nothing is measured.
        kubeconfig: Its file; empty for the usual one.
    """

    intent: Path
    objects: Path | None
    static: bool
    kubeconfig: str = ""


def observe_clusters(run: ClusterRun) -> "Observations":
    """
    Read what the clusters' objects say.

    Raises:
        NodeError: Pairs were to be measured, and nothing does that yet.
    """
    from spanbridge.stretch.clusters import expect_ranges, survey_clusters
    from spanbridge.stretch.expect import expect_intent
    from spanbridge.stretch.observing import observe_objects

    if run.objects is None and not run.static:
        raise NodeError(
            "cannot measure pairs of clusters: no agent does that through an API server yet",
            hint="--static judges what the clusters' objects say, and measures nothing",
        )
    intent = _load(run.intent)
    objects = _objects(intent, run)
    expected = expect_ranges(expect_intent(intent), intent, objects)
    taken_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return observe_objects(survey_clusters(intent, objects), expected, taken_at=taken_at)


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
