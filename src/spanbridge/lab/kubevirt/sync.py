# SPDX-License-Identifier: Apache-2.0
"""
A virt-synchronization-controller: tells the other cluster's how far a migration is.

The source's dials the target's at the address that a user gave it; the target's dials back to
the address that it was told then. Both have to get through. Only the leader listens.

Its verbs on the control socket:

``{"do": "receive", "migration": ID, "vm": V, "node": N}``
    Begins the target's side.
``{"do": "send", "migration": ID, "connect": "ADDRESS:PORT", "vm": V, "node": N}``
    Begins the source's side.
``{"do": "publish", "migration": ID, "state": {…}}``
    Adds to our state, which goes to the other side as soon as that can be reached.
``{"do": "state", "migration": ID}``
    ``own`` state, the ``other`` one, ``phase``, ``cancelled``, and ``error``: why the other side
    could not be told, in the last attempt.
``{"do": "cancel", "migration": ID}``
    Ends it on both sides.
``{"do": "status"}``
    The ``address``, its ``network``, the ``role``, and ``migrations``.

What travels is a line of JSON with the name of KubeVirt's call, where KubeVirt speaks gRPC.

Source: KubeVirt 1.9, pkg/synchronization-controller/synchronization-controller.go.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import uuid
from dataclasses import asdict, dataclass, field
from typing import Any, Final, NoReturn

from spanbridge.base.errors import NodeError, SpanbridgeError
from spanbridge.lab.kubevirt.address import Taken, join_port, take_address
from spanbridge.lab.kubevirt.identities import HEALTH_PORT, SYNC_PORT, Identity
from spanbridge.lab.kubevirt.service import (
    Answer,
    accept_each,
    in_background,
    log,
    serve_control,
    serve_health,
)
from spanbridge.lab.kubevirt.tls import accept, dial, explain, listen

CALL_S: Final = 30.0
"""Time for one call. Source: KubeVirt 1.9, synchronization-controller.go."""

_PAUSE_S: Final = 0.5
_PAUSE_MAX_S: Final = 5.0
"""Between attempts, doubled each time; KubeVirt's own pauses grow much longer."""

_CANCEL: Final = "CancelMigration"
_PUSH: Final = {"source": "SyncSourceMigrationStatus", "target": "SyncTargetMigrationStatus"}
_WAITING: Final = {"source": "Synchronizing", "target": "WaitingForSync"}
_HEARD_BY: Final = {
    call: "target" if role == "source" else "source" for role, call in _PUSH.items()
}


@dataclass(frozen=True, slots=True)
class SyncSettings:
    """
    What a sync controller is started with.

    Attributes:
        control: Path of its control socket.
        trust: Directory of its cluster's certificates.
        leader: Whether it holds the lease.
        interface: Device of the migration network.
        pod_address: Address on the pod network; empty without one.
    """

    control: str
    trust: str
    leader: bool
    interface: str = "migration0"
    pod_address: str = ""


@dataclass(slots=True)
class _Exchange:
    """
    A migration, as one side knows it.

    Attributes:
        role: ``source`` or ``target``.
        own: What we say.
        connect: Where the other side is; empty for a target that was not dialled yet.
        other: What the other side has said; empty before it has.
        cancelled: Somebody ended it.
        error: Of the last attempt to tell the other side.
        revision: Counts the changes of what we say.
        told: Revision that the other side has.
        telling: Whether a thread is at it.
    """

    role: str
    own: dict[str, Any]
    connect: str = ""
    other: dict[str, Any] = field(default_factory=dict)
    cancelled: bool = False
    error: str = ""
    revision: int = 1
    told: int = 0
    telling: bool = False

    @property
    def phase(self) -> str:
        """Of the migration object: what was published, once both sides know each other."""
        if self.cancelled:
            return "Failed"
        if not self.other:
            return _WAITING[self.role]
        return str(self.own.get("phase", "Pending"))


class SyncController:
    """
    The verbs, on what one process keeps in memory.

    Args:
        settings: What it was started with.
        taken: Its address; the target dials back to it.
    """

    def __init__(self, settings: SyncSettings, taken: Taken) -> None:
        self._settings = settings
        self._taken = taken
        self._changed = threading.Condition()
        self._exchanges: dict[str, _Exchange] = {}

    def receive(self, request: Answer) -> Answer:
        """Begin the target's side."""
        return self._begin(request, "target", connect="")

    def send(self, request: Answer) -> Answer:
        """Begin the source's side."""
        return self._begin(request, "source", connect=request["connect"])

    def publish(self, request: Answer) -> Answer:
        """Add to what we say."""
        with self._changed:
            exchange = self._find(request["migration"])
            exchange.own |= request["state"]
            self._tell(request["migration"], exchange)
        return {}

    def state(self, request: Answer) -> Answer:
        """Tell what both sides say."""
        with self._changed:
            exchange = self._find(request["migration"])
            return {
                "own": dict(exchange.own),
                "other": dict(exchange.other),
                "phase": exchange.phase,
                "cancelled": exchange.cancelled,
                "error": exchange.error,
            }

    def cancel(self, request: Answer) -> Answer:
        """End it here, and there as soon as that can be told."""
        with self._changed:
            exchange = self._find(request["migration"])
            exchange.cancelled = True
            self._tell(request["migration"], exchange)
        return {}

    def status(self, _: Answer) -> Answer:
        """Tell the address, the role and what goes on."""
        with self._changed:
            migrations = [
                {"migration": name, "role": each.role, "phase": each.phase, "error": each.error}
                for name, each in self._exchanges.items()
            ]
        role = "leader" if self._settings.leader else "standby"
        return {**asdict(self._taken), "role": role, "pid": os.getpid(), "migrations": migrations}

    def hear(self, sock: socket.socket) -> None:
        """Answer one call of the other side."""
        client = Identity.SYNC_CLIENT
        with (
            accept(sock, self._settings.trust, Identity.SYNC_SERVER, client=client) as tls,
            tls.makefile("rwb") as lines,
        ):
            try:
                answer = self._hear(json.loads(lines.readline()))
            except SpanbridgeError as error:
                answer = {"error": error.message}
            lines.write(json.dumps(answer).encode() + b"\n")
            lines.flush()
            # Both say goodbye: what one left unread would reset the connection of the other.
            tls.unwrap()

    def _hear(self, call: Answer) -> Answer:
        """Take note of what the other side says."""
        name, what = call["migrationID"], call["call"]
        with self._changed:
            exchange = self._find(name)
            if what == _CANCEL:
                exchange.cancelled = True
                return {}
            if _HEARD_BY.get(what) != exchange.role:
                raise NodeError(f"cannot do {what} for {name}: we are its {exchange.role}")
            exchange.other = call["state"]
            came_from = call["state"].get("syncAddress", "")
            if exchange.role == "target" and came_from != exchange.connect:
                exchange.connect = came_from
                self._tell(name, exchange)
        return {}

    def _begin(self, request: Answer, role: str, *, connect: str) -> Answer:
        if not self._settings.leader:
            raise NodeError(
                f"cannot begin {request['migration']}: this sync controller is on standby",
                hint="ask the leader",
            )
        own = {
            "vm": request["vm"],
            "node": request["node"],
            "migrationUID": str(uuid.uuid4()),
            "syncAddress": join_port(self._taken.address, SYNC_PORT),
        }
        with self._changed:
            self._exchanges[request["migration"]] = exchange = _Exchange(role, own, connect)
            self._tell(request["migration"], exchange)
        return {}

    def _find(self, name: str) -> _Exchange:
        found = self._exchanges.get(name)
        if found is None:
            raise NodeError(f"cannot find migration {name}: nobody here has begun it")
        return found

    def _tell(self, name: str, exchange: _Exchange) -> None:
        """Have the other side told what changed; the lock is held."""
        exchange.revision += 1
        self._changed.notify_all()
        if exchange.connect and not exchange.telling:
            exchange.telling = True
            in_background(lambda: self._keep_telling(name, exchange), "telling")

    def _keep_telling(self, name: str, exchange: _Exchange) -> None:
        """Try until the other side knows our newest state, or the exchange was replaced."""
        pause_s = _PAUSE_S
        while True:
            with self._changed:
                if exchange.told == exchange.revision or self._exchanges[name] is not exchange:
                    exchange.telling = False
                    return
                revision, connect = exchange.revision, exchange.connect
                call = {"migrationID": name, "state": dict(exchange.own)}
                call["call"] = _CANCEL if exchange.cancelled else _PUSH[exchange.role]
            error = self._call(connect, call)
            with self._changed:
                exchange.error = error
                if not error:
                    exchange.told, pause_s = revision, _PAUSE_S
                    continue
                log(f"{name}, {exchange.role}: {error}")
                self._changed.wait(pause_s)
                pause_s = min(2 * pause_s, _PAUSE_MAX_S)

    def _call(self, connect: str, call: Answer) -> str:
        """Make one call; why it failed, or empty."""
        trust, server = self._settings.trust, Identity.SYNC_SERVER
        try:
            with dial(connect, trust, Identity.SYNC_CLIENT, server=server) as tls:
                tls.settimeout(CALL_S)
                with tls.makefile("rwb") as lines:
                    lines.write(json.dumps(call).encode() + b"\n")
                    lines.flush()
                    answer = json.loads(lines.readline())
                with contextlib.suppress(OSError):
                    tls.unwrap()
        except NodeError as error:
            return error.message
        except (OSError, ValueError) as error:
            return f"cannot call {connect}: {explain(error)}"
        said = str(answer.get("error", ""))
        return f"cannot call {connect}: {said}" if said else ""


def _take(settings: SyncSettings) -> Taken:
    """Take an address; without one the real controller goes on with its pod's, too."""
    try:
        return take_address(settings.interface, settings.pod_address)
    except SpanbridgeError as error:
        log(str(error))
        return Taken(settings.pod_address, "")


def main() -> NoReturn:
    """Run with the settings that are given as a JSON object."""
    settings = SyncSettings(**json.loads(sys.argv[1]))
    controller = SyncController(settings, _take(settings))
    try:
        # The standby is well, too, by its own account: only the sync port tells them apart.
        serve_health(listen(HEALTH_PORT), settings.trust, Identity.SYNC_SERVER)
        if settings.leader:
            listener = listen(SYNC_PORT)
            in_background(lambda: accept_each(listener, controller.hear), "sync")
    except SpanbridgeError as error:
        sys.exit(str(error))
    verbs = (
        *(controller.receive, controller.send, controller.publish),
        *(controller.state, controller.cancel, controller.status),
    )
    serve_control(settings.control, {verb.__name__: verb for verb in verbs})


if __name__ == "__main__":
    main()
