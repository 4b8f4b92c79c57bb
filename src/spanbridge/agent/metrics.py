# SPDX-License-Identifier: Apache-2.0
"""
Figures for monitoring, in the text format of Prometheus, over HTTP.

The library that writes the format is imported when the first figures are asked for: an
agent without ``--metrics`` does not hold it in memory.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from spanbridge.agent.journal import Journal
from spanbridge.agent.logs import LOG
from spanbridge.agent.parts import Leasing
from spanbridge.agent.tally import BOUNDS_S, Histogram, Tally
from spanbridge.base.errors import InputError, NodeError

if TYPE_CHECKING:
    from prometheus_client import Metric

PREFIX: Final = "spanbridge_agent_"
REQUEST_MAX_BYTES: Final = 8 << 10
REQUEST_S: Final = 5.0
"""Seconds for a request to arrive, and again for its answer to be taken."""

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_UNIX: Final = "unix:"
_CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Figures:
    """
    Where the figures come from.

    Attributes:
        tally: Calls.
        journal: Attachments.
        leasing: DHCP leases.
    """

    tally: Tally
    journal: Journal
    leasing: Leasing

    def in_words(self) -> str:
        """Say in one line how things are."""
        return f"{len(self.journal)} attachments, {self.tally.in_flight} calls running"


def render(figures: Figures) -> bytes:
    """Write all figures in the text format."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(figures))
    return generate_latest(registry)


class _Collector:
    """What the library asks for its metrics."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator["Metric"]:
        """List all metrics."""
        yield from _of_calls(self._figures.tally)
        yield from _of_attachments(self._figures.journal)
        yield from _of_leases(self._figures.leasing)

    def describe(self) -> Iterable["Metric"]:
        """Keep the registry from collecting once only to learn the names."""
        return ()


def _of_calls(tally: Tally) -> Iterator["Metric"]:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    calls = CounterMetricFamily(
        f"{PREFIX}calls",
        "Calls answered; code 0 is success, others are in docs/reference/errors.md.",
        labels=["verb", "program", "code"],
    )
    for (verb, program, code), number in list(tally.calls.items()):
        calls.add_metric([verb, program, str(code)], number)
    yield calls
    seconds = HistogramMetricFamily(
        f"{PREFIX}call_seconds", "How long calls took.", labels=["verb"]
    )
    for verb, histogram in list(tally.seconds.items()):
        seconds.add_metric([verb], _buckets(histogram), histogram.sum_s)
    yield seconds
    yield GaugeMetricFamily(
        f"{PREFIX}calls_in_flight", "Calls that are being run.", value=tally.in_flight
    )
    refusals = CounterMetricFamily(
        f"{PREFIX}refusals", "Connections that did not become a call.", labels=["cause"]
    )
    for cause in ("malformed", "late", "refused", "overloads"):
        refusals.add_metric([cause], getattr(tally, cause))
    yield refusals
    yield CounterMetricFamily(
        f"{PREFIX}calls_abandoned",
        "Calls whose client hung up before the answer.",
        value=tally.abandoned,
    )


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Pair each upper bound with the number of calls up to it, as the format wants it."""
    total = 0
    pairs: list[tuple[str, float]] = []
    for bound, number in zip([*map(str, BOUNDS_S), "+Inf"], histogram.counts, strict=True):
        total += number
        pairs.append((bound, total))
    return pairs


def _of_attachments(journal: Journal) -> Iterator["Metric"]:
    from prometheus_client.core import GaugeMetricFamily

    attachments = GaugeMetricFamily(
        f"{PREFIX}attachments", "Attachments in the journal.", labels=["network"]
    )
    addresses = GaugeMetricFamily(
        f"{PREFIX}addresses", "Addresses that those attachments hold.", labels=["network"]
    )
    held, numbers = journal.all(), Counter[str]()
    for each in held:
        numbers[each.owner.network] += len(each.addresses)
    for network, number in Counter(each.owner.network for each in held).items():
        attachments.add_metric([network], number)
        addresses.add_metric([network], numbers[network])
    yield attachments
    yield addresses


def _of_leases(leasing: Leasing) -> Iterator["Metric"]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    leases = GaugeMetricFamily(f"{PREFIX}leases", "DHCP leases by state.", labels=["state"])
    for state, number in Counter(str(one.get("state", "")) for one in leasing.facts()).items():
        leases.add_metric([state], number)
    yield leases
    events = CounterMetricFamily(
        f"{PREFIX}dhcp_events",
        "What happened to leases: renewals that failed, refusals, declines, malformed packets.",
        labels=["event"],
    )
    for event, number in leasing.counters().items():
        events.add_metric([event], number)
    yield events


# -------------------------------------------------------------------- HTTP


@contextlib.asynccontextmanager
async def serving(where: str, figures: Figures) -> AsyncIterator[None]:
    """
    Serve the figures while the block runs.

    Args:
        where: ``unix:PATH`` or ``HOST:PORT``; empty for nowhere.
        figures: What is served.

    Raises:
        InputError: ``where`` is neither.
        NodeError: Nobody can listen there.
    """
    if not where:
        yield
        return

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_S):
                writer.write(await _respond(reader, figures))
                await writer.drain()
        except (OSError, TimeoutError) as exc:
            LOG.debug("a reader of the figures broke off", cause=str(exc))
        finally:
            writer.close()

    try:
        server = await _listen(where, talk)
    except OSError as exc:
        raise NodeError(f"cannot serve figures at {where}: {exc.strerror or exc}") from exc
    async with server:
        LOG.info("serving figures", where=where)
        yield
    if where.startswith(_UNIX):
        _remove_socket(where.removeprefix(_UNIX))


async def _listen(where: str, talk: Talk) -> asyncio.Server:
    if where.startswith(_UNIX):
        path = where.removeprefix(_UNIX)
        _remove_socket(path)
        return await asyncio.start_unix_server(talk, path, limit=REQUEST_MAX_BYTES)
    host, port = parse_host_port(where)
    return await asyncio.start_server(talk, host, port, limit=REQUEST_MAX_BYTES)


def _remove_socket(path: str) -> None:
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_socket():
        place.unlink()


def parse_host_port(text: str) -> tuple[str, int]:
    """Read ``HOST:PORT``, where an IPv6 address stands in brackets."""
    host, colon, port = text.rpartition(":")
    if not host or not colon or not port.isdecimal() or int(port) > 65535:  # two bytes
        raise InputError(
            f"cannot serve figures at {text!r}: it is neither unix:PATH nor HOST:PORT",
            hint="for example 127.0.0.1:9469, [::1]:9469 or unix:/run/spanbridge/metrics.sock",
        )
    return host.removeprefix("[").removesuffix("]"), int(port)


async def _respond(reader: asyncio.StreamReader, figures: Figures) -> bytes:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return _response("400 Bad Request", b"no request\n")
    method, _, rest = head.partition(b" ")
    target = rest.partition(b" ")[0].partition(b"?")[0]
    if method != b"GET":
        return _response("405 Method Not Allowed", b"only GET\n")
    if target not in {b"/", b"/metrics"}:
        return _response("404 Not Found", b"see /metrics\n")
    return _response("200 OK", await asyncio.to_thread(render, figures))


def _response(status: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {_CONTENT_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
