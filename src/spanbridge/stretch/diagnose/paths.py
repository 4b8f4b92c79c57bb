# SPDX-License-Identifier: Apache-2.0
"""Packets that leave by another device, do not arrive, or are too big for the way."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from spanbridge.model.observations import PairProbe
from spanbridge.model.verdict import Lost, Pair, Trouble
from spanbridge.stretch.diagnose.culprits import Culprit, fields, listed
from spanbridge.stretch.diagnose.localise import Fault, Scope, Way, localise
from spanbridge.stretch.diagnose.matrix import (
    Matrix,
    place_words,
    reach_paths,
    suspect_links,
    suspect_sites,
    way_words,
    within_words,
)


def find_routes(matrix: Matrix, excused: frozenset[Pair]) -> Iterator[Culprit]:
    """Find sources whose packets leave by another device (SBV30)."""
    groups: dict[tuple[str, str], list[PairProbe]] = defaultdict(list)
    for probe in matrix.having(Trouble.WRONG_ROUTE, excused):
        if probe.route is not None:
            groups[matrix.site(probe.source), probe.route.device].append(probe)
    for (site, device), probes in groups.items():
        first = probes[0]
        others = sorted({matrix.endpoints[probe.target].cluster for probe in probes})
        told = fields(
            targets=f"cluster{'s' * (len(others) > 1)} {listed(others)}",
            device=device or "no device at all",
            interface=matrix.expected.interface,
            example=first.address,
        )
        there = [probe.pair for probe in probes]
        # Answers to those who ask from there go astray as well.
        back = [pair[::-1] for pair in there if _silent(matrix, pair[::-1])]
        pairs = tuple(dict.fromkeys(there + back))
        yield Culprit("SBV30", told, (site,), (), pairs, _route_evidence(matrix, first))


def _silent(matrix: Matrix, pair: Pair) -> bool:
    verdict = matrix.verdicts.get(pair)
    return verdict is not None and Trouble.NO_ANSWER in verdict.troubles


def _route_evidence(matrix: Matrix, probe: PairProbe) -> tuple[str, ...]:
    device = probe.route.device if probe.route else ""
    hop = f" to {probe.route.next_hop}" if probe.route and probe.route.next_hop else ""
    strays = [
        f"{each.site}: {each.frames} frames passed {each.device}"
        for each in matrix.observations.strays
        if each.site == matrix.site(probe.source) and each.device == device
    ]
    return (
        f"{probe.source}: the route to {probe.address} is {device or 'none'}{hop}",
        *strays,
    )


def find_reach(matrix: Matrix, excused: frozenset[Pair]) -> Iterator[Culprit]:
    """Find where packets do not pass, from who reaches whom (SBV10 to SBV15)."""
    failed, fine = reach_paths(matrix, excused)
    for fault in localise(failed, fine, matrix.endpoints):
        suspect = fault.suspect
        code = _REACH[suspect.scope] if suspect.way is Way.BOTH else "SBV14"
        place = place_words(matrix, suspect) if suspect.way is Way.BOTH else ""
        yield Culprit(
            code,
            fields(place=place or way_words(matrix, suspect), vlan=matrix.expected.vlan),
            suspect_sites(matrix, suspect),
            suspect_links(matrix, suspect),
            _unanswered(matrix, fault, excused),
            _reach_evidence(matrix, fault),
            certain=False,
            apart=place,
        )


_REACH = {
    Scope.POD: "SBV10",
    Scope.NODE: "SBV10",
    Scope.CLUSTER: "SBV11",
    Scope.LINK: "SBV12",
    Scope.PAIR: "SBV13",
    Scope.MESH: "SBV15",
}


def _unanswered(matrix: Matrix, fault: Fault, excused: frozenset[Pair]) -> tuple[Pair, ...]:
    """Find the probes that a broken path left without an answer: both ways need it."""
    found = []
    for path in fault.pairs:
        for pair in (path, path[::-1]):
            verdict = matrix.verdicts.get(pair)
            if (
                verdict is not None
                and pair not in excused
                and Trouble.NO_ANSWER in verdict.troubles
                and (pair == path or verdict.lost is not Lost.THERE)
            ):
                found.append(pair)
    return tuple(dict.fromkeys(found))


def _reach_evidence(matrix: Matrix, fault: Fault) -> tuple[str, ...]:
    lines = [f"{len(fault.pairs)} ordered pairs that depend on it fail, none works"]
    for pair in fault.pairs[:3]:
        verdict = matrix.verdicts.get(pair)
        back = matrix.verdicts.get(pair[::-1])
        if verdict is not None and verdict.lost is Lost.THERE:
            lines.append(f"{pair[0]} > {pair[1]}: what was sent did not arrive")
        elif verdict is not None and Trouble.NO_ANSWER in verdict.troubles:
            lines.append(f"{pair[0]} > {pair[1]}: {_asked(matrix, pair)}")
        if back is not None and back.lost is Lost.BACK:
            lines.append(f"{pair[1]} > {pair[0]}: requests arrived, answers did not")
    return tuple(lines)


def _asked(matrix: Matrix, pair: Pair) -> str:
    probe = matrix.probes[pair]
    silent = probe.neighbour is not None and not probe.neighbour.macs
    return "nobody answers for the address" if silent else "no echo was answered"


def find_mtu(matrix: Matrix, excused: frozenset[Pair]) -> Iterator[Culprit]:
    """Find where large packets stop (SBV40 to SBV44)."""
    failed = [probe.pair for probe in matrix.having(Trouble.MTU, excused)]
    if not failed:
        return
    known = list(_small_pods(matrix, failed)) + list(_small_devices(matrix, failed))
    yield from known
    explained = {pair for culprit in known for pair in culprit.pairs}
    fine = [
        pair
        for pair, verdict in matrix.verdicts.items()
        if pair not in excused
        and verdict.path_mtu is not None
        and Trouble.MTU not in verdict.troubles
    ]
    for fault in localise((pair for pair in failed if pair not in explained), fine,
                          matrix.endpoints):  # fmt: skip
        yield _bottleneck(matrix, fault)


def _ending_at(matrix: Matrix, site: str, pairs: list[Pair]) -> tuple[Pair, ...]:
    return tuple(pair for pair in pairs if site in {matrix.site(name) for name in pair})


def _small_pods(matrix: Matrix, failed: list[Pair]) -> Iterator[Culprit]:
    small = (each for each in matrix.observations.endpoints if 0 < each.mtu < matrix.mtu)
    for each in small:
        pairs = tuple(pair for pair in failed if each.name in pair)
        if pairs:
            told = fields(interface=matrix.expected.interface, mtu=each.mtu, expected=matrix.mtu)
            line = f"{each.name}: MTU of {matrix.expected.interface} is {each.mtu}"
            yield Culprit(
                "SBV40",
                told + matrix.pod_fields(each),
                (each.site,),
                pairs=pairs,
                evidence=(line, *_passed(matrix, pairs)),
            )


def _small_devices(matrix: Matrix, failed: list[Pair]) -> Iterator[Culprit]:
    for site, facts in matrix.nodes.items():
        devices = [(facts.bridge, facts.bridge_mtu)]
        devices += [(each.name, each.mtu) for each in facts.uplinks]
        small = [(mtu, name) for name, mtu in devices if 0 < mtu < matrix.mtu]
        # A bridge takes the least MTU of its ports by itself: the port is to be mended.
        named = [each for each in small if each[1] != facts.bridge] or small
        pairs = _ending_at(matrix, site, failed) if named else ()
        if pairs:
            mtu, device = min(named)
            told = fields(device=device, mtu=mtu, expected=matrix.mtu)
            line = f"{site}: MTU of {listed(f'{name} is {size}' for size, name in sorted(small))}"
            evidence = (line, *_passed(matrix, pairs))
            yield Culprit("SBV41", told, (site,), pairs=pairs, evidence=evidence)


def _passed(matrix: Matrix, pairs: tuple[Pair, ...]) -> tuple[str, ...]:
    shown = [
        f"{pair[0]} > {pair[1]}: {matrix.verdicts[pair].path_mtu} of {matrix.mtu} bytes pass"
        for pair in pairs[:2]
    ]
    more = [f"and {len(pairs) - 2} pairs like these"] if len(pairs) > 2 else []
    return tuple(shown + more)


def _bottleneck(matrix: Matrix, fault: Fault) -> Culprit:
    suspect = fault.suspect
    sizes = Counter(matrix.verdicts[pair].path_mtu or 0 for pair in fault.pairs)
    mtu = max(sizes, key=lambda size: (sizes[size], size))
    code = {Scope.NODE: "SBV42", Scope.POD: "SBV42", Scope.MESH: "SBV44"}.get(
        suspect.scope, "SBV43"
    )
    if code in {"SBV42", "SBV44"}:
        place = place_words(matrix, suspect)
    else:
        place = within_words(matrix, suspect)
    return Culprit(
        code,
        fields(mtu=mtu, expected=matrix.mtu, place=place),
        suspect_sites(matrix, suspect),
        suspect_links(matrix, suspect),
        fault.pairs,
        _passed(matrix, fault.pairs),
        certain=False,
        apart=place,
    )
