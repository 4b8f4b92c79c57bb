# SPDX-License-Identifier: Apache-2.0
"""A verdict from objects alone: what they say is judged, what nobody measured is not."""

import dataclasses

import pytest

from spanbridge.model.observations import (
    Authority,
    ClusterFacts,
    Endpoint,
    Expectations,
    Remark,
    Role,
)
from spanbridge.model.recording import parse_observations, render_observations
from spanbridge.model.verdict import Verdict
from spanbridge.report.verdict_html import render_html
from spanbridge.report.verdict_json import render_verdict_json
from spanbridge.report.verdict_views import headline, sample_words
from spanbridge.stretch.observing import Survey, observe_objects
from spanbridge.stretch.verify import verify


def _endpoint(cluster: str, number: int, role: Role = Role.HANDLER) -> Endpoint:
    pod = f"{role}-{cluster}-{number}"
    last = {"east": 10, "west": 110}[cluster] + number
    return Endpoint(f"{cluster}/{pod}", cluster, f"{cluster}-{number}", role, pod,
                    addresses=(f"10.88.0.{last}",), mac=f"2e:11:5a:04:77:{last:02x}")  # fmt: skip


def _cluster(name: str, *trusted: str) -> ClusterFacts:
    return ClusterFacts(name, context=name, authority=Authority(name * 16), trusted=tuple(
        each * 16 for each in (name, *trusted)
    ))  # fmt: skip


SURVEY = Survey(
    (_cluster("east", "west"), _cluster("west", "east")),
    tuple(_endpoint(name, number) for name in ("east", "west") for number in (1, 2)),
)


def _judge(survey: Survey, expected: Expectations | None = None) -> Verdict:
    seen = observe_objects(survey, expected or Expectations(), taken_at="2026-11-29T16:00:00Z")
    assert parse_observations(render_observations(seen).encode(), "seen") == seen
    return verify(seen)


def _codes(verdict: Verdict) -> list[str]:
    return [each.code for each in verdict.diagnoses]


def test_pairs_that_nobody_measured_are_no_fault_and_no_success() -> None:
    verdict = _judge(SURVEY)
    assert verdict.passed
    assert _codes(verdict) == []
    assert headline(verdict) == (
        "nothing in the objects stands against it: none of 12 ordered pairs was measured"
    )
    assert "stays unknown" in sample_words(verdict)
    assert render_verdict_json(verdict)["measured"] is False
    page = render_html(verdict)
    assert "Nothing in the objects stands against it</h1>" in page
    assert "Virtual machines may move</h1>" not in page


def test_a_run_that_was_to_measure_and_did_not_still_fails() -> None:
    seen = observe_objects(SURVEY, Expectations(), taken_at="2026-11-29T16:00:00Z")
    assert _codes(verify(dataclasses.replace(seen, measured=True))) == ["SBV73"]


def test_one_virt_handler_alone_is_nothing_to_judge() -> None:
    alone = Survey(SURVEY.clusters[:1], SURVEY.endpoints[:1])
    assert _codes(_judge(alone)) == ["SBV73"]


def test_a_missing_authority_is_found_without_any_probe() -> None:
    clusters = (_cluster("east"), _cluster("west", "east"))
    verdict = _judge(dataclasses.replace(SURVEY, clusters=clusters))
    assert _codes(verdict) == ["SBV60"]
    assert "cluster east does not trust the certificate authority of cluster west" in (
        verdict.diagnoses[0].message
    )
    assert headline(verdict).startswith("1 cause to mend")


def test_a_standby_that_is_advertised_is_found_without_any_probe() -> None:
    standby = dataclasses.replace(_endpoint("east", 3, Role.STANDBY), advertised=True)
    verdict = _judge(dataclasses.replace(SURVEY, endpoints=(*SURVEY.endpoints, standby)))
    assert _codes(verdict) == ["SBV52"]


def test_a_pod_without_the_network_and_a_doubled_address_are_found() -> None:
    first, second, third, fourth = SURVEY.endpoints
    bare = dataclasses.replace(first, addresses=(), mac="")
    double = dataclasses.replace(third, addresses=second.addresses)
    verdict = _judge(dataclasses.replace(SURVEY, endpoints=(bare, second, double, fourth)))
    assert set(_codes(verdict)) == {"SBV20", "SBV24"}


@pytest.mark.parametrize(("grave", "code"), [(True, "SBV74"), (False, "SBV75")])
def test_a_remark_is_a_cause_with_its_place_and_its_remedy(*, grave: bool, code: str) -> None:
    remark = Remark("east", "Lease cnv/sync", "it has no holder", "/spec/holderIdentity",
                    "migrations do not begin", "kubectl get lease", "east-1", grave)  # fmt: skip
    verdict = _judge(dataclasses.replace(SURVEY, remarks=(remark,)))
    (found,) = verdict.diagnoses
    assert (found.code, found.sites, verdict.passed) == (code, ("east/east-1",), not grave)
    assert found.message == "Lease cnv/sync of cluster east: it has no holder"
    assert found.evidence == ("east: Lease cnv/sync at /spec/holderIdentity",)
    assert found.remedies == ("kubectl get lease",)


def test_a_remark_with_braces_in_it_is_shown_as_it_is() -> None:
    remark = Remark("east", "Pod a/b", "it is {odd}", remedy="kubectl get -o jsonpath='{.items}'")
    (found,) = _judge(dataclasses.replace(SURVEY, remarks=(remark,))).diagnoses
    assert found.message.endswith("it is {odd}")
    assert found.remedies == ("kubectl get -o jsonpath='{.items}'",)
