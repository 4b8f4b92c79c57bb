# SPDX-License-Identifier: Apache-2.0
"""The observations as the checks look at them: by name, by node, by cluster."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from spanbridge.model.observations import (
    ClusterFacts,
    Endpoint,
    Expectations,
    NodeFacts,
    Observations,
    PairProbe,
)
from spanbridge.model.verdict import Lost, Pair, PairVerdict, Trouble
from spanbridge.stretch.diagnose.culprits import fields, site_words
from spanbridge.stretch.diagnose.localise import Scope, Suspect, Way
from spanbridge.stretch.judge import expected_mtu

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """
    Observations with what was judged, by the names that checks look for.

    Attributes:
        observations: As they came.
        endpoints: By name.
        nodes: By site.
        clusters: By name.
        probes: By pair, in their order.
        verdicts: The same.
        at_endpoint: Pairs that begin or end at an endpoint, by its name.
        at_site: Pairs of different nodes that begin or end at a node, by site.
        mtu: What every path must carry.
    """

    observations: Observations
    endpoints: Mapping[str, Endpoint]
    nodes: Mapping[str, NodeFacts]
    clusters: Mapping[str, ClusterFacts]
    probes: Mapping[Pair, PairProbe]
    verdicts: Mapping[Pair, PairVerdict]
    at_endpoint: Mapping[str, Sequence[Pair]]
    at_site: Mapping[str, Sequence[Pair]]
    mtu: int

    @property
    def expected(self) -> Expectations:
        """What the network was meant to be."""
        return self.observations.expected

    def site(self, endpoint: str) -> str:
        """Name the node of an endpoint."""
        return self.endpoints[endpoint].site

    def having(self, trouble: Trouble, excused: frozenset[Pair]) -> list[PairProbe]:
        """Find the probes with a trouble that nothing explains yet."""
        return [
            probe
            for pair, probe in self.probes.items()
            if pair not in excused and trouble in self.verdicts[pair].troubles
        ]

    def touching(self, endpoints: Iterable[str], *, bad: bool = True) -> tuple[Pair, ...]:
        """Find the pairs at one of ``endpoints``; ``bad`` leaves out those that are fine."""
        found = dict.fromkeys(pair for name in endpoints for pair in self.at_endpoint.get(name, ()))
        return tuple(pair for pair in found if not bad or self.verdicts[pair].troubles)

    def namespace(self, cluster: str) -> str:
        """Name the namespace of KubeVirt."""
        facts = self.clusters.get(cluster)
        return facts.namespace if facts else "kubevirt"

    def pod_fields(self, endpoint: Endpoint) -> Fields:
        """Make the fields of sentences about one pod."""
        return fields(
            pod=str(endpoint.role),
            pod_name=endpoint.pod,
            namespace=self.namespace(endpoint.cluster),
        )


def build_matrix(observations: Observations, verdicts: tuple[PairVerdict, ...]) -> Matrix:
    """Index observations; every check then looks only at the pairs that concern it."""
    endpoints = {each.name: each for each in observations.endpoints}
    at_endpoint: dict[str, list[Pair]] = defaultdict(list)
    at_site: dict[str, list[Pair]] = defaultdict(list)
    for each in verdicts:
        sites = {endpoints[name].site for name in each.pair}
        for name in each.pair:
            at_endpoint[name].append(each.pair)
        for site in sites if len(sites) > 1 else ():
            at_site[site].append(each.pair)
    return Matrix(
        observations=observations,
        endpoints=endpoints,
        nodes={each.site: each for each in observations.nodes},
        clusters={each.name: each for each in observations.clusters},
        probes={each.pair: each for each in observations.probes},
        verdicts={each.pair: each for each in verdicts},
        at_endpoint=at_endpoint,
        at_site=at_site,
        mtu=expected_mtu(observations),
    )


def place_words(matrix: Matrix, suspect: Suspect) -> str:
    """Name a place in a sentence, such as ``clusters east and west``."""
    names = suspect.names
    match suspect.scope:
        case Scope.MESH:
            return "the whole network"
        case Scope.NODE:
            return site_words(names[0])
        case Scope.CLUSTER:
            return f"cluster {names[0]}"
        case Scope.LINK:
            return f"clusters {names[0]} and {names[1]}"
        case Scope.POD:
            return pod_words(matrix.endpoints[names[0]])
        case Scope.PAIR:
            return " and ".join(pod_words(matrix.endpoints[name]) for name in names)


def pod_words(endpoint: Endpoint) -> str:
    """Name a pod by what it is and where it runs."""
    return f"the {endpoint.role} on {site_words(endpoint.site)}"


def way_words(matrix: Matrix, suspect: Suspect) -> str:
    """Name a direction, such as ``cluster east to cluster west``."""
    names = list(suspect.names if suspect.way is not Way.IN else reversed(suspect.names))
    if suspect.scope is Scope.LINK:
        return f"cluster {names[0]} to cluster {names[1]}"
    if suspect.scope is Scope.PAIR:
        return " to ".join(pod_words(matrix.endpoints[name]) for name in names)
    place = place_words(matrix, suspect)
    return f"{place} to anybody" if suspect.way is Way.OUT else f"anybody to {place}"


def within_words(matrix: Matrix, suspect: Suspect) -> str:
    """Say where something happens, such as ``between clusters east and west``."""
    if suspect.way is not Way.BOTH:
        return f"from {way_words(matrix, suspect)}"
    place = place_words(matrix, suspect)
    if suspect.scope in {Scope.LINK, Scope.PAIR}:
        return f"between {place}"
    if suspect.scope is Scope.CLUSTER:
        return f"between {place} and the others"
    return "everywhere" if suspect.scope is Scope.MESH else f"to and from {place}"


def suspect_sites(matrix: Matrix, suspect: Suspect) -> tuple[str, ...]:
    """Name the nodes that a suspect is about; none for what lies between nodes."""
    if suspect.scope is Scope.NODE:
        return suspect.names
    if suspect.scope is Scope.POD:
        return (matrix.site(suspect.names[0]),)
    return ()


def suspect_links(matrix: Matrix, suspect: Suspect) -> tuple[Pair, ...]:
    """Name the pairs of clusters that a suspect lies between."""
    if suspect.scope is Scope.LINK:
        return ((suspect.names[0], suspect.names[1]),)
    if suspect.scope is Scope.CLUSTER:
        here = suspect.names[0]
        others = sorted({each.cluster for each in matrix.endpoints.values()} - {here})
        return tuple((min(here, other), max(here, other)) for other in others)
    return ()


def reach_paths(matrix: Matrix, excused: frozenset[Pair]) -> tuple[set[Pair], set[Pair]]:
    """
    Tell which directions are broken, and which are fine.

    An unanswered question may have been lost on its way, or its answer: where somebody
    listened at the target, or the opposite pair works, that is known.
    """
    failed: set[Pair] = set()
    fine: set[Pair] = set()
    for pair, verdict in matrix.verdicts.items():
        if pair in excused or _unasked(verdict):
            continue
        if Trouble.NO_ANSWER not in verdict.troubles:
            fine.add(pair)
        elif verdict.lost is Lost.BACK:
            fine.add(pair)
            failed.add(pair[::-1])
        else:
            failed.add(pair)
    return failed, fine - failed


def _unasked(verdict: PairVerdict) -> bool:
    return bool({Trouble.UNMEASURED, Trouble.NO_ADDRESS, Trouble.NO_FAMILY} & set(verdict.troubles))
