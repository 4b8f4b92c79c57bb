# SPDX-License-Identifier: Apache-2.0
"""Addresses that are missing, doubled, of the wrong family or out of their range."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Final

from spanbridge.model.addresses import Cidr, Ip, ip_from_text, parse_cidr
from spanbridge.model.observations import Endpoint
from spanbridge.model.verdict import Pair, Trouble
from spanbridge.stretch.diagnose.culprits import Culprit, fields, listed, site_words
from spanbridge.stretch.diagnose.matrix import Matrix, pod_words

_FAMILY: Final = {False: "IPv4", True: "IPv6"}


def find_missing(matrix: Matrix, _excused: frozenset[Pair]) -> Iterator[Culprit]:
    """Find pods without the network, or without an address on it (SBV20, SBV21)."""
    for each in matrix.observations.endpoints:
        if each.addresses:
            continue
        pairs = matrix.touching([each.name])
        told = fields(interface=matrix.expected.interface) + matrix.pod_fields(each)
        if not each.mac and not each.mtu:
            line = f"{each.name}: no device {matrix.expected.interface}"
            if each.pod_address:
                line += f"; its pod network has {each.pod_address}"
            yield Culprit("SBV20", told, (each.site,), pairs=pairs, evidence=(line,))
            continue
        lease, line = "", f"{each.name}: {matrix.expected.interface} is there, without an address"
        if each.lease_s is not None and each.lease_s <= 0:
            lease = ": its DHCP lease has ended"
            line += f"; the lease ended {-each.lease_s} s ago"
        yield Culprit(
            "SBV21", told + fields(lease=lease), (each.site,), pairs=pairs, evidence=(line,)
        )


def find_families(matrix: Matrix, excused: frozenset[Pair]) -> Iterator[Culprit]:
    """
    Find who has no address family in common (SBV23).

    Pods that differ from their own cluster are blamed themselves, then clusters that
    differ from each other.
    """
    failed = [probe.pair for probe in matrix.having(Trouble.NO_FAMILY, excused)]
    usual = _usual_families(matrix)
    odd = {
        name
        for pair in failed
        for name in pair
        if _advertised(matrix.endpoints[name]) != usual[matrix.endpoints[name].cluster]
    }
    for name in sorted(odd):
        pairs = tuple(pair for pair in failed if name in pair)
        pod = matrix.endpoints[name]
        yield _foreign(matrix, f"{pod_words(pod)} and others", pairs, sites=(pod.site,))
    between: dict[Pair, list[Pair]] = defaultdict(list)
    for pair in failed:
        first, second = sorted(matrix.endpoints[name].cluster for name in pair)
        if not odd & set(pair):
            between[first, second].append(pair)
    for link, pairs_between in between.items():
        place = f"clusters {link[0]} and {link[1]}"
        yield _foreign(matrix, place, tuple(pairs_between), links=(link,))


def _advertised(endpoint: Endpoint) -> str:
    """Name the family of the address that KubeVirt tells others."""
    return _FAMILY[":" in endpoint.addresses[0]]


def _usual_families(matrix: Matrix) -> dict[str, str]:
    """Find the family that most pods of each cluster advertise; IPv4 where it is a draw."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for each in matrix.observations.endpoints:
        if each.addresses:
            found[each.cluster][_advertised(each)] += 1
    return {
        cluster: min(count, key=lambda family: (-count[family], family))
        for cluster, count in found.items()
    }


def _foreign(
    matrix: Matrix,
    place: str,
    pairs: tuple[Pair, ...],
    *,
    sites: tuple[str, ...] = (),
    links: tuple[Pair, ...] = (),
) -> Culprit:
    source, target = (matrix.endpoints[name] for name in pairs[0])
    told = fields(place=place, families=f"{_families(source)} and {_families(target)}")
    evidence = tuple(f"{each.name} has {', '.join(each.addresses)}" for each in (source, target))
    return Culprit("SBV23", told, sites, links, pairs, evidence)


def _families(endpoint: Endpoint) -> str:
    """Name what it has, first the one that it advertises."""
    return "/".join(dict.fromkeys(_FAMILY[":" in each] for each in endpoint.addresses))


def find_duplicates(matrix: Matrix, _excused: frozenset[Pair]) -> Iterator[Culprit]:
    """Find addresses of several pods, of a pod and the gateway, or a stranger (SBV24 to 27)."""
    holders: dict[str, list[Endpoint]] = defaultdict(list)
    for each in matrix.observations.endpoints:
        for address in each.addresses:
            holders[address].append(each)
    answers = _answers(matrix)
    for address, pods in holders.items():
        if address in matrix.expected.gateways:
            yield from (_gateways(matrix, address, pod, answers[address]) for pod in pods)
        elif len(pods) > 1:
            yield _doubled(matrix, address, pods, answers[address])
        else:
            yield from _strangers(matrix, address, pods[0], answers[address])


def _answers(matrix: Matrix) -> dict[str, dict[str, list[str]]]:
    """Collect who answered for each address, by MAC address, and to whom."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for probe in matrix.observations.probes:
        for mac in probe.neighbour.macs if probe.neighbour else ():
            found[probe.address][mac].append(probe.source)
    for claim in matrix.observations.claims:
        for mac in claim.macs:
            found[claim.address][mac].append(claim.asker)
    return found


def _heard(address: str, answers: dict[str, list[str]]) -> tuple[str, ...]:
    return tuple(
        f"{mac} answered for {address}, asked by {listed(askers)}"
        for mac, askers in sorted(answers.items())
    )


def _doubled(
    matrix: Matrix, address: str, pods: list[Endpoint], answers: dict[str, list[str]]
) -> Culprit:
    across = len({each.cluster for each in pods}) > 1
    names = [f"{pod_words(each)} of {each.cluster}" for each in pods]
    told = fields(holders=listed(names), address=address) + matrix.pod_fields(pods[-1])
    clusters = sorted({each.cluster for each in pods})
    return Culprit(
        "SBV24" if across else "SBV25",
        told,
        tuple(each.site for each in pods),
        tuple((a, b) for at, a in enumerate(clusters) for b in clusters[at + 1 :]),
        matrix.touching([each.name for each in pods]),
        tuple(f"{each.name} has {address}, MAC {each.mac}" for each in pods)
        + _heard(address, answers),
        void=matrix.touching([each.name for each in pods], bad=False),
    )


def _gateways(
    matrix: Matrix, address: str, pod: Endpoint, answers: dict[str, list[str]]
) -> Culprit:
    return Culprit(
        "SBV26",
        fields(address=address) + matrix.pod_fields(pod),
        (pod.site,),
        pairs=matrix.touching([pod.name]),
        evidence=(f"{pod.name} has {address}, MAC {pod.mac}", *_heard(address, answers)),
        void=matrix.touching([pod.name], bad=False),
    )


def _strangers(
    matrix: Matrix, address: str, pod: Endpoint, answers: dict[str, list[str]]
) -> Iterator[Culprit]:
    for mac in sorted(set(answers) - {pod.mac}):
        if pod.mac:
            yield Culprit(
                "SBV27",
                fields(address=address, mac=mac) + matrix.pod_fields(pod),
                (pod.site,),
                pairs=matrix.touching([pod.name]),
                evidence=(f"{pod.name} has {address}, MAC {pod.mac}", *_heard(address, answers)),
                void=matrix.touching([pod.name], bad=False),
            )


def find_gateways(matrix: Matrix, _excused: frozenset[Pair]) -> Iterator[Culprit]:
    """Find gateways that answer from several places to one asker (SBV28)."""
    ours = {each.mac: each for each in matrix.observations.endpoints}
    for address in matrix.expected.gateways:
        claims = [each for each in matrix.observations.claims if each.address == address]
        # A pod that has the gateway's address is another cause, SBV26.
        macs = {claim: [mac for mac in claim.macs if mac not in ours] for claim in claims}
        several = [claim for claim in claims if len(macs[claim]) > 1]
        if not several:
            continue
        every = sorted({mac for claim in several for mac in macs[claim]})
        yield Culprit(
            "SBV28",
            fields(count=len(every), address=address, macs=listed(every)),
            pairs=(),
            evidence=tuple(
                f"{claim.asker} asked for {address}: {', '.join(claim.macs)} answered"
                for claim in several
            ),
        )


def find_strays(matrix: Matrix, _excused: frozenset[Pair]) -> Iterator[Culprit]:
    """Find addresses out of the range that their cluster hands out (SBV22)."""
    subnets = [parse_cidr(each, "") for each in matrix.expected.subnets]
    ranges: dict[str, list[tuple[Ip, Ip]]] = defaultdict(list)
    for each in matrix.expected.ranges:
        first, last = ip_from_text(each.first), ip_from_text(each.last)
        if first is not None and last is not None:
            ranges[each.cluster].append((first, last))
    for pod in matrix.observations.endpoints:
        for address in pod.addresses:
            ip = ip_from_text(address)
            if ip is not None and not _planned(ip, ranges[pod.cluster], subnets):
                yield Culprit(
                    "SBV22",
                    fields(address=address, cluster=pod.cluster) + matrix.pod_fields(pod),
                    (pod.site,),
                    evidence=(f"{pod.name} has {address} on {site_words(pod.site)}",),
                )


def _planned(ip: Ip, ranges: list[tuple[Ip, Ip]], subnets: list[Cidr]) -> bool:
    """Tell whether the address was to be expected; what was never planned always is."""
    same = [each for each in ranges if each[0].version == ip.version]
    nets = [each for each in subnets if each.version == ip.version]
    in_range = not same or any(first <= ip <= last for first, last in same)
    return in_range and (not nets or any(ip in each for each in nets))
