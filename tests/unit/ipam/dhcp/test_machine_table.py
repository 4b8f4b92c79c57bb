# SPDX-License-Identifier: Apache-2.0
"""The table of transitions as a whole."""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbridge.ipam.dhcp import machine
from spanbridge.ipam.dhcp.options import Granted
from spanbridge.ipam.dhcp.session import At, Event, On, Send, Sending, Session, State
from spanbridge.ipam.dhcp.timing import PROBE_FAST, PROBE_OFF, PROBE_RFC, Held, ProbeProfile

if TYPE_CHECKING:
    from .conftest import Drive
else:
    Drive = Any

Grant = Callable[..., Granted]
NewDrive = Callable[..., Drive]
MISSING = [(state, on) for state in State for on in On if (state, on) not in machine.TABLE]
UNHELD = {State.SELECTING, State.REQUESTING, State.DECLINED, State.BACKOFF}


@pytest.mark.parametrize(("state", "on"), MISSING)
def test_what_means_nothing_in_a_state_changes_nothing(state: State, on: On, grant: Grant) -> None:
    session = Session(state, PROBE_OFF, 5.0, 0.0, xid=7, chosen="10.0.0.1", held=Held(grant(), 0))
    event = Event(on, 7, "10.0.0.1", grant())
    assert machine.step(session, event, At(1.0, lambda: 0.5)) == (session, ())


@pytest.mark.parametrize("state", [state for state in State if state is not State.STOPPED])
@pytest.mark.parametrize("on", [On.STOP, On.RELEASE])
def test_every_state_can_be_ended(state: State, on: On, grant: Grant) -> None:
    held = Held(grant(), 0.0)
    session = Session(state, PROBE_OFF, 5.0, 0.0, held=held)
    after, actions = machine.step(session, Event(on), At(1.0, lambda: 0.5))
    assert (after.state, after.wake) == (State.STOPPED, None)
    released = [did.address for did in actions if isinstance(did, Send)]
    assert released == ([held.granted.address] if on is On.RELEASE else [])


@pytest.mark.parametrize("on", [On.STOP, On.RELEASE])
def test_what_was_asked_for_and_is_not_used_yet_is_given_back(
    drive: NewDrive, grant: Grant, on: On
) -> None:
    run = drive(PROBE_FAST)
    run.tick()
    assert run.on(Event(on)) == ()
    for answers in ([On.OFFER], [On.OFFER, On.ACK]):
        run = drive(PROBE_FAST)
        run.tick()
        for answer in answers:
            run.hear(answer, grant())
        (sent,) = run.on(Event(on))
        assert isinstance(sent, Send)
        assert (sent.what, sent.address) == (Sending.RELEASE, "10.0.0.5")


EVENTS = st.tuples(
    st.sampled_from([on for on in On if on not in {On.STOP, On.RELEASE}] + [On.TICK] * 6),
    st.booleans(),
    st.sampled_from(["10.0.0.1", "10.0.0.2"]),
    st.sampled_from(["10.0.0.5", "10.0.0.6"]),
    st.floats(0, 5000),
)


@given(
    st.lists(EVENTS, max_size=60),
    st.sampled_from([PROBE_OFF, PROBE_FAST, PROBE_RFC]),
    st.integers(0, 2**16),
)
def test_no_order_of_events_leads_astray(
    events: list[tuple[On, bool, str, str, float]], profile: ProbeProfile, seed: int
) -> None:
    chance, now = random.Random(seed).random, 100.0  # noqa: S311  # a test
    session = machine.begin(profile, At(now, chance))
    for on, ours, server, address, pause in events:
        if on is On.TICK and session.wake is not None:
            now = max(now, session.wake) + (pause if pause > 4000 else 0)
        granted = Granted(address, 24, server, lease_s=100, t1_s=50.0, t2_s=87.5)
        xid = session.xid if ours else session.xid ^ 1
        session, _ = machine.step(session, Event(on, xid, server, granted), At(now, chance))
        assert session.wake is not None
        assert session.wake <= now + 130
        assert (session.held is None) or session.state not in UNHELD
        if session.held is not None and session.state is not State.PROBING:
            assert session.wake <= (session.held.expires_at or 0)
