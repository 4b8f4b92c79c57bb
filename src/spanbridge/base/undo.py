# SPDX-License-Identifier: Apache-2.0
"""Undo steps: what a failed change takes back, last step first."""

from collections.abc import Callable
from types import TracebackType
from typing import ParamSpec, Self

from spanbridge.base import log

P = ParamSpec("P")


class Undo:
    """
    A stack of steps that run when the ``with`` block fails, and not when it succeeds.

    Unlike ``contextlib.ExitStack``, a failing step is logged and the error that ended
    the block stays the one that the caller sees.
    """

    def __init__(self) -> None:
        self._steps: list[Callable[[], object]] = []

    def push(self, step: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Remember to call ``step`` if what follows fails."""
        self._steps.append(lambda: step(*args, **kwargs))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if exc is None:
            return
        for step in reversed(self._steps):
            try:
                step()
            except Exception as failure:  # noqa: BLE001  # the other steps must run
                log.error("cannot undo one step of a failed ADD", cause=failure)
