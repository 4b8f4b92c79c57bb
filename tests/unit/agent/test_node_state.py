# SPDX-License-Identifier: Apache-2.0
"""What doctor reads of files, frames and answers, without a kernel."""

import json
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from spanbridge.agent.agent_state import parse_lease, read_journal
from spanbridge.agent.arp import render_question, who_has
from spanbridge.agent.node_state import read_confs
from spanbridge.cni.install import ONESHOT, built_shim, inspect_program, install
from spanbridge.firewall.policies import parse_dropping
from spanbridge.probing.capture import frame_vlan

MAC = bytes.fromhex("020000000001")
CHAIN = {"family": "ip", "table": "filter", "name": "FORWARD", "hook": "forward", "policy": "drop"}


def test_a_question_is_an_arp_probe_with_the_tag_of_its_vlan() -> None:
    plain, tagged = render_question(MAC, 0, "10.0.0.1"), render_question(MAC, 2, "10.0.0.1")

    assert plain[:14].hex() == "ffffffffffff0200000000010806"
    assert tagged[:18].hex() == "ffffffffffff020000000001810000020806"
    assert tagged[18:] == plain[14:]
    assert plain[28:32] == b"\0\0\0\0"
    assert plain[38:42] == socket.inet_aton("10.0.0.1")


def test_the_vlan_of_an_answer_is_read_beside_the_frame_or_in_it() -> None:
    bare, tagged = render_question(MAC, 0, "10.0.0.1"), render_question(MAC, 7, "10.0.0.1")
    beside = struct.pack("@IIIHHHH", 1 << 4, 42, 42, 0, 14, 5 | 3 << 13, 0x8100)

    assert frame_vlan(bare, []) == 0
    assert frame_vlan(tagged, []) == 7
    assert frame_vlan(bare, [(263, 8, beside)]) == 5
    assert frame_vlan(b"short", []) == 0


def test_a_device_that_is_not_there_is_told_and_not_raised() -> None:
    (answer,) = who_has([("no-such-link", 2, "10.0.0.1")])

    assert answer.macs == ()
    assert answer.fault.startswith("cannot ask on no-such-link")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, ("ip filter FORWARD",)),
        ({"family": "inet", "table": "mine"}, ("inet mine FORWARD",)),
        ({"policy": "accept"}, ()),
        ({"hook": "input"}, ()),
        ({"family": "bridge"}, ()),
        ({"table": "spanbridge"}, ()),
    ],
    ids=str,
)
def test_only_chains_that_drop_forwarded_frames_unasked_are_named(
    change: dict[str, str], found: tuple[str, ...]
) -> None:
    objects: list[dict[str, Any]] = [
        {"metainfo": {}},
        {"chain": CHAIN | change},
        {"table": {"name": "filter"}},
    ]

    assert parse_dropping(objects) == found


def test_programs_are_told_apart(tmp_path: Path) -> None:
    shim = built_shim()
    assert shim is not None
    install(tmp_path, shim=shim)
    foreign = tmp_path / "bridge.before"
    foreign.write_bytes(b"\x7fELF of somebody else")
    seen = inspect_program(tmp_path / "bridge")

    assert (seen.kind, seen.current, seen.oneshot_there) == ("shim", True, True)
    assert seen.oneshot == str(tmp_path / ONESHOT)
    assert inspect_program(tmp_path / ONESHOT).kind == "oneshot"
    assert inspect_program(foreign).kind == "foreign"
    assert inspect_program(tmp_path / "none").kind == "missing"


def test_a_shim_whose_program_was_removed_and_one_of_another_build_are_known(
    tmp_path: Path,
) -> None:
    shim = built_shim()
    assert shim is not None
    install(tmp_path, shim=shim)
    (tmp_path / ONESHOT).unlink()
    other = tmp_path / "other"
    other.write_bytes((tmp_path / "bridge").read_bytes() + b"\0")

    assert inspect_program(tmp_path / "bridge").oneshot_there is False
    assert inspect_program(other).current is False


def test_a_configuration_that_cannot_be_read_is_told_and_not_raised(tmp_path: Path) -> None:
    good, bad = tmp_path / "10.conflist", tmp_path / "20.conf"
    plugins = [{"type": "bridge", "bridge": "br0"}, {"type": "tuning"}]
    good.write_text(json.dumps({"cniVersion": "1.0.0", "name": "net", "plugins": plugins}))
    bad.write_text("{")
    first, second = read_confs(good, given=False)
    (damaged,) = read_confs(bad, given=True)
    (absent,) = read_confs(tmp_path / "30.conf", given=True)

    assert [json.loads(each.text)["type"] for each in (first, second)] == ["bridge", "tuning"]
    assert (damaged.text, "cannot decode" in damaged.fault, damaged.given) == ("", True, True)
    assert absent.fault == "cannot read it: No such file or directory"


def test_records_that_are_damaged_or_half_written_are_passed_over(tmp_path: Path) -> None:
    journal = tmp_path / "attachments"
    journal.mkdir()
    for name in ("sb1.json", ".sb2", "sb3.json.damaged"):
        (journal / name).write_text("{")

    assert read_journal(tmp_path) == []
    assert sorted(each.name for each in journal.iterdir()) == [
        ".sb2",
        "sb1.json",
        "sb3.json.damaged",
    ]
    assert read_journal(tmp_path / "none") == []


def test_a_lease_is_read_with_times_that_may_be_never() -> None:
    told = {
        "network": "net",
        "containerId": "c1",
        "ifname": "eth0",
        "state": "bound",
        "address": "10.0.0.5/24",
        "server": "10.0.0.1",
        "renewInSeconds": None,
        "expiresInSeconds": 4.5,
    }
    lease = parse_lease(told)

    assert (lease.renew_in_s, lease.expires_in_s, lease.state) == (None, 4.5, "bound")
