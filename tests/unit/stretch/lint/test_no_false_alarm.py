# SPDX-License-Identifier: Apache-2.0
"""What is right is not complained about."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from spanbridge.base.errors import SpanbridgeError
from spanbridge.kube.collect import collect
from spanbridge.kube.source import parse_source
from spanbridge.model.findings import Finding, Severity
from spanbridge.model.intent import Intent
from spanbridge.model.intent_parser import parse_intent
from spanbridge.model.netconf import parse_netconf
from spanbridge.model.reader import Node
from spanbridge.stretch.files import render_files
from spanbridge.stretch.lint import lint
from spanbridge.stretch.lint.examples import as_clusters
from spanbridge.stretch.lint.pools import read_ipam
from spanbridge.stretch.planner import plan_network
from spanbridge.testing.crds import NO_CRDS, find_crds

TESTS = Path(__file__).parents[3]


def errors(findings: tuple[Finding, ...]) -> list[Finding]:
    return [each for each in findings if each.severity is Severity.ERROR]


def test_samples_of_other_projects_give_no_error() -> None:
    definitions = find_crds(TESTS.parent)
    if definitions is None:
        pytest.skip(NO_CRDS)
    files = sorted((definitions / "samples").glob("*.yaml"))

    assert len(files) >= 3
    for file in files:
        assert errors(lint(collect([file])).findings) == []


def addressed(kind: str, words: list[object]) -> dict[str, object]:
    """Do what the factory of that name does with its arguments."""
    if kind == "static":
        return {"ipam": {"type": "static", "addresses": [{"address": each} for each in words]}}
    if kind in {"layer3", "host_local"}:
        ranges = [[{"subnet": each}] for each in words or ["10.9.0.0/24"]]
        return {"ipam": {"type": "host-local", "ranges": ranges}}
    return {}


def called(node: ast.Call) -> dict[str, object] | None:
    """Read a call of one of the tests' factories of configurations."""
    name = getattr(node.func, "id", getattr(node.func, "attr", ""))
    if name not in {"conf", "layer3", "host_local", "static"}:
        return None
    fields = {each.arg: ast.literal_eval(each.value) for each in node.keywords if each.arg}
    words = [ast.literal_eval(each) for each in node.args]
    base = {"cniVersion": "1.1.0", "name": "net1", "type": "bridge", "bridge": "br0"}
    return base | addressed(name, words) | fields


def literal_confs(path: Path) -> Iterator[dict[str, object]]:
    """Find the bridge configurations that a test module writes down."""
    for node in ast.walk(ast.parse(path.read_text())):
        try:
            if isinstance(node, ast.Call):
                value = called(node)
            else:
                value = ast.literal_eval(node) if isinstance(node, ast.Dict) else None
        except (ValueError, TypeError):
            continue
        if isinstance(value, dict) and value.get("type") == "bridge":
            yield {"cniVersion": "1.0.0", "name": "net", **value}


def is_valid(conf: dict[str, object]) -> bool:
    try:
        parse_netconf(Node(conf))
    except SpanbridgeError:
        return False
    return not read_ipam(Node(conf)).faults


CONFS = [
    pytest.param(conf, id=f"{path.stem}-{number}")
    for tier in ("netns", "vm")
    for path in sorted((TESTS / tier).rglob("*.py"))
    for number, conf in enumerate(literal_confs(path))
    if is_valid(conf)
]


@pytest.mark.parametrize("conf", CONFS)
def test_the_plugins_own_test_configurations_give_no_error(conf: dict[str, object]) -> None:
    assert errors(lint(as_clusters({"a.conf": json.dumps(conf)})).findings) == []


def test_many_of_them_are_looked_at() -> None:
    assert len(CONFS) >= 40


INTENT = """\
apiVersion: spanbridge.io/v1alpha1
kind: MigrationNetwork
metadata:
  name: migration-net
spec:
  vlan: {vlan}
  mtu: 9000
  subnets: [{subnets}]
  gateway: {gateway}
  ipam: {{type: {ipam}}}
  defaults: {{uplink: ens2f0, nmstate: {nmstate}}}
  clusters:
  - name: east
    nodePools:
    - nodes: [east-1, east-2, east-3]
      controlPlane: true
  - name: west
    {flavor}
    nodePools:
    - nodes: [west-1, west-2]
      controlPlane: true
"""


@pytest.mark.parametrize("ipam", ["whereabouts", "host-local", "static", "dhcp"])
@pytest.mark.parametrize("nmstate", ["true", "false"])
@pytest.mark.parametrize(
    "flavor", ["flavor: kubevirt", "hyperconverged: v1", "hyperconverged: v1beta1"]
)
def test_what_plan_writes_gives_neither_error_nor_warning(
    ipam: str, nmstate: str, flavor: str, tmp_path: Path
) -> None:
    subnets = "10.88.0.0/24" if ipam == "dhcp" else "10.88.0.0/24, fd00:88::/64"
    text = INTENT.format(
        vlan=2, subnets=subnets, gateway="10.88.0.1", ipam=ipam, nmstate=nmstate, flavor=flavor
    )
    write_plan(read_intent(text), tmp_path)
    findings = lint(collect([tmp_path])).findings

    assert [each for each in findings if each.severity is not Severity.NOTE] == []


def read_intent(text: str) -> Intent:
    value = parse_source(text, "intent.yaml")[0].value
    assert isinstance(value, dict)
    return parse_intent(Node(value))


def write_plan(intent: Intent, directory: Path) -> None:
    for name, file in render_files(plan_network(intent)).items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.content)
