# SPDX-License-Identifier: Apache-2.0
"""
Bytes between a unix socket and TLS, both ways, in one thread.

One thread, since a TLS connection may not be read and written by two at a time.
"""

import contextlib
import select
import socket
import ssl
from dataclasses import dataclass, field
from typing import Final

from spanbridge.lab.kubevirt.tls import explain

_SIZE: Final = 256 * 1024
"""Of each direction's buffer, in bytes."""


@dataclass(slots=True)
class Carried:
    """What one connection has carried so far, in bytes without TLS, both ways together."""

    size: int = 0


@dataclass(slots=True)
class _Flow:
    """One direction: bytes that were read and not yet written."""

    source: socket.socket
    sink: socket.socket
    carried: Carried
    buffer: bytearray = field(default_factory=lambda: bytearray(_SIZE))
    start: int = 0
    end: int = 0
    ended: bool = False


def relay(plain: socket.socket, tls: ssl.SSLSocket, stop: int, carried: Carried) -> str:
    """
    Carry bytes until one side ends, then end the other: KubeVirt does not do it by halves.

    Args:
        plain: Towards QEMU.
        tls: Towards the other virt-handler.
        stop: Descriptor that becomes readable when all of this is to end.
        carried: Counts along.

    Returns:
        What went wrong; empty after an orderly end.
    """
    plain.settimeout(0)
    tls.settimeout(0)
    flows = (_Flow(plain, tls, carried), _Flow(tls, plain, carried))
    try:
        while not any(flow.ended for flow in flows):
            if not _wait([_advance(flow) for flow in flows], flows, stop):
                break
    except OSError as error:
        return explain(error)
    # Only says goodbye: the answer is not waited for.
    with contextlib.suppress(OSError, ValueError):
        tls.unwrap()
    return ""


def _advance(flow: _Flow) -> tuple[socket.socket, int]:
    """Move all that can be moved; tell for which socket and event it has to wait."""
    while not flow.ended:
        waiting, event = (
            (flow.source, select.POLLIN) if flow.start == flow.end else (flow.sink, select.POLLOUT)
        )
        try:
            _step(flow)
        except (BlockingIOError, InterruptedError):
            return waiting, event
        except ssl.SSLWantReadError:
            return waiting, select.POLLIN
        except ssl.SSLWantWriteError:
            return waiting, select.POLLOUT
    return flow.source, 0


def _step(flow: _Flow) -> None:
    """Read when nothing is left to write, else write."""
    view = memoryview(flow.buffer)
    if flow.start < flow.end:
        sent = flow.sink.send(view[flow.start : flow.end])
        flow.start += sent
        flow.carried.size += sent
        return
    flow.start, flow.end = 0, flow.source.recv_into(view)
    flow.ended = flow.end == 0


def _wait(waiting: list[tuple[socket.socket, int]], flows: tuple[_Flow, _Flow], stop: int) -> bool:
    """Wait until one direction can go on; tell whether it shall."""
    if any(flow.ended for flow in flows):
        return True
    events: dict[int, int] = {stop: select.POLLIN}
    for sock, event in waiting:
        events[sock.fileno()] = events.get(sock.fileno(), 0) | event
    poll = select.poll()
    for descriptor, event in events.items():
        poll.register(descriptor, event)
    return stop not in dict(poll.poll())
