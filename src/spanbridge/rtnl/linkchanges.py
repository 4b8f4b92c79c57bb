# SPDX-License-Identifier: Apache-2.0
"""
Requests that make, change and remove links.

Source: linux/if_link.h, linux/veth.h; net/core/rtnetlink.c, Linux 6.1.
"""

import socket
from typing import Final

from spanbridge.base.errors import InputError
from spanbridge.rtnl import links as ifla
from spanbridge.rtnl.messages import IFINFO, RTM_DELLINK, RTM_NEWLINK, RTM_SETLINK, Message
from spanbridge.rtnl.netns import NetNs
from spanbridge.rtnl.wire import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    attribute,
    attribute_text,
    attribute_u8,
    attribute_u16,
    attribute_u32,
    pack_mac,
)

_NEW: Final = NLM_F_CREATE | NLM_F_EXCL


def _new_link(name: str, kind: str, data: bytes, *, rest: bytes = b"", up: bool = False) -> Message:
    """Build RTM_NEWLINK that fails when the name exists; ``data`` is IFLA_INFO_DATA's inside."""
    info = attribute_text(ifla.IFLA_INFO_KIND, kind)
    if data:
        info += attribute(ifla.IFLA_INFO_DATA, data)
    flags = ifla.IFF_UP if up else 0
    body = (
        IFINFO.pack(0, 0, 0, flags, flags)
        + attribute_text(ifla.IFLA_IFNAME, name)
        + rest
        + attribute(ifla.IFLA_LINKINFO, info)
    )
    return Message(RTM_NEWLINK, _NEW, body, f"add {kind} {name}")


def _common(
    *,
    mac: str | None = None,
    mtu: int | None = None,
    txqlen: int | None = None,
    master: int | None = None,
    group: int | None = None,
) -> bytes:
    """Encode the attributes that both creation and change take; None leaves one out."""
    parts = [] if mac is None else [attribute(ifla.IFLA_ADDRESS, pack_mac(mac))]
    for kind, value in (
        (ifla.IFLA_MTU, mtu),
        (ifla.IFLA_TXQLEN, txqlen),
        (ifla.IFLA_MASTER, master),
        (ifla.IFLA_GROUP, group),
    ):
        if value is not None:
            parts.append(attribute_u32(kind, value))
    return b"".join(parts)


def new_bridge(  # noqa: PLR0913  # one keyword per attribute
    name: str,
    *,
    mac: str | None = None,
    mtu: int | None = None,
    vlan_filtering: bool | None = None,
    default_pvid: int | None = None,
    group: int | None = None,
    up: bool = False,
) -> Message:
    """
    Make a bridge; EEXIST when the name is taken.

    Args:
        name: Of the bridge.
        mac: Its own; None: random, and later the lowest of its ports'.
        mtu: Bytes. An MTU given at creation still follows the ports; one that is set
            by `set_link` afterwards stays.
        vlan_filtering: Separate frames by VLAN. False is not sent: kernels without
            the feature refuse the attribute, whatever its value.
        default_pvid: VLAN that new ports get; 0 for none, None for the kernel's 1.
        group: Link group.
        up: Set it up at once.
    """
    data = b""
    if vlan_filtering:
        data += attribute_u8(ifla.IFLA_BR_VLAN_FILTERING, 1)
    if default_pvid is not None:
        data += attribute_u16(ifla.IFLA_BR_VLAN_DEFAULT_PVID, default_pvid)
    return _new_link(name, "bridge", data, rest=_common(mac=mac, mtu=mtu, group=group), up=up)


def set_bridge(  # noqa: PLR0913  # one keyword per attribute
    index: int | str,
    *,
    vlan_filtering: bool | None = None,
    default_pvid: int | None = None,
    stp_state: int | None = None,
    forward_delay_s: float | None = None,
    ageing_time_s: float | None = None,
    mcast_snooping: bool | None = None,
    linklocal_learning: bool | None = None,
) -> Message:
    """Change a bridge, given by index or name; None leaves an attribute as it is."""
    data = b""
    if vlan_filtering is not None:
        data += attribute_u8(ifla.IFLA_BR_VLAN_FILTERING, int(vlan_filtering))
    if default_pvid is not None:
        data += attribute_u16(ifla.IFLA_BR_VLAN_DEFAULT_PVID, default_pvid)
    if stp_state is not None:
        data += attribute_u32(ifla.IFLA_BR_STP_STATE, stp_state)
    if forward_delay_s is not None:
        data += attribute_u32(ifla.IFLA_BR_FORWARD_DELAY, round(forward_delay_s * 100))
    if ageing_time_s is not None:
        data += attribute_u32(ifla.IFLA_BR_AGEING_TIME, round(ageing_time_s * 100))
    if mcast_snooping is not None:
        data += attribute_u8(ifla.IFLA_BR_MCAST_SNOOPING, int(mcast_snooping))
    if linklocal_learning is not None:
        bit = ifla.BR_BOOLOPT_NO_LL_LEARN
        values = ifla.BOOLOPT.pack(0 if linklocal_learning else bit, bit)
        data += attribute(ifla.IFLA_BR_MULTI_BOOLOPT, values)
    info = attribute_text(ifla.IFLA_INFO_KIND, "bridge") + attribute(ifla.IFLA_INFO_DATA, data)
    body = _address(index) + attribute(ifla.IFLA_LINKINFO, info)
    return Message(RTM_NEWLINK, 0, body, f"set bridge {index}")


def new_veth(  # noqa: PLR0913  # one keyword per attribute
    name: str,
    *,
    peer: str,
    mac: str | None = None,
    peer_mac: str | None = None,
    mtu: int | None = None,
    master: int | None = None,
    txqlen: int | None = None,
    group: int | None = None,
    queues: int | None = None,
    up: bool = False,
    peer_netns: NetNs | None = None,
) -> Message:
    """
    Make a veth pair; EEXIST when either name is taken where it shall live.

    Args:
        name: The end in the namespace of the socket that sends this.
        peer: The other end; always down, since the kernel refuses to set it up before
            the pair is complete (ENOTCONN).
        mac: Of this end; None for a random one.
        peer_mac: Of the other end; None for a random one.
        mtu: Bytes, of both ends.
        master: Index of the bridge that this end becomes a port of.
        txqlen: Frames, of this end.
        group: Link group of this end.
        queues: Transmit and receive queues of both ends; None for as many as there are
            processors, of which all but one are then switched off, at a grace period each.
        up: Set this end up.
        peer_netns: Where the peer shall live; None for here. It has to stay open until
            the message was sent.
    """
    other = IFINFO.pack(0, 0, 0, 0, 0) + attribute_text(ifla.IFLA_IFNAME, peer)
    other += _common(mac=peer_mac, mtu=mtu) + _queues(queues)
    if peer_netns is not None:
        other += attribute_u32(ifla.IFLA_NET_NS_FD, peer_netns.fd)
    rest = _common(mac=mac, mtu=mtu, txqlen=txqlen, master=master, group=group)
    rest += _queues(queues)
    return _new_link(name, "veth", attribute(ifla.VETH_INFO_PEER, other), rest=rest, up=up)


def _queues(count: int | None) -> bytes:
    if count is None:
        return b""
    kinds = (ifla.IFLA_NUM_TX_QUEUES, ifla.IFLA_NUM_RX_QUEUES)
    return b"".join(attribute_u32(kind, count) for kind in kinds)


def new_vlan(
    name: str,
    *,
    link: int,
    vlan_id: int,
    mac: str | None = None,
    mtu: int | None = None,
    up: bool = False,
) -> Message:
    """Make an 802.1Q interface of VLAN ``vlan_id`` on the device with index ``link``."""
    rest = attribute_u32(ifla.IFLA_LINK, link) + _common(mac=mac, mtu=mtu)
    return _new_link(name, "vlan", attribute_u16(ifla.IFLA_VLAN_ID, vlan_id), rest=rest, up=up)


def new_dummy(
    name: str,
    *,
    mac: str | None = None,
    mtu: int | None = None,
    master: int | None = None,
    group: int | None = None,
    up: bool = False,
) -> Message:
    """Make a dummy interface: it swallows what it is given."""
    rest = _common(mac=mac, mtu=mtu, master=master, group=group)
    return _new_link(name, "dummy", b"", rest=rest, up=up)


def _address(link: int | str, *, flags: int = 0, change: int = 0) -> bytes:
    """Encode which link is meant: an index in the header, or a name beside it."""
    if isinstance(link, str):
        return IFINFO.pack(0, 0, 0, flags, change) + attribute_text(ifla.IFLA_IFNAME, link)
    return IFINFO.pack(0, 0, link, flags, change)


def set_link(  # noqa: PLR0913  # one keyword per attribute
    index_or_name: int | str,
    *,
    up: bool | None = None,
    name: str | None = None,
    mtu: int | None = None,
    mac: str | None = None,
    master: int | None = None,
    promisc: bool | None = None,
    group: int | None = None,
    alias: str | None = None,
    txqlen: int | None = None,
    arp_notify: bool | None = None,
    netns: NetNs | None = None,
) -> Message:
    """
    Change a link; None leaves an attribute as it is.

    Args:
        index_or_name: The link.
        up: Set it up or down.
        name: New name; the link has to be addressed by index.
        mtu: Bytes.
        mac: Ethernet address.
        master: Index of the bridge to become a port of; 0 to be released.
        promisc: IFF_PROMISC.
        group: Link group.
        alias: Free text, at most 255 bytes; empty removes it.
        txqlen: Frames.
        arp_notify: Announce its IPv4 addresses when it next goes up or gets a MAC.
        netns: Move it there; the namespace has to stay open until the message was sent.
    """
    if name is not None and isinstance(index_or_name, str):
        raise InputError(f"cannot rename link {index_or_name}: address it by its index")
    flags = change = 0
    for bit, wanted in ((ifla.IFF_UP, up), (ifla.IFF_PROMISC, promisc)):
        if wanted is not None:
            change |= bit
            flags |= bit if wanted else 0
    body = _address(index_or_name, flags=flags, change=change)
    if name is not None:
        body += attribute_text(ifla.IFLA_IFNAME, name)
    body += _common(mac=mac, mtu=mtu, txqlen=txqlen, master=master, group=group)
    if alias is not None:
        body += attribute_text(ifla.IFLA_IFALIAS, alias)
    if arp_notify is not None:
        setting = attribute_u32(ifla.IPV4_DEVCONF_ARP_NOTIFY, arp_notify)
        inet = attribute(socket.AF_INET, attribute(ifla.IFLA_INET_CONF, setting))
        body += attribute(ifla.IFLA_AF_SPEC, inet)
    if netns is not None:
        body += attribute_u32(ifla.IFLA_NET_NS_FD, netns.fd)
    return Message(RTM_SETLINK, 0, body, f"set link {index_or_name}")


def set_link_local(index: int, *, generated: bool) -> Message:
    """
    Say whether a link gets an IPv6 link-local address of its own when it next goes up.

    EAFNOSUPPORT where it has no IPv6: without that in the kernel, or below the smallest MTU.

    Source: linux/if_link.h, IFLA_INET6_ADDR_GEN_MODE and enum in6_addr_gen_mode.
    """
    mode = ifla.IN6_ADDR_GEN_MODE_EUI64 if generated else ifla.IN6_ADDR_GEN_MODE_NONE
    inet6 = attribute(socket.AF_INET6, attribute_u8(ifla.IFLA_INET6_ADDR_GEN_MODE, mode))
    body = _address(index) + attribute(ifla.IFLA_AF_SPEC, inet6)
    return Message(RTM_SETLINK, 0, body, f"set link-local address of link {index}")


def set_port(
    index_or_name: int | str,
    *,
    hairpin: bool | None = None,
    isolated: bool | None = None,
    learning: bool | None = None,
    guard: bool | None = None,
    neigh_suppress: bool | None = None,
) -> Message:
    """
    Change what only a bridge port has; None leaves an attribute as it is.

    The link has to be a port already: the kernel applies these before a new master.
    """
    data = b"".join(
        attribute_u8(kind, int(value))
        for kind, value in (
            (ifla.IFLA_BRPORT_MODE, hairpin),
            (ifla.IFLA_BRPORT_ISOLATED, isolated),
            (ifla.IFLA_BRPORT_LEARNING, learning),
            (ifla.IFLA_BRPORT_GUARD, guard),
            (ifla.IFLA_BRPORT_NEIGH_SUPPRESS, neigh_suppress),
        )
        if value is not None
    )
    info = attribute_text(ifla.IFLA_INFO_SLAVE_KIND, "bridge")
    info += attribute(ifla.IFLA_INFO_SLAVE_DATA, data)
    body = _address(index_or_name) + attribute(ifla.IFLA_LINKINFO, info)
    return Message(RTM_NEWLINK, 0, body, f"set bridge port {index_or_name}")


def del_link(
    *, index: int | None = None, name: str | None = None, group: int | None = None
) -> Message:
    """
    Remove a link by index or name, or every link of a group at once.

    Group 0, which holds every link that was never put in one, is refused.
    """
    if [index, name, group].count(None) != 2 or not (index or name or group):
        raise InputError("cannot delete a link: give one of index, name and group, not 0")
    if group is not None:
        body = IFINFO.pack(0, 0, 0, 0, 0) + attribute_u32(ifla.IFLA_GROUP, group)
        return Message(RTM_DELLINK, 0, body, f"delete links of group {group}")
    which = index if index is not None else name or ""
    return Message(RTM_DELLINK, 0, _address(which), f"delete link {which}")
