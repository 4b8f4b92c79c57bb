# SPDX-License-Identifier: Apache-2.0
"""Starting the programs of `spanbridge.lab.kubevirt`, in any namespace."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from spanbridge.base.errors import NodeError
from spanbridge.lab.daemons import Daemon, Program, await_ready, launch_together
from spanbridge.lab.kubevirt.handler import HandlerSettings
from spanbridge.lab.kubevirt.sync import SyncSettings
from spanbridge.lab.standin.control import request

Settings = HandlerSettings | SyncSettings

_ASK_S: Final = 5.0


def launch_standins(programs: Sequence[tuple[Daemon, Settings]]) -> None:
    """
    Start stand-ins, all at once; they may not be ready yet.

    Raises:
        NodeError: They cannot be started.
    """
    launched = [_program(daemon, settings) for daemon, settings in programs]
    launch_together(launched, imports=sorted({each.module for each in launched}))


def _program(daemon: Daemon, settings: Settings) -> Program:
    name = "handler" if isinstance(settings, HandlerSettings) else "sync"
    # What an earlier one left there would be asked in vain.
    Path(settings.control).unlink(missing_ok=True)
    words = (json.dumps(asdict(settings)),)
    return Program(daemon, f"spanbridge.lab.kubevirt.{name}", words)


def await_standin(daemon: Daemon, control: Path) -> None:
    """
    Wait until a stand-in that was launched obeys.

    Raises:
        NodeError: It ended, or takes too long; with its own words.
    """
    await_ready(daemon, lambda: obeys(control))


def obeys(control: Path) -> bool:
    """Tell whether a stand-in answers at its control socket."""
    try:
        request(control, {"do": "status"}, timeout_s=_ASK_S)
    except NodeError:
        return False
    return True
