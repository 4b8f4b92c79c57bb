# SPDX-License-Identifier: Apache-2.0
"""CHECK, STATUS and preview of host-local."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from spanbridge.base.errors import MismatchError, NotReadyError
from spanbridge.ipam import Ipam
from spanbridge.model.addresses import parse_cidr
from spanbridge.model.result import CniResult, IpConfig, render_result

SMALL = {"ranges": [[{"subnet": "10.0.0.0/30"}]]}
MIDDLE = {"ranges": [[{"subnet": "10.0.0.0/29"}]]}
DUAL = {"ranges": [[{"subnet": "10.0.0.0/29"}], [{"subnet": "fd00::/126"}]]}

Add = Callable[..., list[str]]
Opened = Callable[..., Ipam]


def _result(*addresses: str) -> CniResult:
    return CniResult(ips=tuple(IpConfig(parse_cidr(text, "")) for text in addresses))


def _check(opened: Opened, section: Mapping[str, object], previous: CniResult | None) -> None:
    opened(section, {"verb": "CHECK"}).check(previous)


def test_check_confirms_what_add_answered(opened: Opened) -> None:
    _check(opened, DUAL, opened(DUAL).add())


def test_check_works_without_the_previous_result(opened: Opened, add: Add) -> None:
    add("c1", DUAL)
    _check(opened, DUAL, None)


def test_check_overlooks_addresses_of_other_plugins(opened: Opened, add: Add) -> None:
    add("c1", MIDDLE)
    _check(opened, MIDDLE, _result("10.0.0.2/29", "192.0.2.7/24"))


def test_check_accepts_a_file_of_the_old_form(opened: Opened, directory: Path) -> None:
    directory.mkdir()
    (directory / "10.0.0.4").write_text("c1")
    _check(opened, MIDDLE, _result("10.0.0.4/29"))


def test_check_finds_an_attachment_that_was_never_added(opened: Opened) -> None:
    with pytest.raises(MismatchError, match="reserved for c1/eth0"):
        _check(opened, MIDDLE, None)


def test_check_finds_a_missing_file(opened: Opened, add: Add, directory: Path) -> None:
    add("c1", DUAL)
    (directory / "fd00::2").unlink()
    with pytest.raises(MismatchError, match=r"fd00::2-fd00::3 \(fd00::/126\)"):
        _check(opened, DUAL, _result("10.0.0.2/29", "fd00::2/126"))


def test_check_finds_an_address_that_is_not_reserved(opened: Opened, add: Add) -> None:
    add("c1", MIDDLE)
    with pytest.raises(MismatchError, match=r"cannot confirm 10\.0\.0\.5"):
        _check(opened, MIDDLE, _result("10.0.0.2/29", "10.0.0.5/29"))


def test_check_finds_the_address_of_somebody_else(opened: Opened, add: Add) -> None:
    add("c1", MIDDLE)
    add("c2", MIDDLE)
    with pytest.raises(MismatchError, match=r"cannot confirm 10\.0\.0\.3"):
        _check(opened, MIDDLE, _result("10.0.0.3/29"))


def _status(opened: Opened, section: Mapping[str, object]) -> None:
    opened(section, {"verb": "STATUS", "owner": "", "ifname": ""}).status()


def test_status_of_a_fresh_network_is_good_and_makes_nothing(
    opened: Opened, tmp_path: Path
) -> None:
    _status(opened, MIDDLE)
    assert list(tmp_path.iterdir()) == []


def test_status_of_a_full_pool_says_which_set(opened: Opened, add: Add) -> None:
    add("c1", SMALL)
    with pytest.raises(NotReadyError, match=r"all of 10\.0\.0\.2-10\.0\.0\.2"):
        _status(opened, SMALL)


def test_status_counts_what_a_crash_left_as_free(opened: Opened, directory: Path) -> None:
    directory.mkdir()
    (directory / "10.0.0.2").touch()
    _status(opened, SMALL)


def test_status_of_a_missing_resolv_conf_is_bad(opened: Opened) -> None:
    with pytest.raises(NotReadyError, match="cannot read resolvConf"):
        _status(opened, MIDDLE | {"resolvConf": "/nonexistent"})


def test_status_of_a_data_dir_that_is_a_file_is_bad(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotReadyError, match="is no directory"):
        _status(opened, MIDDLE | {"dataDir": str(tmp_path / "file")})


def test_status_of_a_directory_without_write_permission_is_bad(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(NotReadyError, match="is not writable"):
        _status(opened, MIDDLE)


def test_the_preview_says_what_add_would_do_and_touches_nothing(
    opened: Opened, tmp_path: Path
) -> None:
    section = {
        "subnet": "10.88.0.0/24", "rangeStart": "10.88.0.10", "rangeEnd": "10.88.0.99",
        "dataDir": str(tmp_path),
    }  # fmt: skip
    preview = opened(section).preview()
    assert preview.words == (
        "one address of 10.88.0.10-10.88.0.99 (10.88.0.0/24), "  # noqa: ISC004 - one sentence
        "the next free one after the last given; gateway 10.88.0.1",
        f"reservations are files in {tmp_path}/n, on this node only",
    )
    assert list(tmp_path.iterdir()) == []


def test_the_preview_shows_what_the_first_add_would_answer(opened: Opened) -> None:
    preview = opened(DUAL, {"args": "IP=fd00::3"}).preview()
    assert preview.example is not None
    assert render_result(preview.example, "1.1.0")["ips"] == [
        {"address": "10.0.0.2/29", "gateway": "10.0.0.1"},
        {"address": "fd00::3/126", "gateway": "fd00::1"},
    ]


def test_the_preview_lists_keys_that_nobody_reads(opened: Opened) -> None:
    preview = opened(MIDDLE | {"subnets": "10.0.0.0/8"}, {"verb": "STATUS"}).preview()
    assert [(key.pointer, key.nearest) for key in preview.unknown] == [("/ipam/subnets", "subnet")]


def test_without_ranges_there_is_no_example(opened: Opened) -> None:
    ipam = opened({}, {"verb": "STATUS"}, capabilities={"ipRanges": True})
    assert ipam.preview().example is None
