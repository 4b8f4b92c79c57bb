# SPDX-License-Identifier: Apache-2.0
"""What a failed change takes back."""

import pytest

from spanbridge.base.undo import Undo


def fail_with(order: list[str], *, steps: dict[str, Exception | None]) -> None:
    """Push the steps, each of which notes its name and may fail, then fail with KeyError."""

    def step(name: str, failure: Exception | None) -> None:
        order.append(name)
        if failure:
            raise failure

    with Undo() as undo:
        for name, failure in steps.items():
            undo.push(step, name, failure=failure)
        raise KeyError("the first error")


def test_steps_run_last_first() -> None:
    order: list[str] = []
    with pytest.raises(KeyError, match="the first error"):
        fail_with(order, steps={"a": None, "b": None, "c": None})

    assert order == ["c", "b", "a"]


def test_success_runs_no_step() -> None:
    order: list[str] = []
    with Undo() as undo:
        undo.push(order.append, "a")

    assert order == []


def test_a_failing_step_is_logged_and_hides_neither_the_error_nor_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    order: list[str] = []
    with pytest.raises(KeyError, match="the first error"):
        fail_with(order, steps={"a": None, "b": OSError("busy"), "c": None})

    assert order == ["c", "b", "a"]
    assert "level=error" in capsys.readouterr().err


def test_the_log_names_the_cause(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError):
        fail_with([], steps={"a": OSError("device is busy")})

    assert 'cause="device is busy"' in capsys.readouterr().err


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interruption_is_undone_too(kind: type[BaseException]) -> None:
    order: list[str] = []

    def interrupted() -> None:
        with Undo() as undo:
            undo.push(order.append, "a")
            raise kind

    with pytest.raises(kind):
        interrupted()
    assert order == ["a"]
