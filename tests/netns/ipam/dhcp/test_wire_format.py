# SPDX-License-Identifier: Apache-2.0
"""What tcpdump reads in our frames."""

import struct
import subprocess
from pathlib import Path

import pytest

from spanbridge.ipam.dhcp.ether import (
    BROADCAST_IP,
    UdpFrame,
    arp_announcement,
    arp_probe,
    render_udp_frame,
)
from spanbridge.ipam.dhcp.options import (
    Identity,
    decline,
    discover,
    release,
    request_renew,
    request_selecting,
)
from spanbridge.ipam.dhcp.packet import NO_ADDRESS, Message, render_message
from spanbridge.model.arp import BROADCAST_MAC

MAC, SERVER_MAC = b"\2\0\0\0\0\1", b"\2\0\0\0\0\xfe"
US, SERVER = "192.168.77.20", "192.168.77.1"
WHO = Identity(
    chaddr=MAC,
    client_id=b"\0c1/net/eth0",
    parameters=(121, 1, 33, 3),
    provided={12: b"pod-1", 60: b"spanbridge"},
    broadcast=True,
)


def broadcast(message: Message) -> bytes:
    payload = render_message(message)
    return render_udp_frame(UdpFrame(MAC, BROADCAST_MAC, NO_ADDRESS, BROADCAST_IP, payload))


def unicast(message: Message) -> bytes:
    return render_udp_frame(UdpFrame(MAC, SERVER_MAC, US, SERVER, render_message(message)))


def read_by_tcpdump(frame: bytes, directory: Path) -> str:
    """Put one frame into a capture file (version 2.4, Ethernet) and have it printed."""
    path = directory / "frame.pcap"
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    path.write_bytes(head + struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame)
    argv = ["tcpdump", "-nevvv", "-r", str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=10)
    return " ".join(done.stdout.split())


EVERYWHERE = (f"{NO_ADDRESS}.68 > {BROADCAST_IP}.67: [udp sum ok] BOOTP/DHCP, Request",)
TO_SERVER = (f"{US}.68 > {SERVER}.67: [udp sum ok] BOOTP/DHCP, Request",)
ASKING = (
    "Parameter-Request (55), length 4: Classless-Static-Route (121), Subnet-Mask (1)",
    "MSZ (57), length 2: 1500",
    'Hostname (12), length 5: "pod-1"',
    'Vendor-Class (60), length 10: "spanbridge"',
)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (
            broadcast(discover(WHO, xid=0x1001, secs=3)),
            (*EVERYWHERE, *ASKING, "xid 0x1001, secs 3, Flags [Broadcast]", "length 1: Discover"),
        ),
        (
            broadcast(request_selecting(WHO, xid=0x1001, address=US, server_id=SERVER)),
            (
                *EVERYWHERE,
                *ASKING,
                "length 1: Request",
                "Requested-IP (50), length 4: 192.168.77.20",
                "Server-ID (54), length 4: 192.168.77.1",
            ),
        ),
        (
            unicast(request_renew(WHO, xid=0x1002, address=US)),
            (*TO_SERVER, *ASKING, "Flags [none]", "Client-IP 192.168.77.20", "length 1: Request"),
        ),
        (
            unicast(release(WHO, xid=0x1003, text="bye", address=US, server_id=SERVER)),
            (
                *TO_SERVER,
                "Client-IP 192.168.77.20",
                "length 1: Release",
                'MSG (56), length 3: "bye"',
            ),
        ),
        (
            broadcast(decline(WHO, xid=0x1004, address=US, server_id=SERVER)),
            (*EVERYWHERE, "length 1: Decline", "Requested-IP (50), length 4: 192.168.77.20"),
        ),
    ],
    ids=["DISCOVER", "REQUEST", "RENEW", "RELEASE", "DECLINE"],
)
def test_tcpdump_reads_what_was_meant(
    frame: bytes, expected: tuple[str, ...], tmp_path: Path
) -> None:
    seen = read_by_tcpdump(frame, tmp_path)

    assert [part for part in expected if part not in seen] == [], seen
    assert "Client-Ethernet-Address 02:00:00:00:00:01" in seen
    assert 'Client-ID (61), length 12: "c1/net/eth0"' in seen
    assert "bad cksum" not in seen


def test_tcpdump_reads_arp_as_it_was_meant(tmp_path: Path) -> None:
    probe = read_by_tcpdump(arp_probe(MAC, US), tmp_path)
    announcement = read_by_tcpdump(arp_announcement(MAC, US), tmp_path)

    assert "02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, ethertype ARP" in probe
    assert "Request who-has 192.168.77.20 tell 0.0.0.0, length 28" in probe
    assert "Request who-has 192.168.77.20 tell 192.168.77.20, length 28" in announcement
