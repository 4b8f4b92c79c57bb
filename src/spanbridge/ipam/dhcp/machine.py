# SPDX-License-Identifier: Apache-2.0
"""
The DHCP client's states as data, and one pure step from each to the next.

``step`` takes a session, what happened and when, and returns the next session and what
is to be done. It knows no sockets, no clock and no randomness of its own.

::

              offer              ack              probed
    INIT ─► SELECTING ─► REQUESTING ─► PROBING ─────────► BOUND ◄─┐ ack
     ▲  tick            │              │ conflict          │ T1   │
     │                  │ nak          ▼                   ▼      │
     ├───────────── BACKOFF        DECLINED            RENEWING ──┤
     │                  ▲              │                   │ T2   │
     │                  │ nak          │                   ▼      │
     └──────────────────┴──────────────┘◄─── expiry ── REBINDING ─┘
    REBOOTING (a remembered address) ─► BOUND on ack, BACKOFF on nak
    every state ─► STOPPED

Source: RFC 2131 figure 5; PROBING and DECLINED are RFC 5227 section 2.1.
"""

import dataclasses
import enum
from collections.abc import Callable, Mapping
from typing import Final

from spanbridge.ipam.dhcp import timing
from spanbridge.ipam.dhcp.session import (
    Action,
    At,
    Bind,
    Drop,
    Event,
    Loss,
    On,
    Send,
    SendAnnouncement,
    Sending,
    SendProbe,
    Session,
    State,
    Tally,
)
from spanbridge.ipam.dhcp.timing import Held, ProbeProfile

Step = tuple[Session, tuple[Action, ...]]
_next: Final = dataclasses.replace


def begin(profile: ProbeProfile, at: At, *, jitter_s: float = timing.ADD_JITTER_S) -> Session:
    """Start without an address; the first DISCOVER goes out within ``jitter_s``."""
    return Session(State.INIT, profile, wake=at.now + at.random() * jitter_s, began=at.now)


def resume(
    profile: ProbeProfile, held: Held, at: At, *, confirm: bool, spread_s: float = 0.0
) -> Session:
    """
    Start with an address from before.

    Args:
        profile: How to probe.
        held: The address; may have expired meanwhile.
        at: Now.
        confirm: Ask the server whether it still stands (INIT-REBOOT).
        spread_s: Longest wait before the first message.
    """
    session = _settled(Session(State.BOUND, profile, None, at.now, held=held), at)
    wait = at.random() * spread_s
    if confirm:
        return _next(session, state=State.REBOOTING, wake=_soonest(at.now + wait, held.expires_at))
    if session.wake is not None and session.wake <= at.now + spread_s:
        # Not later than the end of the lease: then the address has to go.
        return _next(session, wake=_soonest(max(session.wake, at.now) + wait, held.expires_at))
    return session


def step(session: Session, event: Event, at: At) -> Step:
    """Take one step; what has no meaning in the state changes nothing."""
    transition = TABLE.get((session.state, event.on))
    if transition is None or not _admitted(session, event):
        return session, ()
    return transition(session, event, at)


class _Servers(enum.Enum):
    """Whose answers count."""

    ANY = enum.auto()
    CHOSEN = enum.auto()
    OWN = enum.auto()


_SERVERS: Final[Mapping[State, _Servers]] = {
    State.SELECTING: _Servers.ANY,
    State.REQUESTING: _Servers.CHOSEN,
    State.RENEWING: _Servers.OWN,
    State.REBINDING: _Servers.ANY,
    State.REBOOTING: _Servers.ANY,
}


def _admitted(session: Session, event: Event) -> bool:
    """Tell whether an answer belongs to our transaction, and comes from whom it may."""
    if event.on not in {On.OFFER, On.ACK, On.NAK}:
        return True
    rule = _SERVERS[session.state]
    wanted = session.chosen
    if rule is _Servers.OWN and session.held is not None:
        wanted = session.held.granted.server_id
    return event.xid == session.xid and (rule is _Servers.ANY or event.server_id == wanted)


def _secs(session: Session, at: At) -> int:
    return min(int(at.now - session.began), 0xFFFF)


def _soonest(*times: float | None) -> float | None:
    return min((time for time in times if time is not None), default=None)


# ------------------------------------------------------------ getting an address


def _discover(session: Session, _: Event, at: At) -> Step:
    first = session.state is not State.SELECTING
    attempt = 1 if first else session.attempt + 1
    session = _next(
        session,
        state=State.SELECTING,
        xid=at.xid() if first else session.xid,
        attempt=attempt,
        wake=at.now + timing.retry_delay(attempt, at.random),
    )
    return session, (Send(Sending.DISCOVER, session.xid, _secs(session, at)),)


def _select(session: Session, event: Event, at: At) -> Step:
    """Take the first offer."""
    if event.granted is None:
        return session, ()
    return _request(
        _next(
            session,
            state=State.REQUESTING,
            attempt=0,
            sent_at=at.now,
            chosen=event.server_id,
            promised=event.granted.address,
        ),
        event,
        at,
    )


def _request(session: Session, _: Event, at: At) -> Step:
    if session.attempt == timing.REQUEST_ATTEMPTS:
        # A late ACK would leave a lease behind where another server answers next.
        sent = _release_promised(session, at)
        return _search(_next(session, promised=""), at, wait_s=0.0), sent
    attempt = session.attempt + 1
    session = _next(session, attempt=attempt, wake=at.now + timing.retry_delay(attempt, at.random))
    return session, (
        Send(Sending.SELECT, session.xid, _secs(session, at), session.promised, session.chosen),
    )


def _search(session: Session, at: At, *, wait_s: float, state: State = State.INIT) -> Session:
    """Look for an address anew, after a while."""
    return _next(session, state=state, wake=at.now + wait_s, attempt=0, candidate=None)


def _granted(session: Session, event: Event, at: At) -> Step:
    """Probe what was granted first."""
    if event.granted is None:
        return session, ()
    candidate = Held(event.granted, session.sent_at)
    if not session.profile.probes:
        return _bind(session, candidate, at)
    session = _next(
        session,
        state=State.PROBING,
        candidate=candidate,
        promised=candidate.granted.address,
        chosen=candidate.granted.server_id,
        probes=0,
        wake=at.now + at.random() * session.profile.wait_s,
    )
    return session, ()


def _probe(session: Session, _: Event, at: At) -> Step:
    profile, candidate = session.profile, session.candidate
    if candidate is None:
        return session, ()
    if session.probes == profile.probes:
        return _bind(session, candidate, at)
    probes = session.probes + 1
    if probes == profile.probes:
        wait = profile.listen_s
    else:
        wait = profile.shortest_s + at.random() * (profile.longest_s - profile.shortest_s)
    session = _next(session, probes=probes, wake=at.now + wait)
    return session, (SendProbe(candidate.granted.address),)


def _decline(session: Session, _: Event, at: At) -> Step:
    if session.candidate is None:
        return session, ()
    granted = session.candidate.granted
    actions: tuple[Action, ...] = (
        Send(Sending.DECLINE, at.xid(), 0, granted.address, granted.server_id),
        Tally.DECLINE,
    )
    if session.held is not None:  # which the server has replaced by this one
        actions += (Drop(session.held, Loss.DUPLICATE),)
    session = _next(session, conflicts=session.conflicts + 1, promised="", held=None)
    wait = timing.conflict_delay(session.conflicts, session.profile)
    return _search(session, at, wait_s=wait, state=State.DECLINED), actions


def _refused(session: Session, _: Event, at: At) -> Step:
    actions: tuple[Action, ...] = (Tally.NAK,)
    if session.held is not None:
        actions += (Drop(session.held, Loss.REFUSED),)
    session = _next(session, naks=session.naks + 1, promised="", held=None, began=at.now)
    wait = timing.nak_delay(session.naks, at.random)
    return _search(session, at, wait_s=wait, state=State.BACKOFF), actions


# ------------------------------------------------------------ keeping it


def _settled(session: Session, at: At) -> Session:
    """Be bound until it is time to renew, or to announce once more."""
    held = session.held
    renew_at = None
    if held is not None and held.renew_at is not None:
        renew_at = held.renew_at + timing.renewal_jitter(held, at.random)
    return _next(
        session,
        state=State.BOUND,
        attempt=0,
        renew_at=renew_at,
        wake=_soonest(renew_at, session.announce_at),
    )


def _bind(session: Session, held: Held, at: At) -> Step:
    """Use an address that was not used before."""
    before = session.held
    session = _next(
        session,
        held=held,
        candidate=None,
        promised="",
        naks=0,
        conflicts=0,
        announce_at=at.now if session.profile.announcements else None,
        announced=0,
    )
    session, announcements = _announce(_settled(session, at), at)
    return session, (Bind(held, before), *announcements)


def _announce(session: Session, at: At) -> Step:
    profile, held = session.profile, session.held
    if held is None or session.announce_at is None or at.now < session.announce_at:
        return session, ()
    announced = session.announced + 1
    more = announced < profile.announcements
    announce_at = at.now + profile.announce_interval_s if more else None
    session = _next(
        session,
        announced=announced,
        announce_at=announce_at,
        wake=_soonest(session.renew_at, announce_at),
    )
    return session, (SendAnnouncement(held.granted.address),)


def _keep(session: Session, _: Event, at: At) -> Step:
    """Do what the age of the lease asks for."""
    held = session.held
    if held is None:
        return session, ()
    if held.expires_at is not None and at.now >= held.expires_at:
        return _expire(session, held, at)
    if held.rebind_at is not None and at.now >= held.rebind_at:
        return _extend(session, held, at, State.REBINDING)
    if session.renew_at is not None and at.now >= session.renew_at:
        return _extend(session, held, at, State.RENEWING)
    if session.state is not State.BOUND:
        return _settled(session, at), ()
    session, actions = _announce(session, at)
    if not actions:  # woken too early
        session = _next(session, wake=_soonest(session.renew_at, session.announce_at))
    return session, actions


def _extend(session: Session, held: Held, at: At, state: State) -> Step:
    """
    Ask to keep the address: the server (RENEWING), or any server (REBINDING).

    Every transmission is a transaction of its own, so that it is known from when an
    acknowledged one counts.
    """
    since, until, what = (
        (held.renew_at, held.rebind_at, Sending.RENEW)
        if state is State.RENEWING
        else (held.rebind_at, held.expires_at, Sending.REBIND)
    )
    if since is None or until is None:
        return session, ()
    actions: tuple[Action, ...] = ()
    if session.state in {State.RENEWING, State.REBINDING}:
        actions = (Tally.RENEW_FAILURE,)
    delay = timing.renewal_delay(at.now, since=since, until=until)
    session = _next(
        session,
        state=state,
        xid=at.xid(),
        attempt=session.attempt + 1,
        sent_at=at.now,
        began=session.began if session.attempt else at.now,
        wake=min(at.now + delay, until),
    )
    server = held.granted.server_id if what is Sending.RENEW else ""
    sent = Send(what, session.xid, _secs(session, at), held.granted.address, server)
    return session, (*actions, sent)


def _renew(session: Session, event: Event, at: At) -> Step:
    """Renew because somebody wants it; a lease without an end has nothing to renew."""
    held = session.held
    if held is None or held.rebind_at is None:
        return session, ()
    if at.now >= held.rebind_at:
        return _keep(session, event, at)
    return _extend(session, held, at, State.RENEWING)


def _expire(session: Session, held: Held, at: At) -> Step:
    session = _next(session, held=None, began=at.now, announce_at=None, renew_at=None)
    wait = at.random() * timing.BACKGROUND_JITTER_S
    return _search(session, at, wait_s=wait), (Tally.EXPIRY, Drop(held, Loss.EXPIRED))


def _extended(session: Session, event: Event, at: At) -> Step:
    """Count the lease from the REQUEST on; an address that changed is probed like a new one."""
    held = session.held
    if event.granted is None or held is None:
        return session, ()
    if event.granted.address != held.granted.address:
        return _granted(session, event, at)
    after = Held(event.granted, session.sent_at)
    session = _settled(_next(session, held=after, naks=0), at)
    return session, (Tally.RENEWAL, Bind(after, held))


def _reboot(session: Session, event: Event, at: At) -> Step:
    """Ask whether a remembered address still stands; silence means yes."""
    held = session.held
    expired = held is None or (held.expires_at is not None and at.now >= held.expires_at)
    if held is None or expired or session.attempt == timing.REBOOT_ATTEMPTS:
        return _keep(_next(session, attempt=0), event, at)
    attempt = session.attempt + 1
    wake = at.now + timing.retry_delay(attempt, at.random)
    session = _next(
        session,
        xid=at.xid(),
        attempt=attempt,
        sent_at=at.now,
        wake=_soonest(wake, held.expires_at),
    )
    sent = Send(Sending.REBOOT, session.xid, _secs(session, at), held.granted.address)
    return session, (sent,)


# ------------------------------------------------------------ ending


def _release_promised(session: Session, at: At) -> tuple[Action, ...]:
    """
    Give back what a REQUEST may still bring, though nobody waits for its answer.

    The server sees the RELEASE after the REQUEST, whenever it answers the latter.
    """
    if not session.promised:
        return ()
    return (Send(Sending.RELEASE, at.xid(), 0, session.promised, session.chosen),)


def _stop(session: Session, event: Event, at: At) -> Step:
    actions = _release_promised(session, at)
    if event.on is On.RELEASE and session.held is not None:
        granted = session.held.granted
        actions += (Send(Sending.RELEASE, at.xid(), 0, granted.address, granted.server_id),)
    session = _next(session, state=State.STOPPED, wake=None, promised="", candidate=None)
    return session, actions


Transition = Callable[[Session, Event, At], Step]

TABLE: Final[Mapping[tuple[State, On], Transition]] = {
    (State.INIT, On.TICK): _discover,
    (State.SELECTING, On.TICK): _discover,
    (State.SELECTING, On.OFFER): _select,
    (State.REQUESTING, On.TICK): _request,
    (State.REQUESTING, On.ACK): _granted,
    (State.REQUESTING, On.NAK): _refused,
    (State.PROBING, On.TICK): _probe,
    (State.PROBING, On.CONFLICT): _decline,
    (State.DECLINED, On.TICK): _discover,
    (State.BACKOFF, On.TICK): _discover,
    (State.BOUND, On.TICK): _keep,
    (State.BOUND, On.RENEW): _renew,
    (State.RENEWING, On.TICK): _keep,
    (State.RENEWING, On.RENEW): _renew,
    (State.RENEWING, On.ACK): _extended,
    (State.RENEWING, On.NAK): _refused,
    (State.REBINDING, On.TICK): _keep,
    (State.REBINDING, On.ACK): _extended,
    (State.REBINDING, On.NAK): _refused,
    (State.REBOOTING, On.TICK): _reboot,
    (State.REBOOTING, On.ACK): _extended,
    (State.REBOOTING, On.NAK): _refused,
    **{
        (state, on): _stop
        for state in State
        if state is not State.STOPPED
        for on in (On.STOP, On.RELEASE)
    },
}
"""What each event does in each state; a pair that is missing does nothing."""
