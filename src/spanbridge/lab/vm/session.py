# SPDX-License-Identifier: Apache-2.0
"""The guests' TCP sessions: the program at their other end, and what it knows of them."""

import contextlib
import json
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spanbridge.base.errors import NodeError
from spanbridge.lab.daemons import Daemon, await_ready, find_daemon, launch
from spanbridge.lab.guest import PATH
from spanbridge.lab.place import Place
from spanbridge.lab.vm import peer
from spanbridge.lab.vm.machine import vm_dir
from spanbridge.lab.vm.network import PEER_ADDRESS, VM_NETNS, ensure_switch

PEER_PORT: Final = 7000
_ASK_S: Final = 30.0


def peer_daemon(place: Place) -> Daemon:
    """Describe the other end of the guests' TCP sessions."""
    return Daemon("the peer of the virtual machines", VM_NETNS, vm_dir(place), "peer")


def ensure_peer(place: Place) -> None:
    """Make the switch and start the peer, where they are missing."""
    ensure_switch()
    daemon, path = peer_daemon(place), vm_dir(place) / "peer.sock"
    if find_daemon(daemon) is not None:
        return
    path.unlink(missing_ok=True)
    program = [sys.executable, "-I", "-S", str(Path(peer.__file__))]
    launch(daemon, [*program, PEER_ADDRESS, str(PEER_PORT), str(path)], env={"PATH": PATH})
    await_ready(daemon, path.exists)


@dataclass(frozen=True, slots=True)
class Session:
    """
    A guest's TCP session, as its peer sees it.

    Attributes:
        sessions: How many the guest has begun; 1 while the first one lives.
        source: The guest's address and port.
        lines: How many lines came in it; each was sent back.
        open: Whether it lasts.
    """

    sessions: int
    source: str
    lines: int
    open: bool


def read_session(place: Place, name: str) -> Session | None:
    """Ask the peer how a guest's session stands; None where it has had none."""
    try:
        with socket.socket(socket.AF_UNIX) as asking, contextlib.ExitStack() as stack:
            asking.settimeout(_ASK_S)
            asking.connect(str(vm_dir(place) / "peer.sock"))
            answer = json.load(stack.enter_context(asking.makefile()))
    except (OSError, ValueError) as error:
        raise NodeError(
            f"cannot ask the peer of the virtual machines about {name}: {error}"
        ) from error
    return Session(**answer[name]) if name in answer else None


def begun(place: Place, name: str) -> int:
    """Count the sessions that guests of a name have begun."""
    session = read_session(place, name)
    return session.sessions if session is not None else 0


def talks(place: Place, name: str, *, after: int = 0) -> bool:
    """
    Tell whether a guest has a session that lasts and has brought something.

    Args:
        place: Of the lab.
        name: Of the machine.
        after: So many sessions were another's of the same name, and do not count.
    """
    session = read_session(place, name)
    return session is not None and session.sessions > after and session.open and session.lines > 0
