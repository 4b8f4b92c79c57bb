# SPDX-License-Identifier: Apache-2.0
"""How much a path carries: one TCP connection, for a bounded time and amount."""

import asyncio
import socket
import time
from dataclasses import dataclass
from typing import Final

from spanbridge.base.errors import NodeError
from spanbridge.model.observations import Throughput
from spanbridge.probing.pace import Pace
from spanbridge.probing.station import Station

_CHUNK_BYTES: Final = 1 << 18
_CONNECT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a measurement may cost at most: seconds, and bytes."""

    seconds: float = 1.0
    size: int = 1 << 30


async def measure_throughput(
    source: Station, target: Station, address: str, *, bounds: Bounds, pace: Pace
) -> Throughput:
    """
    Send from one station to another as fast as it goes; counted where it arrives.

    Raises:
        NodeError: They cannot connect.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    loop = asyncio.get_running_loop()
    with (
        target.run(lambda: _listener(family, address)) as listener,
        source.run(lambda: socket.socket(family, socket.SOCK_STREAM)) as sending,
    ):
        sending.settimeout(0)
        where = listener.getsockname()[:2]
        try:
            await pace.limit(loop.sock_connect(sending, where), _CONNECT_S)
            accepted, _ = await pace.limit(loop.sock_accept(listener), _CONNECT_S)
        except (OSError, TimeoutError) as exc:
            cause = getattr(exc, "strerror", None) or "timed out"
            raise NodeError(f"cannot measure the way to {address}: {cause}") from exc
        with accepted:
            return await _transfer(sending, accepted, bounds)


def _listener(family: socket.AddressFamily, address: str) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.settimeout(0)
        opened.bind((address, 0))
        opened.listen(1)
    except OSError:
        opened.close()
        raise
    return opened


async def _transfer(sending: socket.socket, accepted: socket.socket, bounds: Bounds) -> Throughput:
    loop = asyncio.get_running_loop()
    began = time.monotonic()
    feeding = asyncio.ensure_future(_feed(sending, bounds, began))
    buffer = bytearray(_CHUNK_BYTES)
    received, now = 0, began
    try:
        while received < bounds.size and (left := began + bounds.seconds - now) > 0:
            try:
                async with asyncio.timeout(left):
                    got = await loop.sock_recv_into(accepted, buffer)
            except TimeoutError:
                break
            received += got
            now = time.monotonic()
            if not got:
                break
    finally:
        feeding.cancel()
        await asyncio.wait({feeding})
    seconds = max(time.monotonic() - began, 1e-6)
    return Throughput(int(received * 8 / seconds), round(seconds, 3))


async def _feed(sending: socket.socket, bounds: Bounds, began: float) -> None:
    loop, chunk = asyncio.get_running_loop(), bytes(_CHUNK_BYTES)
    while time.monotonic() < began + bounds.seconds:
        await loop.sock_sendall(sending, chunk)
