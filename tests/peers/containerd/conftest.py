# SPDX-License-Identifier: Apache-2.0
"""A containerd of our own in the sandbox, with an image made of busybox and nothing else."""

import dataclasses
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from spanbridge.cni.install import built_shim, install
from spanbridge.testing.modes import ONESHOT

if TYPE_CHECKING:
    from spanbridge.testing.agent import Agent

START_TIMEOUT_S = 15
CALL_TIMEOUT_S = 60
IMAGE = "localhost/busybox:test"
APPLETS = ("sh", "ip", "ping", "sleep")

CONFIG = """\
version = 2
root = "{place}/root"
state = "/run/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{socket}"
"""


@dataclasses.dataclass(frozen=True)
class Containerd:
    """
    A running daemon, and where its runtime looks for networks.

    Attributes:
        socket: Of the daemon.
        networks: /etc/cni/net.d.
        environ: What ctr hands on to the plugins.
    """

    socket: Path
    networks: Path
    environ: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def ctr(self, *arguments: str) -> str:
        """Run ctr against it; its standard output."""
        done = subprocess.run(
            ["ctr", "--address", str(self.socket), *arguments],
            env=os.environ | dict(self.environ),
            capture_output=True,
            text=True,
            timeout=CALL_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run(self, name: str, script: str) -> str:
        """
        Run a shell script in a new container on the first network; its output.

        It comes by a file: ctr stops copying as soon as the container has ended, and
        sometimes before the first byte.
        """
        with tempfile.TemporaryDirectory() as place:
            kind = ("run", "--cni", "--rm", "--snapshotter", "native")
            mount = ("--mount", f"type=bind,src={place},dst=/tmp,options=rbind:rw")
            script = f"exec >/tmp/said 2>&1; {script}"
            self.ctr(*kind, *mount, IMAGE, name, "/bin/sh", "-c", script)
            return Path(place, "said").read_text()


def _layer() -> bytes:
    """A root file system: busybox, links to it, and the mount points that runc wants."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("bin", "proc", "sys", "dev", "etc", "tmp"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        program = Path(shutil.which("busybox") or "/bin/busybox").read_bytes()
        entry = tarfile.TarInfo("bin/busybox")
        entry.size, entry.mode = len(program), 0o755
        tar.addfile(entry, io.BytesIO(program))
        for name in APPLETS:
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
    return buffer.getvalue()


def _write_image(path: Path) -> None:
    """An image archive in the form of `docker save`."""
    layer = _layer()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": ["PATH=/bin"]},
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"],
            },
        }
    ).encode()
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    listed = [{"Config": name, "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]
    files = {name: config, "layer.tar": layer, "manifest.json": json.dumps(listed).encode()}
    with tarfile.open(path, "w") as tar:
        for each, data in files.items():
            entry = tarfile.TarInfo(each)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


def _in_user_namespace() -> bool:
    """Whether root here is an ordinary user outside."""
    return Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


@pytest.fixture(scope="session")
def networks() -> Path:
    """
    /etc/cni/net.d and /opt/cni/bin of the sandbox: ctr knows no other places.

    The tier runs in a mount namespace of its own, so what is laid over /etc and /opt
    is seen by nobody else.
    """
    for place in ("etc", "opt"):
        upper = Path(f"/run/overlay-{place}")
        for name in ("upper", "work"):
            (upper / name).mkdir(parents=True)
        options = f"lowerdir=/{place},upperdir={upper}/upper,workdir={upper}/work"
        _mount("-t", "overlay", "-o", options, "overlay", f"/{place}")
    directory = Path("/etc/cni/net.d")
    shutil.rmtree("/etc/cni", ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


@pytest.fixture(scope="session")
def daemon(networks: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    """A daemon that ends with the session."""
    if _in_user_namespace():
        pytest.skip("containerd needs root outside of a user namespace")
    place = tmp_path_factory.mktemp("containerd")
    socket = Path("/run/containerd/containerd.sock")
    config = place / "config.toml"
    config.write_text(CONFIG.format(place=place, socket=socket))
    with (place / "log").open("wb") as log:
        daemon = subprocess.Popen(["containerd", "--config", str(config)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not socket.exists():
            assert daemon.poll() is None, (place / "log").read_text()
            assert time.monotonic() < deadline, (place / "log").read_text()
            time.sleep(0.05)
        _write_image(place / "image.tar")
        running = Containerd(socket, networks)
        running.ctr("image", "import", "--snapshotter", "native", str(place / "image.tar"))
        yield running
    finally:
        daemon.terminate()
        daemon.wait(timeout=START_TIMEOUT_S)


@pytest.fixture
def containerd(cni_mode: str, daemon: Containerd, request: pytest.FixtureRequest) -> Containerd:
    """The daemon, with our programs in /opt/cni/bin in the mode ``cni_mode``."""
    if cni_mode == ONESHOT:
        install(Path("/opt/cni/bin"))
        return daemon
    install(Path("/opt/cni/bin"), shim=built_shim(), oneshot=False)
    agent: Agent = request.getfixturevalue("shared_agent")
    request.getfixturevalue("shared_agent_log")
    return dataclasses.replace(daemon, environ={"SPANBRIDGE_SOCKET": str(agent.socket)})
