# SPDX-License-Identifier: Apache-2.0
"""Pods of two clusters on one segment, with the stand-ins of KubeVirt's programs in them."""

import contextlib
import dataclasses
import hashlib
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from spanbridge.lab.daemons import Daemon
from spanbridge.lab.kubevirt.handler import HandlerSettings
from spanbridge.lab.kubevirt.sync import SyncSettings
from spanbridge.lab.lifecycle import down
from spanbridge.lab.place import Place, Record
from spanbridge.lab.runtime import Runtime
from spanbridge.lab.standin.control import request
from spanbridge.lab.standin.launching import await_standin, launch_standins
from spanbridge.lab.topology import LabParameters, plan_lab
from spanbridge.lab.trust import ensure_trust, exchange, trust_dir
from spanbridge.testing.plugin import MakeNetns, Netns

CLUSTERS = ("east", "west")


@dataclasses.dataclass(frozen=True)
class Standin:
    """A pod with a stand-in in it, which has a control socket."""

    netns: Netns
    address: str
    cluster: str
    control: Path
    daemon: Daemon
    trust: Path

    def ask(self, do: str, **what: object) -> dict[str, Any]:
        return request(self.control, {"do": do, **what}, timeout_s=15)

    def openssl(self, target: str, *words: str | Path, text: str = "") -> str:
        """Talk TLS to ADDRESS:PORT from inside the pod; all that openssl says."""
        own = ("-connect", target, "-CAfile", self.trust / "ca-bundle", "-no-CApath", "-ign_eof")
        done = subprocess.run(
            ["ip", "netns", "exec", self.netns.name, "openssl", "s_client", *own, *words],
            input=text,
            capture_output=True,
            text=True,
            timeout=15,
            check=False,
        )
        return done.stdout + done.stderr

    def identity(self, name: str) -> tuple[str | Path, ...]:
        """The words that make openssl show a certificate of the pod's cluster."""
        file = self.trust / f"{name}.pem"
        return ("-cert", file, "-key", file)


@dataclasses.dataclass
class Segment:
    """A bridge to which pods are joined, each by its migration0."""

    switch: Netns
    make: MakeNetns
    place: Place
    count: int = 0

    def pod(self, *addresses: str) -> tuple[Netns, int]:
        """Make a pod; its address is 10.9.0.N/24 unless it is given others."""
        self.count += 1
        pod, port = self.make("pod"), f"port{self.count}"
        veth = ("type", "veth", "peer", "migration0", "netns", pod.name)
        self.switch.run("ip", "link", "add", port, *veth)
        self.switch.run("ip", "link", "set", port, "master", "br0", "up")
        pod.run("ip", "link", "set", "lo", "up")
        for address in addresses or (f"10.9.0.{self.count}/24",):
            pod.run("ip", "address", "add", address, "dev", "migration0", "nodad")
        pod.run("ip", "link", "set", "migration0", "up")
        return pod, self.count

    def launch(
        self, cluster: str, pod: Netns, number: int, settings: Callable[..., Any], **more: object
    ) -> Standin:
        """Start a stand-in in a pod and wait until it obeys."""
        control, trust = self.place.directory / f"{number}.sock", trust_dir(self.place, cluster)
        daemon = Daemon(f"stand-in {number}", pod.name, self.place.directory, f"standin{number}")
        launch_standins([(daemon, settings(control=str(control), trust=str(trust), **more))])
        await_standin(daemon, control)
        return Standin(pod, f"10.9.0.{number}", cluster, control, daemon, trust)

    def handler(self, cluster: str) -> Standin:
        """Make a pod with a virt-handler."""
        return self.launch(cluster, *self.pod(), HandlerSettings)

    def sync(self, cluster: str, *, leader: bool = True) -> Standin:
        """Make a pod with a sync controller."""
        return self.launch(cluster, *self.pod(), SyncSettings, leader=leader)

    def exchange(self) -> None:
        """Have the clusters trust each other."""
        exchange(self.place, CLUSTERS)


@pytest.fixture
def pods(netns: MakeNetns, tmp_path: Path) -> Segment:
    """A segment without a pod, and two clusters that do not trust each other yet."""
    switch = netns("switch")
    switch.run("ip", "link", "add", "br0", "up", "type", "bridge")
    place = Place(tmp_path / "s")  # short: sockets are in it
    ensure_trust(place, CLUSTERS)
    return Segment(switch, netns, place)


@contextlib.contextmanager
def bare_lab(directory: Path) -> Iterator[Runtime]:
    """Make the namespaces of two nodes, without the fabric: a machine does not need it."""
    place, parameters = Place(directory), LabParameters(nodes=1)
    place.write(Record(parameters, place.bin_dir, complete=False))
    runtime = Runtime(plan_lab(parameters), place, place.bin_dir)
    for node in runtime.lab.nodes:
        subprocess.run(["ip", "netns", "add", node.netns], check=True)
    yield runtime
    down(place)
    assert "sb-lab" not in subprocess.check_output(["ip", "netns", "list"], text=True)


class Qemu:
    """Whoever listens on a unix socket at the target: reads all, and answers meanwhile."""

    def __init__(self, path: Path, answer: bytes) -> None:
        self.path = path
        self.callers = 0
        self._answer = answer
        self._hash = hashlib.sha256()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            sock, _ = self._listener.accept()
            self.callers += 1
            answering = threading.Thread(target=self._send, args=(sock,))
            answering.start()
            with sock:
                while data := sock.recv(1 << 20):
                    self._hash.update(data)
                answering.join()

    def _send(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            sock.sendall(self._answer)

    def digest(self) -> str:
        """Wait for the end of the stream; its SHA-256."""
        self._thread.join(15)
        assert not self._thread.is_alive(), "the stream does not end"
        return self._hash.hexdigest()

    def close(self) -> None:
        """Let nobody in any more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(15)
        self._listener.close()


class MakeQemu(Protocol):
    """The factory that the fixture `qemu` gives."""

    def __call__(self, path: Path, answer: bytes = b"") -> Qemu:
        """Listen at ``path``, and send ``answer`` to who comes."""


@pytest.fixture
def qemu() -> Iterator[MakeQemu]:
    """Make listeners that are gone when the test ends."""
    made: list[Qemu] = []

    def make(path: Path, answer: bytes = b"") -> Qemu:
        made.append(Qemu(path, answer))
        return made[-1]

    yield make
    for each in made:
        each.close()


def until(happened: Callable[[], bool], *, seconds: float = 15) -> bool:
    """Look again and again until something is so; tell whether it is."""
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
