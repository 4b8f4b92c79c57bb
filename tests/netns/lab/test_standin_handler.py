# SPDX-License-Identifier: Apache-2.0
"""The stand-in of virt-handler: migrations over migration0, and who may take part."""

import contextlib
import hashlib
import json
import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.netns.lab.conftest import CLUSTERS, MakeQemu, Segment, Standin, until

from spanbridge.base.errors import NodeError
from spanbridge.lab.daemons import find_daemon
from spanbridge.lab.kubevirt.handler import HandlerSettings
from spanbridge.lab.trust import forget

MIB = 1 << 20


def _prepare(east: Standin, west: Standin, tmp_path: Path, *labels: int) -> dict[str, str]:
    """Prepare a migration m1 from east to west; the source's sockets by label."""
    sockets = {str(label): str(tmp_path / f"t{label}") for label in labels}
    made = west.ask("target", migration="m1", sockets=sockets)
    assert made["address"] == west.address
    directory = str(tmp_path / "d")
    asked = {"address": made["address"], "ports": made["ports"], "directory": directory}
    return dict(east.ask("source", migration="m1", **asked)["sockets"])


@contextlib.contextmanager
def _connected(path: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(15)
        sock.connect(path)
        yield sock


def _attempt(path: str) -> bytes:
    """Send something, and read until the other side ends it."""
    with _connected(path) as sock:
        sock.sendall(b"QEVM")
        return _read_end(sock)


def _read_end(sock: socket.socket) -> bytes:
    """Read something or the end: a reset, where we had sent more than was read."""
    with contextlib.suppress(ConnectionResetError):
        return sock.recv(100)
    return b""


def _received(standin: Standin, device: str) -> int:
    (link,) = json.loads(standin.netns.run("ip", "-j", "-s", "link", "show", "dev", device))
    return int(link["stats64"]["rx"]["bytes"])


def test_bytes_pass_whole_over_migration0_from_socket_to_socket(
    pods: Segment, tmp_path: Path, qemu: MakeQemu
) -> None:
    east, west = pods.handler("east"), pods.handler("west")
    pods.exchange()
    listening = qemu(tmp_path / "t49152")
    sockets = _prepare(east, west, tmp_path, 49152)
    before = _received(west, "migration0")
    stream = os.urandom(8 * MIB)
    with _connected(sockets["49152"]) as sock:
        sock.sendall(stream)
    assert listening.digest() == hashlib.sha256(stream).hexdigest()
    assert _received(west, "migration0") - before > 8 * MIB
    assert _received(west, "lo") < MIB
    assert east.ask("end", migration="m1") == {"bytes": {"49152": 8 * MIB}, "troubles": []}
    assert west.ask("end", migration="m1") == {"bytes": {"49152": 8 * MIB}, "troubles": []}


def test_bytes_pass_back_while_others_are_on_their_way(
    pods: Segment, tmp_path: Path, qemu: MakeQemu
) -> None:
    east, west = pods.handler("east"), pods.handler("west")
    pods.exchange()
    back = os.urandom(4 * MIB)
    listening = qemu(tmp_path / "t49152", back)
    sockets = _prepare(east, west, tmp_path, 49152)
    stream, got = os.urandom(4 * MIB), b""
    with _connected(sockets["49152"]) as sock:
        sending = threading.Thread(target=sock.sendall, args=(stream,))
        sending.start()
        while len(got) < len(back):
            got += sock.recv(MIB)
        sending.join()
    assert got == back
    assert listening.digest() == hashlib.sha256(stream).hexdigest()
    assert east.ask("end", migration="m1")["bytes"] == {"49152": 8 * MIB}


def test_every_label_leads_to_its_own_socket(pods: Segment, tmp_path: Path, qemu: MakeQemu) -> None:
    east, west = pods.handler("east"), pods.handler("west")
    pods.exchange()
    qemus = {label: qemu(tmp_path / f"t{label}") for label in (0, 49152, 49153)}
    sockets = _prepare(east, west, tmp_path, *qemus)
    assert sorted(Path(path).name for path in sockets.values()) == [
        *("m1-49152-source.sock", "m1-49153-source.sock", "m1-source.sock")
    ]
    for label in qemus:
        with _connected(sockets[str(label)]) as sock:
            sock.sendall(str(label).encode())
    for label, listening in qemus.items():
        assert listening.digest() == hashlib.sha256(str(label).encode()).hexdigest()


def test_ports_are_the_kernels_choice_on_every_address(pods: Segment, tmp_path: Path) -> None:
    west = pods.handler("west")
    west.netns.run("sysctl", "-q", "net.ipv4.ip_local_port_range=20000 20999")
    sockets = {"0": str(tmp_path / "a"), "49152": str(tmp_path / "b")}
    ports = west.ask("target", migration="m1", sockets=sockets)["ports"]
    lines = [line.split() for line in west.netns.run("ss", "-Hltn").splitlines()]
    listening = {line[3].rpartition(":")[2]: line[3].rpartition(":")[0] for line in lines}
    assert listening.pop("8443")
    assert listening == dict.fromkeys(ports, "*")
    assert all(20000 <= int(port) <= 20999 for port in ports)
    assert sorted(ports.values()) == [0, 49152]


def test_the_end_closes_the_ports_and_takes_the_sockets_away(
    pods: Segment, tmp_path: Path, qemu: MakeQemu
) -> None:
    east, west = pods.handler("east"), pods.handler("west")
    pods.exchange()
    listening = qemu(tmp_path / "t49152")
    (path,) = _prepare(east, west, tmp_path, 49152).values()
    with _connected(path) as sock:
        sock.sendall(b"on its way")
        assert until(lambda: bool(listening.callers))
        west.ask("end", migration="m1")
        assert _read_end(sock) == b""
        east.ask("end", migration="m1")
    assert len(west.netns.run("ss", "-Hltn").splitlines()) == 1
    assert not Path(path).exists()
    assert east.ask("status")["migrations"] == west.ask("status")["migrations"] == []


def test_a_migration_that_is_prepared_again_starts_over(
    pods: Segment, tmp_path: Path, qemu: MakeQemu
) -> None:
    east, west = pods.handler("east"), pods.handler("west")
    pods.exchange()
    (path,) = _prepare(east, west, tmp_path, 49152).values()
    assert _attempt(path) == b""
    qemu(tmp_path / "t49152", b"now")
    assert _prepare(east, west, tmp_path, 49152) == {"49152": path}
    assert _attempt(path) == b"now"
    assert len(west.netns.run("ss", "-Hltn").splitlines()) == 2


def test_a_source_whose_authority_is_unknown_is_refused(
    pods: Segment, tmp_path: Path, qemu: MakeQemu
) -> None:
    east, west = pods.handler("east"), pods.handler("west")
    listening = qemu(tmp_path / "t49152")
    sockets = _prepare(east, west, tmp_path, 49152)
    assert _attempt(sockets["49152"]) == b""
    (trouble,) = east.ask("end", migration="m1")["troubles"]
    assert re.search(r"cannot connect to 10\.9\.0\.2:\d+: certificate verify failed", trouble)
    assert listening.callers == 0


def test_running_programs_mind_what_is_exchanged_and_forgotten(
    pods: Segment, tmp_path: Path, qemu: MakeQemu
) -> None:
    east, west = pods.handler("east"), pods.handler("west")
    qemu(tmp_path / "t0", b"first")
    sockets = _prepare(east, west, tmp_path, 0, 49152)
    assert _attempt(sockets["0"]) == b""
    pods.exchange()
    assert _attempt(sockets["0"]) == b"first"
    # From now on the target refuses, while the source would have it.
    forget(pods.place, "west", "east")
    listening = qemu(tmp_path / "t49152", b"second")
    assert _attempt(sockets["49152"]) == b""
    (trouble,) = west.ask("end", migration="m1")["troubles"][-1:]
    assert re.search(r"cannot accept 10\.9\.0\.1:\d+: certificate verify failed", trouble)
    assert listening.callers == 0


@pytest.mark.parametrize(
    ("name", "callers"),
    [("migration-client", 1), ("virt-handler-client", 0), ("sync-client", 0)],
)
def test_only_migration_clients_are_let_in_to_qemu(
    pods: Segment, tmp_path: Path, qemu: MakeQemu, name: str, callers: int
) -> None:
    east, west = pods.handler("east"), pods.handler("west")
    pods.exchange()
    listening = qemu(tmp_path / "t0", b"qemu is here")
    (port,) = west.ask("target", migration="m1", sockets={"0": str(listening.path)})["ports"]
    said = east.openssl(f"{west.address}:{port}", *east.identity(name), "-no_ign_eof")
    assert until(
        lambda: bool(listening.callers) or bool(west.ask("status")["migrations"][0]["troubles"])
    )
    assert listening.callers == callers
    assert "Verify return code: 0 (ok)" in said
    troubles = west.ask("end", migration="m1")["troubles"]
    assert ["common name is invalid" in each for each in troubles] == [True] * (1 - callers)


def test_a_client_without_a_certificate_is_not_let_in_to_qemu(
    pods: Segment, tmp_path: Path, qemu: MakeQemu
) -> None:
    east, west = pods.handler("east"), pods.handler("west")
    pods.exchange()
    listening = qemu(tmp_path / "t0")
    (port,) = west.ask("target", migration="m1", sockets={"0": str(listening.path)})["ports"]
    said = east.openssl(f"{west.address}:{port}")
    assert "alert certificate required" in said
    assert listening.callers == 0


def test_a_target_without_qemu_says_so(pods: Segment, tmp_path: Path) -> None:
    east, west = pods.handler("east"), pods.handler("west")
    pods.exchange()
    sockets = _prepare(east, west, tmp_path, 49152)
    assert _attempt(sockets["49152"]) == b""
    (trouble,) = west.ask("end", migration="m1")["troubles"]
    assert f"cannot connect to {tmp_path}/t49152: No such file" in trouble


def test_a_target_that_is_not_there_is_named(pods: Segment, tmp_path: Path) -> None:
    east = pods.handler("east")
    nobody = {"address": "10.9.0.77", "ports": {"41233": 49152}, "directory": str(tmp_path)}
    (path,) = east.ask("source", migration="m1", **nobody)["sockets"].values()
    assert _attempt(path) == b""
    (trouble,) = east.ask("end", migration="m1")["troubles"]
    assert trouble == "cannot connect to 10.9.0.77:41233: No route to host (label 49152)"


def test_health_is_told_to_anybody(pods: Segment) -> None:
    east, west = pods.handler("east"), pods.handler("west")
    url = f"https://{west.address}:8443"
    assert east.netns.run("curl", "-sSk", f"{url}/healthz") == "ok"
    status = ("-o", "/dev/null", "-w", "%{http_code}")
    assert east.netns.run("curl", "-sSk", *status, f"{url}/secrets") == "404"


def test_the_health_port_shows_who_signed_it(pods: Segment) -> None:
    east, west = pods.handler("east"), pods.handler("west")
    before = east.openssl(f"{west.address}:8443", text="GET /healthz HTTP/1.1\r\n\r\n")
    pods.exchange()
    after = east.openssl(f"{west.address}:8443", text="GET /healthz HTTP/1.1\r\n\r\n")
    assert "unable to verify the first certificate" in before
    assert "Verify return code: 0 (ok)" in after
    assert "subject=CN = kubevirt.io:system:node:virt-handler" in after


def test_the_authority_itself_is_not_sent(pods: Segment) -> None:
    west = pods.handler("west")
    said = west.openssl("127.0.0.1:8443", "-showcerts", text="GET /healthz HTTP/1.1\r\n\r\n")
    assert "Verify return code: 0 (ok)" in said
    assert "s:CN = kubevirt.io:system:node:virt-handler" in said
    assert "s:CN = kubevirt.io@" not in said


def test_a_certificate_that_is_shown_to_the_health_port_has_to_be_good(pods: Segment) -> None:
    east, west = pods.handler("east"), pods.handler("west")
    shown = ("-sSk", "--cert", str(east.trust / "migration-client.pem"))
    ask = ["ip", "netns", "exec", east.netns.name, "curl", *shown]
    url = f"https://{west.address}:8443/healthz"
    refused = subprocess.run([*ask, url], capture_output=True, text=True, check=False)
    assert "unknown ca" in refused.stderr
    pods.exchange()
    assert subprocess.check_output([*ask, url], text=True) == "ok"


@pytest.mark.parametrize(
    ("addresses", "taken"),
    [
        (("10.9.0.5/24", "10.9.0.4/24"), "10.9.0.5"),
        (("169.254.7.7/16", "10.9.0.5/24"), "10.9.0.5"),
        (("fd09::5/64", "10.9.0.5/24"), "10.9.0.5"),
        (("fd09::5/64",), "fd09::5"),
    ],
)
def test_the_first_global_address_is_advertised(
    pods: Segment, addresses: tuple[str, ...], taken: str
) -> None:
    handler = pods.launch("east", *pods.pod(*addresses), HandlerSettings, pod_address="10.1.0.9")
    status = handler.ask("status")
    assert (status["address"], status["network"]) == (taken, "migration0")


def test_an_address_that_changes_later_is_not_noticed(pods: Segment) -> None:
    east = pods.handler("east")
    east.netns.run("ip", "address", "flush", "dev", "migration0")
    east.netns.run("ip", "address", "add", "10.9.0.99/24", "dev", "migration0")
    assert east.ask("status")["address"] == "10.9.0.1"


def test_without_migration0_the_pods_own_address_is_advertised(pods: Segment) -> None:
    pod, number = pods.pod()
    pod.run("ip", "link", "delete", "migration0")
    handler = pods.launch("east", pod, number, HandlerSettings, pod_address="10.1.0.9")
    status = handler.ask("status")
    assert (status["address"], status["network"]) == ("10.1.0.9", "pod network")


def test_a_handler_ends_that_finds_no_address_on_migration0(pods: Segment) -> None:
    pod, number = pods.pod("169.254.7.7/16")
    with pytest.raises(NodeError, match="it ended; it wrote: cannot take an address: migration0"):
        pods.launch("east", pod, number, HandlerSettings, pod_address="10.1.0.9")


def test_a_handler_ends_at_sigterm(pods: Segment) -> None:
    east = pods.handler("east")
    pid = find_daemon(east.daemon)
    assert pid is not None
    os.kill(pid, 15)
    assert until(lambda: find_daemon(east.daemon) is None)


def test_an_unknown_verb_is_answered_with_the_known_ones(pods: Segment) -> None:
    with pytest.raises(NodeError, match=r"cannot do 'dance': unknown \(one of target, source"):
        pods.handler(CLUSTERS[0]).ask("dance")
