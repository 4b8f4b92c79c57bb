# SPDX-License-Identifier: Apache-2.0
"""What was done to an uplink, on disk; and how several calls add up."""

import json
from pathlib import Path
from typing import Final

import pytest

from spanbridge.base.errors import Code, NodeError
from spanbridge.bridge.uplink.plan import (
    BRIDGE_MTU,
    CREATE_BRIDGE,
    DEVICE_UP,
    ENSLAVE,
    ORDER,
    VLANS,
    Change,
    merge_changes,
    settle,
)
from spanbridge.bridge.uplink.record import KeptFile, Ledger, Record, parse_record, render_record
from spanbridge.model.uplink import parse_wish

WISH: Final = parse_wish("eth1", "br-mig", ("2", "10-20"), 9000)
RECORD: Final = Record(
    WISH,
    (
        Change(CREATE_BRIDGE, mac="02:00:00:00:00:01"),
        Change(BRIDGE_MTU, before=1500, after=9000),
        Change(ENSLAVE),
        Change(VLANS, added=((2, 2), (10, 20)), removed=((1, 1),)),
        Change(DEVICE_UP, was_never_up=True),
    ),
    (KeptFile("/etc/x.network", "ab" * 32),),
    "this-boot",
)


def test_a_record_is_read_as_it_was_written() -> None:
    assert parse_record(render_record(RECORD)) == RECORD


def test_the_file_says_in_plain_words_what_it_records() -> None:
    document = json.loads(render_record(RECORD))

    assert (document["version"], document["device"], document["bridge"]) == (1, "eth1", "br-mig")
    assert document["vlans"] == ["2", "10-20"]
    assert [each["kind"] for each in document["changes"]] == [
        "create-bridge",
        "bridge-mtu",
        "enslave",
        "vlans",
        "device-up",
    ]


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"[]",
        b'{"version": 2}',
        b'{"version": 1}',
        render_record(RECORD)[:-40],
        render_record(RECORD).replace(b"create-bridge", b"explode"),
        render_record(RECORD).replace(b'"eth1"', b'"eth/1"'),
        render_record(RECORD).replace(b'"changes": [', b'"changes": [7,'),
    ],
)
def test_a_damaged_record_is_an_error_that_names_the_file(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "eth1.json").write_bytes(damage)

    with pytest.raises(NodeError, match=r"eth1\.json") as caught:
        Ledger(tmp_path, "this-boot").read("eth1")

    assert (caught.value.code, bool(caught.value.hint)) == (Code.STORE, True)


def test_a_ledger_lists_what_was_written_and_not_what_a_killed_writer_left(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "deep" / "uplinks", "this-boot")
    assert (ledger.every(), ledger.read("eth1")) == ((), None)

    ledger.write(RECORD)
    (ledger.directory / ".eth2.json.7.tmp").write_text("{")
    assert ledger.every() == ledger.of_bridge(WISH.bridge) == (RECORD,)

    ledger.sweep()
    ledger.remove("eth1")
    ledger.remove("eth1")
    assert list(ledger.directory.iterdir()) == []


def test_after_a_reboot_only_what_a_manager_brings_back_is_still_ours(tmp_path: Path) -> None:
    Ledger(tmp_path, "this-boot").write(RECORD)

    read = Ledger(tmp_path, "next-boot").read("eth1")

    assert read is not None
    assert [each.kind for each in read.changes] == [CREATE_BRIDGE, ENSLAVE, VLANS]
    assert (read.boot, read.files, read.wish) == ("next-boot", RECORD.files, WISH)


def test_the_first_state_counts_and_the_last_wish() -> None:
    earlier = (Change(BRIDGE_MTU, before=1500, after=2000), Change(VLANS, added=((2, 2),)))
    later = (Change(BRIDGE_MTU, before=2000, after=9000), Change(VLANS, added=((3, 4),)))

    assert merge_changes(earlier, later) == (
        Change(BRIDGE_MTU, before=1500, after=9000),
        Change(VLANS, added=((2, 4),)),
    )


def test_changes_are_kept_in_the_order_in_which_they_are_made() -> None:
    changes = tuple(Change(kind) for kind in ORDER)

    assert merge_changes(changes[3:], changes[:3]) == changes
    assert merge_changes((), tuple(reversed(changes))) == changes


def test_vlans_that_were_taken_back_are_forgotten_when_all_is_done() -> None:
    both = merge_changes(
        (Change(VLANS, added=((2, 9),)),), (Change(VLANS, added=((20, 20),), removed=((4, 5),)),)
    )

    assert settle(both) == (Change(VLANS, added=((2, 3), (6, 9), (20, 20))),)
