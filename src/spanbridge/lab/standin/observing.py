# SPDX-License-Identifier: Apache-2.0
"""What became of the stand-ins of a lab."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from spanbridge.base.errors import SpanbridgeError
from spanbridge.lab.daemons import Daemon, find_daemon
from spanbridge.lab.parallel import on_each
from spanbridge.lab.place import Place
from spanbridge.lab.standin.control import request
from spanbridge.lab.standin.paths import (
    handler_daemon,
    handler_socket,
    sync_daemon,
    sync_socket,
)
from spanbridge.lab.topology import Lab, Pod, sync_pods
from spanbridge.model.observations import Role

_ASK_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class StandinStatus:
    """
    A stand-in of one of KubeVirt's programs.

    Attributes:
        name: Of its process, in words.
        pod: Name of its pod.
        netns: Name of that pod's network namespace.
        role: What it is there for.
        pid: Its process id; None when it does not run.
        socket: Where it obeys.
        address: The address that it tells others to come to.
        migrations: Migrations that it takes part in.
        trouble: Why it cannot be asked; empty when it can.
    """

    name: str
    pod: str
    netns: str
    role: Role
    pid: int | None
    socket: str
    address: str = ""
    migrations: tuple[str, ...] = ()
    trouble: str = ""

    @property
    def fault(self) -> str:
        """Name what is not as it was started; empty where all is."""
        if self.pid is None:
            return f"{self.name} does not run"
        return f"{self.name} does not answer" if self.trouble else ""


def observe_standins(lab: Lab, place: Place) -> tuple[StandinStatus, ...]:
    """Look for every stand-in that was started at some time, and ask those that run."""
    return tuple(on_each(lambda each: _observe(*each), _started(lab, place)))


def _started(lab: Lab, place: Place) -> list[tuple[Daemon, Pod, Role, Path]]:
    found = [
        (handler_daemon(place, node), node.handler, Role.HANDLER, handler_socket(place, node))
        for node in lab.nodes
    ]
    for each in sync_pods(lab):
        role = Role.LEADER if each.leader else Role.STANDBY
        found.append((sync_daemon(place, each), each.pod, role, sync_socket(place, each)))
    return [each for each in found if each[0].pid_file.exists()]


def _observe(daemon: Daemon, pod: Pod, role: Role, control: Path) -> StandinStatus:
    pid = find_daemon(daemon)
    seen = StandinStatus(daemon.name, pod.name, pod.netns, role, pid, str(control))
    if pid is None:
        return seen
    try:
        told = request(control, {"do": "status"}, timeout_s=_ASK_S)
    except SpanbridgeError as error:
        return replace(seen, trouble=str(error))
    migrations = tuple(each["migration"] for each in told["migrations"])
    return replace(seen, address=told["address"], migrations=migrations)
