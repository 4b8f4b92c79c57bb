# SPDX-License-Identifier: Apache-2.0
"""The scripts of a plan, run against saved objects of two clusters."""

import json
from collections.abc import Callable

import pytest

from spanbridge.testing.clusters import SavedClusters

HCO = "hyperconvergeds.hco.kubevirt.io"


PlanInto = Callable[[str], SavedClusters]


@pytest.fixture
def made(plan_into: PlanInto) -> SavedClusters:
    """The ten-line intent, planned, beside its two saved clusters."""
    return plan_into("ten lines")


def test_apply_brings_the_network_and_leaves_other_settings_alone(made: SavedClusters) -> None:
    done = made.run("./apply.sh", cwd="east")
    spec = made.read("east", HCO, "kubevirt-hyperconverged")["spec"]

    assert done.returncode == 0, done.stderr
    assert spec["featureGates"] == {"decentralizedLiveMigration": True, "downwardMetrics": True}
    assert spec["liveMigrationConfig"] == {
        "parallelMigrationsPerCluster": 5,
        "network": "migration-net",
    }
    assert "virt-handler successfully rolled out" in done.stdout


def test_check_fails_before_apply_and_passes_after_it(made: SavedClusters) -> None:
    before = made.run("./check.sh", cwd="east")
    made.run("./apply.sh", cwd="east")
    after = made.run("./check.sh", cwd="east")

    assert before.returncode == 1
    assert "✗ network migration-net is missing" in before.stdout
    assert "no address on migration0, so it would use the pod network" in before.stdout
    assert after.returncode == 0, after.stdout + after.stderr
    assert "✗" not in after.stdout
    assert "✓ synchronization addresses: 10.88.0.5:9185" in after.stdout


def test_check_finds_an_address_that_the_plan_did_not_give(made: SavedClusters) -> None:
    made.run("./apply.sh", cwd="east")
    pod = made.read("east", "pods", "virt-handler-1")
    status = [{"interface": "migration0", "ips": ["10.88.0.10"]}]
    pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"] = json.dumps(status)
    made.save("east", "pods", pod)
    done = made.run("./check.sh", cwd="east")

    assert done.returncode == 1
    assert "✗ virt-handler-1 on east-1: 10.88.0.10 is not in 10.88.0.2-10.88.0.9" in done.stdout


def test_apply_can_be_run_again(made: SavedClusters) -> None:
    first = made.run("./apply.sh", cwd="west")
    second = made.run("./apply.sh", cwd="west")

    assert (first.returncode, second.returncode) == (0, 0)


def test_apply_says_so_when_kubevirt_is_not_there(made: SavedClusters) -> None:
    (made.saved / "east/namespaces/_/openshift-cnv.json").unlink()
    done = made.run("./apply.sh", cwd="east")

    assert done.returncode == 1
    assert "is KubeVirt installed there?" in done.stderr


@pytest.mark.parametrize(
    "gates", [None, ["Other=Enabled"], ["decentralizedLiveMigration=Disabled"]]
)
def test_the_list_of_gates_in_v1_keeps_its_other_elements(
    plan_into: PlanInto, gates: list[str] | None
) -> None:
    text = (
        "  vlan: 2\n  subnets: [10.88.0.0/24]\n  defaults: {hyperconverged: v1}\n"
        "  clusters: [{name: east, nodePools: [{uplink: eth1, count: 3}]}]\n"
    )
    clusters = plan_into(text)
    settings = clusters.read("east", HCO, "kubevirt-hyperconverged")
    settings["apiVersion"] = "hco.kubevirt.io/v1"
    rows = [dict(zip(("name", "state"), gate.split("="), strict=True)) for gate in gates or []]
    settings["spec"] = {"featureGates": rows} if gates else {}
    clusters.save("east", HCO, settings)
    done = clusters.run("./apply.sh", cwd="east")
    spec = clusters.read("east", HCO, "kubevirt-hyperconverged")["spec"]
    kept = [row for row in rows if row["name"] == "Other"]

    assert done.returncode == 0, done.stderr
    assert spec["featureGates"] == [
        *kept,
        {"name": "decentralizedLiveMigration", "state": "Enabled"},
    ]
    assert spec["virtualization"]["liveMigrationConfig"]["network"] == "migration-net"


@pytest.mark.parametrize("gates", [None, ["LiveMigration"]])
def test_gates_of_plain_kubevirt_are_added_to(plan_into: PlanInto, gates: list[str] | None) -> None:
    text = (
        "  vlan: 2\n  subnets: [10.88.0.0/24]\n  clusters:\n"
        "  - {name: east, flavor: kubevirt, namespace: openshift-cnv,"
        " nodePools: [{uplink: eth1, count: 3}]}\n"
    )
    clusters = plan_into(text)
    (clusters.saved / "east" / HCO / "openshift-cnv/kubevirt-hyperconverged.json").unlink()
    kubevirt = clusters.read("east", "kubevirts.kubevirt.io", "kubevirt")
    if gates:
        kubevirt["spec"] = {"configuration": {"developerConfiguration": {"featureGates": gates}}}
    clusters.save("east", "kubevirts.kubevirt.io", kubevirt)
    done = clusters.run("./apply.sh", cwd="east")
    again = clusters.run("./apply.sh", cwd="east")
    found = clusters.read("east", "kubevirts.kubevirt.io", "kubevirt")["spec"]["configuration"]

    assert (done.returncode, again.returncode) == (0, 0), done.stderr + again.stderr
    assert found["developerConfiguration"]["featureGates"] == [
        *(gates or []),
        "DecentralizedLiveMigration",
    ]
    assert found["migrations"]["network"] == "migration-net"


@pytest.mark.parametrize("listed", [True, False], ids=["beside others", "alone"])
def test_openshift_is_asked_for_its_dhcp_daemon_once(
    plan_into: PlanInto,
    listed: bool,  # noqa: FBT001  # a parameter
) -> None:
    clusters = plan_into("DHCP on OpenShift")
    if not listed:
        network = clusters.read("east", "networks.operator.openshift.io", "cluster")
        clusters.save("east", "networks.operator.openshift.io", {**network, "spec": {}})
    for _ in range(2):
        assert clusters.run("./apply.sh", cwd="east").returncode == 0
    spec = clusters.read("east", "networks.operator.openshift.io", "cluster")["spec"]
    names = [each["name"] for each in spec["additionalNetworks"]]

    assert names == (["other"] if listed else []) + ["dhcp-shim"]


def bundle(made: SavedClusters, context: str) -> str:
    text: str = made.read(context, "configmaps", "kubevirt-ca")["data"]["ca-bundle"]
    return text


def test_authorities_are_exchanged_both_ways(made: SavedClusters) -> None:
    east, west = bundle(made, "east"), bundle(made, "west")
    before = made.run("./exchange-ca.sh", "--check")
    done = made.run("../exchange-ca.sh", "east", cwd="east")
    after = made.run("./exchange-ca.sh", "--check")

    assert before.returncode == 1
    assert "✗ east does not trust west" in before.stdout
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == ["✓ east trusts west", "✓ west trusts east"]
    assert after.returncode == 0
    assert west.strip() in bundle(made, "east")
    assert east.strip() in bundle(made, "west")
    assert made.read("east", "configmaps", "kubevirt-external-ca")["data"] == {"ca-bundle": ""}


def test_an_authority_that_cannot_be_read_is_not_handed_on(made: SavedClusters) -> None:
    broken = {"ca-bundle": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}
    config = made.read("west", "configmaps", "kubevirt-ca") | {"data": broken}
    made.save("west", "configmaps", config)
    done = made.run("./exchange-ca.sh")

    assert done.returncode == 2
    assert "kubevirt-ca of west cannot be read" in done.stderr
    assert not (made.saved / "east/configmaps/openshift-cnv/kubevirt-external-ca.json").exists()


def test_an_authority_that_is_dropped_again_is_noticed(made: SavedClusters) -> None:
    config = made.read("east", "configmaps", "kubevirt-ca")
    made.run("./exchange-ca.sh")
    made.save("east", "configmaps", config)
    done = made.run("./exchange-ca.sh", "--check", "east", "west")

    assert done.returncode == 1
    assert "✗ east does not trust west" in done.stdout
    assert "✓ west trusts east" in done.stdout


def test_exchange_knows_its_clusters(made: SavedClusters) -> None:
    done = made.run("./exchange-ca.sh", "nowhere")

    assert done.returncode == 2
    assert "nowhere is no cluster" in done.stderr


def test_node_configurations_reach_their_nodes(plan_into: PlanInto) -> None:
    clusters = plan_into("host-local on KubeVirt without NMState")
    ssh = clusters.plan / "ssh"
    ssh.write_text('#!/bin/sh\nmkdir -p "nodes.got/$1" && cat >"nodes.got/$1/conf"\n')
    ssh.chmod(0o755)
    done = clusters.run("env", f"SSH={ssh}", "./install-node-configs.sh", cwd="east")
    got = {path.parent.name: path.read_text() for path in clusters.plan.glob("east/nodes.got/*/*")}

    assert done.returncode == 0, done.stderr
    assert "✓ e1: /etc/cni/multus/net.d/migration-net.conf" in done.stdout
    assert got == {
        name: (clusters.plan / f"east/nodes/{name}.conf").read_text() for name in ("e1", "e2", "e3")
    }
