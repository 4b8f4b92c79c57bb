# SPDX-License-Identifier: Apache-2.0
"""What an operator can set, and the limits the agent keeps."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from spanbridge.cni.program import run_dir

STATE_DIR: Final = "/var/lib/spanbridge"
SOCKET: Final = "/run/spanbridge/agent.sock"
"""Where the shim looks too."""


@dataclass(frozen=True, slots=True)
class Places:
    """
    Where things are.

    Attributes:
        socket: What the shim connects to; ``SPANBRIDGE_SOCKET``.
        run_dir: Locks, gone after a reboot; ``SPANBRIDGE_RUN``.
        state_dir: Attachments and leases; ``SPANBRIDGE_STATE``.
    """

    socket: Path
    run_dir: Path
    state_dir: Path


def parse_places(environ: Mapping[str, str]) -> Places:
    """Read the three variables; an empty one counts as absent."""
    return Places(
        socket=Path(environ.get("SPANBRIDGE_SOCKET") or SOCKET),
        run_dir=run_dir(environ),
        state_dir=Path(environ.get("SPANBRIDGE_STATE") or STATE_DIR),
    )


@dataclass(frozen=True, slots=True)
class Limits:
    """
    What keeps one client from harming the others.

    Attributes:
        calls: Calls at a time, each in a thread of its own; one more is told to try
            again later (code 11). 512, since no node starts more pods at once.
        connections: Connections at a time, those that still send their request among
            them; one more is told the same without being read.
        request_s: Seconds for a request to arrive as a whole.
        answer_s: Seconds for a client to take its answer.
        patience_s: Seconds after a stop was asked for until running calls are told to
            give up, which makes an ADD undo itself.
        stop_s: Seconds after a stop was asked for until nobody is waited for any more.
            Below the 15 s that the systemd unit grants.
    """

    calls: int = 512
    connections: int = 1024
    request_s: float = 5.0
    answer_s: float = 5.0
    patience_s: float = 7.0
    stop_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Settings:
    """
    One agent.

    Attributes:
        places: Where things are.
        limits: What keeps one client from harming the others.
        metrics: Where figures are served: ``unix:PATH`` or ``HOST:PORT``; empty for
            nowhere, which is the default, since they need no root to be read.
    """

    places: Places
    limits: Limits = field(default_factory=Limits)
    metrics: str = ""
