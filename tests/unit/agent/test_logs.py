# SPDX-License-Identifier: Apache-2.0
"""The agent's log: both formats, levels, and what a call binds."""

import io
import json
from collections.abc import Iterator

import pytest
import structlog

from spanbridge.agent import logs
from spanbridge.base import log


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    for name in ("sink", "relay"):
        monkeypatch.setattr(log, name, getattr(log, name))
    yield io.StringIO()
    structlog.reset_defaults()


def test_json_is_one_object_a_line(stream: io.StringIO) -> None:
    logs.configure("json", "info", stream=stream)
    with logs.of_call(container="c1", network="häß"):
        log.error("cannot do it", cause=OSError("busy"))
    event = json.loads(stream.getvalue())

    assert event.pop("time").endswith("Z")
    assert event == {
        "level": "error",
        "msg": "cannot do it",
        "cause": "busy",
        "container": "c1",
        "network": "häß",
    }


def test_text_is_logfmt_with_time_level_and_message_first(stream: io.StringIO) -> None:
    logs.configure("text", "info", stream=stream)
    log.warn("two words", key="a b")
    time, _, rest = stream.getvalue().partition(" ")

    assert time.startswith("time=20")
    assert rest == 'level=warning msg="two words" key="a b"\n'


@pytest.mark.parametrize(("level", "lines"), [("debug", 3), ("info", 2), ("error", 0)])
def test_what_is_below_the_level_is_dropped(stream: io.StringIO, level: str, lines: int) -> None:
    logs.configure("text", level, stream=stream)
    logs.LOG.debug("one")
    logs.LOG.info("two")
    log.warn("three")

    assert len(stream.getvalue().splitlines()) == lines


def test_a_value_from_outside_cannot_forge_a_line(stream: io.StringIO) -> None:
    logs.configure("text", "info", stream=stream)
    with logs.of_call(container="c1\nlevel=error"):
        log.warn("event")

    assert len(stream.getvalue().splitlines()) == 1
