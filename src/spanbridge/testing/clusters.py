# SPDX-License-Identifier: Apache-2.0
"""Saved clusters: a place where the scripts of a plan run against objects in files."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


class SavedClusters:
    """
    Saved clusters, and scripts run against them.

    Attributes:
        saved: Where their objects are.
        plan: Where the files of the plan are.
    """

    def __init__(self, place: Path) -> None:
        self.saved, self.plan, self._bin = (place / name for name in ("saved", "plan", "bin"))
        for each in (self.saved, self.plan, self._bin):
            each.mkdir()
        kubectl = self._bin / "kubectl"
        kubectl.write_text(f'#!/bin/sh\nexec {sys.executable} -m spanbridge.testing.kubectl "$@"\n')
        kubectl.chmod(0o755)

    def save(self, context: str, resource: str, item: dict[str, Any]) -> None:
        """Put an object into a cluster."""
        meta = item["metadata"]
        path = self.saved / context / resource / meta.get("namespace", "_") / f"{meta['name']}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(item))

    def read(self, context: str, resource: str, name: str) -> dict[str, Any]:
        """Read an object back, wherever its namespace."""
        (path,) = (self.saved / context / resource).glob(f"*/{name}.json")
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def run(self, *words: str, cwd: str = ".") -> subprocess.CompletedProcess[str]:
        """Run a script of the plan, or any command, with our kubectl."""
        environ = {
            "PATH": f"{self._bin}:{os.environ['PATH']}",
            "SAVED_CLUSTERS": str(self.saved),
            "PATIENCE": "2",
            "PAUSE": "0.1",
        }
        return subprocess.run(
            words,
            cwd=self.plan / cwd,
            env=os.environ | environ,
            capture_output=True,
            text=True,
            check=False,
        )


def save_openshift(made: SavedClusters, context: str) -> None:
    """Save what OpenShift Virtualization leaves behind: three virt-handlers, two sync pods."""
    namespace = "openshift-cnv"
    made.save(context, "namespaces", {"kind": "Namespace", "metadata": {"name": namespace}})
    for resource, item in _openshift_objects(namespace):
        made.save(context, resource, item)
    for number, kind in enumerate(["virt-handler"] * 3 + ["virt-synchronization-controller"] * 2):
        meta = {"name": f"{kind}-{number}", "namespace": namespace, "labels": {"kubevirt.io": kind}}
        pod = {"kind": "Pod", "metadata": meta, "spec": {"nodeName": f"{context}-{number}"}}
        made.save(context, "pods", pod)
    body = {"ca-bundle": make_certificate(context)}
    meta = {"name": "kubevirt-ca", "namespace": namespace}
    made.save(context, "configmaps", {"kind": "ConfigMap", "metadata": meta, "data": body})


def _openshift_objects(namespace: str) -> list[tuple[str, dict[str, Any]]]:
    hco = {
        "apiVersion": "hco.kubevirt.io/v1beta1",
        "kind": "HyperConverged",
        "metadata": {"name": "kubevirt-hyperconverged", "namespace": namespace},
        "spec": {
            "featureGates": {"decentralizedLiveMigration": False, "downwardMetrics": True},
            "liveMigrationConfig": {"parallelMigrationsPerCluster": 5},
        },
    }
    kubevirt = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "KubeVirt",
        "metadata": {"name": "kubevirt", "namespace": namespace},
        "spec": {},
    }
    handler = {
        "kind": "DaemonSet",
        "metadata": {"name": "virt-handler", "namespace": namespace},
        "spec": {"template": {"metadata": {}}},
    }
    networks = {
        "apiVersion": "operator.openshift.io/v1",
        "kind": "Network",
        "metadata": {"name": "cluster"},
        "spec": {"additionalNetworks": [{"name": "other", "rawCNIConfig": "{}"}]},
    }
    return [
        ("hyperconvergeds.hco.kubevirt.io", hco),
        ("kubevirts.kubevirt.io", kubevirt),
        ("daemonsets.apps", handler),
        ("networks.operator.openshift.io", networks),
    ]


@functools.cache
def make_certificate(name: str, days: int = 2) -> str:
    """Make a real certificate authority, valid from now on, as openssl does."""
    done = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", "/dev/null", "-subj", f"/CN=kubevirt.io@{name}",
         "-days", str(days)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout
