# SPDX-License-Identifier: Apache-2.0
"""One lease under supervision: its client, its journal entry, those who wait for it."""

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable
from typing import Final

from spanbridge.agent.lease_journal import LIVE, LOST, Entry, remove_entry, write_entry
from spanbridge.agent.lease_subject import Subject, Surroundings, held_since, release_orphan
from spanbridge.base import log
from spanbridge.base.errors import BugError, Code, NodeError, RetryError, SpanbridgeError
from spanbridge.base.names import MacAddress
from spanbridge.ipam.dhcp import machine, timing
from spanbridge.ipam.dhcp.client import Client, End, Heard
from spanbridge.ipam.dhcp.lease import Lease
from spanbridge.ipam.dhcp.options import Granted
from spanbridge.ipam.dhcp.session import At, Loss, Session, Tally
from spanbridge.ipam.dhcp.timing import Held

RESTART_S: Final = 1.0
RESTART_LONGEST_S: Final = 60.0
"""Wait before a client that has crashed is started again, doubled each time."""


def _for_log(lease: Lease) -> dict[str, object]:
    granted, owner = lease.granted, lease.owner
    return {
        "network": owner.network,
        "containerId": owner.container_id,
        "interface": owner.ifname,
        "address": f"{granted.address}/{granted.prefix_length}",
        "server": granted.server_id,
        "seconds": granted.lease_s,
    }


def _seen_by_the_pod(granted: Granted) -> Granted:
    return dataclasses.replace(granted, server_id="", lease_s=None, t1_s=None, t2_s=None, text="")


class LeaseTask:
    """
    Keeps one lease until it is stopped.

    Attributes:
        subject: What it is for.
        lease: What is in use; None while there is none.
        taken: Somebody has got the lease from us, so changes have to be told.
        stopping: It was told to end.
        forgotten: False when its journal entry could not be removed at its end.
        over: Set by who runs it, at its end.
    """

    def __init__(self, subject: Subject, around: Surroundings) -> None:
        self.subject: Final = subject
        self.lease: Lease | None = None
        self.taken = False
        self.stopping = False
        self.forgotten = True
        self.over: Final = asyncio.Event()
        self._around: Final = around
        self._release = False
        self._stopped: Final = asyncio.Event()
        self._waiters: Final[set[asyncio.Future[Lease]]] = set()
        self._error: SpanbridgeError | None = None
        self._told: asyncio.Task[None] | None = None
        self._client = self._make_client(
            machine.begin(self._profile, self._at(), jitter_s=timing.ADD_JITTER_S)
        )

    # ------------------------------------------------------------ from outside

    def resume(self, entry: Entry) -> None:
        """Go on with a lease from the journal instead of looking for one; before `run`."""
        self.taken = True
        if entry.lease.state == LOST:
            self._client = self._make_client(self._anew())
            self._tell(entry.lease, None)
            return
        self.lease = entry.lease
        session = machine.resume(
            self._profile,
            held_since(entry, self._around),
            self._at(),
            confirm=entry.lease.boot_id != self._around.boot_id,
            spread_s=timing.RESUME_SPREAD_S,
        )
        self._client = self._make_client(session, entry.lease.server_mac)

    def wait(self) -> "asyncio.Future[Lease]":
        """Return what becomes the next lease, or the error that ends this task."""
        waiter: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        return waiter

    def forget(self, waiter: "asyncio.Future[Lease]") -> bool:
        """Wait no more; tell whether nobody else needs this task."""
        self._waiters.discard(waiter)
        return not self._waiters and not (self.taken and self.lease is not None)

    def stop(self, *, release: bool) -> None:
        """
        End soon; see ``over``.

        Args:
            release: Give the lease back and forget it; otherwise it stays in the journal.
        """
        self.stopping = True
        self._release |= release
        self._stopped.set()
        self._client.stop(release=release)

    def renew(self) -> bool:
        """Renew soon instead of at T1; False: there is no lease in use, or it has no end."""
        held = self._client.session.held
        if self.lease is None or held is None or held.renew_at is None:
            return False
        self._client.renew()
        return True

    @property
    def heard(self) -> Heard:
        """What came of the search for an address."""
        return self._client.heard

    def facts(self) -> dict[str, object]:
        """What a human wants to know; times are seconds from now, None is never."""
        session, counts, owner = self._client.session, self._client.counts, self.subject.owner
        held, lease = session.held, self.lease
        now = self._around.clock.boot()

        def left(time: float | None) -> float | None:
            return None if time is None else round(time - now, 1)

        return {
            "network": owner.network,
            "containerId": owner.container_id,
            "ifname": owner.ifname,
            "netns": self.subject.place.netns_path,
            "mac": self.subject.place.mac,
            "state": session.state.value,
            "address": f"{lease.granted.address}/{lease.granted.prefix_length}" if lease else "",
            "server": lease.granted.server_id if lease else "",
            "renewInSeconds": left(held.renew_at) if held else None,
            "rebindInSeconds": left(held.rebind_at) if held else None,
            "expiresInSeconds": left(held.expires_at) if held else None,
            **{_camel(tally.value): counts.tally[tally] for tally in Tally},
            "malformed": counts.malformed,
        }

    async def settle(self) -> None:
        """Wait until all changes were told."""
        while self._told is not None and not self._told.done():
            await asyncio.wait({self._told})

    # ------------------------------------------------------------ the task

    async def run(self) -> None:
        """Work until stopped, or until the interface is gone; a crash starts it anew."""
        crashes = 0
        try:
            while not await self._run_client(crashes):
                crashes += 1
        finally:
            self._fail_waiters()

    async def _run_client(self, crashes: int) -> bool:
        """Run a client to its end; False: it crashed and is to be started again."""
        client = self._client
        try:
            wire = self._around.open_wire(self.subject.place, client)
            await self._finish(await client.run(wire))
        except Exception as exc:  # noqa: BLE001  # one lease must not end another
            log.error("a lease task crashed", lease=self.subject.name, cause=repr(exc))
            self._error = BugError(f"cannot keep the lease of {self.subject.name}: {exc!r}")
            if self.stopping or not self.taken:
                if self._release or not self.taken:
                    await self._forget()
                return True
            await self._restart(client, crashes)
            return False
        return True

    async def _restart(self, crashed: Client, crashes: int) -> None:
        """Make a client that goes on where another one has crashed, after a while."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(RESTART_S * 2.0 ** min(crashes, 10), RESTART_LONGEST_S)):
                await self._stopped.wait()
        held = crashed.session.held if self.lease is not None else None
        session = self._again(held) if held is not None else self._anew()
        self._client = self._make_client(session, crashed.server_mac)
        if self.stopping:
            self._client.stop(release=self._release)

    async def _finish(self, end: End) -> None:
        if end is End.GONE:
            self._error = NodeError(
                f"cannot keep the lease of {self.subject.name}: its interface is gone"
            )
            held = self._client.session.held
            if self.lease is not None and held is not None:
                await release_orphan(self.subject, self.lease, held, around=self._around)
            await self._forget()
        elif self._release:
            self._error = self._error or RetryError(
                f"cannot lease an address for {self.subject.name}: it was released meanwhile"
            )
            await self._forget()

    async def _forget(self) -> None:
        self.lease = None
        self.forgotten = await self._write(
            "forget", lambda: remove_entry(self._around.directory, self.subject.owner)
        )

    def _fail_waiters(self) -> None:
        error = self._error or RetryError(
            f"cannot lease an address for {self.subject.name}: the agent stops",
            hint="the next call finds the agent that takes over",
        )
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(error)

    # ------------------------------------------------------------ what the client asks for

    async def on_bound(self, held: Held, before: Held | None) -> bool:
        """See `client.Holder`."""
        old = self.lease
        new = self._make_lease(held, old)
        written = await self._write(
            "write down", lambda: write_entry(self._around.directory, Entry(new, held.requested_at))
        )
        if not written and before is None:
            return False
        self.lease, self._error = new, None
        if old is None:
            log.sink("info", "an address was leased", _for_log(new))
        changed = old is None or _seen_by_the_pod(old.granted) != _seen_by_the_pod(new.granted)
        if self.taken and changed:
            self._tell(old, new)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(new)
        return True

    async def on_dropped(self, held: Held, loss: Loss) -> None:
        """See `client.Holder`; the pod is told before anything is written."""
        old, self.lease = self.lease, None
        if old is None:
            return
        self._tell(old, None)
        lost = dataclasses.replace(old, state=LOST)
        await self._write(
            f"write down that {loss.value}:",
            lambda: write_entry(self._around.directory, Entry(lost, held.requested_at)),
        )

    async def _write(self, verb: str, change: Callable[[], None]) -> bool:
        try:
            await self._around.in_thread(change)
        except OSError as exc:
            self._error = NodeError(
                f"cannot {verb} the lease of {self.subject.name}: {exc.strerror}",
                hint=f"see that {self._around.directory} can be written",
                code=Code.STORE,
            )
            log.error("a lease file cannot be changed", lease=self.subject.name, cause=exc)
            return False
        return True

    def _tell(self, old: Lease | None, new: Lease | None) -> None:
        self._told = asyncio.create_task(self._call(self._told, old, new))

    async def _call(
        self, earlier: "asyncio.Task[None] | None", old: Lease | None, new: Lease | None
    ) -> None:
        if earlier is not None:
            await asyncio.wait({earlier})
        if self.stopping and new is not None:
            return  # DEL takes the address off; nobody must put it on behind its back
        try:
            await self._around.in_call_thread(lambda: self._around.on_change(old, new))
        except Exception as exc:  # noqa: BLE001  # the lease goes on whatever becomes of the pod
            log.error("a changed lease was not applied", lease=self.subject.name, cause=repr(exc))

    # ------------------------------------------------------------ making things

    @property
    def _profile(self) -> timing.ProbeProfile:
        return timing.PROFILES[self.subject.conf.probe]

    def _at(self) -> At:
        return At(self._around.clock.boot(), self._around.random)

    def _anew(self) -> Session:
        return machine.begin(self._profile, self._at(), jitter_s=timing.BACKGROUND_JITTER_S)

    def _again(self, held: Held) -> Session:
        return machine.resume(self._profile, held, self._at(), confirm=False)

    def _make_client(self, session: Session, server_mac: str = "") -> Client:
        return Client(
            self.subject.identity,
            session,
            holder=self,
            clock=self._around.clock,
            random=self._around.random,
            totals=self._around.totals,
            name=self.subject.name,
            server_mac=server_mac,
        )

    def _make_lease(self, held: Held, old: Lease | None) -> Lease:
        offset = self._around.clock.wall() - self._around.clock.boot()

        def wall(time: float | None) -> float | None:
            return None if time is None else time + offset

        place, requested = self.subject.place, held.requested_at + offset
        return Lease(
            owner=self.subject.owner,
            netns_path=place.netns_path,
            netns_identity=place.netns_identity,
            boot_id=self._around.boot_id,
            mac=MacAddress(place.mac),
            client_id=self.subject.client_id,
            granted=held.granted,
            acquired=old.acquired if old is not None else requested,
            renewed=requested,
            t1=wall(held.renew_at),
            t2=wall(held.rebind_at),
            expiry=wall(held.expires_at),
            state=LIVE,
            section=self.subject.section,
            args=self.subject.args,
            server_mac=self._client.server_mac,
        )


def _camel(name: str) -> str:
    """Spell the name of a metric as a JSON key."""
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))
