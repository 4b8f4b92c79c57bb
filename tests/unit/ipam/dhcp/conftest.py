# SPDX-License-Identifier: Apache-2.0
"""What real programs sent; the first line of each file says which, and what."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, settings

from spanbridge.ipam.dhcp.ether import UdpFrame, parse_udp_frame
from spanbridge.ipam.dhcp.options import Identity
from spanbridge.ipam.dhcp.packet import BOOTREPLY, Message

settings.register_profile(
    "busy-machine", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy-machine")

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
