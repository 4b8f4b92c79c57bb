# SPDX-License-Identifier: Apache-2.0
"""
What becomes of an attachment when its DHCP lease changes, long after ADD.

The configuration that ADD was called with says what the attachment promises; with the
new lease in the place of the old one it gives the new desired state.
"""

from typing import NamedTuple

from spanbridge import bridge
from spanbridge.base.errors import NodeError
from spanbridge.base.undo import Undo
from spanbridge.bridge import Attached, Site
from spanbridge.bridge.courier import send_into
from spanbridge.cni.desired import complete, desired, leased_state
from spanbridge.cni.surroundings import Surroundings
from spanbridge.cni.verbs import ensure_firewall
from spanbridge.ipam.dhcp.conf import parse_dhcp_conf
from spanbridge.ipam.dhcp.lease import Lease, lease_result
from spanbridge.model.desired import DesiredAttachment
from spanbridge.model.netconf import NetConf, parse_netconf
from spanbridge.model.owner import Owner
from spanbridge.model.reader import Node, parse_object
from spanbridge.model.result import CniResult
from spanbridge.rtnl import NetNs, Rtnl


class Change(NamedTuple):
    """
    One change of a lease.

    Attributes:
        old: What the sandbox has; None when it has nothing.
        new: What it shall have; None when the lease expired.
    """

    old: Lease | None
    new: Lease | None

    @property
    def lease(self) -> Lease:
        """Either of the two, for what they have in common."""
        lease = self.new or self.old
        if lease is None:
            raise AssertionError("a change is from something or to something")
        return lease


def _result(lease: Lease | None) -> CniResult:
    if lease is None:
        return CniResult()
    return lease_result(lease, parse_dhcp_conf(Node(dict(lease.section))))


def _open_sandbox(lease: Lease) -> NetNs | None:
    """Open the sandbox of a lease; None when it is gone, or its path leads elsewhere now."""
    try:
        netns = NetNs.open(lease.netns_path)
    except (OSError, NodeError):
        return None
    if netns.identity == lease.netns_identity:
        return netns
    netns.close()
    return None


def renumber(change: Change, config: bytes | None, around: Surroundings) -> bool:
    """
    Bring a running sandbox from one lease to the next.

    Args:
        change: From what to what.
        config: What ADD of ``bridge`` was called with; None for an interface that
            another plugin made: then only its addresses and routes are ours.
        around: The node's namespace and directories.

    Returns:
        False when the sandbox or its interface is gone.

    Raises:
        SpanbridgeError: The kernel refused.
    """
    sandbox = _open_sandbox(change.lease)
    if sandbox is None:
        return False
    with sandbox:
        if config is None:
            return _renumber_interface(sandbox, change)
        conf = parse_netconf(parse_object(config))
        site = Site(
            around.host, sandbox, sandbox_path=change.lease.netns_path, run_dir=around.run_dir
        )
        with site, Undo() as undo:
            return _renumber_attachment(site, conf, change, undo)


def _renumber_interface(sandbox: NetNs, change: Change) -> bool:
    ifname = change.lease.owner.ifname
    with Rtnl.open(sandbox) as inside:
        index = inside.link_index(ifname)
        if index is None:
            return False
        old, new = (leased_state(ifname, _result(each)) for each in change)
        bridge.renumber_sandbox(inside, index, old, new)
    return True


def _renumber_attachment(site: Site, conf: NetConf, change: Change, undo: Undo) -> bool:
    owner = change.lease.owner
    attached = bridge.find_attached(site, owner, conf.bridge)
    if attached is None:
        return False
    old, new = (
        desired(conf, owner, mac=None, result=complete(conf, _result(each))) for each in change
    )
    bridge.renumber_sandbox(site.inside, attached.sandbox.index, old.sandbox, new.sandbox)
    _renumber_firewall(site, old, new, attached=attached, undo=undo)
    bridge.ensure_gateway(site, new.gateway, attached, undo)
    bridge.announce(site, new.sandbox, attached)
    return True


def _renumber_firewall(
    site: Site, old: DesiredAttachment, new: DesiredAttachment, *, attached: Attached, undo: Undo
) -> None:
    if (old.masquerade, old.gateway) == (new.masquerade, new.gateway):
        return
    from spanbridge import firewall

    firewall.release(site.host, old.owner)
    ensure_firewall(site, new, attached, undo)


def deliver(owner: Owner, config: bytes, frame: bytes, around: Surroundings) -> bool:
    """
    Send a frame into the network of an attachment whose sandbox is gone.

    Args:
        owner: Whose attachment it was.
        config: What its ADD was called with.
        frame: From the destination address to the end of the payload.
        around: The node's namespace and directories.

    Returns:
        False when the bridge is gone as well.

    Raises:
        SpanbridgeError: It could not be sent.
    """
    conf = parse_netconf(parse_object(config))
    want = desired(conf, owner, mac=None, result=CniResult())
    with Site(around.host, None, sandbox_path="", run_dir=around.run_dir) as site:
        return send_into(site, want, frame)
