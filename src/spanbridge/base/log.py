# SPDX-License-Identifier: Apache-2.0
"""
Log events of the plugin: one logfmt line each on standard error.

Standard output belongs to the CNI result. The one-shot program must not pay for
the import of ``logging``; the agent replaces ``sink``.
"""

import sys
from collections.abc import Callable, Iterable, Mapping


def _quoted(value: object) -> str:
    text = str(value)
    if text and text.isprintable() and not (" " in text or '"' in text or "=" in text):
        return text
    # Names come from outside: a control character must neither split a line nor colour it.
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text) + '"'


def render_pairs(pairs: Iterable[tuple[str, object]]) -> str:
    """Make one logfmt line, without its end."""
    return " ".join(f"{key}={_quoted(value)}" for key, value in pairs)


def render_event(level: str, event: str, fields: Mapping[str, object]) -> str:
    """Make the line that the one-shot program writes for an event, with its end."""
    return render_pairs([("level", level), ("msg", event), *fields.items()]) + "\n"


def _to_stderr(level: str, event: str, fields: dict[str, object]) -> None:
    sys.stderr.write(render_event(level, event, fields))


sink: Callable[[str, str, dict[str, object]], None] = _to_stderr
"""Where events go: called with level, event and its fields."""


def _text_to_stderr(text: str) -> None:
    sys.stderr.write(text + "\n")


relay: Callable[[str], None] = _text_to_stderr
"""Where the words of other programs go, unchanged; replaced like ``sink``."""


def warn(event: str, **fields: object) -> None:
    """Report what works but is probably not meant."""
    sink("warning", event, fields)


def error(event: str, **fields: object) -> None:
    """Report a failure that does not end the call."""
    sink("error", event, fields)
