# SPDX-License-Identifier: Apache-2.0
"""
Programs by which the kernel chooses the frames that a packet socket gets.

A frame is taken when all tests of one of several alternatives hold. Offsets count from
the Ethernet header; a tag that the kernel took out of a frame is no part of it.

Source: linux/filter.h; Documentation/networking/filter.rst for what can be loaded from
beside a frame.
"""

import ctypes
import ipaddress
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

ETH_P_IP: Final = 0x0800
ETH_P_ARP: Final = 0x0806
ETH_P_IPV6: Final = 0x86DD
_ETH_P_8021Q: Final = 0x8100

# Absent in Python's socket module. Source: asm-generic/socket.h.
_SO_ATTACH_FILTER: Final = 26
_INSTRUCTION: Final = struct.Struct("@HBBI")
"""u16 code, u8 jump if true, u8 jump if false, u32 operand."""

_PROGRAM: Final = struct.Struct("@HP")
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30
_AND, _IF_EQUAL, _RETURN = 0x54, 0x15, 0x06
_WORD: Final = 0xFFFFFFFF
_BESIDE: Final = 0xFFFFF000
"""SKF_AD_OFF: what lies beside a frame is loaded from here on."""

_KIND, _TAG, _TAGGED = 4, 44, 48
"""SKF_AD_PKTTYPE, SKF_AD_VLAN_TAG, SKF_AD_VLAN_TAG_PRESENT."""

_OUTGOING: Final = 4
_TYPE_AT: Final = 12
_PAYLOAD_AT: Final = 14
_TAG_BYTES: Final = 4
_VLAN_ID_MASK: Final = 0x0FFF
_ECHO, _ECHO6, _SOLICITATION, _ADVERTISEMENT = 8, 128, 135, 136
_ICMP6_AT: Final = _PAYLOAD_AT + 40

Instruction = tuple[int, int, int, int]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Test:
    """
    What has to be at one place of a frame.

    Attributes:
        load: Instruction that loads it.
        at: Offset.
        value: What has to be there.
        mask: Bits that are looked at.
        equal: False where it has to be something else.
    """

    load: int
    at: int
    value: int
    mask: int = _WORD
    equal: bool = True


Way = tuple[Test, ...]
"""An alternative: all of its tests have to hold."""


def compile_filter(ways: Sequence[Way], *, keep: int = 0xFFFF) -> tuple[Instruction, ...]:
    """Make the program that keeps ``keep`` bytes of frames that one of ``ways`` fits."""
    program: list[Instruction] = []
    for way in ways:
        steps = [_compile_test(test) for test in way]
        left = sum(map(len, steps)) + 1  # with the last, which takes the frame
        for step, test in zip(steps, way, strict=True):
            left -= len(step)
            jump = (0, left) if test.equal else (left, 0)
            program += [*step[:-1], (step[-1][0], *jump, step[-1][3])]
        program.append((_RETURN, 0, 0, keep))
    return (*program, (_RETURN, 0, 0, 0))


def _compile_test(test: Test) -> list[Instruction]:
    mask = [] if test.mask == _WORD else [(_AND, 0, 0, test.mask)]
    return [(test.load, 0, 0, test.at), *mask, (_IF_EQUAL, 0, 0, test.value)]


def attach_filter(sock: socket.socket, program: Sequence[Instruction]) -> None:
    """Let a socket get only what a program takes."""
    code = ctypes.create_string_buffer(b"".join(_INSTRUCTION.pack(*each) for each in program))
    described = _PROGRAM.pack(len(program), ctypes.addressof(code))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)


_INCOMING: Final = Test(_LOAD_WORD, _BESIDE + _KIND, _OUTGOING, equal=False)
_SENT: Final = Test(_LOAD_WORD, _BESIDE + _KIND, _OUTGOING)
_UNTAGGED: Final = Test(_LOAD_WORD, _BESIDE + _TAGGED, 0)


def _type(value: int, at: int = _TYPE_AT) -> Test:
    return Test(_LOAD_HALF, at, value)


def _address(at: int, network: Network) -> Way:
    """Test an address in a frame against a network."""
    words = len(network.network_address.packed) // 4
    values = struct.unpack(f"!{words}I", network.network_address.packed)
    masks = struct.unpack(f"!{words}I", network.netmask.packed)
    return tuple(
        Test(_LOAD_WORD, at + 4 * number, value, mask)
        for number, (value, mask) in enumerate(zip(values, masks, strict=True))
        if mask
    )


def list_wire(addresses: Sequence[str]) -> tuple[Way, ...]:
    """
    List what an endpoint has to see of its link: what comes in of ARP and ICMP for it.

    Questions for its addresses, echo requests to them, and all answers about neighbours.
    """
    ways: list[Way] = [
        (_type(ETH_P_ARP), Test(_LOAD_HALF, _PAYLOAD_AT + 6, 2), _INCOMING),
        (*_icmp6(_ADVERTISEMENT), _INCOMING),
    ]
    for text in addresses:
        own = ipaddress.ip_network(text)
        if own.version == 4:
            echo = (Test(_LOAD_BYTE, _PAYLOAD_AT + 9, 1), Test(_LOAD_BYTE, 34, _ECHO))
            question = Test(_LOAD_HALF, _PAYLOAD_AT + 6, 1)
            ways += [
                (_type(ETH_P_IP), *echo, *_address(_PAYLOAD_AT + 16, own), _INCOMING),
                (_type(ETH_P_ARP), question, *_address(_PAYLOAD_AT + 24, own), _INCOMING),
            ]
        else:
            ways += [
                (*_icmp6(_ECHO6), *_address(_PAYLOAD_AT + 24, own), _INCOMING),
                (*_icmp6(_SOLICITATION), *_address(_ICMP6_AT + 8, own), _INCOMING),
            ]
    return tuple(ways)


def _icmp6(kind: int) -> Way:
    return (
        _type(ETH_P_IPV6),
        Test(_LOAD_BYTE, _PAYLOAD_AT + 6, socket.IPPROTO_ICMPV6),
        Test(_LOAD_BYTE, _ICMP6_AT, kind),
    )


def list_strays(networks: Sequence[Network], *, uplink: bool, vlan: int) -> tuple[Way, ...]:
    """
    List the frames of a network that a device must not carry.

    Args:
        networks: Of the pods.
        uplink: It is one, and may carry them in their VLAN; what it sends is looked at.
            Of any other device, everything is.
        vlan: Their VLAN; 0 for frames without a tag.
    """
    ways: list[Way] = []
    for network in networks:
        if not uplink:
            ways.append(_between(network, 0))
            continue
        for found in (_between(network, 0), *_asking(network, 0)):
            if vlan:
                ways.append((_SENT, _UNTAGGED, *found))
            ways.append((_SENT, *_other_tag(vlan), *found))
        inside = (_between(network, _TAG_BYTES), *_asking(network, _TAG_BYTES))
        ways += [(_SENT, _type(_ETH_P_8021Q), *_other_inside(vlan), *each) for each in inside]
    return tuple(ways)


def _other_tag(vlan: int) -> Way:
    tagged = Test(_LOAD_WORD, _BESIDE + _TAGGED, 0, equal=False)
    other = Test(_LOAD_WORD, _BESIDE + _TAG, vlan, _VLAN_ID_MASK, equal=False)
    return (tagged, other)


def _other_inside(vlan: int) -> Way:
    return (Test(_LOAD_HALF, _PAYLOAD_AT, vlan, _VLAN_ID_MASK, equal=False),)


def _between(network: Network, shift: int) -> Way:
    """Test for a packet from a network to itself."""
    kind, source = (ETH_P_IP, 12) if network.version == 4 else (ETH_P_IPV6, 8)
    size = len(network.network_address.packed)
    at = _PAYLOAD_AT + shift + source
    return (
        _type(kind, _TYPE_AT + shift),
        *_address(at, network),
        *_address(at + size, network),
    )


def _asking(network: Network, shift: int) -> tuple[Way, ...]:
    """Test for an ARP packet about an address of a network."""
    if network.version != 4:
        return ()
    kind = _type(ETH_P_ARP, _TYPE_AT + shift)
    return ((kind, *_address(_PAYLOAD_AT + shift + 24, network)),)
