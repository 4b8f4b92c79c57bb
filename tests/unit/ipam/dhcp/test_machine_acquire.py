# SPDX-License-Identifier: Apache-2.0
"""Getting an address, in virtual time."""

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from spanbridge.ipam.dhcp import machine
from spanbridge.ipam.dhcp.options import Granted
from spanbridge.ipam.dhcp.session import (
    At,
    Bind,
    Event,
    On,
    Send,
    SendAnnouncement,
    Sending,
    SendProbe,
    State,
    Tally,
)
from spanbridge.ipam.dhcp.timing import PROBE_FAST, PROBE_OFF, PROBE_RFC, ProbeProfile

if TYPE_CHECKING:
    from .conftest import Drive
else:
    Drive = Any

Grant = Callable[..., Granted]
NewDrive = Callable[..., Drive]


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_the_first_discover_goes_out_within_a_tenth_of_a_second(chance: float) -> None:
    session = machine.begin(PROBE_OFF, At(50.0, lambda: chance))
    assert session.wake is not None
    assert 50.0 <= session.wake < 50.1


def test_discovers_are_repeated_after_1_2_4_seconds_and_at_last_every_64(drive: NewDrive) -> None:
    run = drive()
    for _ in range(10):
        run.tick()
    assert run.sent(Sending.DISCOVER) == [0, 1, 3, 7, 15, 31, 63, 127, 191, 255]


@pytest.mark.parametrize(("chance", "gaps"), [(0.0, [0.875, 1.75, 3.5, 7]), (1.0, [1.125, 2.25])])
def test_repetitions_are_spread_by_up_to_a_second(
    drive: NewDrive, chance: float, gaps: list[float]
) -> None:
    run = drive()
    run.chance = chance
    for _ in range(len(gaps) + 1):
        run.tick()
    times = run.sent(Sending.DISCOVER)
    assert [round(b - a, 3) for a, b in itertools.pairwise(times)] == gaps


def test_a_repeated_discover_keeps_its_transaction_and_counts_the_seconds(drive: NewDrive) -> None:
    run = drive()
    first = run.tick()[0]
    run.chance = 0.25
    again = run.tick()[0]
    assert isinstance(first, Send)
    assert isinstance(again, Send)
    assert first.xid == again.xid
    assert (first.secs, again.secs) == (0, 1)


def test_the_first_offer_is_taken_and_the_second_ignored(drive: NewDrive, grant: Grant) -> None:
    run = drive()
    run.tick()
    sent = run.hear(On.OFFER, grant("10.0.0.5"))[0]
    assert isinstance(sent, Send)
    assert (sent.what, sent.address, sent.server_id) == (Sending.SELECT, "10.0.0.5", "10.0.0.1")
    assert run.hear(On.OFFER, grant("10.0.0.6", server_id="10.0.0.2")) == ()


def test_an_answer_to_another_transaction_is_ignored(drive: NewDrive, grant: Grant) -> None:
    run = drive()
    run.tick()
    assert run.hear(On.OFFER, grant(), xid=run.session.xid ^ 1) == ()
    assert run.session.state is State.SELECTING


@pytest.mark.parametrize("on", [On.ACK, On.NAK])
def test_while_requesting_only_the_chosen_server_counts(
    drive: NewDrive, grant: Grant, on: On
) -> None:
    run = drive()
    run.tick()
    run.hear(On.OFFER, grant())
    granted = grant() if on is On.ACK else None
    assert run.hear(on, granted, server="10.0.0.2") == ()
    assert run.hear(on, granted, server="10.0.0.1") != ()


def test_an_unanswered_request_is_repeated_then_taken_back_and_the_search_begins_anew(
    drive: NewDrive, grant: Grant
) -> None:
    run = drive()
    run.tick()
    run.hear(On.OFFER, grant())
    for _ in range(4):
        run.tick()
    assert run.sent(Sending.SELECT) == [0, 1, 3]
    assert run.sent(Sending.RELEASE) == [7]
    assert run.sent(Sending.DISCOVER) == [0, 7]


def test_the_lease_counts_from_the_first_request(drive: NewDrive, grant: Grant) -> None:
    run = drive()
    run.tick()
    run.hear(On.OFFER, grant())
    run.tick()
    run.now += 0.7
    bound = run.hear(On.ACK, grant())[0]
    assert isinstance(bound, Bind)
    assert bound.held.requested_at == 1000.0
    assert bound.held.expires_at == 4600.0


def test_without_probing_an_acknowledged_address_is_bound_and_announced_at_once(
    drive: NewDrive, grant: Grant
) -> None:
    run = drive()
    run.tick()
    run.hear(On.OFFER, grant())
    bound, announced = run.hear(On.ACK, grant())
    assert isinstance(bound, Bind)
    assert bound.before is None
    assert announced == SendAnnouncement("10.0.0.5")
    assert run.session.state is State.BOUND


def test_the_fast_profile_probes_three_times_in_half_a_second(
    drive: NewDrive, grant: Grant
) -> None:
    run = drive(PROBE_FAST)
    run.bind(grant())
    did = [(time, type(action)) for time, action in run.did[2:]]
    assert did == [
        (0, SendProbe),
        (0.15, SendProbe),
        (0.3, SendProbe),
        (0.45, Bind),
        (0.45, SendAnnouncement),
    ]


def test_the_rfc_profile_takes_the_times_of_rfc_5227(drive: NewDrive, grant: Grant) -> None:
    run = drive(PROBE_RFC)
    run.bind(grant())
    run.tick()
    did = [(time, type(action)) for time, action in run.did[2:]]
    assert did == [
        (0.5, SendProbe),
        (2.0, SendProbe),
        (3.5, SendProbe),
        (5.5, Bind),
        (5.5, SendAnnouncement),
        (7.5, SendAnnouncement),
    ]


@pytest.mark.parametrize(
    ("profile", "wait"), [(PROBE_FAST, 1), (PROBE_RFC, 10)], ids=["fast", "rfc"]
)
def test_a_duplicate_is_declined_and_another_address_sought_later(
    drive: NewDrive, grant: Grant, profile: ProbeProfile, wait: int
) -> None:
    run = drive(profile)
    run.tick()
    run.hear(On.OFFER, grant())
    run.hear(On.ACK, grant())
    declined, tally = run.on(Event(On.CONFLICT))
    assert isinstance(declined, Send)
    assert (declined.what, declined.address) == (Sending.DECLINE, "10.0.0.5")
    assert tally is Tally.DECLINE
    assert run.session.state is State.DECLINED
    run.tick()
    assert run.sent(Sending.DISCOVER) == [0, wait]


def test_after_ten_duplicates_a_minute_passes_between_two(drive: NewDrive, grant: Grant) -> None:
    run = drive(PROBE_FAST)
    for _ in range(11):
        run.tick_until(State.SELECTING)
        run.hear(On.OFFER, grant())
        run.hear(On.ACK, grant())
        run.on(Event(On.CONFLICT))
    times = run.sent(Sending.DECLINE)
    assert times[:10] == list(range(10))
    assert times[10] == times[9] + 60


def test_refusals_double_the_wait_up_to_a_minute(drive: NewDrive, grant: Grant) -> None:
    run = drive()
    run.chance = 1.0 - 1e-9
    waits = []
    for _ in range(8):
        run.tick_until(State.SELECTING)
        run.hear(On.OFFER, grant())
        run.hear(On.NAK)
        assert run.session.wake is not None
        waits.append(round(run.session.wake - run.now, 3))
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_lease_ends_the_count_of_refusals(drive: NewDrive, grant: Grant) -> None:
    run = drive()
    run.tick()
    run.hear(On.OFFER, grant())
    run.hear(On.NAK)
    run.bind(grant())
    assert run.session.naks == 0
