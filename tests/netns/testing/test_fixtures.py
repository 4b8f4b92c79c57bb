# SPDX-License-Identifier: Apache-2.0
"""The public fixtures, tried on the kernel."""

import subprocess
import time
from pathlib import Path

import pytest

from spanbridge.testing import sandbox
from spanbridge.testing.plugin import AskTool, MakeNetns, Netns, run


def test_the_tier_runs_in_a_sandbox(ip_json: AskTool) -> None:
    assert sandbox.inside()
    assert [link["ifname"] for link in ip_json("link")] == ["lo"]


def test_namespaces_of_one_role_have_names_of_their_own(netns: MakeNetns) -> None:
    assert netns("pod").name != netns("pod").name


def test_two_namespaces_reach_each_other_over_a_veth(node: Netns, pod: Netns) -> None:
    run("ip", "-n", node.name, "link", "add", "near", "type", "veth")
    run("ip", "-n", node.name, "link", "set", "veth0", "netns", pod.name)
    for where, link, address in ((node, "near", "10.9.9.1/24"), (pod, "veth0", "10.9.9.2/24")):
        run("ip", "-n", where.name, "addr", "add", address, "dev", link)
        run("ip", "-n", where.name, "link", "set", link, "up")

    assert pod.ping("10.9.9.1")
    assert not pod.ping("10.9.9.7", wait_s=1)


def test_tools_are_asked_in_the_namespace(
    node: Netns, ip_json: AskTool, bridge_json: AskTool, nft_json: AskTool
) -> None:
    run("ip", "-n", node.name, "link", "add", "br9", "type", "bridge")
    run("ip", "-n", node.name, "link", "add", "p1", "master", "br9", "type", "veth")
    node.run("nft", "add table inet mine")

    assert ip_json("link", "show", "br9", netns=node)[0]["linkinfo"]["info_kind"] == "bridge"
    assert [port["ifname"] for port in bridge_json("link", netns=node)] == ["p1"]
    assert nft_json("list", "tables", netns=node)[0]["table"]["name"] == "mine"
    assert nft_json("list", "tables") == []


def test_a_failing_tool_fails_the_test_with_what_it_said(pod: Netns) -> None:
    with pytest.raises(pytest.fail.Exception, match="does not exist"):
        pod.run("ip", "link", "show", "absent0")


def test_namespaces_and_their_processes_end_with_the_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import subprocess
        from pathlib import Path

        def test_leaves_a_process(netns):
            pod = netns("left")
            child = subprocess.Popen(["ip", "netns", "exec", pod.name, "sleep", "600"])
            entered = Path(f"/proc/{child.pid}/ns/net")
            while entered.stat().st_ino != pod.path.stat().st_ino:
                pass
            Path("seen").write_text(f"{pod.path} {child.pid}")
            child.returncode = 0  # the process is left on purpose
        """
    )

    inner = pytester.runpytest_inprocess("--disable-plugin-autoload", "-p", "spanbridge")

    inner.assert_outcomes(passed=1)

    path, pid = (pytester.path / "seen").read_text().split()
    assert not Path(path).exists()
    deadline = time.monotonic() + 5
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _runs(pid)


def _runs(pid: str) -> bool:
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True, check=False
    ).stdout
    return bool(state.strip()) and not state.startswith("Z")
