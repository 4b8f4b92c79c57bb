# SPDX-License-Identifier: Apache-2.0
"""What a plan writes, for six intents: whole objects, valid configurations, sound scripts."""

import ipaddress
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from spanbridge.kube.directory import PlannedFile
from spanbridge.model.intent import Intent
from spanbridge.model.netconf import parse_netconf_bytes
from spanbridge.stretch.files import render_files
from spanbridge.stretch.planner import plan_network
from spanbridge.testing.crds import NO_CRDS, Schemas, faults_of, find_crds, read_schemas

Files = Mapping[str, PlannedFile]
PROJECT = Path(__file__).parents[3]
CRDS = find_crds(PROJECT)


def objects(files: Files, suffix: str = ".yaml") -> Iterator[tuple[str, Any]]:
    for path, file in files.items():
        if path.endswith(suffix):
            for document in yaml.safe_load_all(file.content):
                yield path, document


def confs(files: Files) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every configuration of the plugin: in objects and for nodes."""
    for path, item in objects(files, "network.yaml"):
        if "config" in item["spec"]:
            yield path, json.loads(item["spec"]["config"])
    for path, file in files.items():
        if path.endswith(".conf") and "/nodes/" in path:
            yield path, json.loads(file.content)


@pytest.fixture(scope="module")
def schemas() -> Schemas:
    if CRDS is None:
        pytest.skip(NO_CRDS)
    names = ("nad-client_networks-crd.yaml", "kubevirt_kv-resource.yaml",
             "hco_hyperconvergeds_1.18.0.crd.yaml",
             "knmstate_nmstate.io_nodenetworkconfigurationpolicies.yaml",
             "openshift-cno_operator-networks-Default.crd.yaml")  # fmt: skip
    return read_schemas(*(CRDS / name for name in names))


@pytest.mark.timeout(60)  # half a million lines of YAML are read first
def test_every_object_is_what_its_definition_says(planned: Files, schemas: Schemas) -> None:
    found = list(objects(planned))

    assert found
    assert [(path, fault) for path, item in found for fault in faults_of(item, schemas)] == []


@pytest.mark.timeout(60)
def test_a_field_that_a_server_would_drop_is_a_fault(schemas: Schemas) -> None:
    head = {"apiVersion": "hco.kubevirt.io/v1", "kind": "HyperConverged"}
    wrong = {**head, "spec": {"liveMigrationConfig": {"network": "migration-net"}}}
    right = {**head, "spec": {"virtualization": wrong["spec"]}}

    assert any("liveMigrationConfig" in fault for fault in faults_of(wrong, schemas))
    assert list(faults_of(right, schemas)) == []


@pytest.mark.timeout(60)
@pytest.mark.parametrize("release", ["1.17.0", "1.20"])
def test_the_v1beta1_patch_fits_older_and_newer_releases(
    release: str, intent_of: Callable[[str], Intent]
) -> None:
    if CRDS is None:
        pytest.skip(NO_CRDS)
    served = read_schemas(CRDS / f"hco_hyperconvergeds_{release}.crd.yaml")
    files = render_files(plan_network(intent_of("ten lines")))
    found = [item for path, item in objects(files, "hyperconverged.yaml")]

    assert len(found) == 2
    assert [fault for item in found for fault in faults_of(item, served)] == []


def test_our_own_parser_takes_every_configuration_without_unknown_keys(planned: Files) -> None:
    found = list(confs(planned))

    assert found
    for _, conf in found:
        parsed = parse_netconf_bytes(json.dumps(conf).encode())
        assert [each.key for each in parsed.unknown if each.key != "uplink"] == []


def test_every_configuration_says_what_would_else_be_a_default(planned: Files) -> None:
    for _, conf in confs(planned):
        assert {"bridge", "mtu", "preserveDefaultVlan", "ipam"} <= set(conf)
        assert conf["preserveDefaultVlan"] is ("vlan" not in conf)
        assert "isGateway" not in conf


def ipam_addresses(ipam: dict[str, Any]) -> Iterator[Any]:
    """Every address that an IPAM section may hand out, by the standard library's arithmetic."""
    if ipam["type"] == "static":
        yield from (ipaddress.ip_interface(each["address"]).ip for each in ipam["addresses"])
    rows = ipam.get("ipRanges", [ipam]) if ipam["type"] == "whereabouts" else []
    pairs = [(row["range_start"], row["range_end"], row.get("exclude", [])) for row in rows]
    for ranges in ipam.get("ranges", []):
        pairs += [(row["rangeStart"], row["rangeEnd"], []) for row in ranges]
    for start, end, exclude in pairs:
        first, last = ipaddress.ip_address(start), ipaddress.ip_address(end)
        holes = [ipaddress.ip_network(each) for each in exclude]
        for number in range(int(first), int(last) + 1):
            ip = type(first)(number)
            if not any(ip in hole for hole in holes):
                yield ip


def test_no_two_clusters_and_no_two_nodes_may_hand_out_one_address(planned: Files) -> None:
    owners: dict[Any, str] = {}
    for path, conf in confs(planned):
        # Nodes of one cluster share its range where whereabouts keeps count of it.
        owner = path.split("/")[0] if conf["ipam"]["type"] == "whereabouts" else path
        for ip in ipam_addresses(conf["ipam"]):
            assert owners.setdefault(ip, owner) == owner


def test_the_holes_of_a_range_are_excluded(intent_of: Callable[[str], Intent]) -> None:
    text = "  vlan: 2\n  subnets: [10.88.0.0/24]\n  clusters:\n"
    row = "  - {{name: {}, nodePools: [{{uplink: e, count: {}}}]}}\n"
    first = plan_network(intent_of(text + row.format("a", 2) + row.format("b", 2)))
    files = render_files(
        plan_network(intent_of(text + row.format("a", 9) + row.format("b", 2)), first.lock)
    )
    ((_, a), (_, b)) = confs(files)

    assert a["ipam"]["exclude"]
    assert not set(ipam_addresses(a["ipam"])) & set(ipam_addresses(b["ipam"]))
    assert len(set(ipam_addresses(a["ipam"]))) >= 12


def test_policies_reach_control_plane_nodes_and_allow_only_the_vlan(
    intent_of: Callable[[str], Intent],
) -> None:
    files = render_files(plan_network(intent_of("dual stack, HyperConverged v1")))
    east = [item for path, item in objects(files, "east/bridges.yaml")]
    selectors = [item["spec"]["nodeSelector"] for item in east]
    ports = [
        link["bridge"]["port"]
        for item in east
        for link in item["spec"]["desiredState"]["interfaces"]
        if link["type"] == "linux-bridge"
    ]

    assert {"node-role.kubernetes.io/control-plane": ""} in selectors
    assert [port["vlan"] for (port,) in ports] == [{"mode": "trunk", "trunk-tags": [{"id": 7}]}] * 2


def test_an_untagged_network_turns_filtering_off(intent_of: Callable[[str], Intent]) -> None:
    files = render_files(plan_network(intent_of("static, named nodes under NMState")))
    links = [
        item["spec"]["desiredState"]["interfaces"][1] for _, item in objects(files, "bridges.yaml")
    ]

    assert [link["bridge"]["port"][0]["vlan"] for link in links] == [{}] * 3


def test_named_nodes_are_told_apart_by_their_names(intent_of: Callable[[str], Intent]) -> None:
    files = render_files(plan_network(intent_of("static, named nodes under NMState")))
    found = {
        item["metadata"]["name"]: item["spec"]["nodeSelector"]
        for _, item in objects(files, "bridges.yaml")
    }

    assert found["migration-net-workers-a"] == {"kubernetes.io/hostname": "a"}
    assert found["migration-net-masters-m"] == {"kubernetes.io/hostname": "m"}


def test_without_nmstate_nodes_are_prepared_by_uplink_commands(
    intent_of: Callable[[str], Intent],
) -> None:
    files = render_files(plan_network(intent_of("host-local on KubeVirt without NMState")))
    script = files["west/uplink-nodes.sh"]

    assert script.executable
    assert "spanbridge uplink ensure eth2 --bridge br0 --vlan 100 --mtu 1500\n" in script.content
    assert 'for node in w1 w2; do ssh "$node" sudo sh -s <uplink-nodes.sh; done' in (
        files["west/README.md"].content
    )


def test_the_key_uplink_is_for_our_plugin_alone(intent_of: Callable[[str], Intent]) -> None:
    ours = dict(confs(render_files(plan_network(intent_of("our plugin with pools that differ")))))
    others = confs(render_files(plan_network(intent_of("ten lines"))))

    assert {path: conf["uplink"] for path, conf in ours.items()} == {
        "east/nodes/n1.conf": "ens1",
        "east/nodes/n2.conf": "ens1",
        "east/nodes/o1.conf": "eth0",
        "west/network.yaml": "eth1",
    }
    assert not any("uplink" in conf for _, conf in others)


@pytest.mark.parametrize("checker", ["bash -n", "shellcheck"])
def test_scripts_are_sound(planned: Files, tmp_path: Path, checker: str) -> None:
    scripts = [file for file in planned.values() if file.executable]
    paths = [tmp_path / f"{number}.sh" for number in range(len(scripts))]
    for path, script in zip(paths, scripts, strict=True):
        path.write_text(script.content)
    shellcheck = Path(sys.executable).parent / "shellcheck"
    names = [str(path) for path in paths]
    runs = (
        [["bash", "-n", name] for name in names]
        if checker == "bash -n"
        else [[str(shellcheck), "--severity=style", *names]]
    )

    for run in runs:
        done = subprocess.run(run, capture_output=True, text=True, check=False)
        assert done.stdout + done.stderr == ""
        assert done.returncode == 0


def test_what_is_written_does_not_depend_on_chance(intent_of: Callable[[str], Intent]) -> None:
    text = "host-local on KubeVirt without NMState"
    first, second = (render_files(plan_network(intent_of(text))) for _ in range(2))

    assert list(first.items()) == list(second.items())


def test_dnsmasq_takes_the_configuration_of_the_dhcp_server(
    intent_of: Callable[[str], Intent], tmp_path: Path
) -> None:
    files = render_files(plan_network(intent_of("DHCP on OpenShift")))
    path = tmp_path / "dnsmasq.conf"
    path.write_text(files["dnsmasq.conf"].content)
    done = subprocess.run(
        ["dnsmasq", "--test", f"--conf-file={path}"], capture_output=True, text=True, check=False
    )

    assert "syntax check OK" in done.stderr
    assert "dhcp-range=10.88.0.3,10.88.0.254,255.255.255.0,3600" in files["dnsmasq.conf"].content
