# SPDX-License-Identifier: Apache-2.0
"""The table of the lab's faults, and where each strikes."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from spanbridge.base.errors import InputError, NodeError
from spanbridge.cli.lab_fault import fault as command
from spanbridge.lab.faults.page import render_page
from spanbridge.lab.faults.recipes import Kind, Step, parse_step
from spanbridge.lab.faults.records import Entry, read_entries
from spanbridge.lab.faults.scenes import find_fault, set_scene
from spanbridge.lab.faults.table import FAULTS
from spanbridge.lab.place import Place
from spanbridge.lab.runtime import Runtime
from spanbridge.lab.topology import LabParameters, plan_lab
from spanbridge.stretch.diagnose.catalogue import CAUSES
from spanbridge.testing import mesh_faults

PAGE = Path(__file__).parents[3] / "docs/reference/lab-faults.md"


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    return Runtime(plan_lab(LabParameters()), Place(tmp_path), tmp_path / "bin")


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text() == render_page(), "run tools/rule_pages.py"


def test_every_modelled_fault_can_be_had_for_real() -> None:
    assert set(mesh_faults.FAULTS) - set(FAULTS) == set()


def test_every_fault_names_a_cause_and_a_row_of_the_table_of_failures() -> None:
    rows = {int(row) for row in re.findall(r"^\| (\d+) \|", (PAGE.parent / "failures.md")
            .read_text(), re.MULTILINE)}  # fmt: skip
    for each in FAULTS.values():
        assert {each.code, each.pair_code or each.code} <= set(CAUSES)
        assert each.rows
        assert set(each.rows) <= rows


@pytest.mark.parametrize(
    ("name", "at", "nodes", "where"),
    [
        ("uplink-down", "", ["west-2"], "west-2"),
        ("uplink-down", "east-1", ["east-1"], "east-1"),
        ("cluster-cut", "", ["west-1", "west-2"], "west"),
        ("link-cut", "", ["east-1", "east-2", "west-1", "west-2"], "east,west"),
        ("link-cut", "west,east", ["west-1", "west-2", "east-1", "east-2"], "west,east"),
        ("gateway-everywhere", "", ["east-1", "east-2", "west-1", "west-2"], ""),
    ],
)
def test_a_fault_strikes_the_place_that_was_chosen(
    runtime: Runtime, name: str, at: str, nodes: list[str], where: str
) -> None:
    scene, named = set_scene(runtime, find_fault(name), at)
    assert ([node.name for node in scene.nodes], named) == (nodes, where)


def test_a_step_comes_back_from_its_record_as_it_was() -> None:
    step = Step(Kind.RUN, "sb-lab-east-1", ("ip", "link"), text="x", already=("File exists",))
    assert parse_step(json.loads(json.dumps(step.render()))) == step


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("sb-lab-east-1", "on east-1: ip link"),
        ("sb-lab-east-1.virt-handler", "in the virt-handler of east-1: ip link"),
        ("sb-lab-fabric", "in the fabric: ip link"),
        ("sb-lab-dhcp", "on the DHCP server: ip link"),
    ],
)
def test_a_step_says_where_it_is_taken(where: str, words: str) -> None:
    assert str(Step(Kind.RUN, where, ("ip", "link"))) == words


def test_a_damaged_record_is_told_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "faults").mkdir()
    (tmp_path / "faults" / "uplink-down@east-1.json").write_text('{"name": "uplink-down"')
    with pytest.raises(NodeError, match=r"cannot read .*/faults/uplink-down@east-1.json"):
        read_entries(Place(tmp_path))


def test_an_unknown_fault_is_refused_with_what_lists_them() -> None:
    with pytest.raises(InputError) as caught:
        find_fault("uplink-gone")
    assert "lab fault --list" in caught.value.hint


def test_the_list_as_json_has_every_fault_with_its_code() -> None:
    done = CliRunner().invoke(command, ["--list", "--format", "json"])
    listed = {each["name"]: each["code"] for each in json.loads(done.stdout)}
    assert listed == {name: fault.code for name, fault in FAULTS.items()}


def test_the_list_shows_every_name_whole() -> None:
    shown = CliRunner().invoke(command, ["--list"]).stdout
    assert [name for name in FAULTS if name not in shown] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name a fault"),
        (["--clear", "uplink-down", "--at", "east-1"], "--clear takes names"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused(words: list[str], said: str) -> None:
    done = CliRunner().invoke(command, words)
    assert done.exit_code == 2
    assert said in done.output


def test_what_was_injected_is_listed_the_oldest_first(
    tmp_path: Path, make_entry: Callable[..., Entry]
) -> None:
    make_entry("pod-mtu", "west-2", "2026-11-29T12:00:01+00:00")
    make_entry("uplink-down", "east-1", "2026-11-29T12:00:00+00:00")
    found = [each.label for each in read_entries(Place(tmp_path))]
    assert found == ["uplink-down at east-1", "pod-mtu at west-2"]


@pytest.fixture
def make_entry(tmp_path: Path) -> Callable[..., None]:
    """Write a record by hand, as another version of this program would have."""
    (tmp_path / "faults").mkdir()

    def make(name: str, at: str, since: str) -> None:
        document = {
            "version": 1, "name": name, "at": at, "since": since,
            "undo": [], "touches": [], "sites": [], "done": [],
        }  # fmt: skip
        (tmp_path / "faults" / f"{name}@{at}.json").write_text(json.dumps(document))

    return make
