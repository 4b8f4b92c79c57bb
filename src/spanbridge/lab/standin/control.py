# SPDX-License-Identifier: Apache-2.0
"""Asking a stand-in to do something, by its control socket."""

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from spanbridge.base.errors import NodeError

REQUEST_S: Final = 120.0
"""Milliseconds as a rule; in a busy emulated guest many seconds."""


def request(path: Path, what: Mapping[str, Any], timeout_s: float = REQUEST_S) -> dict[str, Any]:
    """
    Ask the stand-in that listens at ``path``, and return its answer.

    Args:
        path: Its control socket; see `spanbridge.lab.standin.paths`.
        what: The verb as ``do``, and what that needs; see `spanbridge.lab.kubevirt`.
        timeout_s: Seconds to wait.

    Raises:
        NodeError: It does not answer, or says why not.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout_s)
            sock.connect(str(path))
            with sock.makefile("rwb") as lines:
                lines.write(json.dumps(what).encode() + b"\n")
                lines.flush()
                line = lines.readline()
        answer = json.loads(line)
    except (OSError, ValueError) as error:
        raise NodeError(
            f"cannot ask the stand-in at {path}: {error}", hint="see `spanbridge lab status`"
        ) from error
    if not isinstance(answer, dict):
        raise NodeError(f"cannot ask the stand-in at {path}: it answered {line[:100]!r}")
    if "error" in answer and set(answer) <= {"error", "hint"}:
        raise NodeError(answer["error"], hint=answer.get("hint", ""))
    return answer
