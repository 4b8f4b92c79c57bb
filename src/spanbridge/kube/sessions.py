# SPDX-License-Identifier: Apache-2.0
"""
A program that runs in a pod and answers line by line, through the API's exec.

One thread for each session both sends and receives: TLS is not for two. Needs the extra
``kube``.

Source: Kubernetes 1.34, API reference, pods/exec; the channels of v5.channel.k8s.io.
"""

import json
import os
import select
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

from spanbridge.base.errors import NodeError
from spanbridge.kube.reading import AgentPod, ClusterApi

_STDIN: Final = 0
_STDOUT: Final = 1
_STDERR: Final = 2
_ERROR: Final = 3
_SLICE_MS: Final = 200
"""How long what TLS has decrypted already may lie unread."""

_SAID_MAX: Final = 2000
"""Bytes of standard error that are kept, its end."""

_OPEN_S: Final = 20.0
_CHUNK: Final = 1 << 16
"""Bytes sent in one message; API servers take 16 MiB, kubelets less."""

Json = dict[str, Any]


@dataclass(slots=True)
class _State:
    """What the thread and those who ask share, under a lock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    waiting: dict[int, "Future[Json]"] = field(default_factory=dict)
    outgoing: deque[bytes] = field(default_factory=deque)
    next_id: int = 1
    failure: str = ""
    closing: bool = False


class Session:
    """
    A running program; see `open_session`.

    Attributes:
        hello: The first line that it wrote.
    """

    def __init__(self, socket: Any, name: str) -> None:  # noqa: ANN401  # the library's own
        self.hello: Future[Json] = Future()
        self._socket = socket
        self._name = name
        self._state = _State()
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._run, name=f"session {name}", daemon=True)
        self._thread.start()

    def ask(self, request: Mapping[str, object]) -> "Future[Json]":
        """
        Send a request; its answer comes later.

        The future raises NodeError where the program refuses, or where it ended.
        """
        future: Future[Json] = Future()
        with self._state.lock:
            if self._state.failure:
                future.set_exception(NodeError(self._state.failure))
                return future
            number = self._state.next_id
            self._state.next_id += 1
            self._state.waiting[number] = future
            self._state.outgoing.append(json.dumps({**request, "id": number}).encode() + b"\n")
        os.write(self._wake_write, b".")
        return future

    def close(self) -> None:
        """End the program, by closing its input, and the connection."""
        with self._state.lock:
            already, self._state.closing = self._state.closing, True
        if already:
            return
        os.write(self._wake_write, b".")
        self._thread.join()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _run(self) -> None:
        try:
            failure = self._talk()
        except Exception as error:  # noqa: BLE001  # whatever the library raises ends the session
            failure = f"{type(error).__name__}: {error}"
        self._socket.close()
        # After the other side has closed, the library leaves its end open.
        self._socket.sock.shutdown()
        self._fail(f"cannot go on with {self._name}: {failure}")

    def _fail(self, words: str) -> None:
        with self._state.lock:
            self._state.failure = words
            waiting, self._state.waiting = self._state.waiting, {}
        if not self.hello.done():
            self.hello.set_exception(NodeError(words))
        for future in waiting.values():
            if future.set_running_or_notify_cancel():
                future.set_exception(NodeError(words))

    def _talk(self) -> str:
        """Send and receive until either side ends; tell why."""
        poll = select.poll()
        poll.register(self._socket.sock.sock, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        out, said = b"", b""
        while self._socket.is_open():
            if any(fd == self._wake_read for fd, _ in poll.poll(_SLICE_MS)):
                os.read(self._wake_read, _CHUNK)
            self._send()
            if self._state.closing:
                self._socket.close_channel(_STDIN)
                return "it was closed"
            self._socket.update(timeout=0)
            said = (said + self._take(_STDERR))[-_SAID_MAX:]
            out += self._take(_STDOUT)
            *lines, out = out.split(b"\n")
            for line in lines:
                self._receive(line)
        return self._last_words(said)

    def _send(self) -> None:
        while True:
            with self._state.lock:
                data = self._state.outgoing.popleft() if self._state.outgoing else b""
            if not data:
                return
            for start in range(0, len(data), _CHUNK):
                self._socket.write_stdin(data[start : start + _CHUNK])

    def _take(self, channel: int) -> bytes:
        if not self._socket.peek_channel(channel):
            return b""
        found: bytes = self._socket.read_channel(channel)
        return found

    def _receive(self, line: bytes) -> None:
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            return  # a program beside ours may say something too
        if not self.hello.done():
            self.hello.set_result(answer)
            return
        with self._state.lock:
            future = self._state.waiting.pop(int(answer.get("id") or 0), None)
        # Whoever lost patience has cancelled it; nobody wants the answer any more.
        if future is None or not future.set_running_or_notify_cancel():
            return
        if "error" in answer:
            future.set_exception(NodeError(str(answer["error"])))
        else:
            future.set_result(answer)

    def _last_words(self, said: bytes) -> str:
        """Tell how the program ended: its own words, else what the API server says."""
        words = said.decode(errors="replace").strip().splitlines()
        if words:
            return words[-1] if len(words) == 1 else " ".join(words[-3:])
        try:
            status = json.loads(self._take(_ERROR) or b"{}")
        except ValueError:
            status = {}
        return str(status.get("message") or "the connection ended")


def open_session(api: ClusterApi, place: AgentPod, command: Sequence[str]) -> Session:
    """
    Start a program in a pod.

    Args:
        api: Of the cluster.
        place: Where.
        command: The program and its arguments.

    Raises:
        NodeError: The API server does not let us, or the pod is not there, or the program
            did not write its first line.
    """
    from kubernetes import client
    from kubernetes.stream import stream

    name = f"{place.namespace}/{place.pod} of cluster {api.name}"
    # A client of its own: for the time of the call the library changes what it is given.
    core = client.CoreV1Api(client.ApiClient(api.client.configuration))
    try:
        socket = stream(
            core.connect_get_namespaced_pod_exec, place.pod, place.namespace,
            command=list(command), container=place.container, stdin=True, stdout=True,
            stderr=True, tty=False, _preload_content=False, binary=True,
        )  # fmt: skip
    except client.ApiException as error:
        raise NodeError(
            f"cannot run a program in {name}: {_handshake_words(str(error.reason))}",
            hint='a Role there needs the rule {apiGroups: [""], resources: [pods/exec], '
            "verbs: [create, get]}",
        ) from error
    session = Session(socket, name)
    try:
        session.hello.result(_OPEN_S)
    except TimeoutError as error:
        session.close()
        raise NodeError(
            f"cannot run a program in {name}: it said nothing for {_OPEN_S:g} s"
        ) from error
    except NodeError:
        session.close()
        raise
    return session


def _handshake_words(reason: str) -> str:
    """Shorten what the library says of a refused upgrade: it has all headers in it."""
    return reason.partition(" -+-+- ")[0] or "no reason was given"
