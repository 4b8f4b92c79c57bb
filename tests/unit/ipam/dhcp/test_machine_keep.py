# SPDX-License-Identifier: Apache-2.0
"""Keeping an address, and losing it, in virtual time."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from spanbridge.ipam.dhcp import machine
from spanbridge.ipam.dhcp.options import Granted
from spanbridge.ipam.dhcp.session import (
    Bind,
    Drop,
    Event,
    Loss,
    On,
    Send,
    Sending,
    Session,
    State,
    Tally,
)
from spanbridge.ipam.dhcp.timing import PROBE_FAST, PROBE_OFF, Held

if TYPE_CHECKING:
    from .conftest import Drive
else:
    Drive = Any

Grant = Callable[..., Granted]
NewDrive = Callable[..., Drive]


@pytest.fixture
def bound(drive: NewDrive, grant: Grant) -> Drive:
    """A machine that holds an address for an hour, requested at 0, without jitter."""
    run = drive()
    run.chance = 0.0
    run.bind(grant())
    return run


def test_at_t1_the_own_server_is_asked(bound: Drive) -> None:
    (sent,) = bound.tick()
    assert isinstance(sent, Send)
    assert (sent.what, sent.address, sent.server_id) == (Sending.RENEW, "10.0.0.5", "10.0.0.1")
    assert bound.sent(Sending.RENEW) == [1800]
    assert bound.session.state is State.RENEWING


@pytest.mark.parametrize(("lease_s", "latest"), [(3600, 30), (100, 3.75)])
def test_renewals_come_a_little_after_t1_so_that_pods_drift_apart(
    drive: NewDrive, grant: Grant, lease_s: int, latest: float
) -> None:
    run = drive()
    run.bind(grant(lease_s=lease_s))
    run.chance = 0.5
    run.tick()
    assert run.sent(Sending.RENEW) == [lease_s / 2 + latest / 2]


def test_renewals_are_repeated_after_half_of_what_is_left_but_not_within_a_minute(
    bound: Drive,
) -> None:
    bound.tick_until(State.REBINDING)
    assert bound.sent(Sending.RENEW) == [1800, 2475, 2812.5, 2981.25, 3065.625, 3125.625]
    bound.tick_until(State.INIT)
    assert bound.sent(Sending.REBIND) == [3150, 3375, 3487.5, 3547.5]


def test_of_a_lease_of_seconds_the_floor_is_a_quarter_of_the_phase(
    drive: NewDrive, grant: Grant
) -> None:
    run = drive()
    run.chance = 0.0
    run.bind(grant(lease_s=8, t1_s=2, t2_s=4))
    run.tick_until(State.INIT)
    assert run.sent(Sending.RENEW) == [2, 3, 3.5]
    assert run.sent(Sending.REBIND) == [4, 6, 7]
    assert [time for time, did in run.did if isinstance(did, Drop)] == [8]


def test_every_renewal_is_a_transaction_of_its_own(bound: Drive) -> None:
    bound.chance = 0.1
    (first,) = bound.tick()
    bound.chance = 0.2
    failure, second = bound.tick()
    assert isinstance(first, Send)
    assert isinstance(second, Send)
    assert failure is Tally.RENEW_FAILURE
    assert first.xid != second.xid


def test_an_acknowledged_renewal_counts_from_its_own_transmission(
    bound: Drive, grant: Grant
) -> None:
    bound.tick()
    bound.tick()
    bound.now += 5
    tally, after = bound.hear(On.ACK, grant(lease_s=7200))
    assert tally is Tally.RENEWAL
    assert isinstance(after, Bind)
    assert after.before is not None
    assert after.held.requested_at == 1000 + 2475
    assert bound.session.state is State.BOUND
    assert bound.session.wake == 1000 + 2475 + 3600


def test_while_renewing_only_the_own_server_counts(bound: Drive, grant: Grant) -> None:
    bound.tick()
    assert bound.hear(On.NAK, server="10.0.0.9") == ()
    assert bound.hear(On.ACK, grant(server_id="10.0.0.9")) == ()
    assert bound.session.state is State.RENEWING


def test_while_rebinding_any_server_counts(bound: Drive, grant: Grant) -> None:
    bound.tick_until(State.REBINDING)
    bound.hear(On.ACK, grant(server_id="10.0.0.9"))
    assert bound.session.held is not None
    assert bound.session.held.granted.server_id == "10.0.0.9"


@pytest.mark.parametrize("state", [State.RENEWING, State.REBINDING])
def test_a_refusal_drops_the_address_at_once(bound: Drive, state: State) -> None:
    bound.tick_until(state)
    tally, dropped = bound.hear(On.NAK, server="10.0.0.1")
    assert tally is Tally.NAK
    assert isinstance(dropped, Drop)
    assert dropped.loss is Loss.REFUSED
    assert bound.session.state is State.BACKOFF
    assert bound.session.held is None


def test_at_the_end_of_the_lease_the_address_is_dropped_and_sought_anew(bound: Drive) -> None:
    bound.tick_until(State.SELECTING)
    ended = [(time, did) for time, did in bound.did if isinstance(did, Drop)]
    assert [(time, did.loss) for time, did in ended] == [(3600, Loss.EXPIRED)]
    assert bound.sent(Sending.DISCOVER) == [0, 3600]
    assert Tally.EXPIRY in [did for _, did in bound.did]


def test_a_machine_that_slept_over_the_end_sends_nothing_before_it_drops(bound: Drive) -> None:
    bound.now += 10_000
    assert [type(did) for did in bound.on(Event(On.TICK))] == [Tally, Drop]


def test_a_machine_that_slept_over_t2_rebinds(bound: Drive) -> None:
    bound.now += 3300
    (sent,) = bound.on(Event(On.TICK))
    assert isinstance(sent, Send)
    assert sent.what is Sending.REBIND


def test_a_tick_before_its_time_changes_nothing(bound: Drive) -> None:
    before = bound.session
    assert bound.on(Event(On.TICK)) == ()
    assert bound.session == before


def test_a_lease_without_end_is_never_renewed(drive: NewDrive, grant: Grant) -> None:
    run = drive()
    run.bind(grant(lease_s=None))
    assert run.session.wake is None


def test_an_address_that_a_renewal_changes_is_probed_while_the_old_one_is_used(
    drive: NewDrive, grant: Grant
) -> None:
    run = drive(PROBE_FAST)
    run.bind(grant())
    old = run.session.held
    run.tick()
    assert run.hear(On.ACK, grant("10.0.0.6")) == ()
    assert run.session.state is State.PROBING
    assert run.session.held is old
    run.tick_until(State.BOUND)
    binds = [did for _, did in run.did if isinstance(did, Bind)]
    assert binds[-1].before is old
    assert binds[-1].held.granted.address == "10.0.0.6"


def test_when_the_changed_address_is_a_duplicate_the_old_one_goes_too(
    drive: NewDrive, grant: Grant
) -> None:
    run = drive(PROBE_FAST)
    run.bind(grant())
    run.tick()
    run.hear(On.ACK, grant("10.0.0.6"))
    dropped = run.on(Event(On.CONFLICT))[-1]
    assert isinstance(dropped, Drop)
    assert (dropped.held.granted.address, dropped.loss) == ("10.0.0.5", Loss.DUPLICATE)


# ---------------------------------------------------------------- after a restart


def resumed(run: Drive, grant: Grant, *, age: float, confirm: bool = False) -> Session:
    """Go on with a lease of an hour that was requested so long ago."""
    held = Held(grant(), run.now - age)
    run.chance = 0.0
    run.session = machine.resume(PROBE_OFF, held, run.at, confirm=confirm)
    return run.session


@pytest.mark.parametrize(
    ("age", "what"),
    [(1800, Sending.RENEW), (3000, Sending.RENEW), (3150, Sending.REBIND), (3599, Sending.REBIND)],
)
def test_a_resumed_lease_is_treated_by_its_age(
    drive: NewDrive, grant: Grant, age: float, what: Sending
) -> None:
    run = drive()
    resumed(run, grant, age=age)
    (sent,) = run.tick()
    assert isinstance(sent, Send)
    assert sent.what is what
    assert run.now == 1000


def test_a_young_resumed_lease_waits_for_t1(drive: NewDrive, grant: Grant) -> None:
    assert resumed(drive(), grant, age=100).wake == 1000 + 1700


def test_a_resumed_lease_that_has_ended_is_dropped(drive: NewDrive, grant: Grant) -> None:
    run = drive()
    resumed(run, grant, age=3600)
    assert [type(did) for did in run.tick()] == [Tally, Drop]


def test_resumed_leases_are_spread_but_none_beyond_its_end(drive: NewDrive, grant: Grant) -> None:
    run = drive()
    run.chance = 0.999
    for age, latest in ((3000, 5.0), (3599, 1.0)):
        held = Held(grant(), run.now - age)
        session = machine.resume(PROBE_OFF, held, run.at, confirm=False, spread_s=5.0)
        assert session.wake is not None
        assert latest - 0.1 < session.wake - run.now <= latest


def test_a_lease_of_another_boot_is_confirmed_by_any_server(drive: NewDrive, grant: Grant) -> None:
    run = drive()
    resumed(run, grant, age=100, confirm=True)
    (sent,) = run.tick()
    assert isinstance(sent, Send)
    assert (sent.what, sent.address, sent.server_id) == (Sending.REBOOT, "10.0.0.5", "")
    tally, after = run.hear(On.ACK, grant(server_id="10.0.0.9"))
    assert tally is Tally.RENEWAL
    assert isinstance(after, Bind)
    assert after.held.requested_at == 1000


def test_nobody_confirming_it_a_lease_is_kept_until_its_end(drive: NewDrive, grant: Grant) -> None:
    run = drive()
    resumed(run, grant, age=100, confirm=True)
    for _ in range(4):
        run.tick()
    assert len(run.sent(Sending.REBOOT)) == 3
    assert run.session.state is State.BOUND
    assert run.session.wake == 1000 + 1700


def test_a_refused_confirmation_drops_the_address(drive: NewDrive, grant: Grant) -> None:
    run = drive()
    resumed(run, grant, age=100, confirm=True)
    run.tick()
    assert isinstance(run.hear(On.NAK, server="10.0.0.9")[-1], Drop)


def test_a_lease_that_ends_while_it_is_confirmed_is_dropped_in_time(
    drive: NewDrive, grant: Grant
) -> None:
    run = drive()
    resumed(run, grant, age=3599, confirm=True)
    run.tick_until(State.INIT)
    assert [time for time, did in run.did if isinstance(did, Drop)] == [1]
