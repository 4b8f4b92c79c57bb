# SPDX-License-Identifier: Apache-2.0
"""Namespaces: opened, entered without moving anybody else, their sysctls, named ones."""

import contextlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from spanbridge.base.errors import InputError, NodeError
from spanbridge.rtnl import (
    NetNs,
    Rtnl,
    create_named_netns,
    delete_named_netns,
    named_netns,
    new_veth,
    set_link,
)
from spanbridge.testing.plugin import Netns, run


def inode() -> int:
    return Path("/proc/thread-self/ns/net").stat().st_ino


@pytest.fixture
def named() -> Iterator[str]:
    """A name that is free again afterwards."""
    name = f"mine-{os.getpid()}"
    yield name
    delete_named_netns(name)


def test_a_function_runs_inside(pod_ns: NetNs, pod: Netns) -> None:
    assert pod_ns.run(inode) == pod.path.stat().st_ino
    assert pod_ns.identity == (pod.path.stat().st_dev, pod.path.stat().st_ino)


def test_the_callers_thread_comes_back(pod_ns: NetNs) -> None:
    before = inode()
    pod_ns.run(inode)

    assert inode() == before


def test_it_comes_back_from_an_error_which_comes_out_as_it_is(pod_ns: NetNs) -> None:
    def fail() -> None:
        raise LookupError("inside")

    before = inode()
    with pytest.raises(LookupError, match="inside"):
        pod_ns.run(fail)

    assert inode() == before


def test_other_threads_do_not_move(pod_ns: NetNs) -> None:
    before, seen = inode(), list[int]()
    inside, looked = threading.Event(), threading.Event()

    def look() -> None:
        inside.wait(10)
        seen.append(inode())
        looked.set()

    def stay() -> bool:
        inside.set()
        return looked.wait(10)

    other = threading.Thread(target=look)
    other.start()

    assert pod_ns.run(stay)
    other.join()
    assert seen == [before]


def test_one_visit_leads_to_another_and_back(pod_ns: NetNs, node_ns: NetNs) -> None:
    def visit() -> list[int]:
        return [inode(), node_ns.run(inode), inode()]

    before = inode()

    assert pod_ns.run(visit) == [pod_ns.identity[1], node_ns.identity[1], pod_ns.identity[1]]
    assert inode() == before


def test_a_thread_is_found_where_it_went_for_good(pod_ns: NetNs) -> None:
    seen: list[bool] = []

    def go() -> None:
        seen.append(pod_ns.is_current())
        pod_ns.enter()
        seen.extend((pod_ns.is_current(), inode() == pod_ns.identity[1]))

    mover = threading.Thread(target=go)
    mover.start()
    mover.join()

    assert seen == [False, True, True]


def test_in_the_own_namespace_a_function_is_just_called() -> None:
    with NetNs.current() as own:
        assert own.run(threading.get_ident) == threading.get_ident()
        assert own.is_current()


def test_many_threads_enter_at_once(pod_ns: NetNs, node_ns: NetNs) -> None:
    found: list[bool] = []

    def work(netns: NetNs) -> None:
        found.extend(netns.run(inode) == netns.identity[1] for _ in range(20))

    threads = [threading.Thread(target=work, args=(each,)) for each in (pod_ns, node_ns) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 160


def test_a_socket_stays_where_it_was_made(pod_ns: NetNs, pod: Netns) -> None:
    run("ip", "-n", pod.name, "link", "add", "only-here", "type", "bridge")

    with Rtnl.open(pod_ns) as inside, Rtnl.open() as outside:
        assert inside.link("only-here") is not None
        assert outside.link("only-here") is None


@pytest.mark.parametrize("how", ["path", "name", "process"])
def test_a_namespace_has_many_names(pod: Netns, how: str) -> None:
    argv = ["ip", "netns", "exec", pod.name, "sleep", "60"]
    with subprocess.Popen(argv) if how == "process" else contextlib.nullcontext() as process:
        path = str(pod.path)
        if process is not None:
            path = f"/proc/{process.pid}/ns/net"
            while Path(path).stat().st_ino != pod.path.stat().st_ino:
                pass
        with (
            NetNs.open(pod.name if how == "name" else path) as one,
            NetNs.open(str(pod.path)) as two,
        ):
            assert one == two
            assert hash(one) == hash(two)
        if process is not None:
            process.kill()


def test_different_namespaces_differ(pod_ns: NetNs, node_ns: NetNs) -> None:
    assert pod_ns != node_ns
    assert pod_ns != "pod"


def test_an_absent_path_is_not_found() -> None:
    with pytest.raises(FileNotFoundError):
        NetNs.open("/run/netns/nothing-here")


@pytest.mark.parametrize("kind", ["file", "directory", "fifo", "device", "other-namespace"])
def test_what_is_no_network_namespace_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "it"
    if kind == "file":
        path.touch()
    elif kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path = Path("/dev/null" if kind == "device" else "/proc/self/ns/mnt")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # iterdir would hold one more

    with pytest.raises(NodeError, match="as network namespace: ") as caught:
        NetNs.open(str(path))
    assert "/run/netns/NAME" in caught.value.hint
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208  # as above


def test_closing_twice_does_no_harm(pod: Netns) -> None:
    netns = NetNs.open(str(pod.path))
    netns.close()
    netns.close()

    assert netns.fd == -1


def test_sysctls_are_written_inside_only(pod_ns: NetNs, pod: Netns) -> None:
    own = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    wanted = "0" if pod.run("cat", "/proc/sys/net/ipv4/ip_forward").strip() == "1" else "1"

    assert pod_ns.write_sysctls([("net/ipv4/ip_forward", wanted)]) == ("net/ipv4/ip_forward",)
    assert pod.run("cat", "/proc/sys/net/ipv4/ip_forward").strip() == wanted
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == own


def test_an_equal_sysctl_is_left_alone(pod_ns: NetNs) -> None:
    value = pod_ns.read_sysctl("net/ipv4/ip_forward")

    assert value in {"0", "1"}
    assert pod_ns.write_sysctls([("net/ipv4/ip_forward", value)]) == ()


def test_a_sysctl_that_nobody_may_write_can_be_right(pod_ns: NetNs, pod: Netns) -> None:
    name = "net/ipv4/tcp_available_congestion_control"
    value = pod.run("cat", f"/proc/sys/{name}").strip()

    assert pod_ns.write_sysctls([(name, value)]) == ()
    with pytest.raises(NodeError, match=f"cannot set sysctl {name} to 'other': Permission denied"):
        pod_ns.write_sysctls([(name, "other")])


def test_interface_names_with_dots_have_sysctls(pod_ns: NetNs, inside: Rtnl, pod: Netns) -> None:
    inside.request(new_veth("eth0.7", peer="other"))
    name = "net/ipv6/conf/eth0.7/accept_dad"
    pod_ns.write_sysctls([(name, "0")])

    assert pod.run("cat", f"/proc/sys/{name}").strip() == "0"
    assert pod_ns.sysctls([name, "net/ipv6/conf/none/accept_dad"]) == {
        name: "0",
        "net/ipv6/conf/none/accept_dad": None,
    }


def test_a_missing_sysctl_is_an_error_unless_it_may_miss(pod_ns: NetNs) -> None:
    pairs = [("net/ipv6/conf/none/accept_dad", "0")]

    assert pod_ns.write_sysctls(pairs, missing_ok=True) == ()
    with pytest.raises(NodeError, match="cannot set sysctl net/ipv6/conf/none/accept_dad to '0'"):
        pod_ns.write_sysctls(pairs)


@pytest.mark.parametrize("name", ["", "/net/ipv4/ip_forward", "net/../../etc/passwd", "net//x"])
def test_a_sysctl_stays_below_its_directory(pod_ns: NetNs, name: str) -> None:
    with pytest.raises(InputError, match="it is no name"):
        pod_ns.read_sysctl(name)


def test_a_refused_value_is_told(pod_ns: NetNs) -> None:
    with pytest.raises(NodeError, match="cannot set sysctl net/ipv4/ip_forward to 'maybe': "):
        pod_ns.write_sysctls([("net/ipv4/ip_forward", "maybe")])


def test_a_named_namespace_is_one_of_ips(named: str) -> None:
    create_named_netns(named)

    assert named in run("ip", "netns", "list")
    assert "lo" in run("ip", "netns", "exec", named, "ip", "link")
    assert named in named_netns()
    with NetNs.open(named) as opened, NetNs.current() as own:
        assert opened != own


def test_making_a_namespace_moves_nobody(named: str) -> None:
    before = inode()
    create_named_netns(named)

    assert inode() == before
    assert Path("/proc/self/ns/net").stat().st_ino == before


def test_a_taken_name_is_refused(named: str) -> None:
    create_named_netns(named)

    with pytest.raises(FileExistsError):
        create_named_netns(named)


def test_what_ip_made_is_deleted(pod: Netns) -> None:
    delete_named_netns(pod.name)

    assert pod.name not in run("ip", "netns", "list")
    assert pod.name not in named_netns()
    delete_named_netns(pod.name)


def test_a_leftover_file_is_deleted(named: str) -> None:
    create_named_netns(named)
    run("umount", f"/run/netns/{named}")
    delete_named_netns(named)

    assert named not in named_netns()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "x" * 256])
def test_an_impossible_name_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="as name of a network namespace"):
        create_named_netns(name)


def test_kept_sysctls_are_those_of_their_namespace(node_ns: NetNs, node: Netns) -> None:
    forward = "/proc/sys/net/ipv4/ip_forward"
    own = Path(forward).read_text()
    node_ns.keep_sysctls()

    assert node_ns.write_sysctls([("net/ipv4/ip_forward", "1")]) == ("net/ipv4/ip_forward",)

    told = run("ip", "netns", "exec", node.name, "cat", forward)
    assert told.strip() == "1"
    assert Path(forward).read_text() == own


def test_announcements_are_switched_on_by_netlink(pod_ns: NetNs, pod: Netns) -> None:
    run("ip", "-n", pod.name, "link", "add", "br9", "type", "bridge")
    with Rtnl.open(pod_ns) as rtnl:
        rtnl.request(set_link("br9", arp_notify=True))

    path = "/proc/sys/net/ipv4/conf/br9/arp_notify"
    assert run("ip", "netns", "exec", pod.name, "cat", path).strip() == "1"


def test_a_namespace_whose_sysctls_are_kept_lives_on(node: Netns) -> None:
    def ends() -> set[str]:
        return {each["ifname"] for each in json.loads(run("ip", "-j", "-n", node.name, "link"))}

    with NetNs.open(node.name) as here, Rtnl.open(here) as rtnl:
        with NetNs.empty() as other, NetNs.empty() as kept:
            rtnl.request(new_veth("kept0", peer="eth0", peer_netns=kept))
            rtnl.request(new_veth("other0", peer="eth0", peer_netns=other))
            kept.keep_sysctls()
        # The kernel takes its time to end a namespace, and begins with the first that was left.
        while "other0" in ends():
            time.sleep(0.02)

        assert "kept0" in ends()
