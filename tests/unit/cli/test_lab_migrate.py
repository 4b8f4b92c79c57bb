# SPDX-License-Identifier: Apache-2.0
"""What `lab migrate` says, and what it refuses before it looks at anything."""

import io

import pytest
from rich.console import Console

from spanbridge.cli import main
from spanbridge.cli.exits import Exit
from spanbridge.cli.lab_migrate import render_progress, view_migration
from spanbridge.model.timeline import Migration, Outcome, Sample

SAMPLE = Sample(
    at_ms=100,
    transferred_bytes=45 << 20,
    remaining_bytes=3 << 19,
    dirty_bytes_per_s=5 << 20,
    bytes_per_s=80 << 20,
    iteration=2,
)


def _show(migration: Migration) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=100)
    for each in view_migration(migration):
        console.print(each)
    return stream.getvalue()


def test_a_migration_that_arrived_shows_what_it_cost() -> None:
    shown = _show(
        Migration(
            vm="web",
            source="east/east-1",
            target="west/west-1",
            mode="pre-copy",
            outcome=Outcome.COMPLETED,
            total_ms=1840,
            downtime_ms=120,
            seen_downtime_ms=180,
            session_kept=True,
            migration0_bytes=47 << 20,
            samples=(SAMPLE,),
        )
    )
    assert shown.splitlines()[0] == (
        "web: east/east-1 to west/west-1, pre-copy: completed after 1.8 s"
    )
    assert "45 MiB of memory in 2 passes" in shown
    assert "120 ms by QEMU; longest gap of its counter 180 ms, no tick lost" in shown
    assert "47 MiB left the source by it" in shown
    assert "0 bytes" in shown
    assert "of the guest goes on" in shown


def test_a_migration_that_failed_ends_with_the_cause() -> None:
    error = "cannot migrate web to west/west-1: QEMU at the target ended; it runs on in east/east-1"
    shown = _show(
        Migration(
            vm="web",
            source="east/east-1",
            target="west/west-1",
            mode="pre-copy",
            outcome=Outcome.FAILED,
            total_ms=900,
            error=error,
            lost_ticks=2,
            session_kept=False,
        )
    )
    assert "none by QEMU" in shown
    assert "2 ticks lost" in shown
    assert "of the guest was lost" in shown
    assert shown.splitlines()[-1] == error


def test_progress_is_one_line_of_what_went_and_what_is_left() -> None:
    assert render_progress(SAMPLE) == (
        "45 MiB sent, 1.5 MiB left, 80 MiB/s; the guest writes 5.0 MiB/s, pass 2"
    )


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--mode", "post-copy", "--cancel-at", "50"], "cannot cancel a post-copy migration"),
        (["--cancel-at", "100"], "cannot use --cancel-at 100"),
        (["--stall", "0"], "cannot use --stall 0"),
        (["--bandwidth", "-5"], "cannot use --bandwidth -5"),
    ],
)
def test_options_that_make_no_migration_are_refused(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lab", "migrate", "web", "--to", "west", *words]) == Exit.USAGE
    assert complaint in capsys.readouterr().err


def test_the_groups_help_lists_what_is_imported_only_when_called(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["lab", "--help"]) == Exit.FINE
    said = capsys.readouterr().out
    for command in ("up", "status", "verify", "down", "demo", "fault", "migrate", "vm"):
        assert f"\n  {command} " in said
