# SPDX-License-Identifier: Apache-2.0
"""
What `spanbridge verify` makes of real faults, in a lab over plain bridges.

The lab, its pods and what runs in them are real; only VLANs and leases are missing.
"""

import dataclasses
from collections.abc import Iterator

import pytest

from spanbridge.lab.faults.ledger import clear, inject
from spanbridge.lab.faults.table import FAULTS
from spanbridge.lab.observe import observe_lab_mesh
from spanbridge.lab.place import Place
from spanbridge.lab.runtime import Runtime
from spanbridge.lab.survey import expect_lab
from spanbridge.lab.topology import IpamKind, LabParameters
from spanbridge.model.verdict import Verdict
from spanbridge.stretch.verify import verify
from spanbridge.testing.blame import blames
from spanbridge.testing.flat_lab import flat_lab

pytestmark = pytest.mark.timeout(120)  # dozens of programs start, and a mesh is measured

ELSEWHERE = {
    *("uplink-without-vlan", "filtering-off", "stolen-vlan", "switch-port-without-vlan"),
    *("agent-down", "lease-expired", "no-migration0"),
    *("duplicate-of-the-gateway", "gateway-everywhere"),
    *("loss", "latency"),
}
"""Need VLANs, leases, our own plugin, or a queue that not every kernel has."""

HERE = sorted(set(FAULTS) - ELSEWHERE)


@pytest.fixture(scope="module")
def _built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    parameters = LabParameters(("east", "west"), 2, ipam=IpamKind.HOST_LOCAL)
    with flat_lab(Place(tmp_path_factory.mktemp("lab")), parameters) as runtime:
        yield runtime
        # After all faults: whether one left a trace is told by test_lab_faults.py.
        verdict = _verify(runtime)
        assert (verdict.passed, _told(verdict)) == (True, [])


@pytest.fixture
def runtime(_built: Runtime) -> Iterator[Runtime]:
    yield _built
    clear(_built)


def _verify(runtime: Runtime) -> Verdict:
    expected = dataclasses.replace(expect_lab(runtime.lab), vlan=0, ranges=())
    return verify(observe_lab_mesh(runtime, ask=lambda *_: [], expected=expected))


def _told(verdict: Verdict) -> list[str]:
    return [f"{each.code} {each.message}" for each in verdict.diagnoses]


@pytest.mark.parametrize("name", HERE)
def test_the_first_and_only_diagnosis_is_the_fault(runtime: Runtime, name: str) -> None:
    entry = inject(runtime, name)
    verdict = _verify(runtime)

    assert not verdict.passed, entry.done
    assert blames(runtime.lab, entry, verdict.diagnoses[0]), _told(verdict)
    assert len(verdict.diagnoses) == 1, _told(verdict)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("uplink-down", "west-2"), ("ca-not-exchanged", "east,west")),
        (("stranger", "east-2"), ("port-closed", "west-1")),
        (("uplink-mtu", "east-1"), ("pod-mtu", "west-2")),
        (("no-uplink", "east-2"), ("bridge-down", "west-2")),
    ],
)
def test_two_faults_at_once_are_both_named(
    runtime: Runtime, first: tuple[str, str], second: tuple[str, str]
) -> None:
    entries = [inject(runtime, *each) for each in (first, second)]
    verdict = _verify(runtime)

    for entry in entries:
        assert any(blames(runtime.lab, entry, each) for each in verdict.diagnoses), _told(verdict)
    assert len(verdict.diagnoses) == len(entries), _told(verdict)


def test_a_virt_handler_that_a_fault_has_ended_is_not_started_by_a_verification(
    runtime: Runtime,
) -> None:
    inject(runtime, "port-closed", "east-1")
    assert [each.code for each in _verify(runtime).diagnoses] == ["SBV50"]
    assert [each.code for each in _verify(runtime).diagnoses] == ["SBV50"]
