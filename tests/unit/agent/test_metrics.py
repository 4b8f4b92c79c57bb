# SPDX-License-Identifier: Apache-2.0
"""Figures, read back by the parser of the library that monitoring uses."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from spanbridge.agent.journal import Attachment, Journal
from spanbridge.agent.metrics import Figures, parse_host_port, render, serving
from spanbridge.agent.tally import Tally
from spanbridge.base.errors import InputError, NodeError
from spanbridge.model.owner import Owner

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Leases:
    """Lease supervision that a test makes up."""

    def facts(self) -> list[dict[str, object]]:
        return [{"state": "bound"}, {"state": "bound"}, {"state": "renewing"}]

    def counters(self) -> dict[str, int]:
        return {"naks": 3, "malformed": 7}

    async def renew(self) -> list[dict[str, object]]:
        return self.facts()


@pytest.fixture
def figures(tmp_path: Path) -> Figures:
    return Figures(Tally(), Journal(tmp_path / "attachments"), Leases())


def samples(text: bytes) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found[f"spanbridge_agent_{name}", tuple(sorted(labels.items()))]


def test_calls_are_counted_by_verb_program_and_code(figures: Figures) -> None:
    for code in (0, 0, 111):
        figures.tally.count("ADD", "bridge", code, 0.002)
    found = samples(render(figures))

    assert value(found, "calls_total", verb="ADD", program="bridge", code="0") == 2
    assert value(found, "calls_total", verb="ADD", program="bridge", code="111") == 1


def test_made_up_verbs_share_one_figure(figures: Figures) -> None:
    for number in range(9):
        figures.tally.count(f"X{number}", "other", 4, 0.001)

    assert (
        value(samples(render(figures)), "calls_total", verb="other", program="other", code="4") == 9
    )


def test_durations_are_in_cumulative_buckets(figures: Figures) -> None:
    for seconds in (0.0005, 0.002, 0.3, 90.0):
        figures.tally.count("ADD", "bridge", 0, seconds)
    found = samples(render(figures))
    buckets = {
        bound: value(found, "call_seconds_bucket", verb="ADD", le=bound)
        for bound in ("0.0005", "0.0025", "0.25", "0.5", "60.0", "+Inf")
    }

    assert list(buckets.values()) == [1, 2, 2, 3, 3, 4]
    assert value(found, "call_seconds_count", verb="ADD") == 4
    assert value(found, "call_seconds_sum", verb="ADD") == pytest.approx(90.3025)


def test_what_did_not_become_a_call_is_counted_by_its_cause(figures: Figures) -> None:
    figures.tally.malformed, figures.tally.late = 2, 3
    figures.tally.refused, figures.tally.overloads, figures.tally.abandoned = 4, 5, 6
    found = samples(render(figures))
    causes = ("malformed", "late", "refused", "overloads")

    assert [value(found, "refusals_total", cause=each) for each in causes] == [2, 3, 4, 5]
    assert value(found, "calls_abandoned_total") == 6


def test_running_calls_are_shown(figures: Figures) -> None:
    figures.tally.in_flight = 12

    assert value(samples(render(figures)), "calls_in_flight") == 12


def test_attachments_and_their_addresses_are_counted_by_network(
    figures: Figures, make_attachment: Callable[..., Attachment]
) -> None:
    two = {"ips": [{"address": "10.0.0.2/24"}, {"address": "fd00::2/64"}]}
    figures.journal.put(make_attachment("c1", result=two))
    figures.journal.put(make_attachment("c2"))
    figures.journal.put(make_attachment(owner=Owner.of("net2", "c1", "eth0"), result={}))
    found = samples(render(figures))

    assert value(found, "attachments", network="net1") == 2
    assert value(found, "addresses", network="net1") == 3
    assert value(found, "addresses", network="net2") == 0


def test_leases_are_counted_by_state_and_what_happened_to_them(figures: Figures) -> None:
    found = samples(render(figures))

    assert value(found, "leases", state="bound") == 2
    assert value(found, "leases", state="renewing") == 1
    assert value(found, "dhcp_events_total", event="naks") == 3
    assert value(found, "dhcp_events_total", event="malformed") == 7


# -------------------------------------------------------------------- HTTP


async def _talk(where: str, request: bytes) -> bytes:
    if where.startswith("unix:"):
        reader, writer = await asyncio.open_unix_connection(where.removeprefix("unix:"))
    else:
        reader, writer = await asyncio.open_connection(*parse_host_port(where))
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


def ask(where: str, figures: Figures, request: bytes) -> bytes:
    async def run() -> bytes:
        async with serving(where, figures):
            return await _talk(where, request)

    return asyncio.run(run())


@pytest.fixture(params=["unix", "127.0.0.1:19469", "[::1]:19469"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"unix:{tmp_path}/figures.sock" if request.param == "unix" else str(request.param)


def test_figures_are_served_over_http(where: str, figures: Figures) -> None:
    head, _, body = ask(where, figures, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").partition(
        b"\r\n\r\n"
    )

    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Type: text/plain; version=0.0.4" in head
    assert f"Content-Length: {len(body)}".encode() in head
    assert value(samples(body), "calls_in_flight") == 0


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"GET /etc/passwd HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /" + b"x" * 20000 + b"\r\n\r\n", b"400"),
    ],
    ids=["method", "path", "length"],
)
def test_other_requests_are_refused(
    tmp_path: Path, figures: Figures, request_bytes: bytes, status: bytes
) -> None:
    answer = ask(f"unix:{tmp_path}/figures.sock", figures, request_bytes)

    assert answer.split(b" ")[1] == status


def test_the_socket_of_the_figures_goes_with_the_agent(tmp_path: Path, figures: Figures) -> None:
    path = tmp_path / "figures.sock"
    ask(f"unix:{path}", figures, b"GET / HTTP/1.1\r\n\r\n")

    assert not path.exists()


@pytest.mark.parametrize("text", ["9469", "host:", "host:port", "host:70000", ":9469", "unix"])
def test_a_place_that_is_none_is_refused(text: str, figures: Figures) -> None:
    with pytest.raises(InputError, match="neither unix:PATH nor HOST:PORT"):
        ask(text, figures, b"")


def test_a_port_that_is_taken_is_named(figures: Figures) -> None:
    async def run() -> None:
        async with serving("127.0.0.1:19470", figures), serving("127.0.0.1:19470", figures):
            pass

    with pytest.raises(NodeError, match=r"cannot serve figures at 127\.0\.0\.1:19470"):
        asyncio.run(run())
