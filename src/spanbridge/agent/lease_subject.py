# SPDX-License-Identifier: Apache-2.0
"""What a lease is for, what all of them share, and what is done for one without a task."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from spanbridge.agent.lease_journal import Entry
from spanbridge.base import log
from spanbridge.base.clock import Clock
from spanbridge.ipam.dhcp.client import Counts, release_frame
from spanbridge.ipam.dhcp.conf import DhcpConf, identity, parse_dhcp_conf
from spanbridge.ipam.dhcp.lease import Lease
from spanbridge.ipam.dhcp.options import Identity
from spanbridge.ipam.dhcp.session import At
from spanbridge.ipam.dhcp.sockets import Place
from spanbridge.ipam.dhcp.timing import Held, Random
from spanbridge.ipam.dhcp.wire import InThread, Listener, Wire
from spanbridge.model.owner import Owner
from spanbridge.model.reader import Node

OnChange = Callable[[Lease | None, Lease | None], None]
"""
Told, in a thread, what is in use instead of what: old and new lease.

None as the new one: the address is to be taken off the interface at once.
"""

OrphanRelease = Callable[[Lease, bytes], bool]
"""Sends, in a thread, the RELEASE of a lease whose interface is gone; tells whether it left."""

OpenWire = Callable[[Place, Listener], Wire]


@dataclass(frozen=True, slots=True)
class Subject:
    """
    What a lease is for, and how it is asked for.

    Attributes:
        owner: The attachment.
        place: Its interface.
        conf: The section, read.
        client_id: Option 61.
        section: The section as written.
        args: CNI_ARGS.
    """

    owner: Owner
    place: Place
    conf: DhcpConf
    client_id: bytes
    section: Mapping[str, object]
    args: str

    @property
    def identity(self) -> Identity:
        """What is the same in all its messages."""
        return identity(self.conf, self.client_id, args=self.args, mac=self.place.mac)

    @property
    def name(self) -> str:
        """For the log."""
        return f"{self.owner.ifname} of {self.owner.container_id} on {self.owner.network}"


def subject_of(lease: Lease) -> Subject:
    """
    Read back what a lease was for.

    Raises:
        InputError: This release does not understand its section.
    """
    place = Place(lease.netns_path, lease.netns_identity, lease.owner.ifname, lease.mac)
    conf = parse_dhcp_conf(Node(lease.section, "/ipam"))
    return Subject(lease.owner, place, conf, lease.client_id, lease.section, lease.args)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """
    What all lease tasks share.

    Attributes:
        directory: Of the journal.
        clock: Time.
        random: Chance.
        boot_id: Of this boot.
        in_thread: For files and sockets.
        in_call_thread: For the two calls below, which may wait for locks.
        on_change: Told when an address in use changes.
        orphan_release: Releases what has no interface any more.
        open_wire: Makes the wire of an interface.
        totals: Counts of all leases there ever were.
    """

    directory: Path
    clock: Clock
    random: Random
    boot_id: str
    in_thread: InThread
    in_call_thread: InThread
    on_change: OnChange
    orphan_release: OrphanRelease
    open_wire: OpenWire
    totals: Counts


def held_since(entry: Entry, around: Surroundings) -> Held:
    """Place a written lease on the clock that timers use."""
    lease, now = entry.lease, around.clock.boot()
    if lease.boot_id == around.boot_id:
        return Held(lease.granted, min(entry.requested_boot, now))
    # Another boot: only the wall clock is left, which may have been set back.
    return Held(lease.granted, now - max(0.0, around.clock.wall() - lease.renewed))


async def release_orphan(
    subject: Subject, lease: Lease, held: Held, *, around: Surroundings
) -> None:
    """Have the RELEASE of a lease sent that has no interface any more; best effort."""
    xid = At(around.clock.boot(), around.random).xid()
    frame = release_frame(subject.identity, held, xid=xid, server_mac=lease.server_mac)
    try:
        sent = await around.in_call_thread(lambda: around.orphan_release(lease, frame))
    except Exception as exc:  # noqa: BLE001  # the lease ends at the server in time
        log.error("the lease of a vanished sandbox was not released", lease=subject.name, cause=exc)
        return
    event = (
        "the lease of a vanished sandbox was released"
        if sent
        else ("the lease of a vanished sandbox ends only in time: its RELEASE could not be sent")
    )
    log.warn(event, lease=subject.name, address=held.granted.address)
