# SPDX-License-Identifier: Apache-2.0
"""What the DHCP client's machine speaks of: states, events, actions, and what it remembers."""

import enum
from dataclasses import dataclass
from typing import Final

from spanbridge.ipam.dhcp.options import Granted
from spanbridge.ipam.dhcp.timing import Held, ProbeProfile, Random

_XIDS: Final = 1 << 32


class State(enum.Enum):
    """Where a client is; the value is what a human reads."""

    INIT = "init"
    SELECTING = "selecting"
    REQUESTING = "requesting"
    PROBING = "probing"
    BOUND = "bound"
    RENEWING = "renewing"
    REBINDING = "rebinding"
    REBOOTING = "rebooting"
    DECLINED = "declined"
    BACKOFF = "backing off"
    STOPPED = "stopped"


class On(enum.Enum):
    """What happens to a client."""

    TICK = enum.auto()
    """The time of ``Session.wake`` has come."""
    OFFER = enum.auto()
    ACK = enum.auto()
    NAK = enum.auto()
    CONFLICT = enum.auto()
    """Somebody else has the address that is probed."""
    STOP = enum.auto()
    """Be done, and give back what nobody uses yet."""
    RELEASE = enum.auto()
    """Be done, and give back everything."""
    RENEW = enum.auto()
    """Ask to keep the address now, without waiting for T1."""


@dataclass(frozen=True, slots=True)
class Event:
    """
    What happened.

    Attributes:
        on: Its kind.
        xid: Of an OFFER, ACK or NAK.
        server_id: The same; empty where the server did not say.
        granted: Of an OFFER or ACK.
    """

    on: On
    xid: int = 0
    server_id: str = ""
    granted: Granted | None = None


class Sending(enum.Enum):
    """What kind of message is to be sent."""

    DISCOVER = "DISCOVER"
    SELECT = "REQUEST (selecting)"
    REBOOT = "REQUEST (init-reboot)"
    RENEW = "REQUEST (renewing)"
    REBIND = "REQUEST (rebinding)"
    RELEASE = "RELEASE"
    DECLINE = "DECLINE"


@dataclass(frozen=True, slots=True)
class Send:
    """
    Send a message.

    Attributes:
        what: Its kind.
        xid: Transaction.
        secs: Seconds since the client began.
        address: Which it is about; empty in DISCOVER.
        server_id: Whom it is for, where one server is meant.
    """

    what: Sending
    xid: int
    secs: int = 0
    address: str = ""
    server_id: str = ""


@dataclass(frozen=True, slots=True)
class SendProbe:
    """Ask by ARP who has an address."""

    address: str


@dataclass(frozen=True, slots=True)
class SendAnnouncement:
    """Say by ARP that an address is ours."""

    address: str


@dataclass(frozen=True, slots=True)
class Bind:
    """Write the lease down and use it; ``before`` is what it follows."""

    held: Held
    before: Held | None


class Loss(enum.Enum):
    """Why an address must not be used any more."""

    EXPIRED = "the lease has expired"
    REFUSED = "the server refused it"
    DUPLICATE = "another host has the address that replaces it"


@dataclass(frozen=True, slots=True)
class Drop:
    """Stop using the address at once."""

    held: Held
    loss: Loss


class Tally(enum.Enum):
    """What is counted; the value names the metric."""

    NAK = "naks"
    DECLINE = "declines"
    EXPIRY = "expiries"
    RENEWAL = "renewals"
    RENEW_FAILURE = "renew_failures"


Action = Send | SendProbe | SendAnnouncement | Bind | Drop | Tally
"""What `step` wants done, in order."""


@dataclass(frozen=True, slots=True)
class Session:
    """
    Everything a client knows between two events.

    Attributes:
        state: Where it is.
        profile: How it probes.
        wake: When to send it a TICK; None: never.
        began: When the search for an address began.
        xid: Of the transaction under way.
        attempt: Transmissions in it.
        sent_at: When the REQUEST was sent that an ACK answers.
        chosen: Server whose offer was taken.
        promised: Address that was asked for and may be ours at a server.
        candidate: Address that is probed.
        probes: How many probes were sent.
        held: Address in use.
        naks: Refusals in a row.
        conflicts: Duplicates in a row.
        announce_at: When to announce; None: no more.
        announced: How often that was done.
        renew_at: When to renew, later than T1 by some jitter.
    """

    state: State
    profile: ProbeProfile
    wake: float | None
    began: float
    xid: int = 0
    attempt: int = 0
    sent_at: float = 0.0
    chosen: str = ""
    promised: str = ""
    candidate: Held | None = None
    probes: int = 0
    held: Held | None = None
    naks: int = 0
    conflicts: int = 0
    announce_at: float | None = None
    announced: int = 0
    renew_at: float | None = None


@dataclass(frozen=True, slots=True)
class At:
    """The circumstances of a step: the time, and where chance comes from."""

    now: float
    random: Random

    def xid(self) -> int:
        """Make a transaction id."""
        return int(self.random() * _XIDS)
