# SPDX-License-Identifier: Apache-2.0
"""
Ranges of addresses: parsing and the order in which they are tried. Pure.

A *set* is a pool from which one address is taken; the ranges in it follow each other.
The number of a set names its cursor on disk, so the order of sets matters.

Source: CNI plugins 1.9.1, host-local documentation; observed behaviour where it is silent.
"""

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Final, NamedTuple

from spanbridge.base.errors import ConfigError
from spanbridge.model.addresses import Cidr, Ip, edge_fault, parse_cidr, parse_ip
from spanbridge.model.reader import Node, UnknownKey, as_node, json_name, shorten

SPARE_BITS: Final = 2
"""A subnet needs two host bits: network, gateway, one address, broadcast."""

RangeSet = tuple["Range", ...]
NextFree = Callable[[Ip, Ip], Ip | None]
"""Of two bounds, both included, the lowest address that is not known to be taken."""


class Range(NamedTuple):
    """
    Addresses ``first`` to ``last``, both included, without the excluded ones.

    Attributes:
        subnet: The network, without host bits; gives addresses their prefix length.
        first: Lowest address.
        last: Highest address.
        gateway: Never handed out; may lie outside of the subnet.
    """

    subnet: Cidr
    first: Ip
    last: Ip
    gateway: Ip

    def holds(self, ip: Ip) -> bool:
        """Tell whether ``ip`` lies between the bounds."""
        return ip.version == self.first.version and self.first <= ip <= self.last

    def excluded(self, ip: Ip) -> str:
        """Say why an address between the bounds is never handed out, or the empty string."""
        if ip == self.gateway:
            return "it is the gateway"
        return edge_fault(self.subnet, ip)

    @property
    def size(self) -> int:
        """How many addresses can be handed out."""
        inside = self.holds(self.gateway)
        return self.last.number - self.first.number + 1 - inside

    def overlaps(self, other: "Range") -> bool:
        """Tell whether an address lies in both."""
        return self.holds(other.first) or other.holds(self.first)

    def __str__(self) -> str:
        first, last = self.first, self.last
        if first < last:
            first = first + 1 if first == self.gateway else first
            last = last + -1 if last == self.gateway else last
        return f"{first}-{last} ({self.subnet})"


def set_of(sets: tuple[RangeSet, ...], ip: Ip) -> tuple[int, Range] | None:
    """Find the set and the range that ``ip`` lies in; sets never overlap."""
    for number, ranges in enumerate(sets):
        for each in ranges:
            if each.holds(ip):
                return number, each
    return None


def describe(ranges: RangeSet) -> str:
    """Name the ranges of one set."""
    return ", ".join(str(each) for each in ranges)


def _segments(ranges: RangeSet, after: Ip | None) -> Iterator[tuple[Range, Ip, Ip]]:
    """Cut one round through the set into stretches, beginning behind ``after``."""
    at = next((i for i, each in enumerate(ranges) if after is not None and each.holds(after)), None)
    if at is None or after is None:
        yield from ((each, each.first, each.last) for each in ranges)
        return
    start = ranges[at]
    if after < start.last:
        yield start, after + 1, start.last
    yield from ((each, each.first, each.last) for each in ranges[at + 1 :] + ranges[:at])
    yield start, start.first, after


def candidates(
    ranges: RangeSet, after: Ip | None, next_free: NextFree = lambda first, _: first
) -> Iterator[tuple[Ip, Range]]:
    """
    Walk once round the set, beginning behind the address given last.

    Args:
        ranges: The set.
        after: The address given last; outside of the set (ranges changed) or None
            begins at the first range.
        next_free: Skips what is taken; asked anew after every candidate.
    """
    for each, first, last in _segments(ranges, after):
        ip = next_free(first, last)
        while ip is not None:
            if not each.excluded(ip):
                yield ip, each
            ip = next_free(ip + 1, last) if ip < last else None


def _parse_subnet(node: Node) -> Cidr:
    if not node.text("subnet"):
        raise node.fault("subnet", "it is missing", 'write for example "subnet": "10.88.0.0/24"')
    subnet = parse_cidr(node.text("subnet"), node.at("subnet"))
    if subnet != subnet.network:
        raise node.fault(
            "subnet", f"{subnet} has host bits set", f"the network is {subnet.network}"
        )
    longest = subnet.ip.bits - SPARE_BITS
    if subnet.prefix_length > longest:
        raise node.fault(
            "subnet",
            f"{subnet} is too small to hold a gateway and an address",
            f"the smallest is a /{longest}",
        )
    return subnet


def _parse_bound(node: Node, key: str, subnet: Cidr) -> Ip | None:
    if not node.text(key):
        return None
    ip = parse_ip(node.text(key), node.at(key))
    if ip not in subnet:
        raise node.fault(key, f"{ip} is not in {subnet}", "choose an address of the subnet")
    fault = edge_fault(subnet, ip)
    if fault:
        raise node.fault(key, f"{ip}: {fault}", "choose an address between the two edges")
    return ip


def _parse_gateway(node: Node, subnet: Cidr) -> Ip:
    if not node.text("gateway"):
        return subnet.ip + 1
    ip = parse_ip(node.text("gateway"), node.at("gateway"))
    if ip.version != subnet.version:
        raise node.fault("gateway", f"{ip} is not of the family of {subnet}", "write one that is")
    return ip


def parse_range(node: Node) -> Range:
    """
    Read one range.

    Raises:
        ConfigError: Carries the pointer of the bad field.
    """
    subnet = _parse_subnet(node)
    first = _parse_bound(node, "rangeStart", subnet) or subnet.ip + 1
    # An IPv6 network has no broadcast address: all ones may be handed out, as there.
    default_last = subnet.last + (-1 if edge_fault(subnet, subnet.last) else 0)
    last = _parse_bound(node, "rangeEnd", subnet) or default_last
    if first > last:
        raise node.fault("rangeStart", f"{first} is greater than the end, {last}", "swap the two")
    parsed = Range(subnet, first, last, _parse_gateway(node, subnet))
    if not parsed.size:
        raise node.fault(
            "rangeStart", f"only the gateway {parsed.gateway} lies in the range", "widen the range"
        )
    return parsed


class _Collector:
    """Gathers sets, refusing what clashes with an earlier one."""

    def __init__(self) -> None:
        self.sets: list[list[tuple[str, Range]]] = []
        self.unknown: list[UnknownKey] = []

    def read_set(self, value: object, pointer: str) -> None:
        if not isinstance(value, list) or not value:
            raise ConfigError(
                f"cannot use the range set: it is {json_name(value)} ({shorten(value)})",
                pointer=pointer,
                hint='write a list of ranges, for example [{"subnet": "10.88.0.0/24"}]',
            )
        nodes = [as_node(each, f"{pointer}/{i}") for i, each in enumerate(value)]
        self.sets.append([(node.at("subnet"), parse_range(node)) for node in nodes])
        self.unknown += [key for node in nodes for key in node.unknown()]
        self._refuse_mixed_families()

    def _refuse_mixed_families(self) -> None:
        pointer, first = self.sets[-1][0]
        for other_pointer, other in self.sets[-1]:
            if other.subnet.version != first.subnet.version:
                raise ConfigError(
                    f"cannot use subnet {other.subnet}: its set is of the family of "
                    f"{first.subnet} ({pointer})",
                    pointer=other_pointer,
                    hint="give each family a set of its own: [[{…}], [{…}]]",
                )

    def refuse_overlaps(self) -> None:
        ranges = [each for one in self.sets for each in one]
        for (pointer, one), (other_pointer, other) in combinations(ranges, 2):
            if one.overlaps(other):
                raise ConfigError(
                    f"cannot use range {other}: it overlaps {one} ({pointer})",
                    pointer=other_pointer,
                    hint="set rangeStart and rangeEnd so that no address is in both",
                )


def parse_sets(
    ipam: Node, runtime: Node | None
) -> tuple[tuple[RangeSet, ...], tuple[UnknownKey, ...]]:
    """
    Read every range set: the runtime's, then the section's own range, then ``ranges``.

    Returns:
        The sets in the order of their cursors, and the keys that nobody reads.

    Raises:
        ConfigError: Carries the pointer of the bad field.
    """
    collector = _Collector()
    if runtime is not None:
        runtime.each("ipRanges", collector.read_set)
    legacy = [key for key in ("rangeStart", "rangeEnd", "gateway") if ipam.text(key)]
    if ipam.text("subnet"):
        collector.sets.append([(ipam.at("subnet"), parse_range(ipam))])
        legacy = []
    ipam.each("ranges", collector.read_set)
    collector.refuse_overlaps()
    sets = tuple(tuple(each for _, each in one) for one in collector.sets)
    strays = [UnknownKey(ipam.at(key), key, "subnet") for key in legacy]
    return sets, tuple(strays + collector.unknown)
