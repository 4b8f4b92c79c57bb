# SPDX-License-Identifier: Apache-2.0
"""The bridge, the veth pair, and the port: everything below the addresses."""

import errno
from dataclasses import dataclass
from typing import Final, NamedTuple

from spanbridge.base.errors import Code, KernelError, NodeError
from spanbridge.base.names import IfIndex, IfName, MacAddress
from spanbridge.base.undo import Undo
from spanbridge.bridge.site import Site, random_mac
from spanbridge.model.addresses import Ip, ip_from_text
from spanbridge.model.desired import BridgeState, DesiredAttachment, PortState, SandboxState
from spanbridge.model.owner import PREFIX, Owner, network_tag
from spanbridge.model.uplink import UplinkState
from spanbridge.rtnl import (
    Link,
    Message,
    NetNs,
    Rtnl,
    add_vlans,
    del_link,
    del_vlans,
    new_bridge,
    new_veth,
    set_bridge,
    set_link,
    set_link_local,
    set_port,
)

PORT_NAMES: Final = 4
"""How many names are tried for the host port before we give up."""

PORT_WAIT_S: Final = 10.0
"""Seconds that a new port may take to come up; usually it is up at once."""

READY: Final = "ready"
READY_WITH_FIREWALL: Final = "ready+firewall"
"""States in a port's alias; "pending" comes before them."""

NO_IPV6: Final = frozenset({errno.EAFNOSUPPORT})
"""What a kernel answers to ``set_link_local`` where a link has no IPv6."""

_GONE: Final = frozenset({errno.ENODEV, errno.ENOENT})


@dataclass(frozen=True, slots=True)
class SandboxEnd:
    """
    The end of the pair in the sandbox.

    Attributes:
        index: Unique in the sandbox.
        name: At most 15 bytes.
        mac: Hex octets joined by colons.
        mtu: Bytes.
    """

    index: IfIndex
    name: str
    mac: str
    mtu: int


class Attached(NamedTuple):
    """
    The links as they were observed after the change.

    Attributes:
        bridge: The bridge.
        port: The host end.
        sandbox: The sandbox end.
    """

    bridge: Link
    port: Link
    sandbox: SandboxEnd


def _unsuitable(subject: str, cause: str, hint: str) -> NodeError:
    return NodeError(f"cannot use {subject}: {cause}", hint=hint, code=Code.BRIDGE_UNSUITABLE)


def refuse_unsuitable(found: Link | None, want: BridgeState) -> None:
    """
    Refuse a link that cannot serve as the bridge; None (no such link) is fine.

    Raises:
        NodeError: Not a bridge, or VLANs are wanted and it does not filter them: its
            ports would talk untagged and unseparated, without any error.
    """
    if found is None:
        return
    if found.kind != "bridge":
        raise _unsuitable(
            f"bridge {want.name}",
            f"the link of this name is of kind {found.kind or 'device'!r}",
            'name another "bridge", or remove that link',
        )
    if want.vlan_filtering and not (found.bridge and found.bridge.vlan_filtering):
        raise _unsuitable(
            f"bridge {want.name}",
            "it does not filter VLANs, so vlan and vlanTrunk would have no effect",
            f"run: ip link set dev {want.name} type bridge vlan_filtering 1",
        )


def _create_bridge(site: Site, want: BridgeState, undo: Undo) -> None:
    create = new_bridge(want.name, mac=random_mac(), vlan_filtering=want.vlan_filtering)
    try:
        site.node.request(create)
    except KernelError as exc:
        if exc.errno == errno.EEXIST:  # made by somebody who does not take our lock
            return
        if exc.errno == errno.EOPNOTSUPP and want.vlan_filtering:
            raise _unsuitable(
                f"bridge {want.name}",
                "this kernel cannot filter VLANs on a bridge",
                "use a kernel with CONFIG_BRIDGE_VLAN_FILTERING",
            ) from exc
        raise
    undo.push(_remove_unused_bridge, site, want.name)
    if want.mtu:
        # Only a change after creation is kept when ports come and go.
        site.node.request(set_link(want.name, mtu=want.mtu))


def _remove_unused_bridge(site: Site, name: IfName) -> None:
    with site.bridge_lock(name):
        bridge = site.node.link(name)
        if bridge is not None and not site.node.links(master=bridge.index):
            site.node.request(del_link(index=bridge.index), tolerate=_GONE)


def _ensure_bridge(site: Site, want: BridgeState, found: Link | None, undo: Undo) -> Link:
    """Create or adopt the bridge; the caller holds its lock."""
    if found is None:
        _create_bridge(site, want, undo)
        found = site.node.link(want.name)
        refuse_unsuitable(found, want)
    if found is None:
        raise NodeError(f"cannot use bridge {want.name}: it was removed while we made it")
    promisc = True if want.promisc and not found.promisc else None
    if promisc:
        _push_setting(site, found, set_link(found.index, promisc=False), undo)
    if promisc or not found.up:
        site.node.request(set_link(found.index, up=True, promisc=promisc))
    if want.linklocal_deaf and found.bridge is not None and found.bridge.linklocal_learning:
        _push_setting(site, found, set_bridge(found.index, linklocal_learning=True), undo)
        site.node.request(set_bridge(found.index, linklocal_learning=False))
    return found


def _ensure_uplink(
    site: Site, want: UplinkState, bridge: Link, *, found: Link | None, undo: Undo
) -> Link:
    """Ensure the uplink; the bridge as it is then, since a new port may change its MTU."""
    from spanbridge.bridge.uplink import ensure_uplink  # only those who have one pay for it

    if not ensure_uplink(site, want, bridge, found=found, undo=undo):
        return bridge
    return site.node.link(bridge.index) or bridge


def _push_setting(site: Site, bridge: Link, earlier: Message, undo: Undo) -> None:
    """Remember to bring a setting back, unless others came to rely on it meanwhile."""
    before = {port.index for port in site.node.links(master=bridge.index)}

    def restore() -> None:
        with site.bridge_lock(IfName(bridge.name)):
            if {port.index for port in site.node.links(master=bridge.index)} <= before:
                site.node.request(earlier, tolerate=_GONE)

    undo.push(restore)


def port_of(node: Rtnl, owner: Owner) -> Link | None:
    """Find the host port of ``owner`` by its names; a stranger's link is none."""
    for attempt in range(PORT_NAMES):
        found = node.link(owner.port_name(attempt))
        if found is not None and found.kind == "veth" and _may_be_ours(found, owner):
            return found
    return None


def _may_be_ours(found: Link, owner: Owner) -> bool:
    # Without alias: killed between creation and the mark; the name is a hash of the owner.
    return not found.alias or found.alias.startswith(owner.tag)


def find_attached(site: Site, owner: Owner, bridge: IfName) -> Attached | None:
    """Find the links of an attachment that ADD finished; None when one of them is gone."""
    found = site.node.link(bridge)
    port = port_of(site.node, owner)
    inside = site.inside.link(owner.ifname)
    if found is None or port is None or inside is None or not is_ready(port, owner):
        return None
    return Attached(found, port, SandboxEnd(inside.index, inside.name, inside.mac, inside.mtu))


def is_ready(port: Link, owner: Owner) -> bool:
    """Tell whether ADD finished with this port."""
    return port.alias.startswith(f"{owner.tag} {READY}")


def _exists(want: DesiredAttachment, where: str) -> NodeError:
    return NodeError(
        f"cannot add interface {want.sandbox.ifname}: {where}",
        hint="DEL this attachment first, or use another CNI_IFNAME",
        code=Code.INTERFACE_EXISTS,
    )


@dataclass(frozen=True, slots=True)
class _Seen:
    """
    What has one of our names on the node; None in the place of what is missing.

    Attributes:
        bridge: The bridge.
        port: Whatever has the first name for the host port.
        uplink: The uplink; None also where the configuration names none.
    """

    bridge: Link | None
    port: Link | None
    uplink: Link | None


def _observe(node: Rtnl, want: DesiredAttachment) -> _Seen:
    """Look up everything by name, all at once."""
    names = [want.bridge.name, want.owner.port_name()]
    if want.uplink is not None:
        names.append(want.uplink.device)
    bridge, port, *uplink = node.links_named(names)
    return _Seen(bridge, port, uplink[0] if uplink else None)


def _free_port_name(node: Rtnl, want: DesiredAttachment, first: Link | None) -> IfName:
    """
    Name the host port. Refuse a second ADD; clear away what a killed one left.

    Args:
        node: Socket in the node's namespace.
        want: What is to be attached.
        first: What has the first of the names; the others are looked at only if need be.
    """
    owner = want.owner
    if first is None:
        return owner.port_name()
    names = [owner.port_name(attempt) for attempt in range(PORT_NAMES)]
    ports = dict(zip(names, [first, *node.links_named(names[1:])], strict=True))
    free = []
    for name, found in ports.items():
        if found is None:
            free.append(name)
        elif found.kind == "veth" and _may_be_ours(found, owner):
            if is_ready(found, owner):
                raise _exists(want, "its host port exists already")
            node.request(del_link(index=found.index), tolerate=_GONE)
            free.append(name)
    if free:
        return free[0]
    raise NodeError(
        f"cannot name the host port: {PORT_NAMES} candidates are taken",
        hint=f"look at: ip link show {owner.port_name()}",
        code=Code.INTERFACE_EXISTS,
    )


def port_messages(port: IfIndex, want: PortState, *, default_pvid: int) -> list[Message]:
    """
    Build what makes a fresh port as wanted, without reading it first.

    Args:
        port: The port's index.
        want: What it shall be.
        default_pvid: What the bridge gives to a new port; 0 for a bridge that gives
            nothing or does not filter.
    """
    messages = []
    if want.hairpin or want.isolated:
        messages.append(set_port(port, hairpin=want.hairpin, isolated=want.isolated))
    ranges = [(each.first, each.last) for each in want.tagged]
    if default_pvid and not want.keep_default_vlan and default_pvid != want.pvid:
        messages.append(del_vlans(port, [(default_pvid, default_pvid)]))
    if want.pvid is not None:
        messages.append(add_vlans(port, [(want.pvid, want.pvid)], pvid=True, untagged=True))
    if ranges:
        messages.append(add_vlans(port, ranges))
    return messages


def _given_pvid(bridge: Link, want: PortState) -> int:
    """Return the VLAN that a new port of ``bridge`` is given, where it shall not keep that."""
    return 0 if want.keep_default_vlan else default_pvid(bridge)


def default_pvid(bridge: Link) -> int:
    """Return the VLAN that a new port of ``bridge`` is given; 0 for none."""
    info = bridge.bridge
    if info is None or not info.vlan_filtering:
        return 0
    return info.default_pvid or 0


def unmarked_group(network: str) -> int:
    """
    Return the link group of a port between its creation and its mark.

    An alias cannot be given at creation, a group can; by it GC knows the port of an ADD
    that was killed in between.

    Source: net/core/rtnetlink.c, rtnl_create_link(), Linux 6.1.
    """
    digest = network_tag(network).removeprefix(PREFIX)
    return int(digest[:7], 16) + 1


def _create_pair(
    site: Site, want: DesiredAttachment, name: IfName, *, bridge: Link, undo: Undo
) -> Attached:
    mac: MacAddress = want.sandbox.mac or random_mac()
    create = new_veth(
        name,
        peer=want.sandbox.ifname,
        mac=random_mac(),
        peer_mac=mac,
        mtu=want.sandbox.mtu or None,
        master=bridge.index,
        # A later change of either would take a grace period.
        txqlen=0,
        queues=1,
        group=unmarked_group(want.owner.network),
        peer_netns=site.entered,
    )
    undo.push(_remove_pair, site, want.owner, name)
    try:
        # An adopted bridge takes MAC and MTU of its ports, so it is read again.
        port, master = site.node.links_named([name, bridge.name], after=[create])
    except KernelError as exc:
        if exc.errno == errno.EEXIST and site.inside.link(want.sandbox.ifname) is not None:
            raise _exists(want, f"it is in {site.sandbox_path} already") from exc
        raise
    if port is None:
        raise NodeError(f"cannot use host port {name}: it was removed while we made it")
    # Of the other end all is known: its MAC is ours, and a pair has one MTU.
    inside = SandboxEnd(port.link, want.sandbox.ifname, mac, port.mtu)
    return Attached(master or bridge, port, inside)


def _mark_pending(port: Link, owner: Owner) -> Message:
    return set_link(port.index, alias=owner.alias("pending"), group=0, up=True)


def _remove_pair(site: Site, owner: Owner, name: IfName) -> None:
    port = site.node.link(name)
    if port is not None and port.kind == "veth" and _may_be_ours(port, owner):
        site.node.request(del_link(index=port.index), tolerate=_GONE)


def ensure_link(site: Site, want: DesiredAttachment, undo: Undo) -> Attached:
    """
    Make the bridge and a port on it, with its VLANs; the sandbox end stays down.

    So no frame passes in the wrong VLAN: without the other end the port has no carrier.

    Raises:
        NodeError: The bridge is unsuitable, or the interface is there already.
        KernelError: The kernel refused; what was done is on ``undo``.
    """
    with site.bridge_lock(want.bridge.name):
        seen = _observe(site.node, want)
        refuse_unsuitable(seen.bridge, want.bridge)
        name = _free_port_name(site.node, want, seen.port)
        bridge = _ensure_bridge(site, want.bridge, seen.bridge, undo)
        if want.uplink is not None:
            bridge = _ensure_uplink(site, want.uplink, bridge, found=seen.uplink, undo=undo)
        attached = _create_pair(site, want, name, bridge=bridge, undo=undo)
        bridge, port, _ = attached
        _refuse_advertisements(site.host, bridge, port)
        site.node.request(
            set_link_local(port.index, generated=False),
            *port_messages(port.index, want.port, default_pvid=_given_pvid(bridge, want.port)),
            _mark_pending(port, want.owner),
            tolerate=NO_IPV6,
        )
    site.enter(sandbox_sysctls(want.sandbox))
    return attached


def sandbox_sysctls(want: SandboxState) -> list[tuple[str, str]]:
    """List the sysctls that the sandbox end gets, whatever its addresses will be."""
    if not want.up or not want.layer3:
        return []
    v6 = f"net/ipv6/conf/{want.ifname}"
    pairs = [(f"{v6}/accept_dad", "1" if want.duplicate_detection else "0")]
    if want.duplicate_detection:
        # A hairpin port reflects our own probes; enhanced DAD (RFC 7527) knows them.
        pairs.append((f"{v6}/enhanced_dad", "1"))
    return pairs


def _refuse_advertisements(host: NetNs, *links: Link) -> None:
    """Keep pods from leading the node by router advertisements, at a bridge or a port."""
    pairs = [(f"net/ipv6/conf/{link.name}/accept_ra", "0") for link in links]
    host.write_sysctls(pairs, missing_ok=True)


def raise_port(host: NetNs, node: Rtnl, port: Link) -> None:
    """Set a port up, deaf to router advertisements and without an address of its own."""
    _refuse_advertisements(host, port)
    node.request(set_link_local(port.index, generated=False), tolerate=NO_IPV6)
    node.request(set_link(port.index, up=True))


def wait_for_port(site: Site, port: Link) -> None:
    """
    Wait until the port forwards.

    Raises:
        NodeError: It did not come up within ``PORT_WAIT_S``.
    """
    seen = site.node.wait_link(port.index, lambda link: link.forwards, timeout_s=PORT_WAIT_S)
    if seen is None or not seen.forwards:
        state = seen.operstate if seen else "gone"
        raise NodeError(
            f"cannot use host port {port.name}: it is {state} after {PORT_WAIT_S:.0f} s",
            hint=f"look at: bridge -d link show dev {port.name}",
        )


def mark_ready(site: Site, want: DesiredAttachment, attached: Attached) -> None:
    """
    Write on the port that ADD has finished; until then a repeated ADD starts over.

    The mark also says what the firewall holds, so that DEL need not load libnftables to
    find out, nor read all tables to take away one element.
    """
    state = READY
    if want.uses_firewall:
        only_pins = not want.masquerade and not want.spoof_check
        state = f"{READY}+pins={_listed(want)}" if only_pins else READY_WITH_FIREWALL
    site.node.request(set_link(attached.port.index, alias=want.owner.alias(state)))


def _listed(want: DesiredAttachment) -> str:
    return ",".join(map(str, want.kept_gateways))


def may_have_firewall(port: Link | None, owner: Owner) -> bool:
    """Tell whether the firewall may hold entries of the attachment with this port."""
    return port is not None and not port.alias.startswith(f"{owner.tag} {READY} ")


def pinned_gateways(port: Link | None, owner: Owner) -> tuple[Ip, ...]:
    """
    List the gateway addresses that an attachment is pinned to, where it has nothing else.

    Returns:
        Nothing where the firewall may hold other entries of it too, or it is not known.
    """
    mark = f"{owner.tag} {READY}+pins="
    if port is None or not port.alias.startswith(mark):
        return ()
    listed = port.alias.removeprefix(mark).partition(" ")[0].split(",")
    found = [ip_from_text(each) for each in listed]
    return tuple(each for each in found if each is not None)
