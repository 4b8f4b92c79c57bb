# SPDX-License-Identifier: Apache-2.0
"""An end in order: cleaning up also after Ctrl-C, SIGTERM and a closed terminal."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final, NoReturn

import click

_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_Handler = Callable[[int, FrameType | None], None]


def _end(number: int) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


@contextlib.contextmanager
def _handled(handler: _Handler) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in _ENDING}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def ending_at_once() -> contextlib.AbstractContextManager[None]:
    """Raise at the first ending signal, wherever the program is; ignore those that follow."""

    def raise_once(number: int, _frame: FrameType | None) -> None:
        # A second signal must not interrupt the cleaning up that the first one starts.
        for each in _ENDING:
            signal.signal(each, signal.SIG_IGN)
        _end(number)

    return _handled(raise_once)


@contextlib.contextmanager
def ending_between_steps() -> Iterator[Callable[[], None]]:
    """
    Note an ending signal, and raise when the block calls what it is given, or ends.

    Between two steps nothing is half done: no namespace without its name, no CNI call
    whose answer nobody waits for. So the cleaning up meets only what it knows.
    """
    seen: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if not seen:
            click.echo("stopping after this step ...", err=True)
        seen.append(number)

    def check() -> None:
        if seen:
            _end(seen[0])

    with _handled(note):
        yield check
        check()
