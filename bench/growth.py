# SPDX-License-Identifier: Apache-2.0
"""Planning and linting more and more clusters: how time and memory grow."""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bench.figures import Case, Growth, Target
from bench.launch import BenchError

NODES: Final = 500
"""In each cluster, by name."""

CLUSTERS: Final = (10, 50, 100, 200)

TIME: Final = Target(60, "s")
MEMORY: Final = Target(1536, "MiB")


def growth(
    place: Path, clusters: Sequence[int], nodes: int, say: Callable[[str], None]
) -> tuple[list[Case], list[Growth]]:
    """Plan and lint; the last of ``clusters`` is what was promised."""
    points = []
    for count in clusters:
        say(f"planning and linting {count} clusters of {nodes} nodes")
        points.append(_measure(place / f"clusters-{count}", count, nodes))
    last = points[-1]
    title = f"plan and lint {last.clusters} clusters of {nodes} nodes"
    both = Case("plan-and-lint", title, target=TIME, figure=last.plan_s + last.lint_s)
    both.remark = f"plan {last.plan_s:.1f} s, lint {last.lint_s:.1f} s"
    memory = Case("plan-and-lint-memory", f"{title}, resident", target=MEMORY)
    memory.figure = last.resident_mib
    return [both, memory], points


def _measure(place: Path, clusters: int, nodes: int) -> Growth:
    place.mkdir()
    intent = place / "network.json"
    intent.write_text(json.dumps(_intent(clusters, nodes)))
    plan_s, plan_mib = _run(place, "plan", str(intent), "-o", str(place / "plan"))
    lint_s, lint_mib = _run(place, "lint", str(intent), str(place / "plan"))
    shutil.rmtree(place)
    return Growth(clusters, plan_s, lint_s, max(plan_mib, lint_mib))


def _intent(clusters: int, nodes: int) -> dict[str, object]:
    """Dual stack, whereabouts, each node by its name: the largest intent of those we write."""
    pools = [
        [{"uplink": "eth1", "nodes": [f"node-{cluster}-{node}" for node in range(nodes)]}]
        for cluster in range(clusters)
    ]
    return {
        "apiVersion": "spanbridge.io/v1alpha1",
        "kind": "MigrationNetwork",
        "metadata": {"name": "migration-net"},
        "spec": {
            "vlan": 2,
            "mtu": 9000,
            "subnets": ["10.0.0.0/12", "fd00:88::/64"],
            "clusters": [
                {"name": f"cluster-{cluster}", "nodePools": each}
                for cluster, each in enumerate(pools)
            ],
        },
    }


def _run(place: Path, *words: str) -> tuple[float, float]:
    """Run `spanbridge`; seconds, and MiB resident at most."""
    out = place / "out"
    begun = time.perf_counter()
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "spanbridge.cli", *words],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 1, out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
    )
    _, status, usage = os.wait4(pid, 0)
    taken = time.perf_counter() - begun
    if status:
        raise BenchError(f"spanbridge {words[0]} ended with {status >> 8}: {out.read_text()}")
    return taken, usage.ru_maxrss / 1024
