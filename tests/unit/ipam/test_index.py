# SPDX-License-Identifier: Apache-2.0
"""The cache over a directory: it agrees with a dictionary, and distrusts itself."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spanbridge.ipam.host_local.index import (
    BrokenIndexError,
    Index,
    Span,
    observe_seal,
    owner_key,
)
from spanbridge.model.addresses import Ip

POOL: Span = (Ip(4, 0x0A000001), Ip(4, 0x0A0000FE))
POOL6: Span = (Ip(6, 0xFD << 120), Ip(6, (0xFD << 120) + 70_000))


@st.composite
def _steps(draw: st.DrawFn) -> list[tuple[int, Ip]]:
    """Owners and addresses; a lease that is there is removed, else it is inserted."""
    # Keys that agree modulo any capacity share a home, and so shift each other's slots.
    keys = st.sampled_from([7, 7 + (1 << 20), 8, 9, 511, 511 + (1 << 20), 0])
    numbers = st.integers(POOL[0].number - 3, POOL[0].number + 20)
    pairs = draw(st.lists(st.tuples(keys, numbers), max_size=60))
    return [(key, Ip(4, number)) for key, number in pairs]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(_steps())
def test_it_agrees_with_a_dictionary_after_any_changes(
    tmp_path: Path, steps: list[tuple[int, Ip]]
) -> None:
    index = Index.build(str(tmp_path / "i"), (POOL,), [])
    model: dict[Ip, int] = {}
    for key, ip in steps:
        if ip in model:
            index.remove(model.pop(ip), ip)
        else:
            index.insert(key, ip)
            model[ip] = key
    for key in {key for key, _ in steps}:
        assert sorted(index.candidates(key)) == sorted(ip for ip in model if model[ip] == key)
    free = [n for n in range(POOL[0].number, POOL[1].number + 1) if Ip(4, n) not in model]
    assert index.next_free(*POOL) == Ip(4, free[0])
    index.close()


@pytest.mark.parametrize("taken", [0, 1, 7, 8, 9, 4095, 4096, 32768, 40000, 70000])
def test_the_next_free_address_lies_behind_any_run(tmp_path: Path, taken: int) -> None:
    leases = [(owner_key(str(i), ""), POOL6[0] + i) for i in range(taken)]
    index = Index.build(str(tmp_path / "i"), (POOL, POOL6), leases)
    assert index.next_free(*POOL6) == POOL6[0] + taken
    assert index.next_free(POOL6[0] + 5, POOL6[1]) == POOL6[0] + max(5, taken)
    index.close()


def test_a_full_stretch_has_no_free_address(tmp_path: Path) -> None:
    first = POOL[0]
    index = Index.build(str(tmp_path / "i"), (POOL,), [(1, first + i) for i in range(10)])
    assert index.next_free(first, first + 9) is None
    index.close()


def test_outside_of_its_spans_it_knows_nothing(tmp_path: Path) -> None:
    stranger = Ip(4, 0x0B000001)
    index = Index.build(str(tmp_path / "i"), (POOL,), [(1, stranger)])
    assert index.next_free(stranger, stranger + 5) == stranger
    assert not index.covers(stranger)
    index.close()


@pytest.fixture
def sealed(tmp_path: Path) -> tuple[Path, Path]:
    """An index file and the directory that it fits."""
    directory = tmp_path / "d"
    directory.mkdir()
    index = Index.build(str(tmp_path / "i"), (POOL,), [(5, POOL[0])])
    index.seal(observe_seal(str(directory)))
    index.close()
    return tmp_path / "i", directory


def _load(sealed: tuple[Path, Path], spans: tuple[Span, ...] | None = (POOL,)) -> Index | None:
    index = Index.load(str(sealed[0]), observe_seal(str(sealed[1])), spans)
    if index is not None:
        index.close()
    return index


def test_it_is_used_while_its_seal_fits(sealed: tuple[Path, Path]) -> None:
    assert _load(sealed) is not None


def test_any_spans_do_for_a_release(sealed: tuple[Path, Path]) -> None:
    assert _load(sealed, None) is not None


def test_other_spans_make_it_useless(sealed: tuple[Path, Path]) -> None:
    assert _load(sealed, (POOL6,)) is None


def test_a_changed_directory_makes_it_useless(sealed: tuple[Path, Path]) -> None:
    (sealed[1] / "10.0.0.9").touch()
    assert _load(sealed) is None


def test_a_directory_made_anew_makes_it_useless(sealed: tuple[Path, Path]) -> None:
    status = sealed[1].stat()
    sealed[1].rename(sealed[1].with_name("old"))
    sealed[1].mkdir()
    os.utime(sealed[1], ns=(status.st_atime_ns, status.st_mtime_ns))
    assert _load(sealed) is None


def test_a_reboot_makes_it_useless(
    sealed: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spanbridge.ipam.host_local.index._boot_id", lambda: b"another boot    ")
    assert _load(sealed) is None


@pytest.mark.parametrize("size", [0, 10, 4096, 5000])
def test_a_truncated_file_is_useless(sealed: tuple[Path, Path], size: int) -> None:
    os.truncate(sealed[0], size)
    assert _load(sealed) is None


def test_a_foreign_file_is_useless(sealed: tuple[Path, Path]) -> None:
    sealed[0].write_bytes(b"x" * 9000)
    assert _load(sealed) is None


def test_a_change_breaks_the_seal_before_anything_else(sealed: tuple[Path, Path]) -> None:
    index = Index.load(str(sealed[0]), observe_seal(str(sealed[1])), None)
    assert index is not None
    index.unseal()
    index.close()
    assert _load(sealed) is None


def test_removing_what_it_does_not_know_proves_it_broken(tmp_path: Path) -> None:
    index = Index.build(str(tmp_path / "i"), (POOL,), [(5, POOL[0])])
    with pytest.raises(BrokenIndexError):
        index.remove(5, POOL[0] + 1)
    index.close()


def test_a_table_without_an_empty_slot_ends_the_search(tmp_path: Path) -> None:
    index = Index.build(str(tmp_path / "i"), (), [])
    for position in range(index._capacity):
        index._write_slot(position, 5, 4, b"\x0a\0\0\1".ljust(16, b"\0"))
    with pytest.raises(BrokenIndexError):
        index.candidates(6)
    index.close()


def test_where_no_file_can_be_made_it_lives_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "makedirs", full)
    index = Index.build(str(tmp_path / "s" / "i"), (POOL,), [(5, POOL[0])])
    assert index.candidates(5) == [POOL[0]]
    assert not (tmp_path / "s").exists()
    index.close()


def test_a_small_network_has_a_small_file(tmp_path: Path) -> None:
    Index.build(str(tmp_path / "i"), (POOL,), []).close()
    assert (tmp_path / "i").stat().st_size < 20_000


def test_the_key_of_an_owner_depends_on_both_parts() -> None:
    assert owner_key("a", "b") != owner_key("ab", "")
