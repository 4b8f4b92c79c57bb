# SPDX-License-Identifier: Apache-2.0
"""Sending an answer."""

import select
import socket
import time

from spanbridge.agent.calls import refuse
from spanbridge.agent.receive import wait_until
from spanbridge.base.errors import DecodeError
from spanbridge.model.frames import AnswerFrame, render_answer


def send_answer(sock: socket.socket, answer: AnswerFrame, *, timeout_s: float) -> None:
    """
    Send a whole answer; nearly always the kernel takes all of it at once.

    Args:
        sock: Does not block.
        answer: One that is too long becomes an error that says so.
        timeout_s: Seconds that the client may take to read it.

    Raises:
        TimeoutError: It did not.
        OSError: The connection broke.
    """
    try:
        data = render_answer(answer)
    except DecodeError as exc:
        data = render_answer(refuse(exc))
    deadline = time.monotonic() + timeout_s
    while data:
        try:
            data = data[sock.send(data) :]
        except BlockingIOError:
            wait_until(sock, select.POLLOUT, deadline)
