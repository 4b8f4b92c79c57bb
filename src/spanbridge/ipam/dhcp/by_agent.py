# SPDX-License-Identifier: Apache-2.0
"""
``ipam.type`` dhcp in the one-shot program: the agent does it.

The call is passed on as the shim would pass on one of the program ``dhcp``: the same
variables and configuration, both namespaces as descriptors.
"""

import contextlib
import socket
from typing import Final

from spanbridge.base.errors import (
    DelegateError,
    NotReadyError,
    RetryError,
    SpanbridgeError,
    VersionError,
)
from spanbridge.base.log import relay, warn
from spanbridge.ipam import IpamCall, IpamPreview
from spanbridge.ipam.delegate import Answer, failure, parse_answer
from spanbridge.ipam.dhcp.conf import DhcpConf
from spanbridge.ipam.dhcp.plugin import preview
from spanbridge.model.frames import (
    HEADER_BYTES,
    CallFrame,
    parse_answer_header,
    render_call,
)
from spanbridge.model.request import Request
from spanbridge.model.result import CniResult
from spanbridge.model.version import require_verb
from spanbridge.rtnl import NetNs

DEFAULT_SOCKET: Final = "/run/spanbridge/agent.sock"

MARGIN_S: Final = 10.0
"""Seconds that the agent may take beyond the time it has for the DHCP server."""


class _NoAgentError(RetryError):
    """Nobody listens at the socket."""


class DhcpByAgent:
    """A lease that the agent keeps."""

    needs_link: Final = True
    releases_by_link: Final = True

    def __init__(self, request: Request, call: IpamCall, conf: DhcpConf | None) -> None:
        self._request = request
        self._call = call
        self._conf = conf
        named = conf.daemon_socket if conf is not None else ""
        self._socket = named or request.environ.get("SPANBRIDGE_SOCKET") or DEFAULT_SOCKET

    def add(self) -> CniResult:
        """
        Lease an address.

        Raises:
            DelegateError: The agent could not; its code is passed on.
            RetryError: There is no agent.
        """
        return parse_answer("dhcp", self._ask("ADD"))

    def check(self, previous: CniResult | None) -> None:  # noqa: ARG002 - it is in the call
        """Ask whether the lease is alive, and for the address of ``prevResult``."""
        if self._knows("CHECK"):
            self._ask("CHECK")

    def release(self) -> None:
        """Give the lease back; an agent that is not there does it when it starts again."""
        try:
            self._ask("DEL")
        except _NoAgentError as exc:
            warn("the DHCP lease is released once the agent runs again", cause=exc.message)

    def collect(self, valid: frozenset[tuple[str, str]]) -> None:  # noqa: ARG002 - same
        """Give back what no valid attachment holds."""
        with contextlib.suppress(_NoAgentError):
            if self._knows("GC"):
                self._ask("GC")

    def status(self) -> None:
        """
        Ask the agent.

        Raises:
            NotReadyError: It does not run, or could keep no lease.
        """
        try:
            if self._knows("STATUS"):
                self._ask("STATUS")
        except (DelegateError, RetryError) as exc:
            raise NotReadyError(exc.message, hint=exc.hint) from exc

    def preview(self) -> IpamPreview:
        """Say where the address comes from."""
        return preview(self._conf) if self._conf is not None else IpamPreview((), None)

    def _knows(self, verb: str) -> bool:
        try:
            require_verb(self._call.cni_version, verb)
        except VersionError:
            return False
        return True

    def _ask(self, verb: str) -> bytes:
        answer = self._exchange(verb)
        if answer.status:
            raise failure("dhcp", verb, answer)
        if answer.stderr:
            relay(answer.stderr)
        return answer.stdout

    def _exchange(self, verb: str) -> Answer:
        budget_s = self._conf.timeout_s if self._conf is not None else 0.0
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as link:
            link.settimeout(budget_s + MARGIN_S)
            try:
                link.connect(self._socket)
            except OSError as exc:
                raise _NoAgentError(
                    f"cannot reach the agent at {self._socket}: {exc.strerror}",
                    hint="DHCP leases are kept by the agent: spanbridge agent run",
                ) from exc
            try:
                self._send(link, verb)
                return _receive(link)
            except (OSError, SpanbridgeError) as exc:
                raise RetryError(f"cannot have {verb} done by the agent: {exc}") from exc

    def _send(self, link: socket.socket, verb: str) -> None:
        place = self._call.place
        sandbox = place.sandbox.open_if_there() if place.sandbox is not None else None
        host = place.host or NetNs.current()
        environ = {k: v for k, v in self._request.environ.items() if k.startswith("CNI_")}
        frame = CallFrame(
            program="dhcp",
            environ=environ | {"CNI_COMMAND": verb},
            stdin=self._request.stdin,
            caller=True,
            sandbox=sandbox is not None,
        )
        data = render_call(frame)
        fds = [host.fd] if sandbox is None else [host.fd, sandbox.fd]
        # An agent that has answered hangs up: whatever it did not read, it did not want.
        with contextlib.suppress(BrokenPipeError):
            sent = socket.send_fds(link, [data], fds)
            if sent < len(data):
                link.sendall(data[sent:])


def _receive(link: socket.socket) -> Answer:
    status, out, err = parse_answer_header(_read(link, HEADER_BYTES))
    return Answer(status, _read(link, out), _read(link, err).decode(errors="replace").strip())


def _read(link: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = link.recv(count - len(data))
        if not piece:
            raise ConnectionResetError("the agent hung up")
        data += piece
    return bytes(data)
