# SPDX-License-Identifier: Apache-2.0
"""
Where everything stands in the drawing of the network; numbers only, no markup.

Clusters stand beside each other above a bar that is the fabric, each node with its pods,
its bridge and the line of its uplink; in a second row where they do not fit. Of a large
cluster only some nodes are drawn, those that are to blame first.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from spanbridge.model.observations import Endpoint, NodeFacts, Role
from spanbridge.model.verdict import Diagnosis, Pair, Verdict
from spanbridge.report.verdict_views import cluster_names

NODE_WIDTH: Final = 150
_NODE_BASE: Final = 74
"""Height of a node without its pods."""
_POD_HEIGHT: Final = 18
UPLINK_HEIGHT: Final = 58
BAR_HEIGHT: Final = 30
_GAP: Final = 12
_HEAD: Final = 34
_ROW_WIDTH: Final = 1390
_NODES_MAX: Final = 4
_PODS_MAX: Final = 3
_ARC_STEP: Final = 34
_BOW_STEP: Final = 34

_ROLES: Final = {Role.HANDLER: "handler", Role.LEADER: "leader", Role.STANDBY: "standby"}

_UPLINK_CODES: Final = {
    *("SBV01", "SBV02", "SBV03", "SBV04", "SBV05", "SBV06"),
    *("SBV10", "SBV14", "SBV41", "SBV42"),
}
"""Causes that lie between a node's bridge and the fabric; the others are the node's own."""


@dataclass(frozen=True, slots=True)
class NodeBox:
    """
    One node.

    Attributes:
        x: Left edge.
        y: Upper edge.
        name: Of the node.
        pods: Role and address of each pod that is named.
        bridge: Name of the bridge; empty where nobody looked.
        uplink: Name of the uplink; empty where there is none, or nobody looked.
        carries: Whether the uplink carries the network's VLAN, as far as is known.
        codes: Causes that blame the node.
        broken: Whether one of them lies on the uplink.
        words: What a reader hears of it.
    """

    x: int
    y: int
    name: str
    pods: tuple[tuple[str, str], ...]
    bridge: str
    uplink: str
    carries: bool
    codes: tuple[str, ...]
    broken: bool
    words: str

    @property
    def middle(self) -> int:
        """Where the uplink leaves."""
        return self.x + NODE_WIDTH // 2


@dataclass(frozen=True, slots=True)
class ClusterBox:
    """One cluster; ``hidden`` nodes are not drawn."""

    x: int
    y: int
    width: int
    name: str
    nodes: tuple[NodeBox, ...]
    hidden: int

    @property
    def middle(self) -> int:
        """Where a link to another cluster is drawn from."""
        return self.x + self.width // 2


@dataclass(frozen=True, slots=True)
class Arc:
    """A broken way between two clusters, drawn below the fabric."""

    start: int
    end: int
    y: int
    depth: int
    codes: tuple[str, ...]
    words: str


@dataclass(frozen=True, slots=True)
class Bow:
    """A broken way between two clusters of different rows, drawn beside the fabric."""

    start_x: int
    start_y: int
    end_x: int
    end_y: int
    x: int
    label: str
    words: str

    @property
    def label_width(self) -> int:
        """Room that the label takes."""
        return 20 + 7 * len(self.label)


@dataclass(frozen=True, slots=True)
class Row:
    """Clusters beside each other, and the part of the fabric below them."""

    clusters: tuple[ClusterBox, ...]
    bar_y: int
    width: int
    arcs: tuple[Arc, ...]


@dataclass(frozen=True, slots=True)
class Drawing:
    """The whole drawing."""

    width: int
    height: int
    node_height: int
    rows: tuple[Row, ...]
    bows: tuple[Bow, ...]


def draw_topology(verdict: Verdict) -> Drawing:
    """Lay out the network."""
    groups = _pack(verdict)
    links = _broken_links(verdict.diagnoses)
    rows: list[Row] = []
    y, tall = 0, _node_height(verdict)
    for group in groups:
        row = _row(verdict, group, links, y=y, tall=tall)
        rows.append(row)
        y = row.bar_y + BAR_HEIGHT + _ARC_STEP * len(row.arcs) + (40 if row.arcs else 26)
    width = max((row.width for row in rows), default=0)
    bows = tuple(_bows(rows, links, width))
    whole = max([width, *(each.x + each.label_width for each in bows)])
    return Drawing(whole, max(0, y - 18), tall, tuple(rows), bows)


def _bows(rows: list[Row], links: dict[Pair, tuple[str, ...]], width: int) -> Iterator[Bow]:
    """Draw what does not lie below one row's fabric beside all of them."""
    homes = {cluster.name: row for row in rows for cluster in row.clusters}
    apart = [link for link in links if homes[link[0]] is not homes[link[1]]]
    for at, link in enumerate(apart):
        start, end = sorted((homes[name] for name in link), key=lambda row: row.bar_y)
        middle = BAR_HEIGHT // 2
        yield Bow(
            start.width,
            start.bar_y + middle,
            end.width,
            end.bar_y + middle,
            width + _BOW_STEP * (at + 1),
            f"✗ {' '.join(links[link])} {link[0]} - {link[1]}",
            f"{link[0]} and {link[1]}: {', '.join(links[link])}",
        )


def _node_height(verdict: Verdict) -> int:
    """Make room for as many pods as any node has, within reason."""
    pods = Counter(each.site for each in verdict.observations.endpoints)
    most = min(_PODS_MAX, max(pods.values(), default=1))
    return _NODE_BASE + _POD_HEIGHT * most


def _broken_links(diagnoses: tuple[Diagnosis, ...]) -> dict[Pair, tuple[str, ...]]:
    """Find the causes that lie between two clusters; a duplicate lies at its nodes."""
    found: dict[Pair, list[str]] = defaultdict(list)
    for each in diagnoses:
        for link in each.links if not each.sites else ():
            if each.code not in found[link]:
                found[link].append(each.code)
    return {link: tuple(codes) for link, codes in sorted(found.items())}


def _shown_nodes(verdict: Verdict) -> dict[str, tuple[list[str], int]]:
    """Choose the nodes of each cluster that are drawn, and count the others."""
    blamed = {site for each in verdict.diagnoses for site in each.sites}
    nodes: dict[str, dict[str, None]] = {name: {} for name in cluster_names(verdict)}
    for each in verdict.observations.endpoints:
        nodes[each.cluster][each.site] = None
    chosen = {}
    for cluster, sites in nodes.items():
        room = _NODES_MAX if len(sites) <= _NODES_MAX else _NODES_MAX - 1
        first = sorted(sites, key=lambda site: site not in blamed)[:room]
        # In their own order again, so that nothing jumps when a fault is mended.
        chosen[cluster] = [site for site in sites if site in first], len(sites) - len(first)
    return chosen


def _cluster_width(nodes: int, hidden: int) -> int:
    return max(1, nodes) * (NODE_WIDTH + _GAP) + _GAP + (56 if hidden else 0)


def _pack(verdict: Verdict) -> list[dict[str, tuple[list[str], int]]]:
    """Put clusters into rows."""
    rows: list[dict[str, tuple[list[str], int]]] = []
    used = _ROW_WIDTH
    for name, (sites, hidden) in _shown_nodes(verdict).items():
        width = _cluster_width(len(sites), hidden) + _GAP
        if used + width > _ROW_WIDTH:
            rows.append({})
            used = 0
        rows[-1][name] = (sites, hidden)
        used += width
    return rows


def _row(
    verdict: Verdict,
    group: dict[str, tuple[list[str], int]],
    links: dict[Pair, tuple[str, ...]],
    *,
    y: int,
    tall: int,
) -> Row:
    clusters = tuple(_clusters(verdict, group, y))
    bar_y = y + _HEAD + tall + _GAP + UPLINK_HEIGHT
    middles = {each.name: each.middle for each in clusters}
    inside = [each for each in links if set(each) <= set(middles)]
    arcs = tuple(
        Arc(
            min(middles[name] for name in link),
            max(middles[name] for name in link),
            bar_y + BAR_HEIGHT,
            18 + _ARC_STEP * at,
            links[link],
            f"{link[0]} and {link[1]}",
        )
        for at, link in enumerate(inside)
    )
    width = clusters[-1].x + clusters[-1].width if clusters else 0
    return Row(clusters, bar_y, width, arcs)


def _clusters(
    verdict: Verdict, group: dict[str, tuple[list[str], int]], y: int
) -> Iterator[ClusterBox]:
    x = 0
    pods: dict[str, list[Endpoint]] = defaultdict(list)
    for each in verdict.observations.endpoints:
        pods[each.site].append(each)
    facts = {each.site: each for each in verdict.observations.nodes}
    for name, (sites, hidden) in group.items():
        nodes = []
        for at, site in enumerate(sites):
            left = x + _GAP + at * (NODE_WIDTH + _GAP)
            codes = tuple(
                dict.fromkeys(each.code for each in verdict.diagnoses if site in each.sites)
            )
            place = (left, y + _HEAD)
            nodes.append(_node(verdict, pods[site], facts.get(site), place=place, codes=codes))
        width = _cluster_width(len(sites), hidden)
        yield ClusterBox(x, y, width, name, tuple(nodes), hidden)
        x += width + _GAP


def _node(
    verdict: Verdict,
    pods: list[Endpoint],
    facts: NodeFacts | None,
    *,
    place: tuple[int, int],
    codes: tuple[str, ...],
) -> NodeBox:
    vlan = verdict.observations.expected.vlan
    uplink = facts.uplinks[0] if facts and facts.uplinks else None
    carries = uplink is None or not vlan or any(vlan in span for span in uplink.vlans)
    named = tuple(
        (_ROLES[pod.role], pod.addresses[0] if pod.addresses else "no address")
        for pod in pods[:_PODS_MAX]
    )
    words = f"{pods[0].node}: " + ", ".join(f"{role} {address}" for role, address in named)
    return NodeBox(
        x=place[0],
        y=place[1],
        name=pods[0].node,
        pods=named,
        bridge=facts.bridge if facts else "",
        uplink=uplink.name if uplink else "",
        carries=carries,
        codes=codes,
        broken=bool(_UPLINK_CODES & set(codes)),
        words=f"{words}; {', '.join(codes)}" if codes else words,
    )
