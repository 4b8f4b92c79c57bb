# SPDX-License-Identifier: Apache-2.0
"""The node as the network's router: gateway addresses, the VLAN's interface, forwarding."""

import errno
import hashlib
from typing import Final

from spanbridge.base.errors import Code, NodeError
from spanbridge.base.names import IfIndex, IfName
from spanbridge.base.undo import Undo
from spanbridge.bridge.link import READY, Attached, raise_port
from spanbridge.bridge.site import Site, random_mac
from spanbridge.model.addresses import Cidr, ip_from_text
from spanbridge.model.desired import GatewayState
from spanbridge.model.owner import PREFIX
from spanbridge.rtnl import (
    SCOPE_LINK,
    Address,
    Link,
    Message,
    add_vlans,
    del_address,
    del_link,
    del_vlans,
    new_address,
    new_veth,
    set_link,
)

GATEWAY_ALIAS: Final = f"{PREFIX}gateway"
"""How the alias of a VLAN interface starts that we made, at both of its ends."""

_GONE: Final = frozenset({errno.ENODEV, errno.ENOENT, errno.EADDRNOTAVAIL})
_THERE: Final = frozenset({errno.EEXIST})

FORWARDING: Final = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}


def gateway_port_name(device: IfName) -> IfName:
    """Name the bridge port of a VLAN's interface."""
    return IfName("veth" + hashlib.sha256(f"gateway\0{device}".encode()).hexdigest()[:8])


def cidr_of(address: Address) -> Cidr:
    """Turn what the kernel reports into a ``Cidr``."""
    ip = ip_from_text(address.address)
    if ip is None:
        raise AssertionError("the kernel reports addresses in its own notation")
    return Cidr(ip, address.prefix_length)


def _unusable(device: IfName, cause: str) -> NodeError:
    return NodeError(
        f"cannot use {device} for the gateway: {cause}",
        hint=f"remove it (ip link del {device}) or rename it; the next ADD makes the right one",
        code=Code.BRIDGE_UNSUITABLE,
    )


def gateway_port(site: Site, want: GatewayState) -> IfName | None:
    """
    Name the bridge port of the VLAN's interface, also when it is still to be made.

    Returns:
        None where the bridge itself, or an 802.1Q interface on it, is the gateway.
    """
    if not want.vlan:
        return None
    device = site.node.link(want.device)
    if device is not None and device.kind != "veth":
        return None
    port = site.node.link(device.link) if device is not None and device.link else None
    return IfName(port.name) if port is not None else gateway_port_name(want.device)


def vlan_port(site: Site, want: GatewayState, bridge: Link, device: Link) -> Link | None:
    """
    Find the bridge port behind a VLAN's interface.

    Returns:
        The port of a veth; None for an 802.1Q interface on the bridge itself.

    Raises:
        NodeError: The interface is something else, or belongs to another bridge or VLAN.
    """
    if device.kind == "vlan":
        if device.link != bridge.index or device.vlan_id != want.vlan:
            raise _unusable(want.device, f"it is not VLAN {want.vlan} of {bridge.name}")
        return None
    port = site.node.link(device.link) if device.kind == "veth" and device.link else None
    if port is None or port.link != device.index or port.master != bridge.index:
        raise _unusable(want.device, f"it is not connected to a port of {bridge.name}")
    return port


def _create_device(site: Site, want: GatewayState, bridge: Link, *, own: Link, undo: Undo) -> None:
    peer = gateway_port_name(want.device)
    undo.push(_remove_device, site, want, bridge, own)
    site.node.request(
        new_veth(want.device, peer=peer, mac=random_mac(), peer_mac=random_mac(), mtu=bridge.mtu),
        *_connecting(want, bridge),
        one_by_one=True,
    )


def _connecting(want: GatewayState, bridge: Link) -> list[Message]:
    """Build what turns a fresh pair into the VLAN's interface and its port."""
    peer = gateway_port_name(want.device)
    return [
        set_link(want.device, alias=f"{GATEWAY_ALIAS} of VLAN {want.vlan} of {bridge.name}"),
        set_link(peer, alias=f"{GATEWAY_ALIAS} port of {want.device}", master=bridge.index),
    ]


def is_unfinished(device: Link, peer: Link | None) -> bool:
    """
    Tell whether a VLAN's interface is the pair of an ADD that was killed while making it.

    Its port has the name that we give, and is on no bridge yet.
    """
    return (
        device.kind == "veth"
        and (not device.alias or device.alias.startswith(GATEWAY_ALIAS))
        and peer is not None
        and (peer.link, peer.master) == (device.index, 0)
        and peer.name == gateway_port_name(IfName(device.name))
    )


def _finish_device(
    site: Site, want: GatewayState, bridge: Link, *, device: Link, own: Link, undo: Undo
) -> None:
    peer = site.node.link(device.link) if device.link else None
    if is_unfinished(device, peer):
        undo.push(_remove_device, site, want, bridge, own)
        site.node.request(*_connecting(want, bridge))


def _remove_device(site: Site, want: GatewayState, bridge: Link, own: Link) -> None:
    with site.bridge_lock(IfName(bridge.name)):
        device = site.node.link(want.device)
        made_here = device is not None and device.alias.startswith(GATEWAY_ALIAS)
        # The pair goes later: steps are undone last first.
        used = others_use_vlan(site, bridge, want.vlan, leaving=own.index)
        if device is not None and made_here and not used:
            site.node.request(del_link(index=device.index), tolerate=_GONE)


def others_use_vlan(site: Site, bridge: Link, vlan: int, *, leaving: IfIndex | None = None) -> bool:
    """
    Tell whether anybody on ``bridge`` may need the gateway of ``vlan``.

    That is an attachment of ours in it, or any port that has it as its access VLAN
    (one that the reference plugin made); an uplink carries it tagged and does not count,
    nor does the port ``leaving``.
    """
    vlans = site.node.vlans()

    def uses(port: Link) -> bool:
        if port.alias.startswith(GATEWAY_ALIAS) or port.index == leaving:
            return False
        ours = port.alias.startswith(PREFIX)
        return any(
            each.vid <= vlan <= each.vid_end and (ours or each.pvid)
            for each in vlans.get(port.index, ())
        )

    return any(uses(port) for port in site.node.links(master=bridge.index))


def _ensure_vlan_device(
    site: Site, want: GatewayState, bridge: Link, *, own: Link, undo: Undo
) -> Link:
    device = site.node.link(want.device)
    if device is None:
        _create_device(site, want, bridge, own=own, undo=undo)
        device = site.node.link(want.device)
    else:
        _finish_device(site, want, bridge, device=device, own=own, undo=undo)
    if device is None or want.port is None:
        raise _unusable(want.device, "it was removed while we made it")
    port = vlan_port(site, want, bridge, device)
    if port is None:
        site.node.request(add_vlans(bridge.index, [(want.vlan, want.vlan)], on_self=True))
    else:
        _ensure_vlan_port(site, want, port)
    site.host.write_sysctls([(f"net/ipv6/conf/{device.name}/accept_ra", "0")], missing_ok=True)
    if not device.up:
        site.node.request(set_link(device.index, up=True))
    return device


def _ensure_vlan_port(site: Site, want: GatewayState, port: Link) -> None:
    found = site.node.port_vlans(port.index)
    right = any(each.vid == want.vlan and each.pvid and each.untagged for each in found)
    # An older reference plugin left VLAN 1 on the port, and with it the broadcasts of that VLAN.
    foreign = [(each.vid, each.vid_end) for each in found if each.vid != want.vlan]
    keep = want.port is None or want.port.keep_default_vlan
    messages = [del_vlans(port.index, foreign)] if foreign and not keep else []
    if not right:
        vlan = (want.vlan, want.vlan)
        messages.append(add_vlans(port.index, [vlan], pvid=True, untagged=True))
    if messages:
        site.node.request(*messages)
    if not port.up:
        raise_port(site.host, site.node, port)


def _clear_conflicts(
    site: Site, want: GatewayState, device: Link, *, new: Cidr, undo: Undo
) -> None:
    """Refuse or remove addresses whose network overlaps; disjoint ones may share the device."""
    family = 2 if new.version == 4 else 10
    for seen in site.node.addresses(device.index, family=family):
        old = cidr_of(seen)
        if old == new or not old.overlaps(new) or seen.scope == SCOPE_LINK:
            continue
        if not want.replace_conflicting:
            raise NodeError(
                f"cannot add gateway address {new} to {device.name}: it has {old}, whose network"
                " overlaps",
                hint=f'write "forceAddress": true, or run: ip addr del {old} dev {device.name}',
                code=Code.BRIDGE_UNSUITABLE,
            )
        site.node.request(del_address(device.index, str(old.ip), old.prefix_length), tolerate=_GONE)
        undo.push(
            site.node.request,
            new_address(device.index, str(old.ip), old.prefix_length),
            tolerate=_THERE | _GONE,
        )


def _ensure_address(site: Site, want: GatewayState, device: Link, *, new: Cidr, undo: Undo) -> bool:
    present = {cidr_of(seen) for seen in site.node.addresses(device.index)}
    if new in present:
        return False
    _clear_conflicts(site, want, device, new=new, undo=undo)
    site.node.request(
        new_address(device.index, str(new.ip), new.prefix_length, nodad=new.version == 6),
        tolerate=_THERE,
    )
    undo.push(_withdraw, site, want, device, new, without=_relying(site, want, device))
    return True


def _relying(site: Site, want: GatewayState, device: Link) -> frozenset[int]:
    """List the finished attachments on the bridge, by their ports."""
    name = IfName(device.name.rpartition(".")[0]) if want.vlan else IfName(device.name)
    bridge = site.node.link(name)
    ports = site.node.links(master=bridge.index) if bridge is not None else ()
    return frozenset(
        port.index for port in ports if port.alias.startswith(PREFIX) and f" {READY}" in port.alias
    )


def _withdraw(
    site: Site, want: GatewayState, device: Link, address: Cidr, *, without: frozenset[int]
) -> None:
    """
    Take a gateway address back, unless another attachment has come to rely on it.

    Args:
        site: Where.
        want: Whose gateway it is.
        device: What has the address.
        address: The address.
        without: Ports of the attachments that were finished before the address came.
    """
    name = IfName(device.name.rpartition(".")[0]) if want.vlan else IfName(device.name)
    with site.bridge_lock(name):
        if not _relying(site, want, device) - without:
            site.node.request(
                del_address(device.index, str(address.ip), address.prefix_length), tolerate=_GONE
            )


def ensure_gateway(
    site: Site, want: GatewayState | None, attached: Attached, undo: Undo
) -> Link | None:
    """
    Put the gateway addresses on the bridge or on the VLAN's own interface, and forward.

    Returns:
        The VLAN's interface as observed, or None when the bridge itself is the gateway
        or there is none.

    Raises:
        NodeError: A conflicting address, or an interface that cannot serve.
    """
    if want is None:
        return None
    # Without a lock, which would not keep another ADD from undoing what we find either.
    if want.vlan or not _has_all(site, want, attached.bridge):
        _ensure_locked(site, want, attached, undo)
    site.host.write_sysctls(
        [(FORWARDING[family], "1") for family in want.families], missing_ok=False
    )
    return site.node.link(want.device) if want.vlan else None


def _has_all(site: Site, want: GatewayState, device: Link) -> bool:
    present = {cidr_of(seen) for seen in site.node.addresses(device.index)}
    return present.issuperset(want.addresses)


def _ensure_locked(site: Site, want: GatewayState, attached: Attached, undo: Undo) -> None:
    bridge, device = attached.bridge, attached.bridge
    with site.bridge_lock(IfName(bridge.name)):
        if want.vlan:
            device = _ensure_vlan_device(site, want, bridge, own=attached.port, undo=undo)
        added = [
            _ensure_address(site, want, device, new=each, undo=undo) for each in want.addresses
        ]
        if any(added):
            _pin_mac(site, device)


def _pin_mac(site: Site, device: Link) -> None:
    """Keep the kernel from giving an adopted bridge another MAC when its ports change."""
    seen = site.node.link(device.index)
    if seen is not None and seen.kind == "bridge" and seen.mac.strip("0:"):
        site.node.request(set_link(seen.index, mac=seen.mac))
