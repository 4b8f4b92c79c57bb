# SPDX-License-Identifier: Apache-2.0
"""
What is written where: facts to standard output, progress to standard error.

Progress is for a person at a terminal: in a pipe there is none. Colours follow
NO_COLOR and FORCE_COLOR; where the output is not UTF-8, tables use plain ASCII.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Final

from rich.console import Console

if TYPE_CHECKING:
    from rich.status import Status

PROGRESS_VARIABLE: Final = "SPANBRIDGE_PROGRESS"
"""Set to "lines" where a terminal is behind a pipe: in a guest kernel, for example."""

PIPE_WIDTH: Final = 100
_SPINNER: Final = "line"  # plain ASCII


def facts(file: IO[str] | None = None) -> Console:
    """Make the console for facts."""
    stream = file or sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return Console(file=stream, width=width, highlight=False, soft_wrap=False, emoji=False)


def _nothing() -> None:
    """Check nothing."""


class Steps:
    """
    Progress: one line for each step that is over, and what is being done now.

    Args:
        check: Called between two steps; what it raises ends the work there.
        stream: Where to; nothing is written unless it is a terminal.
    """

    def __init__(self, check: Callable[[], None] = _nothing, stream: IO[str] | None = None) -> None:
        self._check = check
        self._console = Console(file=stream or sys.stderr, highlight=False, emoji=False)
        # FORCE_COLOR makes a terminal of everything; what moves needs a real one.
        self._animated = self._console.file.isatty() and not self._console.is_dumb_terminal
        self._lines = self._animated or os.environ.get(PROGRESS_VARIABLE) == "lines"
        self._now = ""
        self._since = 0.0
        self._status: Status | None = None

    def __call__(self, what: str) -> None:
        """Say what is being done from now on."""
        self.done()
        self._check()
        self._now, self._since = what, time.monotonic()
        if self._animated:
            self._status = self._console.status(f"{what} ...", spinner=_SPINNER)
            self._status.start()

    def detail(self, text: str) -> None:
        """Say how far the present step has come; a terminal shows the last that was said."""
        self._check()
        if self._status is not None:
            self._status.update(f"{self._now}: {text}")

    def done(self) -> None:
        """Finish the last step."""
        if self._status is not None:
            self._status.stop()
            self._status = None
        if self._now and self._lines:
            seconds = time.monotonic() - self._since
            self._console.print(f"[dim]{seconds:6.1f} s[/dim]  {self._now}")
        self._now = ""


@contextlib.contextmanager
def progress(check: Callable[[], None] = _nothing) -> Iterator[Steps]:
    """Show progress while the block runs; ``check`` as in `Steps`."""
    steps = Steps(check)
    try:
        yield steps
    finally:
        steps.done()


def progress_behind_pipe() -> dict[str, str]:
    """Make the variables by which a command run behind a pipe knows of our terminal."""
    if not sys.stderr.isatty() or not sys.stdout.isatty():
        return {}
    colour = {} if os.environ.get("NO_COLOR") else {"FORCE_COLOR": "1"}
    # 0 is what a terminal without a size says, and what a table cannot be drawn in.
    width = os.get_terminal_size(sys.stdout.fileno()).columns
    columns = {"COLUMNS": str(width)} if width else {}
    return {PROGRESS_VARIABLE: "lines"} | colour | columns


@contextlib.contextmanager
def progress_bar(what: str, stream: IO[str] | None = None) -> Iterator[Callable[[int, int], None]]:
    """
    Show how much of a known number is done; the block gets a function to tell it.

    Args:
        what: Is being done.
        stream: Where to; nothing is written unless it is a terminal.
    """
    console = Console(file=stream or sys.stderr, highlight=False, emoji=False)
    if not console.file.isatty() or console.is_dumb_terminal:
        yield lambda _done, _total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    shown = Progress(*columns, TimeElapsedColumn(), console=console, transient=True)
    task = shown.add_task(what, total=None)

    def tell(done: int, total: int) -> None:
        shown.start()  # only now: what was shown before may still have moved
        shown.update(task, completed=done, total=total)

    try:
        yield tell
    finally:
        shown.stop()
