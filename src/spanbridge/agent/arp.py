# SPDX-License-Identifier: Apache-2.0
"""
Ask by ARP who has an address, on an uplink and in a VLAN of it.

The question leaves by the uplink itself, past the bridge: this node's pods do not hear
it, so whoever answers is another host. It claims nothing: its sender has no address.

Source: RFC 5227 section 2.1.1 (probes); packet(7), PACKET_AUXDATA.
"""

import contextlib
import select
import socket
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from spanbridge.ipam.dhcp.ether import arp_probe
from spanbridge.model.arp import ARP_REPLY, parse_arp
from spanbridge.model.node_state import ProbeState
from spanbridge.probing.capture import frame_vlan

PROBES: Final = 3
PAUSE_S: Final = 0.2
LISTEN_S: Final = 0.8
"""After the last question; a host on the same network answers within milliseconds."""

_ETH_P_ALL: Final = 0x0003
_ETH_P_8021Q: Final = 0x8100
_ADDRESSES_BYTES: Final = 12
_TCI: Final = struct.Struct("!HH")
_FRAME_BYTES: Final = 1514
_PACKET_OUTGOING: Final = 4
# Absent in Python's socket module. Source: linux/if_packet.h.
_SOL_PACKET: Final = 263
_PACKET_AUXDATA: Final = 8

Asked = tuple[str, int, str]
"""Device, VLAN (0 for untagged), address."""


@dataclass(slots=True)
class _Ear:
    """A socket on one uplink, and who answered there, by VLAN and address."""

    device: str
    sock: socket.socket
    heard: dict[tuple[int, str], set[str]] = field(default_factory=dict)


def who_has(questions: Sequence[Asked]) -> tuple[ProbeState, ...]:
    """
    Ask everything at once, in the namespace of the calling thread; takes about a second.

    A device that cannot be asked on is told in ``fault`` of its answers.
    """
    faults: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        ears: dict[str, _Ear] = {}
        for device in dict.fromkeys(device for device, _, _ in questions):
            try:
                ears[device] = _Ear(device, stack.enter_context(_open(device)))
            except OSError as exc:
                faults[device] = f"cannot ask on {device}: {exc.strerror}"
        _ask_all(ears, [each for each in questions if each[0] in ears])
    return tuple(_answer(each, ears, faults) for each in questions)


def _answer(asked: Asked, ears: Mapping[str, _Ear], faults: Mapping[str, str]) -> ProbeState:
    device, vlan, address = asked
    if device in faults:
        return ProbeState(device, vlan, address, fault=faults[device])
    macs = ears[device].heard.get((vlan, address), set())
    return ProbeState(device, vlan, address, macs=tuple(sorted(macs)))


def _open(device: str) -> socket.socket:
    # All protocols: what is bound to ARP alone sees nothing on a bridge's port, as the
    # bridge takes frames before. Protocol 0 hears nothing until bound.
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    try:
        opened.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        opened.settimeout(0)
        opened.bind((device, _ETH_P_ALL))
    except BaseException:
        opened.close()
        raise
    return opened


def render_question(mac: bytes, vlan: int, address: str) -> bytes:
    """Make the frame of one question; pure."""
    frame = arp_probe(mac, address)
    if not vlan:
        return frame
    tag = _TCI.pack(_ETH_P_8021Q, vlan)
    return frame[:_ADDRESSES_BYTES] + tag + frame[_ADDRESSES_BYTES:]


def _ask_all(ears: Mapping[str, _Ear], questions: Sequence[Asked]) -> None:
    if not questions:
        return
    for number in range(PROBES):
        for device, vlan, address in questions:
            ear = ears[device]
            ear.heard.setdefault((vlan, address), set())
            own: bytes = ear.sock.getsockname()[4]
            with contextlib.suppress(OSError):  # the device went down meanwhile: silence
                ear.sock.send(render_question(own, vlan, address))
        last = number == PROBES - 1
        _listen(ears.values(), time.monotonic() + (LISTEN_S if last else PAUSE_S))


def _listen(ears: Iterable[_Ear], until: float) -> None:
    by_socket = {ear.sock: ear for ear in ears}
    while (left := until - time.monotonic()) > 0:
        for sock in select.select(list(by_socket), [], [], left)[0]:
            with contextlib.suppress(OSError):
                _hear(by_socket[sock])


def _hear(ear: _Ear) -> None:
    data, ancillary, _, source = ear.sock.recvmsg(_FRAME_BYTES, 256)
    if source[2] == _PACKET_OUTGOING:
        return
    arp = parse_arp(data)
    if arp is None or arp.op != ARP_REPLY:
        return
    key = (frame_vlan(data, ancillary), arp.sender_ip)
    if key in ear.heard:
        ear.heard[key].add(arp.sender_mac.hex(":"))
