# SPDX-License-Identifier: Apache-2.0
"""
When a DHCP client sends what: delays and deadlines, as pure functions.

Times are seconds since boot; ``random`` gives numbers from 0 up to 1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from spanbridge.ipam.dhcp.conf import Probe
from spanbridge.ipam.dhcp.options import Granted

Random = Callable[[], float]
"""Uniform numbers from 0 up to, but without, 1."""

FIRST_RETRY_S: Final = 1.0
LONGEST_RETRY_S: Final = 64.0
RETRY_JITTER_S: Final = 1.0
"""
Delays between transmissions to get a lease: doubled from the first to the longest.

RFC 2131 section 4.1 begins at 4 s; a pod waits for this one, so 1 and 2 s come before.
"""

REQUEST_ATTEMPTS: Final = 3
"""Transmissions of a REQUEST before another server is looked for."""

REBOOT_ATTEMPTS: Final = 3
"""Transmissions that ask to keep an address before it is kept without an answer."""

ADD_JITTER_S: Final = 0.1
BACKGROUND_JITTER_S: Final = 1.0
"""
Longest wait before the first DISCOVER, against many clients that start at once.

RFC 2131 section 4.4.1 wants 1 to 10 s after boot; a pod is waiting.
"""

RESUME_SPREAD_S: Final = 5.0
"""Longest wait before the first message for a lease that was resumed after a restart."""

RENEW_JITTER_S: Final = 30.0
"""Longest wait after T1; at most a tenth of the time to T2."""

RENEW_FLOOR_S: Final = 60.0
"""Shortest time between renewals. Source: RFC 2131 section 4.4.5."""

NAK_WAIT_S: Final = 1.0
NAK_LONGEST_WAIT_S: Final = 60.0
"""Wait after the first refusal, doubled for each further one."""

MAX_CONFLICTS: Final = 10
CONFLICT_LONGEST_WAIT_S: Final = 60.0
"""After so many duplicates, look for an address only so often. Source: RFC 5227 2.1.1."""


@dataclass(frozen=True, slots=True)
class ProbeProfile:
    """
    How an address is probed before it is used, and announced afterwards.

    Attributes:
        probes: How many ARP probes; 0 trusts the server.
        wait_s: Longest wait before the first.
        shortest_s: Shortest time between two.
        longest_s: Longest time between two.
        listen_s: Time to listen after the last.
        announcements: How many gratuitous ARPs.
        announce_interval_s: Time between them.
        conflict_wait_s: Time before another address is asked for.
    """

    probes: int
    wait_s: float
    shortest_s: float
    longest_s: float
    listen_s: float
    announcements: int
    announce_interval_s: float
    conflict_wait_s: float


PROBE_OFF: Final = ProbeProfile(0, 0.0, 0.0, 0.0, 0.0, 1, 2.0, 1.0)
PROBE_FAST: Final = ProbeProfile(3, 0.0, 0.1, 0.2, 0.15, 1, 2.0, 1.0)
PROBE_RFC: Final = ProbeProfile(3, 1.0, 1.0, 2.0, 2.0, 2, 2.0, 10.0)
"""
Source: RFC 5227 section 1.1; RFC 2131 section 3.1 step 5 for the wait after DECLINE.

The fast profile keeps a pod waiting for half a second instead of five: enough for
a neighbour on the link, not for one that is slow to answer.
"""

PROFILES: Final = {Probe.OFF: PROBE_OFF, Probe.FAST: PROBE_FAST, Probe.RFC: PROBE_RFC}


@dataclass(frozen=True, slots=True)
class Held:
    """
    An address that a server granted, and since when.

    Attributes:
        granted: By the server.
        requested_at: When the REQUEST that it acknowledged was sent.
    """

    granted: Granted
    requested_at: float

    @property
    def renew_at(self) -> float | None:
        """T1; None: never."""
        return self._after(self.granted.t1_s)

    @property
    def rebind_at(self) -> float | None:
        """T2; None: never."""
        return self._after(self.granted.t2_s)

    @property
    def expires_at(self) -> float | None:
        """When the address must not be used any more; None: never."""
        return self._after(self.granted.lease_s)

    def _after(self, seconds: float | None) -> float | None:
        # An infinite lease has no T1 and T2 either, whatever the server says.
        if seconds is None or self.granted.lease_s is None:
            return None
        return self.requested_at + seconds


def retry_delay(attempt: int, random: Random) -> float:
    """
    Tell how long to wait for an answer to the attempt of this number, from 1.

    Source: RFC 2131 section 4.1: doubled up to 64 s, each plus or minus up to 1 s.
    """
    delay = min(FIRST_RETRY_S * 2.0 ** min(attempt - 1, 10), LONGEST_RETRY_S)
    return delay + (2 * random() - 1) * min(RETRY_JITTER_S, delay / 8)


def renewal_delay(now: float, *, since: float, until: float) -> float:
    """
    Tell how long to wait between two renewals, or two rebinds.

    Half of what is left, but not less than a minute; where the whole phase is short,
    not less than a quarter of it.

    Args:
        now: The time.
        since: When the phase began: T1, or T2.
        until: When it ends: T2, or the end of the lease.

    Source: RFC 2131 section 4.4.5.
    """
    return max((until - now) / 2, min(RENEW_FLOOR_S, (until - since) / 4))


def renewal_jitter(held: Held, random: Random) -> float:
    """Tell how long after T1 to renew, so that leases taken together drift apart."""
    if held.renew_at is None or held.rebind_at is None:
        return 0.0
    return random() * min(RENEW_JITTER_S, (held.rebind_at - held.renew_at) / 10)


def nak_delay(naks: int, random: Random) -> float:
    """Tell how long to wait after so many refusals in a row."""
    delay = min(NAK_WAIT_S * 2.0 ** min(naks - 1, 10), NAK_LONGEST_WAIT_S)
    return delay * (0.9 + 0.1 * random())


def conflict_delay(conflicts: int, profile: ProbeProfile) -> float:
    """Tell how long to wait after so many duplicate addresses in a row."""
    if conflicts >= MAX_CONFLICTS:
        return CONFLICT_LONGEST_WAIT_S
    return profile.conflict_wait_s
