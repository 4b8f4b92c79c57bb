# SPDX-License-Identifier: Apache-2.0
"""Starting the programs of `spanbridge.lab.kubevirt`, in any namespace."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Final

from spanbridge.base.errors import NodeError
from spanbridge.lab.daemons import Daemon, await_ready, launch
from spanbridge.lab.kubevirt.handler import HandlerSettings
from spanbridge.lab.kubevirt.sync import SyncSettings
from spanbridge.lab.standin.control import request

Settings = HandlerSettings | SyncSettings

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ASK_S: Final = 5.0


def launch_standin(daemon: Daemon, settings: Settings) -> None:
    """
    Start a stand-in; it may not be ready yet.

    Raises:
        NodeError: It cannot be started.
    """
    program = "handler" if isinstance(settings, HandlerSettings) else "sync"
    # What an earlier one left there would be asked in vain.
    Path(settings.control).unlink(missing_ok=True)
    words = [sys.executable, "-m", f"spanbridge.lab.kubevirt.{program}"]
    env = {"PATH": _PATH, "LANG": "C.UTF-8"}
    launch(daemon, [*words, json.dumps(asdict(settings))], env=env)


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
