# SPDX-License-Identifier: Apache-2.0
"""What every program of this package serves: /healthz, and its control socket."""

import contextlib
import functools
import json
import os
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from typing import Any, Final, NoReturn

from spanbridge.base.errors import SpanbridgeError
from spanbridge.lab.kubevirt.identities import Identity
from spanbridge.lab.kubevirt.tls import accept

Answer = dict[str, Any]
Verb = Callable[[Answer], Answer]
"""Takes a request and makes its answer; a ``SpanbridgeError`` becomes one."""

_BACKLOG: Final = 128
_REQUEST_BYTES: Final = 4096


def serve_health(listener: socket.socket, trust: str, ours: Identity) -> None:
    """Answer whoever asks by TLS whether we are well, until the process ends."""

    def answer(sock: socket.socket) -> None:
        with contextlib.suppress(OSError), accept(sock, trust, ours, client=None) as tls:
            _answer_http(tls)

    in_background(lambda: accept_each(listener, answer), "health")


def _answer_http(tls: ssl.SSLSocket) -> None:
    """Answer one request; as KubeVirt, always that all is well."""
    path = tls.recv(_REQUEST_BYTES).split(b" ")[1:2]
    found = path == [b"/healthz"]
    status, body = ("200 OK", "ok") if found else ("404 Not Found", "404 page not found")
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    tls.sendall((head + body).encode())
    tls.unwrap()


def serve_control(path: str, verbs: dict[str, Verb]) -> NoReturn:
    """
    Obey requests on a unix socket, one JSON object in each line, until the process ends.

    A request's ``do`` names the verb. The answer is the verb's, or has ``error`` and ``hint``.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108  # lean
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(_BACKLOG)
        accept_each(listener, lambda sock: _obey(sock, verbs))


def _obey(sock: socket.socket, verbs: dict[str, Verb]) -> None:
    with sock, sock.makefile("rwb") as lines:
        for line in lines:
            with contextlib.suppress(OSError):
                lines.write(json.dumps(_do(line, verbs)).encode() + b"\n")
                lines.flush()


def _do(line: bytes, verbs: dict[str, Verb]) -> Answer:
    try:
        request = json.loads(line)
        verb = verbs.get(request["do"])
        if verb is None:
            known = ", ".join(verbs)
            return {"error": f"cannot do {request['do']!r}: unknown", "hint": f"one of {known}"}
        return verb(request)
    except SpanbridgeError as error:
        return {"error": error.message, "hint": error.hint}
    except (ValueError, KeyError, TypeError, OSError) as error:
        return {"error": f"cannot do {line[:200].decode(errors='replace').strip()}: {error!r}"}


def accept_each(listener: socket.socket, serve: Callable[[socket.socket], None]) -> NoReturn:
    """Give every connection a thread of its own, until the process ends."""
    while True:
        sock, _ = listener.accept()
        in_background(functools.partial(serve, sock), "connection")


def in_background(work: Callable[[], None], name: str) -> threading.Thread:
    """Start a thread that ends with the process; what it refuses is logged."""

    def run() -> None:
        try:
            work()
        except (SpanbridgeError, OSError) as error:
            log(str(error))

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread


def log(text: str) -> None:
    """Write a line to the log."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
