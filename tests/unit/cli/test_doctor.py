# SPDX-License-Identifier: Apache-2.0
"""`spanbridge doctor` on saved states: what is printed, and how it ends."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from tests.unit.stretch.doctor.conftest import WELL, conf, with_link

from spanbridge.cli import main
from spanbridge.cli.doctor_view import ASCII, UNICODE, Mended, mended_lines, symbols
from spanbridge.model.diagnosis import Status
from spanbridge.model.node_state import NodeState, VlanEntry, render_node_state
from spanbridge.stretch.doctor import diagnose

LACKING = with_link(WELL, "eth1", vlans=(VlanEntry(1, 1, pvid=True, untagged=True),))
DOUBTFUL = with_link(WELL, "eth1", addresses=("10.0.0.5/24",))

Save = Callable[[NodeState], str]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Writes a state where --from finds it."""

    def write(state: NodeState) -> str:
        path = tmp_path / "node.json"
        path.write_text(render_node_state(state))
        return str(path)

    return write


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["doctor", *words])
    return code, *capsys.readouterr()


@pytest.mark.parametrize(
    ("state", "code"), [(WELL, 0), (DOUBTFUL, 0), (LACKING, 1)], ids=["well", "doubtful", "wrong"]
)
def test_only_what_is_wrong_ends_with_1(
    capsys: pytest.CaptureFixture[str], save: Save, *, state: NodeState, code: int
) -> None:
    assert run(capsys, "--from", save(state))[0] == code


def test_each_check_has_its_line_and_a_fault_its_command_below(
    capsys: pytest.CaptureFixture[str], save: Save
) -> None:
    _, out, _ = run(capsys, "--from", save(LACKING))
    lines = out.splitlines()
    at = next(number for number, line in enumerate(lines) if "SBD07" in line)

    assert lines[0].startswith("✓ SBD01 network configurations can be read")
    assert lines[at] == (
        "✗ SBD07 the uplink carries the VLANs: uplink eth1: it does not carry VLAN 2,"
        " only 1 PVID untagged"
    )
    assert lines[at + 2] == "        spanbridge uplink ensure eth1 --bridge br-mig --vlan 2"
    assert lines[-1] == "1 wrong, 0 doubtful, 23 fine, 2 not looked at"


def test_a_long_command_stays_on_one_line(
    capsys: pytest.CaptureFixture[str], save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    _, out, _ = run(capsys, "--from", save(LACKING))

    assert "        spanbridge uplink ensure eth1 --bridge br-mig --vlan 2\n" in out


def test_json_has_the_same_facts(capsys: pytest.CaptureFixture[str], save: Save) -> None:
    code, out, _ = run(capsys, "--from", save(LACKING), "--format", "json")
    (fault,) = (each for each in json.loads(out)["checks"] if each["status"] == "fail")

    assert code == 1
    assert fault["code"] == "SBD07"
    assert (fault["subject"], fault["severity"]) == ("uplink eth1", "error")
    assert fault["commands"] == ["spanbridge uplink ensure eth1 --bridge br-mig --vlan 2"]
    assert (fault["fixable"], fault["hazard"]) == (True, "")
    assert "drops the frames there" in fault["consequence"]


def test_a_configuration_beside_a_saved_state_takes_the_place_of_its_own(
    capsys: pytest.CaptureFixture[str], save: Save, tmp_path: Path
) -> None:
    wanted = tmp_path / "vlan-7.conf"
    wanted.write_text(conf(vlan=7).text)
    code, out, _ = run(capsys, "--from", save(WELL), str(wanted))

    assert code == 1
    assert "it does not carry VLAN 7, only 2" in out


def test_a_state_of_before_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "old.json"
    path.write_text('{"version": 0}')

    assert run(capsys, "--from", str(path))[0] == 2
    assert run(capsys, "--from", str(tmp_path / "none.json"))[0] == 2


@pytest.mark.parametrize("option", [["--fix"], ["--save", "x.json"]], ids=["fix", "save"])
def test_a_saved_state_can_be_neither_mended_nor_saved(
    capsys: pytest.CaptureFixture[str], save: Save, option: list[str]
) -> None:
    code, out, err = run(capsys, "--from", save(WELL), *option)

    assert (code, out) == (2, "")
    assert "neither --fix nor --save" in err


def test_without_utf_8_the_signs_are_plain() -> None:
    assert symbols("ascii") is ASCII
    assert symbols("UTF-8") is symbols("utf8") is UNICODE
    assert all(sign.isascii() for sign in ASCII.values())


def test_what_was_mended_is_shown_with_before_and_after() -> None:
    before = next(each for each in diagnose(LACKING) if each.code == "SBD07")
    failed = Mended(before, error="cannot add VLAN 2 on link 7: Operation not permitted")
    text = [str(line) for line in mended_lines([Mended(before)], diagnose(WELL), UNICODE)]
    still = [str(line) for line in mended_lines([failed], diagnose(LACKING), UNICODE)]

    assert text[0].startswith("✗ -> ✓ SBD07 uplink eth1: it does not carry VLAN 2")
    assert still[0].startswith("✗ -> ✗ SBD07")
    assert still[-1].strip() == failed.error


def test_where_nothing_can_be_mended_that_is_said() -> None:
    (line,) = mended_lines([], (), UNICODE)

    assert str(line) == "nothing that --fix may mend"


def test_help_has_examples() -> None:
    from spanbridge.cli.doctor import doctor

    text = doctor.get_help(click.Context(doctor, info_name="spanbridge doctor"))

    assert "spanbridge doctor --bridge br-mig --uplink eth1 --vlan 2 --fix" in text
    assert "--no-probe" in text


def test_every_status_has_a_sign() -> None:
    assert set(UNICODE) == set(ASCII) == set(Status)


def test_the_state_that_is_saved_is_the_one_that_is_judged(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    taken: list[Any] = []

    def observe(*_: object) -> NodeState:
        taken.append(1)
        return LACKING

    monkeypatch.setattr("spanbridge.agent.node_state.observe_node", observe)
    saved = tmp_path / "node.json"
    now = run(capsys, "--no-probe", "--save", str(saved))
    later = run(capsys, "--from", str(saved))

    assert now == later
    assert len(taken) == 1
