# SPDX-License-Identifier: Apache-2.0
"""Progress: for a person at a terminal, and for nobody else."""

import io

import pytest

from spanbridge.cli.terminal import PROGRESS_VARIABLE, Steps


class Terminal(io.StringIO):
    """A stream that a person looks at."""

    def isatty(self) -> bool:
        return True


def _printed(stream: io.StringIO) -> str:
    steps = Steps(stream=stream)
    steps("laying the cable")
    steps("switching on")
    steps.done()
    return stream.getvalue()


def test_in_a_pipe_there_is_no_progress() -> None:
    assert _printed(io.StringIO()) == ""


def test_behind_a_pipe_there_is_one_line_for_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROGRESS_VARIABLE, "lines")
    lines = _printed(io.StringIO()).splitlines()
    assert [line[10:].strip() for line in lines] == ["laying the cable", "switching on"]


def test_a_terminal_sees_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    printed = _printed(Terminal())
    assert "laying the cable" in printed
    assert "switching on" in printed


def test_a_check_that_raises_ends_the_work_between_two_steps() -> None:
    def check() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Steps(check)("laying the cable")
