# SPDX-License-Identifier: Apache-2.0
"""What real programs sent; the first line of each file says which, and what."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from spanbridge.ipam.dhcp import machine
from spanbridge.ipam.dhcp.ether import UdpFrame, parse_udp_frame
from spanbridge.ipam.dhcp.options import Granted, Identity
from spanbridge.ipam.dhcp.packet import BOOTREPLY, Message
from spanbridge.ipam.dhcp.session import Action, At, Event, On, Send, Sending, State
from spanbridge.ipam.dhcp.timing import PROBE_OFF, ProbeProfile

CAPTURES: Final = Path(__file__).parent / "captures"


@pytest.fixture
def captured() -> Callable[[str], bytes]:
    """Reads a capture by its name, ``dnsmasq-2.90/offer``: the Ethernet frame."""

    def read(name: str) -> bytes:
        lines = (CAPTURES / f"{name}.hex").read_text().splitlines()
        return bytes.fromhex("".join(lines[1:]))

    return read


@pytest.fixture
def datagram(captured: Callable[[str], bytes]) -> Callable[[str], UdpFrame]:
    """Reads a capture as UDP; veth leaves the checksum to a device that does not exist."""

    def read(name: str) -> UdpFrame:
        frame = parse_udp_frame(captured(name), checksum_ready=False)
        assert frame is not None
        return frame

    return read


@pytest.fixture
def granting() -> Callable[..., Message]:
    """An ACK of 192.168.77.20/24 for an hour; options by code replace or, None, remove."""

    def make(changes: dict[int, bytes | None] | None = None, **fields: str) -> Message:
        options: dict[int, bytes | None] = {
            53: b"\5",
            54: bytes((192, 168, 77, 1)),
            51: (3600).to_bytes(4, "big"),
            1: b"\xff\xff\xff\0",
        }
        kept = {code: v for code, v in (options | (changes or {})).items() if v is not None}
        return Message(
            op=BOOTREPLY,
            xid=7,
            chaddr=b"\2\0\0\0\0\1",
            yiaddr=fields.get("yiaddr", "192.168.77.20"),
            options=kept,
        )

    return make


@pytest.fixture
def who() -> Identity:
    """A client that asks for four options, provides a host name, and wants broadcasts."""
    return Identity(
        chaddr=b"\2\0\0\0\0\1",
        client_id=b"\0c1/net/eth0",
        parameters=(121, 1, 33, 3),
        provided={12: b"pod-1", 60: b"spanbridge"},
        broadcast=True,
    )


class Drive:
    """
    The client's machine in virtual time, with a server that answers when told to.

    Attributes:
        now: The time.
        chance: What every call for a random number gives.
        session: Where the machine is.
        did: Everything that it wanted done, with the time.
    """

    def __init__(self, profile: ProbeProfile = PROBE_OFF) -> None:
        self.now = 1000.0
        self.chance = 0.5
        self.did: list[tuple[float, Action]] = []
        self.session = machine.begin(profile, self.at, jitter_s=0.0)

    @property
    def at(self) -> At:
        return At(self.now, lambda: self.chance)

    def on(self, event: Event) -> tuple[Action, ...]:
        """Let something happen; what is to be done."""
        self.session, actions = machine.step(self.session, event, self.at)
        self.did += [(round(self.now - 1000, 3), action) for action in actions]
        return actions

    def tick(self) -> tuple[Action, ...]:
        """Let the time come that the machine waits for."""
        assert self.session.wake is not None
        self.now = max(self.now, self.session.wake)
        return self.on(Event(On.TICK))

    def tick_until(self, state: State) -> None:
        for _ in range(200):
            if self.session.state is state:
                return
            self.tick()
        pytest.fail(f"{state} was never reached")

    def hear(
        self, on: On, granted: Granted | None = None, *, server: str = "", xid: int | None = None
    ) -> tuple[Action, ...]:
        """Let an answer come: to our transaction and from the granting server, if not told else."""
        server = server or (granted.server_id if granted else "10.0.0.1")
        return self.on(Event(on, self.session.xid if xid is None else xid, server, granted))

    def bind(self, granted: Granted) -> None:
        """Get an address in no time."""
        self.tick_until(State.SELECTING)
        self.hear(On.OFFER, granted)
        self.hear(On.ACK, granted)
        self.tick_until(State.BOUND)

    def sent(self, what: Sending) -> list[float]:
        """When messages of a kind were sent."""
        return [time for time, did in self.did if isinstance(did, Send) and did.what is what]


@pytest.fixture
def drive() -> type[Drive]:
    """Makes machines in virtual time."""
    return Drive


@pytest.fixture
def grant() -> Callable[..., Granted]:
    """What server 10.0.0.1 gives: 10.0.0.5/24 for an hour, if not told else."""

    def make(
        address: str = "10.0.0.5",
        *,
        lease_s: int | None = 3600,
        t1_s: float | None = None,
        t2_s: float | None = None,
        server_id: str = "10.0.0.1",
    ) -> Granted:
        if lease_s is not None:
            t1_s, t2_s = t1_s or lease_s * 0.5, t2_s or lease_s * 0.875
        return Granted(address, 24, server_id, lease_s=lease_s, t1_s=t1_s, t2_s=t2_s)

    return make
