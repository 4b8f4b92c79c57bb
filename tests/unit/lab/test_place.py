# SPDX-License-Identifier: Apache-2.0
"""The lab's own files: found again when whole, no lab when not."""

from pathlib import Path

import pytest

from spanbridge.lab.lifecycle import down
from spanbridge.lab.place import Place, Record
from spanbridge.lab.topology import IpamKind, LabParameters


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "state")


@pytest.mark.parametrize("complete", [True, False], ids=["complete", "begun"])
def test_a_record_is_read_as_it_was_written(
    place: Place,
    complete: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    chosen = LabParameters(
        ("a", "b", "c"), 1, vlan=7, subnet="10.0.0.0/28", mtu=9000, ipam=IpamKind.HOST_LOCAL
    )
    record = Record(chosen, Path("/usr/lib/cni"), complete=complete)
    place.write(record)
    assert place.read() == record


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"version": 1}',
        '{"version": 3, "parameters": {"clusters": ["east"]}, "bin_dir": "", "complete": true}',
        '{"version": 3, "parameters": {"clusters": ["a"], NONE, "ipam": "dhcp"}, "bin_dir": 1}',
        '{"version": 3, "parameters": {"vlan": 0, "clusters": ["a"], NONE, "ipam": "dhcp"}}',
        '{"version": 3, "parameters": {"clusters": ["a"], NONE, "ipam": "slaac"}, "bin_dir": ""}',
        '{"version": 3, "parameters": {"colour": "red", "clusters": [], NONE, "ipam": "dhcp"}}',
    ],
)
def test_a_record_that_makes_no_sense_is_no_record(place: Place, content: str) -> None:
    place.directory.mkdir()
    (place.directory / "lab.json").write_text(content.replace("NONE", '"planned": null'))
    assert place.read() is None


def test_without_a_directory_there_is_no_record(place: Place) -> None:
    assert place.read() is None


def test_removing_takes_the_directory_and_is_fine_twice(place: Place) -> None:
    place.write(Record(LabParameters(), place.bin_dir, complete=True))
    assert place.remove()
    assert not place.directory.exists()
    assert not place.remove()


def test_reservations_that_are_left_are_counted(place: Place) -> None:
    network = place.directory / "nodes/east-1/networks/bridge-net"
    network.mkdir(parents=True)
    for name in ("10.88.0.2", "last_reserved_ip.0", "lock"):
        (network / name).write_text("")
    removed = down(place)
    assert (removed.leases, removed.clean, removed.had_files) == (1, False, True)
