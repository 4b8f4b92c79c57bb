# SPDX-License-Identifier: Apache-2.0
"""
The agents of a lab: one process on every node, as an administrator would run it.

Each has directories and a socket of its own, since the nodes share this machine's disk.
"""

import contextlib
import functools
import os
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from spanbridge.base.errors import InputError
from spanbridge.lab.daemons import Daemon, Program, await_ready, launch_together
from spanbridge.lab.place import Place
from spanbridge.lab.topology import Lab, Node

Ask = Callable[[Path, str], object]
"""Asks the agent at a socket a question by name; the JSON document of its answer."""

SOCKET_PATH_MAX_BYTES: Final = 107
"""Source: linux/un.h, UNIX_PATH_MAX (108 with the final NUL)."""

_IMPORTS: Final = ("spanbridge.cli.agent", "spanbridge.agent.daemon")
"""What `spanbridge agent run` imports."""


def render_directories(place: Place, node: Node) -> dict[str, str]:
    """Make the variables by which the agent and the programs of a node find its files."""
    node_dir = place.node_dir(node)
    return {
        "SPANBRIDGE_STATE": str(node_dir / "lib"),
        "SPANBRIDGE_RUN": str(node_dir / "run"),
        "SPANBRIDGE_SOCKET": str(place.agent_socket(node)),
    }


def agent_daemon(place: Place, node: Node) -> Daemon:
    """Describe the agent of a node."""
    return Daemon(f"the agent of {node.name}", node.netns, place.node_dir(node), "agent")


def require_short_paths(lab: Lab, place: Place) -> None:
    """
    Make sure that every agent can listen.

    Raises:
        InputError: The path of a socket would be too long.
    """
    longest = max((place.agent_socket(node) for node in lab.nodes), key=lambda each: len(str(each)))
    excess = len(os.fsencode(longest)) - SOCKET_PATH_MAX_BYTES
    if excess > 0:
        raise InputError(
            f"cannot use --state-dir {place.directory}: the socket {longest} would have "
            f"{excess} bytes too many",
            hint="give a shorter --state-dir",
        )


def start_agents(place: Place, nodes: Iterable[Node]) -> None:
    """
    Start the agents of nodes, all at once, and wait until they listen.

    Raises:
        NodeError: One does not start; its own words are passed on.
    """
    started = list(nodes)
    launch_together([_program(place, node) for node in started], imports=_IMPORTS)
    for node in started:
        listens = functools.partial(_listens, place.agent_socket(node))
        await_ready(agent_daemon(place, node), listens)


def _program(place: Place, node: Node) -> Program:
    directories = render_directories(place, node)
    return Program(agent_daemon(place, node), "spanbridge.cli", ("agent", "run"), directories)


def _listens(path: Path) -> bool:
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as asking,
    ):
        asking.connect(str(path))
        return True
    return False
