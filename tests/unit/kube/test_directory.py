# SPDX-License-Identifier: Apache-2.0
"""A directory of written files: what is replaced, removed, refused and left alone."""

import os
from pathlib import Path

import pytest

from spanbridge.base.errors import InputError
from spanbridge.kube.directory import (
    ChangeKind,
    PlannedFile,
    apply_changes,
    compare,
    digest_of,
    render_diff,
)


def record(*contents: tuple[str, str]) -> dict[str, str]:
    return {path: digest_of(content) for path, content in contents}


def write(place: Path, files: dict[str, PlannedFile], recorded: dict[str, str]) -> None:
    apply_changes(place, compare(place, files, recorded), first="lock")


def test_files_are_written_with_their_modes(tmp_path: Path) -> None:
    files = {"a/run.sh": PlannedFile("x\n", executable=True), "lock": PlannedFile("{}\n")}
    write(tmp_path / "new", files, {})

    assert (tmp_path / "new/a/run.sh").read_text() == "x\n"
    assert os.access(tmp_path / "new/a/run.sh", os.X_OK)
    assert not os.access(tmp_path / "new/lock", os.X_OK)
    assert sorted(path.name for path in (tmp_path / "new").rglob("*")) == ["a", "lock", "run.sh"]


def test_what_is_as_planned_is_not_touched(tmp_path: Path) -> None:
    files = {"a": PlannedFile("x\n")}
    write(tmp_path, files, {})
    before = (tmp_path / "a").stat()
    write(tmp_path, files, record(("a", "x\n")))

    assert (tmp_path / "a").stat() == before
    assert compare(tmp_path, files, {}) == ()


def test_a_file_of_others_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine\n")
    with pytest.raises(InputError, match="a file is there that no plan wrote"):
        compare(tmp_path, {"a": PlannedFile("x\n")}, {})

    assert (tmp_path / "a").read_text() == "mine\n"


def test_an_edited_file_of_ours_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("edited\n")
    write(tmp_path, {"a": PlannedFile("x\n")}, record(("a", "x\n")))

    assert (tmp_path / "a").read_text() == "x\n"


def test_a_lost_execute_bit_is_a_change(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x\n")
    (change,) = compare(tmp_path, {"a": PlannedFile("x\n", executable=True)}, {})

    assert change.kind is ChangeKind.CHANGED


def test_what_is_no_longer_planned_is_removed_with_its_directory(tmp_path: Path) -> None:
    write(tmp_path, {"east/a": PlannedFile("x\n"), "west/a": PlannedFile("x\n")}, {})
    (tmp_path / "west/notes").write_text("mine\n")
    write(tmp_path, {}, record(("east/a", "x\n"), ("west/a", "x\n")))

    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "west",
        "west/notes",
    ]


def test_what_was_edited_stays_though_it_is_no_longer_planned(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("edited\n")
    changes = compare(tmp_path, {}, record(("a", "x\n")))
    apply_changes(tmp_path, changes, first="lock")

    assert [change.kind for change in changes] == [ChangeKind.KEPT]
    assert (tmp_path / "a").read_text() == "edited\n"


def test_the_record_is_written_before_what_it_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"a": PlannedFile("x\n"), "lock": PlannedFile("{}\n")}
    changes = compare(tmp_path, files, {})
    real = os.rename
    done: list[str] = []

    def crash(old: str, new: str) -> None:
        if done:
            raise KeyboardInterrupt
        done.append(str(new))
        real(old, new)

    monkeypatch.setattr(os, "rename", crash)
    with pytest.raises(KeyboardInterrupt):
        apply_changes(tmp_path, changes, first="lock")
    monkeypatch.undo()
    write(tmp_path, files, record(("a", "x\n"), ("lock", "{}\n")))

    assert done == [str(tmp_path / "lock")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "lock"]


def test_a_diff_is_one_that_patch_understands(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one\ntwo\n")
    (tmp_path / "gone").write_text("x\n")
    files = {"a": PlannedFile("one\n2\n"), "b": PlannedFile("new\n")}
    recorded = record(("a", "one\ntwo\n"), ("gone", "x\n"))

    assert list(render_diff(compare(tmp_path, files, recorded))) == [
        "--- a/a", "+++ b/a", "@@ -1,2 +1,2 @@", " one", "-two", "+2",
        "--- /dev/null", "+++ b/b", "@@ -0,0 +1 @@", "+new",
        "--- a/gone", "+++ /dev/null", "@@ -1 +0,0 @@", "-x",
    ]  # fmt: skip
