# SPDX-License-Identifier: Apache-2.0
"""The socket: what can be read from the kernel, and waiting for a link."""

import errno
import socket
import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from spanbridge.base.names import IfIndex
from spanbridge.rtnl import links as ifla
from spanbridge.rtnl import messages as rtm
from spanbridge.rtnl.addresses import IFADDR, Address, parse_address
from spanbridge.rtnl.links import Link, parse_index, parse_link
from spanbridge.rtnl.messages import IFINFO, Message
from spanbridge.rtnl.neighbours import NDA_IFINDEX, NDMSG, Neighbour, parse_neighbour
from spanbridge.rtnl.routes import (
    RTA_DST,
    RTA_OIF,
    RTA_SRC,
    RTA_TABLE,
    RTMSG,
    Route,
    parse_route,
    parse_route_type,
)
from spanbridge.rtnl.transport import RtnlError, Transport
from spanbridge.rtnl.vlans import PortVlan, list_vlans, parse_vlan_entries
from spanbridge.rtnl.wire import (
    NLM_F_DUMP,
    attribute,
    attribute_text,
    attribute_u32,
    pack_address,
)

_T = TypeVar("_T")

WAIT_FIRST_S: Final = 0.001
WAIT_LONGEST_S: Final = 0.05
"""Pauses between two looks at a link that is waited for: from the first to the longest."""

_AF_BRIDGE: Final = 7
_SKIP_STATS: Final = 8
_BRVLAN_COMPRESSED: Final = 4
"""
Bits of IFLA_EXT_MASK.

Source: linux/rtnetlink.h, RTEXT_FILTER_….
"""

_NO_LINK: Final = frozenset({errno.ENODEV})
_NO_PORT: Final = frozenset({errno.ENODEV, errno.EINVAL})
_IP_FAMILIES: Final = frozenset({bytes([socket.AF_INET]), bytes([socket.AF_INET6])})
_BRIDGE_FAMILY: Final = bytes([_AF_BRIDGE])
_UNREACHABLE: Final = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH})


def _look_up(which: int | str) -> Message:
    if isinstance(which, str):
        body = IFINFO.pack(0, 0, 0, 0, 0) + attribute_text(ifla.IFLA_IFNAME, which)
    else:
        body = IFINFO.pack(0, 0, which, 0, 0)
    body += attribute_u32(ifla.IFLA_EXT_MASK, _SKIP_STATS)
    return Message(rtm.RTM_GETLINK, 0, body, f"look up link {which}")


class Rtnl(Transport):
    """
    A route netlink socket of one namespace; for one thread at a time.

    It stays in the namespace in which it was made, whoever uses it. An ``index`` that
    is not there any more counts as a link without addresses, neighbours and VLANs.
    """

    __slots__ = ()

    def link(self, name_or_index: int | str) -> Link | None:
        """Find a link by name or index; None when there is none."""
        body = self._find_link(name_or_index)
        return None if body is None else parse_link(body)

    def link_index(self, name: str) -> IfIndex | None:
        """Find the index of a link by name; None when there is none."""
        body = self._find_link(name)
        return None if body is None else parse_index(body)

    def has_link(self, index: int) -> bool:
        """Tell whether there is a link of this index, without reading what it is like."""
        return self._find_link(index) is not None

    def links_named(
        self, names: Sequence[str], *, after: Sequence[Message] = ()
    ) -> list[Link | None]:
        """
        Find links by name, all with one question.

        Args:
            names: Of the links.
            after: Requests that are sent along, to take effect before.

        Returns:
            The links in order; None in the place of each missing one.

        Raises:
            RtnlError: For the first of the requests that failed.
        """
        bodies = self.ask(*after, *map(_look_up, names), tolerate=_NO_LINK)
        return [None if body is None else parse_link(body) for body in bodies[len(after) :]]

    def _find_link(self, which: int | str) -> bytes | None:
        return self.ask(_look_up(which), tolerate=_NO_LINK)[0]

    def links(
        self,
        *,
        master: int | None = None,
        kind: str | None = None,
        group: int | None = None,
        vlans: bool = False,
    ) -> list[Link]:
        """
        List links, in no particular order.

        Args:
            master: Only ports of the bridge with this index.
            kind: Only of this kind.
            group: Only of this link group.
            vlans: Fill in ``Link.vlans``; costs a second dump.
        """
        body = IFINFO.pack(0, 0, 0, 0, 0) + attribute_u32(ifla.IFLA_EXT_MASK, _SKIP_STATS)
        # The kernel filters too, where it can; that it did is not relied upon.
        if master:
            body += attribute_u32(ifla.IFLA_MASTER, master)
        if kind:
            body += attribute(ifla.IFLA_LINKINFO, attribute_text(ifla.IFLA_INFO_KIND, kind))

        def parse(found: bytes) -> Link | None:
            link = parse_link(found)
            wanted = (
                (master is None or link.master == master)
                and (kind is None or link.kind == kind)
                and (group is None or link.group == group)
            )
            return link if wanted else None

        links = self.dump(Message(rtm.RTM_GETLINK, NLM_F_DUMP, body, "list links"), parse)
        if not vlans:
            return links
        of_port = self.vlans()
        return [link._replace(vlans=of_port.get(link.index, ())) for link in links]

    def addresses(self, index: int | None = None, family: int = 0) -> list[Address]:
        """
        List addresses.

        Args:
            index: Only of this link.
            family: Only AF_INET or AF_INET6; 0 for both.
        """
        body = IFADDR.pack(family, 0, 0, 0, index or 0)

        def parse(found: bytes) -> Address | None:
            address = parse_address(found) if found[:1] in _IP_FAMILIES else None
            if address is None or (index is not None and address.index != index):
                return None
            return address if family in {0, address.family} else None

        message = Message(rtm.RTM_GETADDR, NLM_F_DUMP, body, "list addresses")
        return self._dump_of_link(message, parse)

    def _dump_of_link(self, message: Message, parse: Callable[[bytes], _T | None]) -> list[_T]:
        """List what belongs to one link: nothing, where the link is gone."""
        try:
            return self.dump(message, parse)
        except RtnlError as exc:
            if exc.errno == errno.ENODEV:
                return []
            raise

    def routes(self, family: int = 0, table: int | None = None) -> list[Route]:
        """
        List routes.

        Args:
            family: Only AF_INET or AF_INET6; 0 for both.
            table: Only of this table; None for all, the local one included.
        """
        body = RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
        if table:
            body += attribute_u32(RTA_TABLE, table)

        def parse(found: bytes) -> Route | None:
            # Asked for all families, the kernel also lists multicast and MPLS routes.
            route = parse_route(found) if found[:1] in _IP_FAMILIES else None
            if route is None or (table is not None and route.table != table):
                return None
            return route if family in {0, route.family} else None

        try:
            return self.dump(Message(rtm.RTM_GETROUTE, NLM_F_DUMP, body, "list routes"), parse)
        except RtnlError as exc:
            if exc.errno == errno.ENOENT and table:  # a table that nobody has used
                return []
            raise

    def route_to(self, destination: str, *, source: str = "", oif: int = 0) -> Route | None:
        """
        Ask which route a packet of this host would take.

        Args:
            destination: An address.
            source: An address; empty for the kernel's choice, told in ``prefsrc``.
            oif: Only through this link.

        Returns:
            The route, to the address alone; None when it is unreachable.
        """
        found = self._find_route(destination, source=source, oif=oif)
        return None if found is None else parse_route(found)

    def _find_route(self, destination: str, *, source: str = "", oif: int = 0) -> bytes | None:
        packed = pack_address(destination)
        bits = len(packed) * 8
        family = socket.AF_INET if bits == 32 else socket.AF_INET6
        body = RTMSG.pack(family, bits, bits if source else 0, 0, 0, 0, 0, 0, 0)
        body += attribute(RTA_DST, packed)
        if source:
            body += attribute(RTA_SRC, pack_address(source))
        if oif:
            body += attribute_u32(RTA_OIF, oif)
        label = f"look up the route to {destination}"
        question = Message(rtm.RTM_GETROUTE, 0, body, label)
        return self.ask(question, tolerate=_UNREACHABLE)[0]

    def is_local(self, address: str) -> bool:
        """
        Tell whether this host has an address, at the same cost however many others it has.

        One that is tentative, or on a link that is down, does not count.

        Source: linux/rtnetlink.h, RTN_LOCAL.
        """
        route = self._find_route(address)
        return route is not None and parse_route_type(route) == "local"

    def neighbours(self, index: int | None = None, family: int = 0) -> list[Neighbour]:
        """
        List neighbours.

        Args:
            index: Only of this link.
            family: Only AF_INET or AF_INET6, 0 for both; AF_BRIDGE for the MAC tables
                of bridges.
        """
        body = NDMSG.pack(family, 0, 0, 0, 0)
        if index is not None and family != _AF_BRIDGE:
            body += attribute_u32(NDA_IFINDEX, index)

        def parse(found: bytes) -> Neighbour | None:
            known = found[:1] in _IP_FAMILIES or found[:1] == _BRIDGE_FAMILY
            each = parse_neighbour(found) if known else None
            if each is None or (index is not None and each.index != index):
                return None
            return each if family in {0, each.family} else None

        message = Message(rtm.RTM_GETNEIGH, NLM_F_DUMP, body, "list neighbours")
        return self._dump_of_link(message, parse)

    def port_vlans(self, index: int) -> tuple[PortVlan, ...]:
        """List the VLANs of one port, or of a bridge itself; empty where none can be."""
        try:
            found = self.dump(list_vlans(index), parse_vlan_entries)
        except RtnlError as exc:
            if exc.errno in _NO_PORT:
                return ()
            if exc.errno != errno.EOPNOTSUPP:
                raise
            # Before Linux 5.6, or without VLAN filtering.
            return next(iter(self._vlans(index)), (IfIndex(index), ()))[1]
        # A port with many entries is told in several messages.
        return tuple(each for seen, vlans in found if seen == index for each in vlans)

    def vlans(self) -> dict[IfIndex, tuple[PortVlan, ...]]:
        """
        List the VLANs of all bridges and ports, by index.

        Links without any are left out; on a kernel that cannot filter that is all.
        """
        return dict(self._vlans(None))

    def _vlans(self, index: int | None) -> list[tuple[IfIndex, tuple[PortVlan, ...]]]:
        body = IFINFO.pack(_AF_BRIDGE, 0, 0, 0, 0)
        body += attribute_u32(ifla.IFLA_EXT_MASK, _BRVLAN_COMPRESSED | _SKIP_STATS)

        def parse(found: bytes) -> tuple[IfIndex, tuple[PortVlan, ...]] | None:
            seen = parse_index(found)
            if index is not None and seen != index:
                return None
            vlans = parse_link(found).vlans
            return (seen, vlans) if vlans else None

        message = Message(rtm.RTM_GETLINK, NLM_F_DUMP, body, "list VLANs of bridge ports")
        try:
            return self.dump(message, parse)
        except RtnlError as exc:
            if exc.errno == errno.EOPNOTSUPP:  # no bridge module yet, so no bridge
                return []
            raise

    def wait_link(
        self, index: int, predicate: Callable[[Link], bool], *, timeout_s: float
    ) -> Link | None:
        """
        Look at a link until it is as wished, at growing intervals.

        Returns:
            The link as last seen, which may not be as wished when the time is over;
            None once it is gone.
        """
        deadline = time.monotonic() + timeout_s
        pause = WAIT_FIRST_S
        while True:
            link = self.link(index)
            left = deadline - time.monotonic()
            if link is None or predicate(link) or left <= 0:
                return link
            time.sleep(min(pause, left))
            pause = min(pause * 2, WAIT_LONGEST_S)
