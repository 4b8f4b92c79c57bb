# SPDX-License-Identifier: Apache-2.0
"""Ports that are closed or filtered, and certificates that are not trusted."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from spanbridge.model.observations import Connection, Dial, Handshake, PairProbe, Role
from spanbridge.model.verdict import Pair, Trouble
from spanbridge.stretch.diagnose.culprits import Culprit, fields, listed
from spanbridge.stretch.diagnose.localise import Fault, Suspect, localise
from spanbridge.stretch.diagnose.matrix import (
    Matrix,
    place_words,
    suspect_links,
    suspect_sites,
    within_words,
)

_SILENT: Final = {Connection.TIMEOUT, Connection.UNREACHABLE, Connection.ERROR}
_SYNC_PORT: Final = 9185
_SHORT: Final = 12
"""Hex digits of a fingerprint that are shown."""


def _dials(matrix: Matrix, excused: frozenset[Pair]) -> list[tuple[PairProbe, Dial]]:
    return [
        (probe, dial)
        for pair, probe in matrix.probes.items()
        if pair not in excused and Trouble.NO_ANSWER not in matrix.verdicts[pair].troubles
        for dial in probe.dials
    ]


def find_ports(matrix: Matrix, excused: frozenset[Pair]) -> Iterator[Culprit]:
    """Find ports that are closed, filtered, or a standby's (SBV50 to SBV52)."""
    refused: dict[tuple[str, int], list[Pair]] = defaultdict(list)
    silent: dict[int, list[Pair]] = defaultdict(list)
    open_: dict[int, list[Pair]] = defaultdict(list)
    for probe, dial in _dials(matrix, excused):
        if dial.result is Connection.REFUSED:
            refused[probe.target, dial.port].append(probe.pair)
        lossy = Trouble.LOSS in matrix.verdicts[probe.pair].troubles
        if dial.result not in _SILENT:
            open_[dial.port].append(probe.pair)
        elif not lossy:
            silent[dial.port].append(probe.pair)
    yield from _standbys(matrix, refused)
    for (target, port), pairs in refused.items():
        if matrix.endpoints[target].role is not Role.STANDBY:
            yield _closed(matrix, target, port, pairs)
    yield from _filtered(matrix, silent, open_)


def _filtered(
    matrix: Matrix, silent: dict[int, list[Pair]], open_: dict[int, list[Pair]]
) -> Iterator[Culprit]:
    """Localise silence; one filter for several ports is one cause."""
    found: dict[Suspect, dict[int, Fault]] = defaultdict(dict)
    for port, pairs in sorted(silent.items()):
        for fault in localise(pairs, open_[port], matrix.endpoints):
            found[fault.suspect][port] = fault
    for suspect, faults in found.items():
        lines = [
            f"{source} > {target}: echoes are answered, port {port} is silent"
            for port, fault in faults.items()
            for source, target in fault.pairs[:1]
        ]
        ports = f"port{'s' * (len(faults) > 1)} {listed(map(str, faults))}"
        yield Culprit(
            "SBV51",
            fields(ports=ports, place=within_words(matrix, suspect)),
            suspect_sites(matrix, suspect),
            suspect_links(matrix, suspect),
            tuple(pair for fault in faults.values() for pair in fault.pairs),
            tuple(lines),
            certain=False,
        )


def _standbys(matrix: Matrix, refused: dict[tuple[str, int], list[Pair]]) -> Iterator[Culprit]:
    """Find standbys that were asked as if they led, or are advertised as if they did."""
    asked = {target: (port, pairs) for (target, port), pairs in refused.items()}
    for pod in matrix.observations.endpoints:
        if pod.role is not Role.STANDBY or not (pod.advertised or pod.name in asked):
            continue
        port, pairs = asked.get(pod.name, (_SYNC_PORT, []))
        lines = [f"{pod.name} is the standby, by the lease"]
        lines += ["the status of KubeVirt names its address"] if pod.advertised else []
        lines += [f"port {port} refused {len(pairs)} connections"] if pairs else []
        told = fields(port=port) + matrix.pod_fields(pod)
        yield Culprit("SBV52", told, (pod.site,), (), tuple(pairs), tuple(lines))


def _closed(matrix: Matrix, target: str, port: int, pairs: list[Pair]) -> Culprit:
    pod = matrix.endpoints[target]
    line = f"{target}: port {port} refused {len(pairs)} connections"
    told = fields(port=port) + matrix.pod_fields(pod)
    return Culprit("SBV50", told, (pod.site,), (), tuple(pairs), (line,))


def find_trust(matrix: Matrix, excused: frozenset[Pair]) -> Iterator[Culprit]:
    """Find certificates that are not trusted, expired or not valid yet (SBV60 to SBV64)."""
    by_result: dict[Handshake, list[tuple[PairProbe, Dial]]] = defaultdict(list)
    for probe, dial in _dials(matrix, excused):
        if dial.tls is not None:
            by_result[dial.tls.result].append((probe, dial))
    ended, refused = _split(by_result[Handshake.REJECTED])
    by_result[Handshake.REJECTED] = refused
    yield from _untrusted(matrix, by_result)
    fine = by_result[Handshake.OK]
    yield from _dated(matrix, by_result[Handshake.EXPIRED], ended, fine=fine, code="SBV61")
    yield from _dated(matrix, by_result[Handshake.NOT_YET_VALID], [], fine=fine, code="SBV62")
    yield from _broken(matrix, by_result[Handshake.ERROR], by_result[Handshake.OK])


def _split(
    cases: list[tuple[PairProbe, Dial]],
) -> tuple[list[tuple[PairProbe, Dial]], list[tuple[PairProbe, Dial]]]:
    """
    Set apart those whose own certificate had ended, by the server's alert; others follow.

    Source: OpenSSL 3, ssl/ssl_stat.c, "certificate expired" for alert 45.
    """
    ended = [each for each in cases if each[1].tls and "expired" in each[1].tls.error]
    return ended, [each for each in cases if each not in ended]


def _untrusted(
    matrix: Matrix, by_result: dict[Handshake, list[tuple[PairProbe, Dial]]]
) -> Iterator[Culprit]:
    """
    Find who does not trust whom.

    A client that refuses a server, and a server that refuses a client, say the same thing
    of two clusters; a cluster that trusts some pods of another but not one, of that pod.
    """
    accepted = {_clusters(matrix, probe) for probe, _ in by_result[Handshake.OK]}
    doubts: dict[Pair, list[tuple[PairProbe, Dial]]] = defaultdict(list)
    for probe, dial in by_result[Handshake.UNKNOWN_AUTHORITY]:
        source, target = _clusters(matrix, probe)
        if (source, target) in accepted:
            yield _odd_certificate(matrix, probe, dial)
        else:
            doubts[source, target].append((probe, dial))
    for probe, dial in by_result[Handshake.REJECTED]:
        source, target = _clusters(matrix, probe)
        doubts[target, source].append((probe, dial))
    for pair in _unlisted(matrix):
        if pair not in accepted:
            doubts[pair] += []
    for (cluster, other), cases in doubts.items():
        yield _stranger(matrix, cluster, other, cases)


def _unlisted(matrix: Matrix) -> Iterator[Pair]:
    """Find who does not trust whom by the clusters' own objects, also where nothing passes."""
    for here in matrix.clusters.values():
        for there in matrix.clusters.values():
            if here.trusted is None or there.authority is None:
                continue
            if there.authority.fingerprint not in here.trusted:
                yield here.name, there.name


def _clusters(matrix: Matrix, probe: PairProbe) -> Pair:
    return matrix.endpoints[probe.source].cluster, matrix.endpoints[probe.target].cluster


def _odd_certificate(matrix: Matrix, probe: PairProbe, dial: Dial) -> Culprit:
    pod = matrix.endpoints[probe.target]
    issuer = dial.tls.issuer if dial.tls else ""
    told = fields(issuer=f"issuer {issuer[:_SHORT] or 'unknown'}", cluster=pod.cluster)
    line = f"{probe.source} > {probe.target}: issuer {issuer[:_SHORT]} is not trusted"
    return Culprit("SBV63", told + matrix.pod_fields(pod), (pod.site,), (), (probe.pair,), (line,))


def _stranger(
    matrix: Matrix, cluster: str, other: str, cases: list[tuple[PairProbe, Dial]]
) -> Culprit:
    here, there = matrix.clusters.get(cluster), matrix.clusters.get(other)
    evidence = []
    for probe, dial in cases[:2]:
        said = dial.tls.error if dial.tls and dial.tls.error else "the certificate was refused"
        evidence.append(f"{probe.source} > {probe.target}, port {dial.port}: {said}")
    authority = there.authority if there else None
    if here and here.trusted is not None and authority is not None:
        lacks = "lacks" if authority.fingerprint not in here.trusted else "has"
        evidence.append(
            f"the trust bundle of {cluster} {lacks} {authority.fingerprint[:_SHORT]}, "
            f"the authority of {other}"
        )
    return Culprit(
        "SBV60",
        fields(
            cluster=cluster,
            other=other,
            namespace=matrix.namespace(cluster),
            other_namespace=matrix.namespace(other),
            context=f" --context {here.context}" if here and here.context else "",
            other_context=f" --context {there.context}" if there and there.context else "",
        ),
        (),
        ((min(cluster, other), max(cluster, other)),) if cluster != other else (),
        tuple(probe.pair for probe, _ in cases),
        tuple(evidence),
    )


def _dated(
    matrix: Matrix,
    servers: list[tuple[PairProbe, Dial]],
    clients: list[tuple[PairProbe, Dial]],
    *,
    fine: list[tuple[PairProbe, Dial]],
    code: str,
) -> Iterator[Culprit]:
    """
    Find whose certificates are out of their time: a whole cluster's, or one pod's.

    Args:
        matrix: Of the run.
        servers: Handshakes in which the server's was.
        clients: Those in which the server said that the client's was.
        fine: Those that came to an end.
        code: Of the cause.
    """
    groups: dict[tuple[str, str], list[tuple[PairProbe, Dial]]] = defaultdict(list)
    for cases, end in ((servers, "target"), (clients, "source")):
        current = {matrix.endpoints[getattr(probe, end)].cluster for probe, _ in fine}
        for probe, dial in cases:
            pod = matrix.endpoints[getattr(probe, end)]
            groups[pod.cluster, pod.name if pod.cluster in current else ""].append((probe, dial))
    for (cluster, pod_name), found in groups.items():
        probe, dial = found[0]
        facts = matrix.clusters.get(cluster)
        ended = facts.authority.not_after if facts and facts.authority else ""
        told = fields(
            place=pod_name or f"cluster {cluster}",
            when=f": its authority ended at {ended}" if ended else "",
        )
        said = dial.tls.error if dial.tls else ""
        line = f"{probe.source} > {probe.target}, port {dial.port}: {said or dial.result}"
        sites = (matrix.site(pod_name),) if pod_name else ()
        yield Culprit(code, told, sites, (), tuple(each.pair for each, _ in found), (line,))


def _broken(
    matrix: Matrix, cases: list[tuple[PairProbe, Dial]], fine: list[tuple[PairProbe, Dial]]
) -> Iterator[Culprit]:
    """Find handshakes that fail for other reasons; large ones also stop where the MTU is small."""
    poor = {Trouble.MTU, Trouble.LOSS}
    failed = [
        probe.pair for probe, _ in cases if not poor & set(matrix.verdicts[probe.pair].troubles)
    ]
    for fault in localise(failed, [probe.pair for probe, _ in fine], matrix.endpoints):
        dial = next(dial for dial in matrix.probes[fault.pairs[0]].dials if dial.tls is not None)
        said = (dial.tls.error if dial.tls else "") or "no reason was given"
        yield Culprit(
            "SBV64",
            fields(place=within_words(matrix, fault.suspect), error=said),
            suspect_sites(matrix, fault.suspect),
            suspect_links(matrix, fault.suspect),
            fault.pairs,
            (f"{place_words(matrix, fault.suspect)}: {len(fault.pairs)} handshakes fail",),
            certain=False,
        )
