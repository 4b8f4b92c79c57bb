# SPDX-License-Identifier: Apache-2.0
"""What ADD does for the key ``uplink``; the caller holds the bridge's lock."""

import errno
from typing import Final

from spanbridge.base import log
from spanbridge.base.errors import KernelError
from spanbridge.base.names import IfName
from spanbridge.base.undo import Undo
from spanbridge.bridge.site import Site
from spanbridge.bridge.uplink.facts import (
    default_vlan,
    fresh_port_vlans,
    missing,
    observe_facts,
    port_messages,
    port_plan,
    refuse_device,
    refuse_mtu,
    unsuitable,
)
from spanbridge.model.uplink import UplinkState
from spanbridge.rtnl import Link, Message, del_vlans, set_link

_GONE: Final = frozenset({errno.ENODEV, errno.ENOENT, errno.EOPNOTSUPP})

_POD_MTU: Final = 1500
"""Bytes, of a link that was not told otherwise. Source: linux/if_ether.h, ETH_DATA_LEN."""


def ensure_uplink(
    site: Site, want: UplinkState, bridge: Link, *, found: Link | None, undo: Undo
) -> bool:
    """
    Make the device a port of the bridge that carries the network's VLANs.

    What is right already costs one question about the port's VLANs, and none on a
    bridge that does not filter.

    Args:
        site: Where.
        want: What is needed.
        bridge: The bridge, as it is now.
        found: The device, as it was seen under the bridge's lock.
        undo: Gets what takes the changes back.

    Returns:
        Whether anything was changed.

    Raises:
        NodeError: The device is missing, has another use, or a smaller MTU.
        KernelError: The kernel refused.
    """
    if found is None:
        raise missing(want.device)
    refuse_mtu(want, found)
    if found.master != bridge.index:
        _enslave(site, want, bridge, found=found, undo=undo)
        return True
    messages, added = _vlan_changes(site, want, bridge, found=found)
    if not messages and found.up:
        return False
    if not found.up:
        messages.append(set_link(found.index, up=True))
    back = [del_vlans(found.index, added)] if added else []
    back += [set_link(found.index, up=False)] if not found.up else []
    _push(site, bridge, found, back=back, undo=undo)
    site.node.request(*messages)
    return True


def probe_uplink(site: Site, want: UplinkState, bridge: IfName) -> None:
    """
    Raise what an ADD would raise about the device; nothing is changed.

    Raises:
        NodeError: The device is missing, has another use, or a smaller MTU.
    """
    facts = observe_facts(site.node, want.device, bridge)
    refuse_mtu(want, facts.device)
    refuse_device(facts, bridge, want.vlans)


def _vlan_changes(
    site: Site, want: UplinkState, bridge: Link, *, found: Link
) -> tuple[list[Message], tuple[tuple[int, int], ...]]:
    """Build what the port of an earlier ADD, or of somebody else, lacks; and what that adds."""
    given = default_vlan(bridge)
    if given is None:
        return [], ()
    plan = port_plan(want, given, site.node.port_vlans(found.index), fresh=False)
    return port_messages(found.index, plan), plan.added


def _enslave(site: Site, want: UplinkState, bridge: Link, *, found: Link, undo: Undo) -> None:
    name = IfName(bridge.name)
    refuse_device(observe_facts(site.node, want.device, name), name, want.vlans)
    if not want.mtu and found.mtu < _POD_MTU:
        log.warn(
            "the uplink's MTU is below that of the pods: large frames will be lost",
            uplink=found.name,
            mtu=found.mtu,
        )
    given = default_vlan(bridge)
    fresh = fresh_port_vlans(given or 0)
    messages = (
        []
        if given is None
        else port_messages(found.index, port_plan(want, given, fresh, fresh=True))
    )
    back = [] if found.up else [set_link(found.index, up=False)]
    back.append(set_link(found.index, master=0))
    _push(site, bridge, found, back=back, undo=undo)
    try:
        site.node.request(
            *pin_mac(bridge),
            set_link(found.index, master=bridge.index),
            *messages,
            set_link(found.index, up=True),
            one_by_one=True,
        )
    except KernelError as exc:
        raise refused(found.name, exc) from exc


def refused(device: str, exc: KernelError) -> Exception:
    """Turn what the kernel said about making a device a port into what helps."""
    return unsuitable(
        device,
        f"the kernel refuses: {exc.message}",
        "a device under a macvlan or ipvlan, or without Ethernet frames, cannot be a port",
    )


def pin_mac(bridge: Link) -> list[Message]:
    """
    Keep the bridge's MAC from becoming that of its new port.

    A bridge that never got one by name takes the lowest of its ports' (and loses it with
    the last of them).

    Source: net/bridge/br_stp_if.c, br_stp_recalculate_bridge_id(), Linux 6.1.
    """
    return [set_link(bridge.index, mac=bridge.mac)] if bridge.mac.strip("0:") else []


def _push(site: Site, bridge: Link, found: Link, *, back: list[Message], undo: Undo) -> None:
    """Remember to take changes back, unless others came to rely on them meanwhile."""
    before = {port.index for port in site.node.links(master=bridge.index)} | {found.index}

    def restore() -> None:
        with site.bridge_lock(IfName(bridge.name)):
            if {port.index for port in site.node.links(master=bridge.index)} <= before:
                site.node.request(*back, tolerate=_GONE)

    undo.push(restore)
