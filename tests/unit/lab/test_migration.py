# SPDX-License-Identifier: Apache-2.0
"""What a migration is asked to do, what QEMU says of it, and what is kept of it."""

import json
from pathlib import Path

import pytest

from spanbridge.base.errors import InputError
from spanbridge.lab.migration.records import read_migrations, write_migration
from spanbridge.lab.migration.request import Mode, Options, find_target, require_options
from spanbridge.lab.migration.stream import Course, render_sample
from spanbridge.lab.place import Place
from spanbridge.lab.topology import LabParameters, plan_lab
from spanbridge.model.timeline import Migration, Outcome, Sample

LAB = plan_lab(LabParameters())
SOURCE = LAB.nodes[0]
MIGRATION = Migration(
    vm="web",
    source="east/east-1",
    target="west/west-1",
    mode="pre-copy",
    outcome=Outcome.COMPLETED,
    total_ms=600,
    session_kept=True,
    samples=(Sample(at_ms=10, transferred_bytes=5, remaining_bytes=7),),
)


@pytest.mark.parametrize(
    ("where", "node"),
    [
        ("west", "west-1"),
        ("west/west-2", "west-2"),
        ("west/2", "west-2"),
        ("east", "east-2"),
        ("east/east-2", "east-2"),
    ],
)
def test_a_target_is_a_cluster_or_one_node_of_it(where: str, node: str) -> None:
    assert find_target(LAB, where, SOURCE).name == node


@pytest.mark.parametrize(
    ("where", "hint"),
    [
        ("north", "give east, west"),
        ("west/east-1", "give west-1, west-2"),
        ("east/east-1", "give another node or cluster"),
    ],
)
def test_a_target_that_is_none_is_refused_with_those_that_are(where: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        find_target(LAB, where, SOURCE)
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    "options",
    [
        Options(mode=Mode.POST_COPY, cancel_at_percent=50),
        Options(cancel_at_percent=100),
        Options(bandwidth_mib_per_s=-1),
        Options(stall_s=0),
        Options(timeout_s=0),
    ],
)
def test_options_that_make_no_migration_are_refused(options: Options) -> None:
    with pytest.raises(InputError):
        require_options(options)


def test_a_sample_is_in_bytes_whatever_qemu_counts_in() -> None:
    info = {
        "status": "active",
        "expected-downtime": 300,
        "ram": {
            "transferred": 1000,
            "remaining": 2000,
            "total": 4000,
            "mbps": 80.0,
            "dirty-pages-rate": 3,
            "page-size": 4096,
            "dirty-sync-count": 2,
        },
    }
    sample = render_sample(info, Course())
    assert sample is not None
    assert (sample.transferred_bytes, sample.remaining_bytes) == (1000, 2000)
    assert (sample.bytes_per_s, sample.dirty_bytes_per_s) == (10_000_000, 12288)
    assert (sample.iteration, sample.expected_downtime_ms) == (2, 300)


def test_there_is_no_sample_before_there_is_memory_to_speak_of() -> None:
    assert render_sample({"status": "setup"}, Course()) is None


def test_migrations_are_kept_in_their_order(tmp_path: Path) -> None:
    place = Place(tmp_path)
    names = [f"vm-{number}" for number in range(12)]
    for name in names:
        kept = write_migration(place, Migration(name, "a/a-1", "b/b-1", "", Outcome.FAILED, 1))
        assert json.loads(kept.read_bytes())["vm"] == name
    assert [each.vm for each in read_migrations(place)] == names


def test_a_migration_is_read_as_it_was(tmp_path: Path) -> None:
    write_migration(Place(tmp_path), MIGRATION)
    assert read_migrations(Place(tmp_path)) == (MIGRATION,)


def test_a_record_that_is_broken_hides_no_other(tmp_path: Path) -> None:
    write_migration(Place(tmp_path), MIGRATION).write_text("{")
    write_migration(Place(tmp_path), MIGRATION)
    assert read_migrations(Place(tmp_path)) == (MIGRATION,)


def test_without_a_migration_there_is_none(tmp_path: Path) -> None:
    assert read_migrations(Place(tmp_path)) == ()
