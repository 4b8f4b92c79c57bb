# SPDX-License-Identifier: Apache-2.0
"""
Faults in one lab with a VLAN and leases: `verify` names each first, and it goes without a trace.

Whether nothing is left of one is asked of `ip`, `bridge`, `nft` and `tc`. What needs no VLAN
is tried in tests/netns/lab too, on every kernel; here a verification takes many seconds, so
of the state that a cleared fault leaves it is shown that it is the one that was verified.
"""

import contextlib
import io
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.vm.lab.conftest import Lab

from spanbridge.agent.client import ask
from spanbridge.cli import main
from spanbridge.lab.build import find_netns
from spanbridge.lab.faults.ledger import clear, inject
from spanbridge.lab.faults.records import Entry, read_entries
from spanbridge.lab.lifecycle import open_lab
from spanbridge.lab.observe import lab_options, observe_lab_mesh
from spanbridge.lab.place import Place
from spanbridge.lab.prober import RunOptions
from spanbridge.lab.runtime import Runtime
from spanbridge.lab.standin import ensure_standins
from spanbridge.model.verdict import Verdict
from spanbridge.probing.echo import EchoSettings
from spanbridge.probing.pair import ProbeSettings
from spanbridge.stretch.verify import verify
from spanbridge.testing.blame import blames
from spanbridge.testing.kernel_state import differences, read_kernel

SETTLE_S = 60.0
pytestmark = pytest.mark.timeout(1200)  # the first test also brings up lab and stand-ins

ONLY_HERE = (
    *("uplink-without-vlan", "filtering-off", "stolen-vlan", "switch-port-without-vlan"),
    *("agent-down", "lease-expired", "no-migration0"),
    *("duplicate-of-the-gateway", "gateway-everywhere"),
    *("loss", "latency"),
)
"""What needs VLANs, leases, our own plugin, or a queue that not every kernel has."""

ATTACHED_ANEW = "no-migration0"
"""After it a pod has a new device, with another MAC, on a new port."""


@pytest.fixture(scope="module")
def runtime(lab: Lab) -> Iterator[Runtime]:
    done = lab.run("up")
    assert done.code == 0, done.stderr
    yield open_lab(Place())
    assert lab.run("down").code == 0
    assert lab.namespaces() == set()


@pytest.fixture(scope="module")
def options() -> RunOptions:
    """Fewer echoes than usual: here each costs milliseconds."""
    usual = lab_options()
    echo = EchoSettings(count=10)
    return RunOptions(usual.run, ProbeSettings(echo=echo, pace=usual.probe.pace))


@pytest.fixture(scope="module")
def state(runtime: Runtime) -> dict[str, str]:
    """The kernel's state of the lab in which all is well: the last test here verifies it."""
    assert read_entries(runtime.place) == ()
    ensure_standins(runtime, lambda _: None)
    return read_kernel(find_netns())


@pytest.fixture(autouse=True)
def _whole(runtime: Runtime) -> Iterator[None]:
    # Leases of the lab last two minutes: none shall fall due in the middle of a fault.
    for node in runtime.lab.nodes:
        ask(runtime.place.agent_socket(node), "renew")
    yield
    clear(runtime, ask=ask)


def _verify_by_command() -> tuple[int, dict[str, Any]]:
    stdout = io.StringIO()
    with contextlib.redirect_stdout(stdout):
        code = main(["verify", "--lab", "--format", "json"])
    document: dict[str, Any] = json.loads(stdout.getvalue())
    return code, document


def _verify(runtime: Runtime, options: RunOptions) -> Verdict:
    return verify(observe_lab_mesh(runtime, ask=ask, options=options))


def _told(verdict: Verdict) -> list[str]:
    return [f"{each.code} {each.message}" for each in verdict.diagnoses]


def _touched(entry: Entry) -> set[str]:
    """Name the namespaces that a fault was in; of nodes and files, nothing is asked."""
    return {step.where for step in entry.undo} & set(find_netns())


def _left(state: dict[str, str], entry: Entry) -> list[str]:
    """Wait until the state is what it was; tell what is not."""
    names = _touched(entry)
    before = {key: text for key, text in state.items() if key.split(":")[0] in names}
    deadline = time.monotonic() + SETTLE_S
    while rest := differences(before, read_kernel(names)):
        if time.monotonic() > deadline:
            break
        time.sleep(0.5)
    return rest


@pytest.mark.parametrize("name", ONLY_HERE)
def test_the_first_diagnosis_is_the_fault_which_goes_without_a_trace(
    runtime: Runtime, options: RunOptions, state: dict[str, str], name: str
) -> None:
    entry = inject(runtime, name)
    verdict = _verify(runtime, options)
    clear(runtime, ask=ask)
    left = _left(state, entry)
    if name == ATTACHED_ANEW:
        state |= read_kernel(find_netns())

    assert blames(runtime.lab, entry, verdict.diagnoses[0]), _told(verdict)
    assert left == []
    assert read_entries(runtime.place) == ()


def test_two_faults_at_once_are_both_named(runtime: Runtime, options: RunOptions) -> None:
    faults = (("uplink-without-vlan", "west-2"), ("stolen-vlan", "east-2"))
    entries = [inject(runtime, *each) for each in faults]
    verdict = _verify(runtime, options)

    for entry in entries:
        assert any(blames(runtime.lab, entry, each) for each in verdict.diagnoses), _told(verdict)


def test_the_commands_inject_name_and_clear_a_fault(
    runtime: Runtime, lab: Lab, state: dict[str, str]
) -> None:
    made = lab.run("fault", "uplink-without-vlan", "--at", "west-1")
    shown = lab.run("status")
    code, verdict = _verify_by_command()
    (entry,) = read_entries(runtime.place)
    cleared = lab.run("fault", "--clear")
    code_after, verdict_after = _verify_by_command()

    assert "on west-1: bridge vlan del dev eth1 vid 2" in made.stdout
    assert "injected: uplink-without-vlan at west-1" in shown.stdout
    assert (code, verdict["diagnoses"][0]["code"]) == (1, "SBV01")
    assert "west-1" in verdict["diagnoses"][0]["message"]
    assert "on west-1: bridge vlan add dev eth1 vid 2" in cleared.stdout
    assert (code_after, verdict_after["diagnoses"]) == (0, [])
    assert _left(state, entry) == []
