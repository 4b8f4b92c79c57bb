# SPDX-License-Identifier: Apache-2.0
"""
A virt-handler, as far as a migration's network goes.

Its verbs on the control socket:

``{"do": "target", "migration": ID, "sockets": {LABEL: PATH}}``
    Listens for the source and passes bytes on to QEMU's sockets. The answer has the
    ``address`` to come to and ``ports``: for each TCP port its label.
``{"do": "source", "migration": ID, "address": A, "ports": {PORT: LABEL}, "directory": D}``
    Makes sockets for QEMU in ``directory``: in the answer ``sockets``, by label.
``{"do": "end", "migration": ID}``
    Ends what was begun; fine where nothing was. The answer has ``bytes`` by label, and
    ``troubles`` in words.
``{"do": "status"}``
    The ``address`` that is advertised, its ``network``, and ``migrations``.

Labels are 0 (libvirt's control connection), 49152 (memory) and 49153 (disks). They are no TCP
ports: those are the kernel's choice.

Source: KubeVirt 1.9, pkg/virt-handler/migration-proxy/migration-proxy.go.
"""

import contextlib
import functools
import json
import os
import select
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NoReturn

from spanbridge.base.errors import NodeError, SpanbridgeError
from spanbridge.lab.kubevirt.address import Taken, join_port, take_address
from spanbridge.lab.kubevirt.identities import HEALTH_PORT, Identity
from spanbridge.lab.kubevirt.relay import Carried, relay
from spanbridge.lab.kubevirt.service import (
    Answer,
    in_background,
    log,
    serve_control,
    serve_health,
)
from spanbridge.lab.kubevirt.tls import accept, dial, explain, listen

_END_S: Final = 5.0
"""Time for a migration's threads to end: at once, but for one that is dialling."""

_BACKLOG: Final = 16

Join = Callable[[socket.socket], tuple[socket.socket, ssl.SSLSocket]]
"""Makes of a connection that came in the two ends of a relay: QEMU's, the other handler's."""


@dataclass(frozen=True, slots=True)
class HandlerSettings:
    """
    What a virt-handler is started with.

    Attributes:
        control: Path of its control socket.
        trust: Directory of its cluster's certificates.
        interface: Device of the migration network.
        pod_address: Address on the pod network; empty without one.
    """

    control: str
    trust: str
    interface: str = "migration0"
    pod_address: str = ""


@dataclass(slots=True)
class _Channel:
    """One label of a migration: where connections for it come in, and what they carried."""

    label: int
    listener: socket.socket
    join: Join
    connections: list[Carried] = field(default_factory=list)


@dataclass(slots=True)
class _Migration:
    """Our side of a migration; ``stop`` becomes readable when all of it is to end."""

    identifier: str
    role: str
    channels: tuple[_Channel, ...]
    stop: int
    threads: list[threading.Thread] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)


class Handler:
    """
    The verbs, on what one process keeps in memory.

    Args:
        settings: What it was started with.
        taken: The address that it advertises until it ends.
    """

    def __init__(self, settings: HandlerSettings, taken: Taken) -> None:
        self._settings = settings
        self._taken = taken
        self._lock = threading.Lock()
        self._migrations: dict[tuple[str, str], _Migration] = {}

    def target(self, request: Answer) -> Answer:
        """Listen for a source, on a port of the kernel's choice for each label."""
        sockets: Mapping[str, str] = request["sockets"]
        self._stop(request["migration"], "target")
        ports: dict[str, int] = {}
        channels = []
        for label, path in sockets.items():
            listener = listen(0)
            ports[str(listener.getsockname()[1])] = int(label)
            channels.append(_Channel(int(label), listener, self._towards_qemu(path)))
        self._begin(request["migration"], "target", channels)
        return {"address": self._taken.address, "ports": ports}

    def source(self, request: Answer) -> Answer:
        """Make sockets for QEMU that lead to the target's ports."""
        identifier, directory = request["migration"], request["directory"]
        # First: the end of an earlier attempt takes sockets of these very names away.
        self._stop(identifier, "source")
        os.makedirs(directory, exist_ok=True)  # noqa: PTH103  # lean
        paths: dict[str, str] = {}
        channels = []
        for port, label in request["ports"].items():
            # Source: KubeVirt 1.9, migration-proxy.go, ConstructProxyKey and SourceUnixFile.
            key = f"{identifier}-{label}" if int(label) else identifier
            paths[str(label)] = f"{directory}/{key}-source.sock"
            target = join_port(request["address"], int(port))
            listener = _listen_unix(paths[str(label)])
            channels.append(_Channel(int(label), listener, self._towards_target(target)))
        self._begin(identifier, "source", channels)
        return {"sockets": paths}

    def end(self, request: Answer) -> Answer:
        """End what was begun for a migration, on either side."""
        carried: dict[str, int] = {}
        troubles: list[str] = []
        for role in ("source", "target"):
            migration = self._stop(request["migration"], role)
            if migration is not None:
                carried |= _count(migration)
                troubles += migration.troubles
        return {"bytes": carried, "troubles": troubles}

    def status(self, _: Answer) -> Answer:
        """Tell the address and what goes on."""
        with self._lock:
            migrations = list(self._migrations.values())
        return {
            "address": self._taken.address,
            "network": self._taken.network,
            "pid": os.getpid(),
            "migrations": [
                {
                    "migration": each.identifier,
                    "role": each.role,
                    "bytes": _count(each),
                    "troubles": list(each.troubles),
                }
                for each in migrations
            ],
        }

    def _towards_qemu(self, path: str) -> Join:
        def join(sock: socket.socket) -> tuple[socket.socket, ssl.SSLSocket]:
            trust, client = self._settings.trust, Identity.MIGRATION_CLIENT
            tls = accept(sock, trust, Identity.HANDLER_SERVER, client=client)
            try:
                # Only now: QEMU lets one caller in, and it must not be a stranger.
                return _connect_unix(path), tls
            except NodeError:
                tls.close()
                raise

        return join

    def _towards_target(self, target: str) -> Join:
        def join(sock: socket.socket) -> tuple[socket.socket, ssl.SSLSocket]:
            trust, server = self._settings.trust, Identity.HANDLER_SERVER
            try:
                return sock, dial(target, trust, Identity.MIGRATION_CLIENT, server=server)
            except NodeError:
                sock.close()
                raise

        return join

    def _begin(self, identifier: str, role: str, channels: list[_Channel]) -> None:
        """Let connections in."""
        migration = _Migration(identifier, role, tuple(channels), os.eventfd(0, os.EFD_CLOEXEC))
        with self._lock:
            self._migrations[identifier, role] = migration
        for channel in channels:
            listener = functools.partial(_let_in, migration, channel)
            migration.threads.append(in_background(listener, "listener"))

    def _stop(self, identifier: str, role: str) -> _Migration | None:
        """Close listeners and connections of one side, wait for it, and return what it was."""
        with self._lock:
            migration = self._migrations.pop((identifier, role), None)
        if migration is not None:
            _stop(migration)
        return migration


def _let_in(migration: _Migration, channel: _Channel) -> None:
    """Give every connection of a channel a thread, until the migration ends."""
    poll = select.poll()
    poll.register(migration.stop, select.POLLIN)
    poll.register(channel.listener, select.POLLIN)
    with channel.listener:
        while migration.stop not in dict(poll.poll()):
            sock, _ = channel.listener.accept()
            carry = functools.partial(_carry, migration, channel, sock)
            migration.threads.append(in_background(carry, "relay"))
        _unlink(channel.listener)


def _carry(migration: _Migration, channel: _Channel, sock: socket.socket) -> None:
    """Join one connection with the other side, and carry bytes until it ends."""
    try:
        plain, tls = channel.join(sock)
    except NodeError as error:
        _note(migration, channel, error.message)
        return
    carried = Carried()
    channel.connections.append(carried)
    with plain, tls:
        trouble = relay(plain, tls, migration.stop, carried)
    if trouble:
        _note(migration, channel, f"the connection broke: {trouble}")


def _note(migration: _Migration, channel: _Channel, trouble: str) -> None:
    text = f"{trouble} (label {channel.label})"
    migration.troubles.append(text)
    log(f"{migration.identifier}, {migration.role}: {text}")


def _stop(migration: _Migration) -> None:
    """Close listeners and connections, and wait for it."""
    os.eventfd_write(migration.stop, 1)
    deadline = time.monotonic() + _END_S
    # A listener's thread may still add one for a connection: it comes later in the list.
    for thread in migration.threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    if not any(thread.is_alive() for thread in migration.threads):
        os.close(migration.stop)


def _count(migration: _Migration) -> dict[str, int]:
    return {
        str(channel.label): sum(each.size for each in list(channel.connections))
        for channel in migration.channels
    }


def _listen_unix(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108  # lean
        listener.bind(path)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise NodeError(f"cannot listen on {path}: {error.strerror or error}") from error
    return listener


def _connect_unix(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(path)
    except OSError as error:
        sock.close()
        raise NodeError(f"cannot connect to {path}: {explain(error)}") from error
    return sock


def _unlink(listener: socket.socket) -> None:
    """Remove the file of a unix socket, as its owner has to."""
    if listener.family == socket.AF_UNIX:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(listener.getsockname())  # noqa: PTH108  # lean


def main() -> NoReturn:
    """Run with the settings that are given as a JSON object."""
    settings = HandlerSettings(**json.loads(sys.argv[1]))
    try:
        handler = Handler(settings, take_address(settings.interface, settings.pod_address))
        serve_health(listen(HEALTH_PORT), settings.trust, Identity.HANDLER_SERVER)
    except SpanbridgeError as error:
        # The real one panics, too, and is started again and again.
        sys.exit(str(error))
    verbs = (handler.target, handler.source, handler.end, handler.status)
    serve_control(settings.control, {verb.__name__: verb for verb in verbs})


if __name__ == "__main__":
    main()
