# SPDX-License-Identifier: Apache-2.0
"""Where a lab keeps its files, and that only one command changes it at a time."""

import contextlib
import json
import os
import shutil
import socket
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from spanbridge.base.errors import InputError, NodeError
from spanbridge.base.files import write_atomic
from spanbridge.lab.topology import (
    IpamKind,
    LabParameters,
    Node,
    PlannedLab,
    PlannedNode,
    Pod,
    Wiring,
    plan_lab,
)

STATE_DIR: Final = Path("/run/spanbridge-lab")
_RECORD_VERSION: Final = 3
# An abstract name: bound to the machine's network namespace, gone with its holder.
_LOCK_NAME: Final = b"\0spanbridge-lab"
_CREDENTIALS: Final = struct.Struct("@iII")


@dataclass(frozen=True, slots=True)
class Record:
    """
    What `lab up` wrote down for the commands after it.

    Attributes:
        parameters: From which the plan follows.
        bin_dir: Where the CNI programs lie.
        complete: False while the lab is being built, and after a crash in it.
    """

    parameters: LabParameters
    bin_dir: Path
    complete: bool


@dataclass(frozen=True, slots=True)
class Place:
    """
    The state directory.

    Attributes:
        directory: Removed as a whole by `lab down`.
    """

    directory: Path = STATE_DIR

    @property
    def bin_dir(self) -> Path:
        """Where our CNI programs are installed, unless the user names a directory."""
        return self.directory / "bin"

    def node_dir(self, node: Node) -> Path:
        """Stand for the node's own disk: what a CNI program writes on one node, no other sees."""
        return self.directory / "nodes" / node.name

    def cluster_dir(self, node: Node) -> Path:
        """Stand for what a cluster's API server keeps: all nodes of the cluster see it."""
        return self.directory / "clusters" / node.cluster

    def result_file(self, pod: Pod) -> Path:
        """Tell where the runtime keeps the result of ADD, for CHECK and DEL."""
        return self.directory / "results" / f"{pod.container_id}.json"

    @property
    def dhcp_dir(self) -> Path:
        """Where the DHCP server keeps its files."""
        return self.directory / "dhcp"

    def agent_socket(self, node: Node) -> Path:
        """Tell where the node's agent listens, and its programs look for it."""
        return self.node_dir(node) / "agent.sock"

    @property
    def _record_file(self) -> Path:
        return self.directory / "lab.json"

    def write(self, record: Record) -> None:
        """Write ``record`` down, making the directory where needed."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o755)
        document = {
            "version": _RECORD_VERSION,
            "parameters": asdict(record.parameters),
            "bin_dir": str(record.bin_dir),
            "complete": record.complete,
        }
        write_atomic(self._record_file, json.dumps(document, indent=2).encode(), mode=0o644)

    def read(self) -> Record | None:
        """Read the record; None when there is no lab, or none that we can read."""
        try:
            document = json.loads(self._record_file.read_bytes())
            return _parse_record(document)
        except (OSError, ValueError, KeyError, TypeError, InputError):
            return None

    def remove(self) -> bool:
        """Remove the directory with all in it; tell whether there was one."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.directory)
            return True
        return False


def _parse_record(document: dict[str, Any]) -> Record | None:
    if document["version"] != _RECORD_VERSION:
        return None
    parameters = dict(document["parameters"])
    parameters["clusters"] = tuple(parameters["clusters"])
    parameters["ipam"] = IpamKind(parameters["ipam"])
    parameters["planned"] = _parse_planned(parameters["planned"])
    chosen = LabParameters(**parameters)
    plan_lab(chosen)  # what cannot be planned is no record of ours
    return Record(
        parameters=chosen,
        bin_dir=Path(document["bin_dir"]),
        complete=document["complete"] is True,
    )


def _parse_planned(document: dict[str, Any] | None) -> PlannedLab | None:
    if document is None:
        return None
    nodes = tuple(_parse_planned_node(each) for each in document["nodes"])
    return PlannedLab(**document | {"nodes": nodes, "pool": tuple(document["pool"])})


def _parse_planned_node(document: dict[str, Any]) -> PlannedNode:
    wiring = dict(document["wiring"])
    lists = {key: tuple(wiring[key]) for key in ("vlans", "command")}
    return PlannedNode(**document | {"wiring": Wiring(**wiring | lists)})


@contextlib.contextmanager
def changing_alone() -> Iterator[None]:
    """
    Keep every other lab command from changing this machine's lab.

    Raises:
        NodeError: Another one is at work; the message has its process id.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as lock:
        try:
            lock.bind(_LOCK_NAME)
        except OSError as error:
            raise NodeError(
                f"cannot change the lab: another lab command is at work{_holder()}",
                hint="wait for it, or end it",
            ) from error
        lock.listen(1)
        yield


def _holder() -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as asking:
        asking.settimeout(0)
        try:
            asking.connect(_LOCK_NAME)
        except OSError:
            return ""
        raw = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid = _CREDENTIALS.unpack(raw)[0]
    return f" (process {pid})" if pid != os.getpid() else " (in this process)"
