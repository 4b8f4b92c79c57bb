# SPDX-License-Identifier: Apache-2.0
"""Sending an answer: at once from the thread that made it, the rest from the loop."""

import asyncio
import socket

from spanbridge.agent.calls import refuse
from spanbridge.agent.logs import LOG
from spanbridge.base.errors import DecodeError
from spanbridge.model.frames import AnswerFrame, render_answer


class Reply:
    """
    The answer on one connection.

    Attributes:
        begun: Whether there is an answer; what the client does from now on is no hanging up.

    Args:
        sock: Does not block.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.begun = False
        self._sock = sock
        self._rest = b""

    def begin(self, answer: AnswerFrame) -> None:
        """Send as much as the kernel takes at once, which is nearly always everything."""
        self.begun = True
        try:
            data = render_answer(answer)
        except DecodeError as exc:
            data = render_answer(refuse(exc))
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as exc:
            # Nobody reads it: whoever gave up has hung up.
            LOG.debug("a connection broke", cause=exc)
            sent = len(data)
        self._rest = data[sent:]

    async def finish(self) -> None:
        """
        Send what is left, on the loop; the caller sets the deadline.

        Raises:
            OSError: The connection broke.
        """
        if self._rest:
            await asyncio.get_running_loop().sock_sendall(self._sock, self._rest)
