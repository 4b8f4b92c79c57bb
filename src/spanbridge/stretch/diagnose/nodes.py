# SPDX-License-Identifier: Apache-2.0
"""What nodes say of themselves: bridge, uplink, VLANs, agent; and frames gone astray."""

from collections import defaultdict
from collections.abc import Iterator

from spanbridge.model.observations import NodeFacts, Role, Stray, Uplink
from spanbridge.model.verdict import Pair, Trouble
from spanbridge.stretch.diagnose.culprits import Culprit, fields, listed, site_words
from spanbridge.stretch.diagnose.matrix import Matrix, reach_paths


def find_agents(matrix: Matrix, _excused: frozenset[Pair]) -> Iterator[Culprit]:
    """Find nodes whose agent does not answer (SBV70)."""
    unmeasured = matrix.having(Trouble.UNMEASURED, frozenset())
    for site, facts in matrix.nodes.items():
        if facts.agent is False:
            probes = [each for each in unmeasured if matrix.site(each.source) == site]
            errors = dict.fromkeys(each.error for each in probes if each.error)
            yield Culprit(
                "SBV70",
                (),
                (site,),
                pairs=tuple(each.pair for each in probes),
                evidence=(f"{site}: the agent does not answer", *errors),
            )


def find_unmeasured(matrix: Matrix, excused: frozenset[Pair]) -> Iterator[Culprit]:
    """Find sources from which nothing could be measured (SBV71)."""
    by_source: dict[tuple[str, str], list[Pair]] = defaultdict(list)
    for probe in matrix.having(Trouble.UNMEASURED, excused):
        error = probe.error or "no probe was made"
        by_source[matrix.site(probe.source), error].append(probe.pair)
    for (site, error), pairs in by_source.items():
        yield Culprit(
            "SBV71",
            fields(error=error),
            (site,),
            pairs=tuple(pairs),
            evidence=(f"{listed(pair[0] for pair in pairs)}: {error}",),
        )


def find_absent(matrix: Matrix, _excused: frozenset[Pair]) -> Iterator[Culprit]:
    """Find clusters without a virt-handler, and runs without a pair (SBV72, SBV73)."""
    present = {each.cluster for each in matrix.observations.endpoints if each.role is Role.HANDLER}
    absent = [each for each in matrix.observations.clusters if each.name not in present]
    for cluster in absent:
        told = fields(
            cluster=cluster.name,
            namespace=cluster.namespace,
            context=f" --context {cluster.context}" if cluster.context else "",
        )
        evidence = (f"{cluster.name}: no virt-handler among the endpoints",)
        yield Culprit("SBV72", told, evidence=evidence)
    # Where nobody was to probe, that nothing was tried is no fault; the verdict says it.
    tried = matrix.probes or (matrix.observations.sampled_from and not matrix.observations.measured)
    if not tried and not absent:
        count = len(matrix.observations.endpoints)
        yield Culprit("SBV73", evidence=(f"{count} endpoints, and no probe",))


def find_nodes(matrix: Matrix, excused: frozenset[Pair]) -> Iterator[Culprit]:
    """Find what is wrong on nodes, by what their own kernel says (SBV01 to SBV06)."""
    failed, _ = reach_paths(matrix, excused)
    for site in sorted({each.site for each in matrix.observations.endpoints}):
        touched = _touched(matrix, site, failed)
        facts = matrix.nodes.get(site)
        if facts is not None and facts.bridge:
            for culprit in _faults(matrix, facts):
                # What the matrix contradicts is of the past: the state was read before or
                # after it was mended. Without filtering, nodes may reach each other all
                # the same, in the wrong VLAN.
                if touched or culprit[0] == "SBV02" or not _proved(matrix, site, excused):
                    yield _culprit(matrix, facts, culprit, touched)
        elif untagged := _untagged(matrix, site):
            told = fields(bridge="the bridge", uplink=untagged[0].device, vlan=matrix.expected.vlan)
            evidence = tuple(map(_stray_line, untagged))
            yield Culprit("SBV02", told, (site,), (), touched, evidence, certain=False)


def _touched(matrix: Matrix, site: str, failed: set[Pair]) -> tuple[Pair, ...]:
    """Find the bad pairs between this node and others that stand on a broken path."""
    return tuple(
        pair
        for pair in matrix.at_site.get(site, ())
        if (pair in failed or pair[::-1] in failed)
        and Trouble.NO_ANSWER in matrix.verdicts[pair].troubles
    )


def _proved(matrix: Matrix, site: str, excused: frozenset[Pair]) -> bool:
    """Tell whether any pair between this node and others works."""
    return any(
        matrix.verdicts[pair].rtt_median_us is not None and pair not in excused
        for pair in matrix.at_site.get(site, ())
    )


def _faults(matrix: Matrix, facts: NodeFacts) -> Iterator[tuple[str, Uplink | None, str]]:
    """Name each fault: code, the uplink it is about, and what was observed."""
    vlan = matrix.expected.vlan
    if not facts.bridge_up:
        yield "SBV06", None, f"bridge {facts.bridge} is down or missing"
    if vlan and not facts.vlan_filtering:
        first = facts.uplinks[0] if facts.uplinks else None
        yield "SBV02", first, f"vlan_filtering of {facts.bridge} is 0"
    if not facts.uplinks:
        if facts.bridge_up:
            yield "SBV03", None, f"{facts.bridge} has no port that leads out of the node"
        return
    if not any(each.up for each in facts.uplinks):
        yield "SBV04", facts.uplinks[0], f"uplink {facts.uplinks[0].name} is down"
    if not vlan:
        return
    thieves = [each for each in facts.uplinks if each.stolen_by]
    if thieves:
        yield "SBV05", thieves[0], f"{thieves[0].stolen_by[0]} takes VLAN {vlan}"
    carriers = [each for each in facts.uplinks if any(vlan in span for span in each.vlans)]
    if facts.vlan_filtering and not carriers:
        spans = ", ".join(map(str, facts.uplinks[0].vlans)) or "none"
        yield "SBV01", facts.uplinks[0], f"uplink {facts.uplinks[0].name} carries VLANs: {spans}"


def _culprit(
    matrix: Matrix,
    facts: NodeFacts,
    fault: tuple[str, Uplink | None, str],
    touched: tuple[Pair, ...],
) -> Culprit:
    code, uplink, line = fault
    told = fields(
        bridge=facts.bridge,
        uplink=uplink.name if uplink else "DEVICE",
        vlan=matrix.expected.vlan,
        thief=uplink.stolen_by[0] if uplink and uplink.stolen_by else "",
    )
    evidence = [f"{facts.site}: {line}"]
    if code == "SBV02":
        evidence += map(_stray_line, _untagged(matrix, facts.site))
    if touched:
        evidence.append(f"{len(touched)} pairs between {site_words(facts.site)} and others fail")
    return Culprit(code, told, (facts.site,), (), touched, tuple(evidence))


def _untagged(matrix: Matrix, site: str) -> list[Stray]:
    """Find frames that left the node without a tag, on a network that has one."""
    if not matrix.expected.vlan:
        return []
    facts = matrix.nodes.get(site)
    uplinks = {each.name for each in facts.uplinks} if facts else set()
    return [
        each
        for each in matrix.observations.strays
        if each.site == site and not each.vlan and (not uplinks or each.device in uplinks)
    ]


def _stray_line(stray: Stray) -> str:
    tag = f"in VLAN {stray.vlan}" if stray.vlan else "untagged"
    example = f", such as {stray.example}" if stray.example else ""
    return f"{stray.site}: {stray.frames} frames passed {stray.device} {tag}{example}"


def find_leaks(matrix: Matrix, _excused: frozenset[Pair]) -> Iterator[Culprit]:
    """Find frames where they must not be and that no other cause explains (SBV31, SBV32)."""
    for stray in matrix.observations.strays:
        facts = matrix.nodes.get(stray.site)
        uplinks = {each.name for each in facts.uplinks} if facts else {stray.device}
        told = fields(frames=stray.frames, device=stray.device)
        if stray.device not in uplinks:
            told += fields(interface=matrix.expected.interface)
            yield Culprit("SBV31", told, (stray.site,), evidence=(_stray_line(stray),))
        elif stray.vlan or (facts is not None and facts.vlan_filtering):
            told += fields(
                tag=f"in VLAN {stray.vlan}" if stray.vlan else "untagged",
                vlan=matrix.expected.vlan,
            )
            yield Culprit("SBV32", told, (stray.site,), evidence=(_stray_line(stray),))
