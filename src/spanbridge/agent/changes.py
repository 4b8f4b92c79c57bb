# SPDX-License-Identifier: Apache-2.0
"""
Where leases and attachments meet: a changed lease changes the attachment it is for.

Leases know no bridge, attachments know no server; both know the owner.
"""

from pathlib import Path
from typing import Final

from spanbridge.agent.journal import Attachment, Journal
from spanbridge.agent.logs import LOG
from spanbridge.agent.stale import observe_namespaces, open_host
from spanbridge.cni.leases import Change, deliver, renumber
from spanbridge.cni.surroundings import Surroundings
from spanbridge.ipam.dhcp.lease import Lease
from spanbridge.rtnl import NetNs


class LeaseChanges:
    """
    What the keeper of leases calls, in threads of its own.

    Args:
        journal: Which attachment a lease is for.
        run_dir: Directory for locks.
    """

    def __init__(self, journal: Journal, run_dir: Path) -> None:
        self._journal: Final = journal
        self._run_dir: Final = run_dir

    def on_change(self, old: Lease | None, new: Lease | None) -> None:
        """Bring the sandbox from one lease to the next; an expired one takes the address."""
        if old is not None and new is not None and old.granted == new.granted:
            return
        change = Change(old, new)
        owner = change.lease.owner
        attachment = self._journal.find(owner)
        with self._host(attachment) as host:
            around = Surroundings(host, self._run_dir)
            config = None if attachment is None else attachment.config
            there = renumber(change, config, around)
        LOG.info(
            "lease changed" if there else "lease changed of a sandbox that is gone",
            network=owner.network,
            container=owner.container_id,
            interface=owner.ifname,
            old=None if old is None else old.granted.address,
            new=None if new is None else new.granted.address,
        )

    def orphan_release(self, lease: Lease, frame: bytes) -> bool:
        """Send the RELEASE of a lease through the bridge on which its pod was."""
        attachment = self._journal.find(lease.owner)
        if attachment is None:
            return False
        with self._host(attachment) as host:
            around = Surroundings(host, self._run_dir)
            return deliver(lease.owner, attachment.config, frame, around)

    def _host(self, attachment: Attachment | None) -> NetNs:
        """
        Open the namespace where the bridge is; our own one for an unknown attachment.

        Raises:
            NodeError: It is gone.
        """
        if attachment is None:
            return NetNs.current()
        return open_host(attachment, observe_namespaces())
