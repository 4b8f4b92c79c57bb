# SPDX-License-Identifier: Apache-2.0
"""Ask by ARP who has an address, from one network namespace, and hear everybody who answers."""

import contextlib
import select
import socket
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from spanbridge.ipam.dhcp.ether import arp_probe
from spanbridge.model.arp import ARP_REPLY, parse_arp
from spanbridge.probing.capture import Frame

_ETH_P_ARP: Final = 0x0806
_FRAME_BYTES: Final = 1514


@dataclass(frozen=True, slots=True)
class ArpSettings:
    """
    How to ask.

    Attributes:
        probes: Questions about each address.
        again_s: Pause between two.
        listen_s: Time to listen after the last; milliseconds would do where nothing is emulated.
    """

    probes: int = 3
    again_s: float = 0.3
    listen_s: float = 1.5


def open_arp_socket(interface: str) -> socket.socket:
    """Open a socket for ARP on ``interface``, in the namespace of the calling thread."""
    # Protocol 0 hears nothing until bound: else frames of other links get in.
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    try:
        opened.bind((interface, _ETH_P_ARP))
    except BaseException:
        opened.close()
        raise
    return opened


def who_has(
    sock: socket.socket, addresses: Collection[str], settings: ArpSettings
) -> dict[str, tuple[str, ...]]:
    """
    Ask for every address and listen to the end, since a second owner may be slower.

    Returns:
        For each address the MACs that answered, in the order of their text.
    """
    own: bytes = sock.getsockname()[4]
    answers: dict[str, set[str]] = {address: set() for address in addresses}
    for number in range(settings.probes):
        for address in addresses:
            sock.send(arp_probe(own, address))
        last = number == settings.probes - 1
        _listen(sock, answers, time.monotonic() + (settings.listen_s if last else settings.again_s))
    return {address: tuple(sorted(macs)) for address, macs in answers.items()}


def _listen(sock: socket.socket, answers: dict[str, set[str]], until: float) -> None:
    while (left := until - time.monotonic()) > 0:
        if not select.select([sock], [], [], left)[0]:
            return
        with contextlib.suppress(BlockingIOError):
            arp = parse_arp(sock.recv(_FRAME_BYTES))
            if arp is not None and arp.op == ARP_REPLY and arp.sender_ip in answers:
                answers[arp.sender_ip].add(arp.sender_mac.hex(":"))


def count_naming(frames: Iterable[Frame], address: str) -> int:
    """Count the ARP frames that came in and name ``address``, as sender or as target."""
    arps = (parse_arp(frame.data) for frame in frames if not frame.sent)
    return sum(arp is not None and address in {arp.sender_ip, arp.target_ip} for arp in arps)
