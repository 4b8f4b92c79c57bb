# SPDX-License-Identifier: Apache-2.0
"""DEL and GC of host-local."""

from collections.abc import Callable
from pathlib import Path

import pytest

from spanbridge.base.errors import ReleaseError
from spanbridge.ipam import Releaser

MIDDLE = {"ranges": [[{"subnet": "10.0.0.0/29"}]]}
DUAL = {"ranges": [[{"subnet": "10.0.0.0/29"}], [{"subnet": "fd00::/126"}]]}

Add = Callable[..., list[str]]
Release = Callable[..., None]
Opened = Callable[..., Releaser]
Reserved = Callable[[], dict[str, str]]


def test_every_address_of_the_attachment_is_given_back(
    add: Add, release: Release, reserved: Reserved
) -> None:
    add("c1", DUAL)
    add("c2", DUAL)
    release("c1")
    assert list(reserved()) == ["10.0.0.3", "fd00::3"]


def test_another_interface_of_the_container_keeps_its_address(
    add: Add, release: Release, reserved: Reserved
) -> None:
    add("c1", MIDDLE, "eth0")
    add("c1", MIDDLE, "net1")
    release("c1", "eth0")
    assert reserved() == {"10.0.0.3": "c1\r\nnet1"}


def test_releasing_again_succeeds(add: Add, release: Release) -> None:
    add("c1", MIDDLE)
    release("c1")
    release("c1")


def test_releasing_where_nothing_was_ever_reserved_makes_nothing(
    release: Release, tmp_path: Path
) -> None:
    release("c1")
    assert list(tmp_path.iterdir()) == []


def test_releasing_an_unknown_container_leaves_the_others(
    add: Add, release: Release, reserved: Reserved
) -> None:
    add("c1", MIDDLE)
    release("c9")
    assert list(reserved()) == ["10.0.0.2"]


@pytest.mark.parametrize("body", ["c1", "c1\n", " c1 ", "c1\r\neth0\n", " c1\r\neth0 "])
def test_files_of_the_old_form_or_with_white_space_are_released(
    release: Release, directory: Path, reserved: Reserved, body: str
) -> None:
    directory.mkdir()
    (directory / "10.0.0.2").write_text(body)
    release("c1")
    assert reserved() == {}


def test_the_old_form_is_released_only_when_nothing_names_the_interface(
    add: Add, release: Release, directory: Path, reserved: Reserved
) -> None:
    add("c1", MIDDLE)
    (directory / "10.0.0.5").write_text("c1")
    release("c1")
    assert list(reserved()) == ["10.0.0.5"]


def test_addresses_outside_of_any_range_are_released(
    add: Add, release: Release, directory: Path, reserved: Reserved
) -> None:
    add("c1", MIDDLE)
    (directory / "192.0.2.9").write_text("c1\r\neth0")
    release("c1")
    assert reserved() == {}


@pytest.mark.parametrize(
    "section",
    [{"ranges": [[{"subnet": "nonsense"}]]}, {"ranges": 5}, {"subnet": "10.0.0.0/33"}, {}],
)
def test_broken_ranges_and_arguments_do_not_stop_a_release(
    add: Add, releaser: Opened, reserved: Reserved, section: dict[str, object]
) -> None:
    add("c1", MIDDLE)
    releaser(section, {"verb": "DEL", "args": "nonsense;IP=x"}).release()
    assert reserved() == {}


def _collect(releaser: Opened, *valid: tuple[str, str]) -> None:
    releaser({}, {"verb": "GC", "owner": "", "ifname": ""}).collect(frozenset(valid))


def test_gc_removes_what_is_not_listed(add: Add, releaser: Opened, reserved: Reserved) -> None:
    for owner, ifname in (("c1", "eth0"), ("c1", "net1"), ("c2", "eth0")):
        add(owner, MIDDLE, ifname)
    _collect(releaser, ("c1", "net1"), ("c7", "eth0"))
    assert reserved() == {"10.0.0.3": "c1\r\nnet1"}


def test_gc_of_an_empty_list_removes_all_but_lock_and_cursor(
    add: Add, releaser: Opened, directory: Path
) -> None:
    add("c1", MIDDLE)
    _collect(releaser)
    assert {each.name for each in directory.iterdir()} == {"lock", "last_reserved_ip.0"}


def test_gc_keeps_the_old_form_while_the_container_lives(
    releaser: Opened, directory: Path, reserved: Reserved
) -> None:
    directory.mkdir()
    (directory / "10.0.0.2").write_text("c1")
    (directory / "10.0.0.3").write_text("c2")
    _collect(releaser, ("c1", "eth0"))
    assert list(reserved()) == ["10.0.0.2"]


def test_gc_removes_what_a_crash_left(
    releaser: Opened, directory: Path, reserved: Reserved
) -> None:
    directory.mkdir()
    (directory / "10.0.0.2").touch()
    _collect(releaser)
    assert reserved() == {}


def test_gc_leaves_other_networks_and_foreign_files(
    add: Add, releaser: Opened, directory: Path, tmp_path: Path
) -> None:
    add("c1", MIDDLE, name="other")
    directory.mkdir()
    (directory / "README").write_text("c1\r\neth0")
    _collect(releaser)
    assert (tmp_path / "other" / "10.0.0.2").exists()
    assert (directory / "README").exists()


def test_gc_before_any_add_makes_nothing(releaser: Opened, tmp_path: Path) -> None:
    _collect(releaser)
    assert list(tmp_path.iterdir()) == []


def test_gc_goes_on_after_a_failure(add: Add, releaser: Opened, directory: Path) -> None:
    add("c1", MIDDLE)
    add("c3", MIDDLE)
    (directory / "10.0.0.5").mkdir()
    with pytest.raises(ReleaseError, match="cannot release 1 addresses"):
        _collect(releaser)
    assert [each.name for each in directory.iterdir() if each.name[0].isdigit()] == ["10.0.0.5"]


def test_what_gc_freed_can_be_given_again(add: Add, releaser: Opened) -> None:
    section = {"ranges": [[{"subnet": "10.0.0.0/30"}]]}
    add("c1", section)
    _collect(releaser)
    assert add("c2", section) == ["10.0.0.2/30"]
