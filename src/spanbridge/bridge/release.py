# SPDX-License-Identifier: Apache-2.0
"""Removing what an owner holds: one attachment (DEL), or all that are not valid (GC)."""

import errno
from typing import Final

from spanbridge.base.errors import ReleaseError, SpanbridgeError
from spanbridge.base.names import IfName
from spanbridge.bridge.gateway import GATEWAY_ALIAS, is_unfinished, others_use_vlan
from spanbridge.bridge.link import port_of, unmarked_group
from spanbridge.bridge.site import Site
from spanbridge.model.owner import PREFIX, Owner, network_tag
from spanbridge.rtnl import Link, del_link

_GONE: Final = frozenset({errno.ENODEV, errno.ENOENT})


def release(site: Site, owner: Owner) -> Link | None:
    """
    Remove the pair of one attachment; both ends go together.

    The host end is found by its name, so this works without the sandbox. Where there
    is none, the sandbox end is removed if it is a veth that the reference plugin made;
    one of another attachment of ours stays: a refused ADD is followed by a DEL.

    Returns:
        The host port that was removed; None when there was none of ours.

    Raises:
        KernelError: The kernel refused for another reason than that it is gone.
    """
    port = port_of(site.node, owner)
    if port is not None:
        site.remove_port(port.index)
        return port
    if site.sandbox is None:
        return None
    inside = site.inside.link(owner.ifname)
    if inside is not None and inside.kind == "veth" and not _of_another(site, inside, owner):
        site.inside.request(del_link(index=inside.index), tolerate=_GONE)
    return None


def _of_another(site: Site, inside: Link, owner: Owner) -> bool:
    port = site.node.link(inside.link) if inside.link else None
    if port is None or port.link != inside.index:
        return False
    return port.alias.startswith(PREFIX) and _tag_of(port) != owner.tag


def _tag_of(link: Link) -> str:
    return link.alias.partition(" ")[0]


def collect(site: Site, network: str, keep: frozenset[str]) -> tuple[str, ...]:
    """
    Remove every attachment of ``network`` whose tag is not in ``keep``.

    VLAN interfaces that we made for gateways go too, when nobody is in their VLAN.

    Returns:
        Names of the links that were removed.

    Raises:
        ReleaseError: Some could not be removed; the others were.
    """
    links = site.node.links(kind="veth")
    prefix = network_tag(network)
    stale = [link for link in links if link.alias.startswith(prefix) and _tag_of(link) not in keep]
    group = unmarked_group(network)
    stale += [link for link in links if not link.alias and link.group == group]
    removed: list[str] = []
    failures: list[Exception] = []
    for link in stale:
        _try_remove(site, link, removed, failures)
    by_index = {link.index: link for link in links}
    for link in links:
        unfinished = "." in link.name and is_unfinished(link, by_index.get(link.link))
        if unfinished or link.alias.startswith(f"{GATEWAY_ALIAS} of "):
            _collect_gateway(site, link, removed, failures)
    if failures:
        raise ReleaseError("cannot remove every stale link", failures)
    return tuple(removed)


def _try_remove(site: Site, link: Link, removed: list[str], failures: list[Exception]) -> None:
    try:
        site.node.request(del_link(index=link.index), tolerate=_GONE)
    except SpanbridgeError as exc:
        failures.append(exc)
    else:
        removed.append(link.name)


def _collect_gateway(
    site: Site, device: Link, removed: list[str], failures: list[Exception]
) -> None:
    """Remove a VLAN's interface under the bridge's lock: an ADD joins the VLAN under it."""
    name, _, vlan = device.name.rpartition(".")
    if not vlan.isdigit():
        return
    with site.bridge_lock(IfName(name)):
        bridge = site.node.link(IfName(name))
        if bridge is None or not others_use_vlan(site, bridge, int(vlan)):
            _try_remove(site, device, removed, failures)
