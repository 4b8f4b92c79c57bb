# SPDX-License-Identifier: Apache-2.0
"""A pod's namespace is found by the agent's own record, or by a process of its container."""

import json
from pathlib import Path

import pytest

from spanbridge.agent.pod_netns import PodIdentity, find_pod_netns
from spanbridge.base.errors import NodeError

CONTAINER = "0123456789abcdef" * 4
POD = PodIdentity("openshift-cnv", "virt-handler-x7k2p", (f"cri-o://{CONTAINER}",))


def _record(directory: Path, netns: Path, *, pod: str = POD.name, ifname: str = "migration0") -> (
    Path
):  # fmt: skip
    """Write a record as docs/reference/agent.md describes it."""
    directory.mkdir(exist_ok=True)
    path = directory / f"{pod}-{ifname}.json"
    path.write_text(
        json.dumps(
            {
                "version": 1,
                "network": "migration-net",
                "containerId": "sandbox",
                "ifname": ifname,
                "program": "bridge",
                "netns": str(netns),
                "sandbox": [4, 1],
                "visible": True,
                "host": [4, 2],
                "bootId": "boot",
                "attached": 1.5,
                "args": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=openshift-cnv;K8S_POD_NAME={pod}",
                "path": "/opt/cni/bin",
                "config": "{}",
                "result": {"cniVersion": "1.0.0"},
            }
        )
    )
    return path


def _process(proc: Path, pid: int, text: str) -> None:
    (proc / str(pid)).mkdir(parents=True)
    (proc / str(pid) / "cgroup").write_text(text)


def test_the_agents_own_record_leads_there(tmp_path: Path) -> None:
    netns = tmp_path / "netns"
    netns.touch()
    _record(tmp_path / "records", tmp_path / "other", pod="virt-api")
    _record(tmp_path / "records", tmp_path / "eth0", ifname="eth0")
    _record(tmp_path / "records", netns)
    assert find_pod_netns(POD, "migration0", tmp_path / "records", tmp_path) == str(netns)


def test_a_process_of_the_container_leads_there(tmp_path: Path) -> None:
    _process(tmp_path, 17, "0::/kubepods.slice/crio-ffffffffffff.scope\n")
    _process(tmp_path, 4242, f"0::/kubepods.slice/kubepods-pod1.slice/crio-{CONTAINER}.scope\n")
    found = find_pod_netns(POD, "migration0", tmp_path / "none", tmp_path)
    assert found == f"{tmp_path}/4242/ns/net"


def test_a_record_whose_namespace_is_gone_does_not_count(tmp_path: Path) -> None:
    _record(tmp_path / "records", tmp_path / "gone")
    _process(tmp_path / "proc", 9, f"0::/{CONTAINER}\n")
    found = find_pod_netns(POD, "migration0", tmp_path / "records", tmp_path / "proc")
    assert found == f"{tmp_path}/proc/9/ns/net"


def test_a_damaged_record_and_one_being_written_are_left_alone(tmp_path: Path) -> None:
    damaged = _record(tmp_path / "records", tmp_path / "x")
    damaged.write_text("{")
    half = tmp_path / "records" / ".tag"
    half.touch()
    with pytest.raises(NodeError, match="cannot find the network of pod openshift-cnv/virt-hand"):
        find_pod_netns(POD, "migration0", tmp_path / "records", tmp_path / "proc")
    assert damaged.exists()
    assert half.exists()


@pytest.mark.parametrize("identifier", ["", "/", "cri-o://", "abc"])
def test_an_identifier_that_is_none_matches_no_process(tmp_path: Path, identifier: str) -> None:
    _process(tmp_path, 1, "0::/abc\n")
    pod = PodIdentity("openshift-cnv", "virt-handler-x7k2p", (identifier,))
    with pytest.raises(NodeError):
        find_pod_netns(pod, "migration0", tmp_path / "none", tmp_path)
