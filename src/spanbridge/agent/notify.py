# SPDX-License-Identifier: Apache-2.0
"""
What is between a service manager and us: readiness, status, a socket that waits already.

Source: systemd 252, sd_notify(3), "Description"; sd_listen_fds(3), "Notes".
"""

import os
import socket
from collections.abc import MutableMapping
from typing import Final

from spanbridge.agent.listen import Listener
from spanbridge.agent.logs import LOG
from spanbridge.base.errors import NodeError

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"

_FIRST_FD: Final = 3


class Notifier:
    """
    Tells the service manager how we are; says nothing where none wants to know.

    Args:
        environ: Where ``NOTIFY_SOCKET`` is taken out of, so that no child inherits it.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        address = environ.pop("NOTIFY_SOCKET", "")
        # A leading @ stands for the NUL of an abstract address.
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def send(self, *states: str) -> None:
        """Send ``NAME=value`` states in one datagram; a failure is logged only."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(0)
                sender.sendto("\n".join(states).encode(), self._address)
        except OSError as exc:
            LOG.warning("cannot notify the service manager", cause=exc)


def inherited_listener(environ: MutableMapping[str, str]) -> Listener | None:
    """
    Take over the socket that a service manager listens on for us.

    The variables are taken out of ``environ``: they are meant for this process only.

    Raises:
        NodeError: What was passed is not one listening AF_UNIX stream socket.
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal() or int(count) == 0:
        return None
    fault = _fault(int(count))
    if fault:
        raise NodeError(
            f"cannot use the socket of the service manager: {fault}",
            hint="pass one ListenStream= with the path of the agent's socket",
        )
    os.set_inheritable(_FIRST_FD, False)  # noqa: FBT003  # the only form of the call
    return Listener(socket.socket(fileno=_FIRST_FD), None)


def _fault(count: int) -> str:
    if count != 1:
        return f"{count} were passed"
    try:
        with socket.socket(fileno=os.dup(_FIRST_FD)) as passed:
            if passed.family != socket.AF_UNIX or passed.type != socket.SOCK_STREAM:
                return f"it is {passed.family.name} {passed.type.name}"
            listening = passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            return "" if listening else "nobody listens on it"
    except OSError as exc:
        return str(exc)
