# SPDX-License-Identifier: Apache-2.0
"""
Executing in a pod, the server's side: a real process behind a WebSocket with channels.

Source: RFC 6455, sections 4.2.2 and 5.2; Kubernetes 1.34, pkg/kubelet/cri/streaming, the
channels of v5.channel.k8s.io.
"""

import base64
import hashlib
import io
import json
import os
import struct
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Final

PROTOCOL: Final = "v5.channel.k8s.io"

_MAGIC: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_BINARY, _CLOSE, _PING, _PONG = 2, 8, 9, 10
_STDIN, _STDOUT, _STDERR, _STATUS, _CLOSED = 0, 1, 2, 3, 255


def accept_key(key: str) -> str:
    """Answer the key of a client's handshake."""
    digest = hashlib.sha1((key + _MAGIC).encode(), usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def _read_exactly(stream: io.BufferedIOBase, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data


def read_messages(stream: io.BufferedIOBase) -> Iterator[tuple[int, bytes]]:
    """Read a client's frames until it hangs up: opcode and payload, unmasked."""
    while True:
        try:
            head = _read_exactly(stream, 2)
            size = head[1] & 0x7F
            if size == 126:
                (size,) = struct.unpack("!H", _read_exactly(stream, 2))
            elif size == 127:
                (size,) = struct.unpack("!Q", _read_exactly(stream, 8))
            mask = _read_exactly(stream, 4)
            masked = _read_exactly(stream, size)
        except (EOFError, OSError):
            return
        data = bytes(byte ^ mask[at % 4] for at, byte in enumerate(masked))
        if head[0] & 0x0F == _CLOSE:
            return
        yield head[0] & 0x0F, data


class ExecSession:
    """
    One process and the connection that it talks through.

    Args:
        command: What to run.
        read: Where the client's frames come from.
        write: Where frames to it go.
        environ: Variables besides ours.
    """

    def __init__(
        self,
        command: Sequence[str],
        read: io.BufferedIOBase,
        write: io.BufferedIOBase,
        environ: Mapping[str, str],
    ) -> None:
        self._read, self._write = read, write
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, **environ},
        )

    def serve(self) -> None:
        """Pass on what either says, until both have ended."""
        process = self._process
        pumps = [
            threading.Thread(target=self._pump, args=(channel, stream), name=f"channel {channel}")
            for channel, stream in ((_STDOUT, process.stdout), (_STDERR, process.stderr))
        ]
        for each in pumps:
            each.start()
        threading.Thread(target=self._feed, name="channel 0", daemon=True).start()
        for each in pumps:
            each.join()
        code = process.wait()
        cause = {"reason": "ExitCode", "message": str(code)}
        status: dict[str, object] = {"metadata": {}, "status": "Success"}
        if code:
            words = f"command terminated with non-zero exit code: exit status {code}"
            status = {"metadata": {}, "status": "Failure", "message": words,
                      "reason": "NonZeroExitCode", "details": {"causes": [cause]}}  # fmt: skip
        self._send(_BINARY, bytes([_STATUS]) + json.dumps(status).encode())
        self._send(_CLOSE, struct.pack("!H", 1000))
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()

    def _pump(self, channel: int, stream: IO[bytes] | None) -> None:
        while stream is not None and (data := stream.read(4096)):
            self._send(_BINARY, bytes([channel]) + data)

    def _feed(self) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        with stdin:
            for opcode, data in read_messages(self._read):
                if opcode == _PING:
                    self._send(_PONG, data)
                elif data[:1] == bytes([_CLOSED]):
                    return
                elif data[:1] == bytes([_STDIN]):
                    stdin.write(data[1:])

    def _send(self, opcode: int, data: bytes) -> None:
        size = len(data)
        length = bytes([size]) if size < 126 else b"\x7e" + struct.pack("!H", size)
        try:
            with self._lock:
                self._write.write(bytes([0x80 | opcode]) + length + data)
                self._write.flush()
        except (OSError, ValueError):
            # The client has gone; the process is told by its input's end.
            return
