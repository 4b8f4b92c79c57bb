# SPDX-License-Identifier: Apache-2.0
"""Lease files: whole, found again, and set aside when damaged."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from spanbridge.agent.lease_journal import (
    Entry,
    entry_path,
    parse_entry,
    read_entries,
    remove_entry,
    write_entry,
)
from spanbridge.base.errors import DecodeError
from spanbridge.base.names import MacAddress
from spanbridge.ipam.dhcp.lease import Lease
from spanbridge.ipam.dhcp.options import Granted
from spanbridge.model.owner import Owner


def entry(container: str = "c1") -> Entry:
    return Entry(
        Lease(
            owner=Owner.of("net1", container, "eth0"),
            netns_path="/run/netns/pod",
            netns_identity=(4, 4026531840),
            boot_id="b00t",
            mac=MacAddress("02:00:00:00:00:05"),
            client_id=b"\0c1",
            granted=Granted("10.0.0.5", 24, "10.0.0.1", lease_s=60, t1_s=30.0, t2_s=52.5),
            acquired=1000.0,
            renewed=1000.0,
            t1=1030.0,
            t2=1052.5,
            expiry=1060.0,
            state="bound",
            section={"type": "dhcp"},
        ),
        77.5,
    )


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    write_entry(tmp_path, entry("c1"))
    write_entry(tmp_path, entry("c2"))
    read = {each.lease.owner.container_id: each for each in read_entries(tmp_path)}
    assert read == {"c1": entry("c1"), "c2": entry("c2")}


def test_a_file_is_named_by_its_owner_and_private(tmp_path: Path) -> None:
    write_entry(tmp_path / "leases", entry())
    path = entry_path(tmp_path / "leases", entry().lease.owner)
    assert ":" not in path.name
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text())["version"] == 1


def test_a_later_state_replaces_the_earlier(tmp_path: Path) -> None:
    write_entry(tmp_path, entry())
    later = dataclasses.replace(entry(), requested_boot=99.0)
    write_entry(tmp_path, later)
    assert list(read_entries(tmp_path)) == [later]


def test_a_removed_entry_is_gone_and_removing_it_again_is_fine(tmp_path: Path) -> None:
    write_entry(tmp_path, entry())
    remove_entry(tmp_path, entry().lease.owner)
    remove_entry(tmp_path, entry().lease.owner)
    assert list(tmp_path.iterdir()) == []


def test_without_a_directory_there_are_no_leases(tmp_path: Path) -> None:
    assert list(read_entries(tmp_path / "none")) == []


def test_what_a_killed_writer_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".x.json.123.tmp").write_text("half")
    assert list(read_entries(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def document(**changes: Any) -> bytes:  # noqa: ANN401  # JSON
    from spanbridge.ipam.dhcp.lease import render_lease

    whole = {"version": 1, "requested_boot": 1.5, "lease": render_lease(entry().lease)}
    return json.dumps(whole | changes).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        document(version=2),
        document(version=None),
        document(requested_boot="soon"),
        document(requested_boot=True),
        document(requested_boot=float("nan")),
        document(lease=None),
        document(lease={"version": 1}),
    ],
)
def test_a_damaged_file_is_set_aside_with_a_word(
    tmp_path: Path, data: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DecodeError):
        parse_entry(data)
    path = entry_path(tmp_path, entry().lease.owner)
    path.write_bytes(data)
    assert list(read_entries(tmp_path)) == []
    assert [each.name for each in tmp_path.iterdir()] == [path.with_suffix(".damaged").name]
    assert "a lease is lost" in capsys.readouterr().err
