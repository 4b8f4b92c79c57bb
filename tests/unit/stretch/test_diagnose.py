# SPDX-License-Identifier: Apache-2.0
"""Faults put into a modelled mesh are named by what can be observed of them."""

import dataclasses
import random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from spanbridge.model.observations import AddressRange, Handshake, Observations, Stray
from spanbridge.model.recording import parse_observations, render_observations
from spanbridge.model.verdict import PairState, Verdict
from spanbridge.stretch.observing import RunSettings
from spanbridge.stretch.verify import verify
from spanbridge.testing.mesh import GATEWAY, Mesh, build_mesh
from spanbridge.testing.mesh_faults import FAULTS, observe

SIZES = {"east": 3, "west": 2, "north": 3}
FOUR = {"east": 3, "west": 3, "north": 3, "south": 3}
UNHURRIED = settings(deadline=None, max_examples=25)
"""A mesh takes a tenth of a second, and more on a busy machine."""

INFERRED = {
    "uplink-without-vlan": "SBV10",
    "no-uplink": "SBV10",
    "uplink-down": "SBV10",
    "bridge-down": "SBV10",
    "filtering-off": "SBV02",
    "stolen-vlan": "SBV14",
    "uplink-mtu": "SBV42",
}


def _chance(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311  # faults are no secrets


def _verdict(mesh: Mesh) -> Verdict:
    return verify(observe(mesh))


def _said(verdict: Verdict) -> str:
    return "\n".join(f"{each.code} {each.message} {each.evidence}" for each in verdict.diagnoses)


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("seed", range(4))
def test_a_fault_is_the_first_and_only_diagnosis(name: str, seed: int) -> None:
    mesh = build_mesh(SIZES, seed=seed)
    blame = FAULTS[name](mesh, _chance(seed))
    verdict = _verdict(mesh)
    assert blame.fits(verdict, first=True), _said(verdict)
    assert len(verdict.diagnoses) == 1, _said(verdict)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_in_two_clusters_of_two(name: str) -> None:
    mesh = build_mesh({"east": 2, "west": 2}, seed=1)
    blame = FAULTS[name](mesh, _chance(1))
    verdict = _verdict(mesh)
    if blame.code == "SBV11":  # with two clusters, one cannot be told from the other
        assert verdict.diagnoses[0].code == "SBV12"
    else:
        assert blame.fits(verdict, first=True), _said(verdict)


@pytest.mark.parametrize("name", INFERRED)
def test_a_node_that_tells_nothing_is_blamed_all_the_same(name: str) -> None:
    mesh = build_mesh(SIZES, seed=3)
    for node in mesh.nodes.values():
        node.tells = False
    blame = FAULTS[name](mesh, _chance(3))
    first, *more = _verdict(mesh).diagnoses
    assert (first.code, first.sites) == (INFERRED[name], (blame.site,))
    assert not first.certain
    assert not more


@pytest.mark.parametrize("name", sorted(set(FAULTS) - {"stateful-filter"}))
def test_a_fault_is_found_where_nobody_listens_at_the_targets(name: str) -> None:
    mesh = build_mesh(SIZES, seed=5)
    mesh.listens = False
    blame = FAULTS[name](mesh, _chance(5))
    verdict = _verdict(mesh)
    # A frame filter that drops one direction then looks like one that drops both.
    both_ways = {"one-way-link": "SBV12", "one-way-node": "SBV10"}
    assert verdict.diagnoses[0].code == both_ways.get(name, blame.code), _said(verdict)


@UNHURRIED
@given(st.integers(0, 1000), st.sampled_from(sorted(FAULTS)), st.sampled_from(sorted(FAULTS)))
def test_of_two_faults_both_are_named(seed: int, one: str, two: str) -> None:
    chance, mesh = _chance(seed), build_mesh(FOUR, seed=seed)
    blames = [FAULTS[one](mesh, chance), FAULTS[two](mesh, chance)]
    # One at the same place may hide the other: no VLAN on the uplink, and a small MTU there.
    assume(not blames[0].parts & blames[1].parts)
    verdict = _verdict(mesh)
    for blame in blames:
        assert blame.fits(verdict), f"{blames}\n{_said(verdict)}"


@UNHURRIED
@given(st.integers(0, 1000), st.lists(st.sampled_from(sorted(FAULTS)), max_size=4))
def test_whatever_is_wrong_with_a_pair_some_diagnosis_explains(seed: int, names: list[str]) -> None:
    chance, mesh = _chance(seed), build_mesh(SIZES, seed=seed)
    for name in names:
        FAULTS[name](mesh, chance)
    verdict = _verdict(mesh)
    explained = {pair for each in verdict.diagnoses for pair in each.pairs}
    bad = {each.pair for each in verdict.pairs if each.state is not PairState.GOOD}
    assert bad <= explained, f"{sorted(bad - explained)}\n{_said(verdict)}"


@UNHURRIED
@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 4))
def test_a_healthy_mesh_with_a_lost_echo_here_and_there_passes(
    seed: int, east: int, west: int
) -> None:
    mesh = build_mesh({"east": east, "west": west}, seed=seed)
    mesh.noise = 0.3
    verdict = _verdict(mesh)
    assert not verdict.diagnoses, _said(verdict)
    assert verdict.passed


@pytest.mark.parametrize("name", FAULTS)
def test_a_replay_gives_the_same_verdict(name: str) -> None:
    mesh = build_mesh(SIZES, seed=2)
    FAULTS[name](mesh, _chance(2))
    seen = observe(mesh)
    again = parse_observations(render_observations(seen).encode(), "the file")
    assert again == seen
    assert verify(again) == verify(seen)


def test_all_nodes_without_filtering_reach_each_other_in_the_wrong_vlan() -> None:
    mesh = build_mesh({"east": 2, "west": 2})
    for node in mesh.nodes.values():
        node.filtering = False
    verdict = _verdict(mesh)
    assert verdict.counts[PairState.GOOD] == len(verdict.pairs)
    assert {each.code for each in verdict.diagnoses} == {"SBV02"}
    assert not verdict.passed


def test_one_cause_at_many_nodes_is_one_diagnosis() -> None:
    mesh = build_mesh({"east": 8, "west": 8})
    for number in range(1, 8):
        mesh.nodes[f"west/west-{number}"].uplink_vlans = {1}
    (only,) = _verdict(mesh).diagnoses
    assert only.message == "uplink eth1 of west-1, west-2, west-3 and 4 more does not carry VLAN 2"
    assert len(only.sites) == 7


def test_a_mesh_in_which_nothing_works_is_one_diagnosis() -> None:
    mesh = build_mesh({"east": 3, "west": 3})
    for node in mesh.nodes.values():
        node.switch_open = False
    (only,) = _verdict(mesh).diagnoses
    assert only.code == "SBV15"


def test_a_fault_is_found_in_a_sample() -> None:
    mesh = build_mesh(dict.fromkeys(FOUR, 30), sync=False)
    mesh.nodes["north/north-7"].switch_open = False
    mesh.link_mtu["east", "west"] = 1500
    seen = observe(mesh, RunSettings(all_pairs_max=100))
    assert len(seen.probes) < seen.sampled_from / 10
    found = {(each.code, each.sites, each.links) for each in verify(seen).diagnoses}
    assert found == {("SBV10", ("north/north-7",), ()), ("SBV43", (), (("east", "west"),))}


def test_a_diagnosis_names_what_mends_it() -> None:
    mesh = build_mesh({"east": 2, "west": 2})
    mesh.nodes["west/west-2"].uplink_vlans = {1}
    first = _verdict(mesh).diagnoses[0]
    assert first.message == "uplink eth1 of west-2 does not carry VLAN 2"
    assert first.remedies[0] == (
        "on west-2: spanbridge uplink ensure eth1 --bridge br-mig --vlan 2"
    )
    assert "west/west-2: uplink eth1 carries VLANs: 1" in first.evidence
    finding = first.finding()
    assert (finding.code, finding.subject) == ("SBV01", "west/west-2")


def test_a_pair_that_is_cut_alone_is_named() -> None:
    mesh = build_mesh(SIZES)
    mesh.filters |= {("east/east-1", "west/west-2"), ("west/west-2", "east/east-1")}
    (only,) = _verdict(mesh).diagnoses
    assert only.code == "SBV13"
    assert only.message.startswith("the virt-handler on east-1 and the virt-handler on west-2")


def test_an_mtu_that_is_small_everywhere_is_the_whole_networks() -> None:
    mesh = build_mesh(SIZES)
    for node in mesh.nodes.values():
        node.switch_mtu = 1500
    (only,) = _verdict(mesh).diagnoses
    assert (only.code, only.message) == (
        *("SBV44", "no path carries more than 1500 bytes; the intent says 9000"),
    )


@pytest.mark.parametrize(
    ("result", "code"), [(Handshake.NOT_YET_VALID, "SBV62"), (Handshake.ERROR, "SBV64")]
)
def test_certificates_of_a_cluster_that_fail_otherwise_are_named(
    result: Handshake, code: str
) -> None:
    mesh = build_mesh(SIZES)
    for pod in mesh.pods.values():
        if pod.cluster == "west":
            pod.certificate = result
    assert {each.code for each in _verdict(mesh).diagnoses} == {code}


def test_an_address_out_of_its_clusters_range_is_a_warning() -> None:
    seen = observe(build_mesh({"east": 2, "west": 2}, sync=False))
    ranges = (
        AddressRange("east", "10.88.1.1", "10.88.1.255"),
        AddressRange("west", "10.88.2.1", "10.88.2.11"),
    )
    expected = dataclasses.replace(seen.expected, ranges=ranges)
    verdict = verify(dataclasses.replace(seen, expected=expected))
    assert [(each.code, each.sites) for each in verdict.diagnoses] == [
        ("SBV22", ("west/west-2",)),
    ]
    assert verdict.passed


@pytest.mark.parametrize(
    ("stray", "code"),
    [
        (Stray("west", "west-1", "eth0", 9), "SBV31"),
        (Stray("west", "west-1", "eth1", 9, vlan=7), "SBV32"),
        (Stray("west", "west-1", "eth1", 9), "SBV32"),
    ],
)
def test_frames_gone_astray_are_an_error_though_all_pairs_are_good(stray: Stray, code: str) -> None:
    seen = observe(build_mesh({"east": 2, "west": 2}))
    verdict = verify(dataclasses.replace(seen, strays=(stray,)))
    assert [(each.code, each.sites) for each in verdict.diagnoses] == [(code, ("west/west-1",))]
    assert not verdict.passed


def test_answers_that_come_twice_are_laid_at_a_nodes_door() -> None:
    seen = observe(build_mesh({"east": 3, "west": 3}, sync=False))
    probes = tuple(
        dataclasses.replace(each, echo=dataclasses.replace(each.echo, duplicates=4))
        if each.echo is not None and "east/virt-handler-2" in each.pair
        else each
        for each in seen.probes
    )
    verdict = verify(dataclasses.replace(seen, probes=probes))
    assert [(each.code, each.sites) for each in verdict.diagnoses] == [("SBV82", ("east/east-2",))]


def test_an_agent_that_is_down_is_an_error_though_all_was_measured() -> None:
    seen = observe(build_mesh({"east": 2, "west": 2}))
    nodes = tuple(
        dataclasses.replace(each, agent=each.site != "west/west-1") for each in seen.nodes
    )
    (only,) = verify(dataclasses.replace(seen, nodes=nodes)).diagnoses
    assert (only.code, only.sites) == ("SBV70", ("west/west-1",))


def test_what_the_matrix_contradicts_is_not_believed() -> None:
    seen = observe(build_mesh({"east": 2, "west": 2}))
    stale = dataclasses.replace(seen.nodes[0], uplinks=())
    assert not verify(dataclasses.replace(seen, nodes=(stale, *seen.nodes[1:]))).diagnoses


def test_a_cluster_without_virt_handlers_and_a_run_without_pairs_do_not_pass() -> None:
    seen = observe(build_mesh({"east": 2, "west": 2}))
    absent = dataclasses.replace(
        seen,
        endpoints=tuple(each for each in seen.endpoints if each.cluster == "east"),
        probes=tuple(each for each in seen.probes if "west" not in str(each.pair)),
        claims=(),
    )
    assert [each.code for each in verify(absent).diagnoses] == ["SBV72"]
    nothing = verify(Observations("now"))
    assert [each.code for each in nothing.diagnoses] == ["SBV73"]
    assert not nothing.passed


def test_two_pods_with_the_gateways_address_are_both_named() -> None:
    mesh = build_mesh({"east": 2, "west": 2})
    for name in ("east/virt-handler-1", "west/virt-handler-2"):
        mesh.pods[name].addresses = (GATEWAY,)
    sites = {each.sites for each in _verdict(mesh).diagnoses}
    assert sites == {("east/east-1",), ("west/west-2",)}
