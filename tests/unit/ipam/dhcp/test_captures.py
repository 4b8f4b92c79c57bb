# SPDX-License-Identifier: Apache-2.0
"""Frames of real servers and clients; what is expected is how those were configured."""

from collections.abc import Callable

import pytest

from spanbridge.ipam.dhcp.ether import UdpFrame, parse_udp_frame
from spanbridge.ipam.dhcp.options import ClasslessRoute, Granted, parse_granted, server_text
from spanbridge.ipam.dhcp.packet import MessageType, PacketError, is_reply_for, parse_message
from spanbridge.model.arp import Arp, parse_arp

Datagram = Callable[[str], UdpFrame]
MAC = bytes.fromhex("020000000001")
LEASED = Granted(
    address="192.168.77.25",
    prefix_length=24,
    server_id="192.168.77.1",
    routers=("192.168.77.1",),
    routes=(
        ClasslessRoute("10.9.0.0/16", "192.168.77.9"),
        ClasslessRoute("0.0.0.0/0", "192.168.77.1"),
    ),
    dns=("192.168.77.2", "192.168.77.3"),
    domain="lab.example",
    search=("eng.lab.example", "sales.lab.example", "other.test"),
    ntp=("192.168.77.4",),
    mtu=1400,
    lease_s=7200,
    t1_s=3600,
    t2_s=6300,
)


@pytest.mark.parametrize(("name", "kind"), [("offer", MessageType.OFFER), ("ack", MessageType.ACK)])
def test_dnsmasq_grants_what_it_is_configured_to(
    datagram: Datagram, name: str, kind: MessageType
) -> None:
    frame = datagram(f"dnsmasq-2.90/{name}")
    message = parse_message(frame.payload)

    assert (frame.src_ip, frame.sport, frame.dport) == ("192.168.77.1", 67, 68)
    assert is_reply_for(message, 0x1001, MAC)
    assert message.type is kind
    assert parse_granted(message) == LEASED


def test_dnsmasq_says_why_it_refuses(datagram: Datagram) -> None:
    message = parse_message(datagram("dnsmasq-2.90/nak").payload)

    assert is_reply_for(message, 0x1002, MAC)
    assert (message.type, message.server_id) == (MessageType.NAK, "192.168.77.1")
    assert server_text(message) == "wrong address"
    with pytest.raises(PacketError, match="neither OFFER nor ACK"):
        parse_granted(message)


def test_dnsmasq_puts_options_into_the_file_field_of_a_full_message(datagram: Datagram) -> None:
    payload = datagram("dnsmasq-2.90/overload").payload
    found = parse_granted(parse_message(payload))

    assert b".example" in payload[108:236]
    assert found.domain == "a" * 60 + ".example"
    assert found.dns == tuple(f"192.168.77.{last}" for last in range(100, 125))
    assert found.ntp == tuple(f"192.168.77.{last}" for last in range(200, 225))


def test_udhcpd_sends_routes_the_way_of_old_windows(datagram: Datagram) -> None:
    found = parse_granted(parse_message(datagram("busybox-1.35.0/offer-249").payload))

    assert found.routes == (ClasslessRoute("10.8.0.0/15", "192.168.77.9"),)
    assert found.routers == ("192.168.77.1",)
    assert found.search == ("eng.lab.example", "sales.lab.example")
    assert (found.lease_s, found.t1_s, found.t2_s) == (864000, 432000, 756000)


def test_another_client_is_understood(captured: Callable[[str], bytes]) -> None:
    # Sent through a packet socket: both of its checksums are whole.
    frame = parse_udp_frame(captured("busybox-1.35.0/discover"))

    assert frame is not None
    message = parse_message(frame.payload)
    assert (message.type, message.secs, message.broadcast) == (MessageType.DISCOVER, 0, False)
    assert message.options[12] == b"pod-1"
    assert message.options[61] == b"\1" + MAC
    assert not is_reply_for(message, message.xid, MAC)


def test_another_prober_is_understood(captured: Callable[[str], bytes]) -> None:
    found = parse_arp(captured("busybox-1.35.0/arp-probe"))

    assert found == Arp(1, MAC, "0.0.0.0", b"\xff" * 6, "192.168.77.99")  # noqa: S104
