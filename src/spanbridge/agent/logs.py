# SPDX-License-Identifier: Apache-2.0
"""
The agent's log: events on standard error, each with the call that it belongs to.

What the plugin says in a call goes two ways: into this log, with the call's fields
bound to it, and into the answer, word for word as the one-shot program prints it.
"""

import contextlib
import contextvars
import logging
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, Final, NamedTuple, TextIO

from spanbridge.agent.lean import hidden
from spanbridge.base import log

# It would load rich, for tracebacks in colour that an agent never draws: a quarter of its
# start, and 4 MB.
with hidden("rich"):
    import structlog

FORMATS: Final = ("text", "json")
LEVELS: Final = ("debug", "info", "warning", "error")

LOG: Final[structlog.stdlib.BoundLogger] = structlog.get_logger()
"""The agent's logger: ``LOG.info("event", field=value)``."""


class _Call(NamedTuple):
    """
    The call that this thread runs.

    Attributes:
        fields: What belongs into each of its events.
        said: Lines for its caller's standard error.
    """

    fields: Mapping[str, str]
    said: list[str]


_call: contextvars.ContextVar[_Call | None] = contextvars.ContextVar("call", default=None)


def configure(log_format: str, level: str, *, stream: TextIO | None = None) -> None:
    """
    Set the log up, and lead the plugin's events into it.

    Args:
        log_format: One of ``FORMATS``; text is logfmt, as the one-shot program writes.
        level: One of ``LEVELS``; what is below it is dropped.
        stream: Where to; standard error when omitted.
    """
    last = _to_text if log_format == "text" else _to_json()
    structlog.configure(
        processors=[
            _merge_call,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("msg"),
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.WriteLoggerFactory(file=stream or sys.stderr),
        cache_logger_on_first_use=False,
    )
    log.sink = _sink
    log.relay = _relay


def _merge_call(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    call = _call.get()
    return event if call is None else {**call.fields, **event}


_FIRST: Final = ("time", "level", "msg")
_LAST: Final = ("program", "verb", "network", "container", "interface")


def _to_text(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    first = [(key, event.pop(key)) for key in _FIRST if key in event]
    # What is bound comes in no order.
    last = [(key, event.pop(key)) for key in _LAST if key in event]
    return log.render_pairs([*first, *event.items(), *last])


def _to_json() -> structlog.processors.JSONRenderer:
    return structlog.processors.JSONRenderer(default=str, ensure_ascii=False)


def _sink(level: str, event: str, fields: dict[str, object]) -> None:
    call = _call.get()
    if call is not None:
        call.said.append(log.render_event(level, event, fields))
    LOG.log(logging.getLevelNamesMapping()[level.upper()], event, **fields)


def _relay(text: str) -> None:
    call = _call.get()
    if call is not None:
        call.said.append(text + "\n")
    LOG.info("another program said", text=text)


@contextlib.contextmanager
def of_call(**fields: str) -> Iterator[list[str]]:
    """
    Bind a call's fields to every event of the block, in this thread.

    One variable of ours: structlog has one for each field, and setting and resetting them
    all takes 18 us, also for a call that says nothing.

    Yields:
        What the plugin says: lines for the caller's standard error.
    """
    call = _Call(fields, [])
    token = _call.set(call)
    try:
        yield call.said
    finally:
        _call.reset(token)
