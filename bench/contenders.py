# SPDX-License-Identifier: Apache-2.0
"""The programs that are measured: reference plugins, ours, and our agent."""

import contextlib
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.figures import OURS, Contender
from bench.launch import BenchError, Run

GO_VERSION: Final = "1.9.1"
"""Release of the reference plugins that the design compares with."""

_GO_MODULE: Final = "github.com/containernetworking/plugins"
_GO_PLACES: Final = ("/usr/local/go/bin", "/usr/lib/go/bin")
_BUILD_TIMEOUT_S: Final = 600
_PACKAGE_DIRS: Final = ("/usr/lib/cni", "/opt/cni/bin")
_AGENT_TIMEOUT_S: Final = 60
_NEEDED: Final = ("bridge", "host-local")


@dataclass(frozen=True, slots=True)
class Programs:
    """
    The CNI programs of one contender.

    Attributes:
        contender: Who.
        bin_dir: Where they are; CNI_PATH.
        environ: What they need beyond the CNI variables.
    """

    contender: Contender
    bin_dir: Path
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Short name; tells files and links of contenders apart."""
        return self.contender.key

    def run(self, place: Path, conf: Path, *, program: str = "bridge", **cni: str) -> Run:
        """Prepare one call; ``cni`` are the CNI variables without their prefix, in lower case."""
        environ = {f"CNI_{name.upper()}": value for name, value in cni.items()}
        return Run(
            self.bin_dir / program,
            environ | {"CNI_PATH": str(self.bin_dir), "PATH": os.environ["PATH"], **self.environ},
            conf,
            place / "out" / f"{self.key}-{cni['containerid']}-{cni['ifname']}",
        )


# ---------------------------------------------------------------- references


def build_reference(cache: Path) -> str:
    """
    Build the reference plugins from source where Go is; done once.

    Returns:
        Why they cannot be built, in words; empty when they are there.
    """
    place = cache / f"reference-{GO_VERSION}"
    if all((place / name).exists() for name in _NEEDED):
        return ""
    go = shutil.which("go", path=os.pathsep.join([os.environ["PATH"], *_GO_PLACES]))
    if go is None:
        return "there is no Go to build them with"
    packages = [f"{_GO_MODULE}/plugins/{name}" for name in ("main/bridge", "ipam/host-local")]
    done = subprocess.run(
        [go, "install", *(f"{package}@v{GO_VERSION}" for package in packages)],
        env=dict(os.environ) | {"GOBIN": str(place.absolute())},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_BUILD_TIMEOUT_S,
        check=False,
    )
    return f"go install: {done.stderr.strip()}" if done.returncode else ""


def find_references(cache: Path) -> tuple[Programs, ...]:
    """Find the reference plugins; the release of the design first, if it could be built."""
    places = [(cache / f"reference-{GO_VERSION}", GO_VERSION)]
    named = os.environ.get("REFERENCE_CNI")
    places += [(Path(place), "") for place in ([named] if named else _PACKAGE_DIRS)]
    found = [
        _reference(place, version or _version(place))
        for place, version in places
        if all((place / name).exists() for name in _NEEDED)
    ]
    return tuple(found[:2])


def _reference(place: Path, version: str) -> Programs:
    slug = re.sub(r"[^\w.]+", "-", version).strip("-")
    return Programs(Contender(f"reference-{slug}", f"reference {version}"), place.absolute())


def _version(place: Path) -> str:
    """Ask a plugin for its version; one that does not know it is named by its place."""
    done = subprocess.run(
        [place / "bridge"],
        env={},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    # Called by hand it tells on standard error, and then lists what it speaks.
    found = re.search(r"\d+(\.\d+)+", done.stderr.partition("\n")[0])
    return found[0] if found is not None else str(place)


# ---------------------------------------------------------------- ours


def _spanbridge(*argv: str) -> list[str]:
    return [sys.executable, "-m", "spanbridge.cli", *argv]


def install_ours(place: Path, name: str, *options: str) -> Path:
    """Install our programs as an administrator does; the directory."""
    bin_dir = place / name
    done = subprocess.run(
        _spanbridge("cni", "install", "--bin-dir", str(bin_dir), *options),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchError(done.stderr.strip())
    return bin_dir


def shim_programs(place: Path, agent_socket: Path) -> Programs:
    """Prepare our programs as they are installed on a node: the shim, which asks an agent."""
    bin_dir = install_ours(place, "shim", "--no-oneshot")
    return Programs(OURS, bin_dir, {"SPANBRIDGE_SOCKET": str(agent_socket)})


def oneshot_programs(place: Path) -> Programs:
    """Prepare our programs without shim and agent."""
    return Programs(OURS, install_ours(place, "oneshot", "--no-shim"))


@contextlib.contextmanager
def running_agent(place: Path) -> Iterator[tuple[Path, int]]:
    """Run an agent with its files in ``place``; its socket and its process id."""
    where = place / "agent.sock"
    argv = _spanbridge("agent", "run", "--socket", str(where), "--run-dir", str(place / "run"))
    argv += ["--state-dir", str(place / "state")]
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        (place / "agent.log").open("wb") as log,
    ):
        manager.bind(str(place / "notify.sock"))
        environ = dict(os.environ) | {"NOTIFY_SOCKET": str(place / "notify.sock")}
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=log, env=environ)
        try:
            _wait_ready(manager, process.pid, place / "agent.log")
            yield where, process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(_AGENT_TIMEOUT_S)


def _wait_ready(manager: socket.socket, pid: int, log: Path) -> None:
    gone = os.pidfd_open(pid)
    try:
        ready, _, _ = select.select([manager.fileno(), gone], [], [], _AGENT_TIMEOUT_S)
    finally:
        os.close(gone)
    if manager.fileno() not in ready:
        raise BenchError(f"the agent did not become ready: {log.read_text().strip()}")
