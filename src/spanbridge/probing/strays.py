# SPDX-License-Identifier: Apache-2.0
"""Frames of a network where they must not be: in another VLAN, or on another device."""

import contextlib
import errno
import ipaddress
import socket
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from spanbridge.base.errors import NodeError
from spanbridge.model.node_state import LinkState
from spanbridge.model.observations import Expectations, Stray
from spanbridge.probing.capture import Frame, open_capture, read_capture
from spanbridge.probing.filters import Network, compile_filter, list_strays
from spanbridge.probing.neighbours import Answer, Question, parse_frame
from spanbridge.rtnl import NetNs

_IPV4_AT: Final = 14 + 12
_IPV6_AT: Final = 14 + 8
_ETH_P_IP: Final = b"\x08\x00"
_ETH_P_IPV6: Final = b"\x86\xdd"


@dataclass(frozen=True, slots=True)
class Device:
    """
    A device to watch.

    Attributes:
        cluster: Where it is.
        node: The same.
        netns: Path or name of its namespace: of the node, or of a pod.
        name: Its own name.
        uplink: It may carry the network, in its VLAN.
    """

    cluster: str
    node: str
    netns: str
    name: str
    uplink: bool = False


def list_suspects(
    links: Sequence[LinkState], *, bridge: str, uplinks: Sequence[str]
) -> tuple[str, ...]:
    """
    Choose the devices of a node that must carry nothing of the network.

    Not the bridge, its ports and what stands on them: they carry it, or are told as faults
    of the bridge.
    """
    inside = {bridge, *uplinks, *(each.name for each in links if each.master == bridge)}
    return tuple(
        each.name
        for each in links
        if not each.loopback and each.name not in inside and each.lower not in inside
    )


class Watch:
    """Captures on devices, from when it is made until `close`."""

    def __init__(self, devices: Sequence[Device], expected: Expectations) -> None:
        """
        Begin; a device or a namespace that is not there carries nothing.

        Raises:
            NodeError: A device cannot be watched.
        """
        self._stack = contextlib.ExitStack()
        self._captures: list[tuple[Device, socket.socket]] = []
        networks = [ipaddress.ip_network(each) for each in expected.subnets]
        with contextlib.ExitStack() as stack:
            for device in devices if networks else ():
                with contextlib.suppress(FileNotFoundError):
                    capture = _open(device, networks, expected.vlan)
                    self._captures.append((device, stack.enter_context(capture)))
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Stop."""
        self._stack.close()

    def read(self) -> tuple[Stray, ...]:
        """Tell what was seen so far, by device and tag."""
        return tuple(
            stray for device, capture in self._captures for stray in _strays(device, capture)
        )


def _open(device: Device, networks: Sequence[Network], vlan: int) -> socket.socket:
    program = compile_filter(list_strays(networks, uplink=device.uplink, vlan=vlan))
    try:
        with NetNs.open(device.netns) as netns:
            return netns.run(lambda: open_capture(device.name, only=program))
    except FileNotFoundError:
        raise
    except OSError as exc:
        if exc.errno == errno.ENODEV:
            raise FileNotFoundError(device.name) from exc
        raise NodeError(f"cannot watch {device.name} of {device.node}: {exc.strerror}") from exc


def _strays(device: Device, capture: socket.socket) -> list[Stray]:
    by_vlan: dict[int, list[Frame]] = defaultdict(list)
    recording = read_capture(capture)
    for frame in recording.frames:
        by_vlan[frame.vlan].append(frame)
    return [
        Stray(
            device.cluster,
            device.node,
            device.name,
            len(frames) + recording.missed,
            vlan,
            next(filter(None, map(_example, frames)), ""),
        )
        for vlan, frames in sorted(by_vlan.items())
    ]


def _example(frame: Frame) -> str:
    """Tell who sends to whom; empty where the frame was not understood."""
    data = frame.data
    if data[12:14] == b"\x81\x00":
        data = data[:12] + data[16:]
    for kind, at, size in ((_ETH_P_IP, _IPV4_AT, 4), (_ETH_P_IPV6, _IPV6_AT, 16)):
        ends = data[at : at + size], data[at + size : at + 2 * size]
        if data[12:14] == kind and len(ends[1]) == size:
            return " > ".join(str(ipaddress.ip_address(each)) for each in ends)
    found = parse_frame(data)
    return f"{found.mac} for {found.address}" if isinstance(found, Question | Answer) else ""
