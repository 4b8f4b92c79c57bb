# SPDX-License-Identifier: Apache-2.0
"""The same verdict as text, JSON, JUnit and HTML."""

import dataclasses
import html.parser
import io
import json
import random
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from rich.console import Console

from spanbridge.model.observations import Observations
from spanbridge.model.timeline import Migration, Outcome, Sample
from spanbridge.model.verdict import Verdict
from spanbridge.report.topology import draw_topology
from spanbridge.report.verdict_html import render_html
from spanbridge.report.verdict_json import render_verdict_json
from spanbridge.report.verdict_junit import render_junit
from spanbridge.report.verdict_text import view_verdict
from spanbridge.report.verdict_views import split_remedy
from spanbridge.stretch.observing import RunSettings
from spanbridge.stretch.verify import verify
from spanbridge.testing.mesh import build_mesh
from spanbridge.testing.mesh_faults import FAULTS, observe

MIGRATION = Migration(
    "web", "east/east-1", "west/west-1", "pre-copy", Outcome.COMPLETED, 9_000,
    paused_at_ms=8_900, downtime_ms=41, seen_downtime_ms=55, migration0_bytes=3 << 20,
    samples=(Sample(0, 0, 4096), Sample(500, 4096, 0, 10, 20, 2)),
)  # fmt: skip


class Outline(html.parser.HTMLParser):
    """What a browser would load, and what is on the page by its id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.data = ""
        self._reading = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.ids += filter(None, [found.get("id")])
        for name in ("src", "href", "srcset", "action"):
            if (found.get(name) or "#")[0] != "#":
                self.loaded.append(f"{tag} {name} {found[name]}")
        self._reading = tag == "script" and found.get("id") == "data"

    def handle_data(self, data: str) -> None:
        if self._reading:
            self.data += data


def _verdict(*names: str, sizes: dict[str, int] | None = None) -> Verdict:
    mesh = build_mesh(sizes or {"east": 2, "west": 2}, seed=1)
    for name in names:
        FAULTS[name](mesh, random.Random(1))  # noqa: S311  # faults are no secrets
    return verify(observe(mesh))


def _printed(verdict: Verdict, *, colour: bool = False) -> str:
    stream = io.StringIO()
    # Given, not guessed: the terminal of a build is a dumb one.
    console = Console(
        file=stream, width=100, color_system="standard" if colour else None, highlight=False
    )
    for each in view_verdict(verdict):
        console.print(each)
    return stream.getvalue()


def _embedded(verdict: Verdict) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Outline(render_html(verdict)).data)
    return found


def test_the_html_file_loads_nothing() -> None:
    text = render_html(_verdict("link-mtu"))
    assert Outline(text).loaded == []
    assert "url(" not in text.replace("URL(", "")
    assert "default-src &#39;none&#39;" in text or "default-src 'none'" in text


@pytest.mark.parametrize("name", ["uplink-without-vlan", "link-cut", "gateway-everywhere"])
def test_the_html_file_is_the_same_each_time(name: str) -> None:
    assert render_html(_verdict(name)) == render_html(_verdict(name))


def test_the_html_file_holds_every_cause_and_every_pair() -> None:
    verdict = _verdict("uplink-without-vlan", "link-mtu")
    text = render_html(verdict)
    for each in verdict.diagnoses:
        assert each.message[1:] in text
        assert each.code in text
    assert len(_embedded(verdict)["cells"]) == len(verdict.pairs)
    assert text.count("data-cell=") == len(verdict.pairs)


def test_no_name_of_a_pod_becomes_markup() -> None:
    seen = observe(build_mesh({"east": 2}, sync=False))
    evil = "</script><img src=x onerror=alert(1)>"
    first = dataclasses.replace(seen.endpoints[0], node=evil, pod=evil)
    changed = dataclasses.replace(seen, endpoints=(first, *seen.endpoints[1:]))
    outline = Outline(render_html(verify(changed)))
    assert "img" not in outline.tags
    assert json.loads(outline.data)["units"][0]["label"] == evil


def test_a_run_that_saw_nothing_can_be_shown() -> None:
    verdict = verify(Observations("2026-11-24T18:00:00Z"))
    assert "SBV73" in render_html(verdict)
    assert "FAIL 1 cause to mend: 0 of 0 ordered pairs are good" in _printed(verdict)


def test_the_html_ids_are_unique() -> None:
    ids = Outline(render_html(_verdict("link-cut", "ca-expired"))).ids
    assert len(ids) == len(set(ids))


def test_a_migration_is_drawn_where_there_was_one() -> None:
    verdict = _verdict()
    assert "migrations" not in Outline(render_html(verdict)).ids
    seen = dataclasses.replace(verdict.observations, migrations=(MIGRATION,))
    moved = dataclasses.replace(verdict, observations=seen)
    text = render_html(moved)
    assert {"migrations", "migration-0"} <= set(Outline(text).ids)
    (drawn,) = _embedded(moved)["migrations"]
    assert drawn["at"] == [0, 0.5]
    assert drawn["pause"] == [8.9, 8.955]
    assert "web from east/east-1 to west/west-1 (pre-copy): completed in 9.0 s" in _printed(moved)


def test_a_large_mesh_is_shown_by_cluster() -> None:
    mesh = build_mesh(dict.fromkeys(("east", "west", "north"), 25), sync=False)
    mesh.cut |= {("east", "west"), ("west", "east")}
    verdict = verify(observe(mesh, RunSettings(all_pairs_max=10)))
    data = _embedded(verdict)
    assert [unit["label"] for unit in data["units"]] == ["east", "west", "north"]
    cells = {(cell["a"], cell["b"]): cell for cell in data["cells"]}
    assert (cells[0, 1]["state"], cells[0, 1]["codes"]) == ("cut", ["SBV12"])
    assert cells[0, 2]["state"] == "good"


def test_blamed_nodes_of_a_large_cluster_are_drawn() -> None:
    mesh = build_mesh({"east": 12, "west": 2}, sync=False)
    mesh.nodes["east/east-9"].uplink_vlans = {1}
    drawing = draw_topology(verify(observe(mesh)))
    east = drawing.rows[0].clusters[0]
    assert east.hidden == 9
    (blamed,) = (node for node in east.nodes if node.codes)
    assert (blamed.name, blamed.codes, blamed.broken, blamed.carries) == (
        *("east-9", ("SBV01",), True, False),
    )


def test_a_broken_way_between_clusters_is_drawn_below_the_fabric() -> None:
    drawing = draw_topology(_verdict("link-cut"))
    (arc,) = drawing.rows[0].arcs
    assert (arc.codes, arc.words) == (("SBV12",), "east and west")
    assert arc.start < arc.end
    assert arc.y > drawing.rows[0].bar_y


def test_a_broken_way_between_rows_is_drawn_beside_them() -> None:
    mesh = build_mesh(dict.fromkeys("abcde", 4), sync=False)
    mesh.cut |= {("a", "e"), ("e", "a")}
    drawing = draw_topology(verify(observe(mesh)))
    (bow,) = drawing.bows
    assert (bow.label, bow.words) == ("✗ SBV12 a - e", "a and e: SBV12")
    assert (bow.start_y, bow.end_y) == (drawing.rows[0].bar_y + 15, drawing.rows[2].bar_y + 15)
    assert bow.x > max(row.width for row in drawing.rows)
    assert not any(row.arcs for row in drawing.rows)


def test_clusters_that_do_not_fit_beside_each_other_go_below() -> None:
    drawing = draw_topology(_verdict(sizes=dict.fromkeys("abcde", 4)))
    assert [len(row.clusters) for row in drawing.rows] == [2, 2, 1]
    for upper, lower in zip(drawing.rows, drawing.rows[1:], strict=False):
        assert lower.clusters[0].y > upper.bar_y


def test_a_mesh_that_passes_says_so() -> None:
    verdict = _verdict()
    assert _printed(verdict).splitlines()[-1].strip() == (
        "ok   virtual machines may move: 14 of 14 ordered pairs are good"
    )
    assert "Virtual machines may move" in render_html(verdict)
    assert render_verdict_json(verdict)["passed"] is True


def test_text_names_cause_evidence_and_remedy() -> None:
    text = _printed(_verdict("uplink-without-vlan"))
    assert re.search(r"FAIL SBV01 uplink eth1 of \S+ does not carry VLAN 2", text)
    assert "seen " in text
    assert "carries VLANs: 1" in text
    assert "spanbridge uplink ensure eth1 --bridge br-mig --vlan 2" in text
    assert "\x1b[" not in text
    assert "\x1b[" in _printed(_verdict("uplink-without-vlan"), colour=True)


def test_text_fits_into_its_width() -> None:
    for sizes in ({"east": 2, "west": 2}, {"east": 5, "west": 5}):
        text = _printed(_verdict("link-mtu", "duplicate-between-clusters", sizes=sizes))
        assert max(map(len, text.splitlines())) <= 100


def test_junit_fails_for_each_cause_and_each_bad_pair() -> None:
    verdict = _verdict("uplink-without-vlan")
    root = ET.fromstring(render_junit(verdict))  # noqa: S314  # we wrote it
    causes, pairs = root.findall("testsuite")
    assert (causes.get("failures"), pairs.get("failures")) == ("1", "6")
    assert pairs.get("tests") == str(len(verdict.pairs))
    assert root.get("failures") == "7"
    failure = pairs.find("testcase/failure")
    assert failure is not None
    assert "explained by SBV01" in failure.get("message", "")


def test_junit_fails_where_all_pairs_answer_but_there_is_a_cause() -> None:
    mesh = build_mesh({"east": 2, "west": 2})
    FAULTS["gateway-everywhere"](mesh, random.Random(1))  # noqa: S311  # faults are no secrets
    root = ET.fromstring(render_junit(verify(observe(mesh))))  # noqa: S314  # we wrote it
    assert root.get("failures") == "1"


def test_junit_passes_with_a_case_for_the_whole_and_warnings_as_output() -> None:
    for names, outputs in (((), 0), (("latency",), 1)):
        root = ET.fromstring(render_junit(_verdict(*names)))  # noqa: S314  # we wrote it
        causes = root.findall("testsuite")[0]
        assert causes.get("failures") == "0"
        assert len(causes.findall("testcase/system-out")) == outputs


def test_junit_is_valid_whatever_a_library_said() -> None:
    seen = observe(build_mesh({"east": 2}))
    odd = dataclasses.replace(seen.probes[0], error="bad \x00 <byte> \x1b[31m")
    verdict = verify(dataclasses.replace(seen, probes=(odd, *seen.probes[1:])))
    ET.fromstring(render_junit(verdict))  # noqa: S314  # we wrote it


def test_json_tells_pairs_clusters_and_causes() -> None:
    verdict = _verdict("link-mtu")
    document = json.loads(json.dumps(render_verdict_json(verdict)))
    assert document["counts"]["poor"] == 10
    assert document["diagnoses"][0]["between_clusters"] == [["east", "west"]]
    across = [each for each in document["clusters"] if each["source"] != each["target"]]
    assert {each["path_mtu"] for each in across} == {1500}
    assert document["pairs"][0]["state"] == "good"


@pytest.mark.parametrize(
    ("remedy", "parts"),
    [
        ("on n: ip link set dev eth1 up", ("on n", "ip link set dev eth1 up")),
        ("kubectl get pod", ("", "kubectl get pod")),
        ("look at the switch: its MTU", ("look at the switch: its MTU", "")),
    ],
)
def test_a_remedy_is_told_from_its_command(remedy: str, parts: tuple[str, str]) -> None:
    assert split_remedy(remedy) == parts
