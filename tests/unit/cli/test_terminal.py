# SPDX-License-Identifier: Apache-2.0
"""Progress: for a person at a terminal, and for nobody else."""

import io

import pytest

from spanbridge.cli.terminal import PROGRESS_VARIABLE, Steps, progress_bar


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


def _counted(stream: io.StringIO) -> str:
    with progress_bar("probing pairs", stream) as tell:
        tell(0, 1572)
        tell(786, 1572)
    return stream.getvalue()


def test_a_bar_is_for_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert _counted(io.StringIO()) == ""
    shown = _counted(Terminal())
    assert "probing pairs" in shown
    assert "786/1572" in shown


def test_a_bar_that_is_never_told_anything_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with progress_bar("probing pairs", stream):
        pass
    assert "probing" not in stream.getvalue()
