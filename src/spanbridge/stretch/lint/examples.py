# SPDX-License-Identifier: Apache-2.0
"""The examples of rules, ready to be linted or shown."""

from collections.abc import Mapping

from spanbridge.kube.collect import ClusterFiles
from spanbridge.kube.source import Document, SourceError, SourceText, parse_source
from spanbridge.model.findings import Position
from spanbridge.stretch.lint.registry import MARKER


def unmarked(files: Mapping[str, str]) -> dict[str, str]:
    """Take the markers out."""
    return {name: text.replace(MARKER, "") for name, text in files.items()}


def marked_place(files: Mapping[str, str]) -> Position | None:
    """Find the marker; None where there is none."""
    for name, text in files.items():
        if MARKER in text:
            return SourceText(name, text).position(text.index(MARKER))
    return None


def as_clusters(files: Mapping[str, str]) -> list[ClusterFiles]:
    """Sort files into clusters by their directories."""
    clusters: dict[str, dict[str, str]] = {}
    for name, text in unmarked(files).items():
        clusters.setdefault(name.rpartition("/")[0], {})[name] = text
    return [_cluster(name, texts) for name, texts in clusters.items()]


def _cluster(name: str, files: Mapping[str, str]) -> ClusterFiles:
    documents: list[Document] = []
    faults: list[SourceError] = []
    for file, text in files.items():
        try:
            documents += parse_source(text, file)
        except SourceError as exc:
            faults.append(exc)
    return ClusterFiles(name, tuple(documents), tuple(faults), tuple(files))
