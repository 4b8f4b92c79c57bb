# SPDX-License-Identifier: Apache-2.0
"""
What the objects of an intent's clusters say, as a verification wants it; pure.

How they were had, from API servers or from files, makes no difference.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations

from spanbridge.base.errors import ConfigError
from spanbridge.kube.saved import ClusterObjects
from spanbridge.kube.settings import Wanted, read_conf
from spanbridge.kube.survey import survey_objects
from spanbridge.model.intent import Cluster, HyperConvergedApi, Intent
from spanbridge.model.observations import AddressRange, Expectations, Remark
from spanbridge.model.spans import Span, union
from spanbridge.stretch.lint.pools import free_of, read_ipam
from spanbridge.stretch.observing import Survey

Ranges = Mapping[str, Sequence[Span]]
"""What each cluster's network hands out, by its name; not there where it cannot be told."""


def hyperconverged_version(cluster: Cluster) -> str:
    """Name the version of the HyperConverged API; empty where the cluster has none."""
    none = cluster.hyperconverged is HyperConvergedApi.NONE
    return "" if none else str(cluster.hyperconverged)


def survey_clusters(intent: Intent, clusters: Sequence[ClusterObjects]) -> Survey:
    """Tell who is on the network of an intent, and what speaks against migrations."""
    found = survey_objects(clusters, Wanted(intent.name, intent.vlan, intent.mtu))
    remarks = (*found.remarks, *_judge_ranges(intent.name, clusters, read_ranges(intent, clusters)))
    return Survey(found.clusters, found.endpoints, remarks=remarks)


def expect_ranges(
    expected: Expectations, intent: Intent, clusters: Sequence[ClusterObjects]
) -> Expectations:
    """Add what each cluster hands out, by its own network: there a pod's address must be of."""
    ranges = tuple(
        AddressRange(name, str(span.first), str(span.last))
        for name, spans in read_ranges(intent, clusters).items()
        for span in spans
    )
    return dataclasses.replace(expected, ranges=ranges)


def read_ranges(intent: Intent, clusters: Sequence[ClusterObjects]) -> Ranges:
    """Read what each cluster's network hands out; nothing for DHCP, and for files on nodes."""
    found: dict[str, Sequence[Span]] = {}
    for objects in clusters:
        item = objects.named("NetworkAttachmentDefinition", intent.name)
        try:
            conf = read_conf(item) if item is not None else None
        except ConfigError:
            # The survey says so already.
            continue
        pools = read_ipam(conf).pools if conf is not None else ()
        spans = union(span for pool in pools for span in free_of(pool))
        if spans:
            found[objects.name] = spans
    return found


def _judge_ranges(
    network: str, clusters: Iterable[ClusterObjects], ranges: Ranges
) -> Iterator[Remark]:
    """Find addresses that two clusters both hand out: each knows its own pods alone."""
    by_name = {each.name: each for each in clusters}
    for first, second in combinations(ranges, 2):
        shared = list(_shared(ranges[first], ranges[second]))
        if shared:
            objects = by_name[second]
            yield Remark(
                cluster=second,
                subject=f"NetworkAttachmentDefinition {objects.namespace}/{network}",
                what=f"it hands out {', '.join(map(str, shared))}, and so does cluster {first}",
                pointer="/spec/config/ipam",
                then="pods of both get one address, and answer for each other",
                remedy="plan again: spanbridge plan gives each cluster its own part",
                grave=True,
            )


def _shared(first: Sequence[Span], second: Sequence[Span]) -> Iterator[Span]:
    for one in first:
        for other in second:
            if one.overlaps(other):
                yield Span(max(one.first, other.first), min(one.last, other.last))
