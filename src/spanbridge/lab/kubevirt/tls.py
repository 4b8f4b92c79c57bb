# SPDX-License-Identifier: Apache-2.0
"""
TLS between pods of KubeVirt: chain and common name count, host names do not.

Certificates are read for every connection, as KubeVirt's watched files have the effect.

Source: KubeVirt 1.9, pkg/util/tls/tls.go.
"""

import contextlib
import socket
import ssl
import time
from typing import Any, Final

from spanbridge.base.errors import NodeError
from spanbridge.lab.kubevirt.address import join_port, split_port
from spanbridge.lab.kubevirt.identities import BUNDLE, Identity

HANDSHAKE_S: Final = 20.0
"""Time for a connection and its handshake, each: milliseconds, in an emulated guest a second."""

_BACKLOG: Final = 128
_SEE_OFF_S: Final = 1.0
_SEE_OFF_BYTES: Final = 65536


def listen(port: int) -> socket.socket:
    """
    Listen on every address; port 0 lets the kernel choose one.

    Raises:
        NodeError: The port is taken.

    Source: KubeVirt 1.9, pkg/util/net/ip/ip.go: both families, unless the kernel has but one.
    """
    both = socket.has_dualstack_ipv6() and not _ipv6_is_off()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        return socket.create_server(
            ("", port), family=family, backlog=_BACKLOG, dualstack_ipv6=both
        )
    except OSError as error:
        raise NodeError(f"cannot listen on port {port}: {error.strerror or error}") from error


def accept(
    sock: socket.socket, trust: str, ours: Identity, *, client: Identity | None
) -> ssl.SSLSocket:
    """
    Do the server's part of a handshake.

    Args:
        sock: The accepted connection; closed when this fails.
        trust: Directory of certificates.
        ours: What we show.
        client: Whom we insist on; None takes anybody, but a certificate that is shown counts.

    Raises:
        NodeError: The other one does not want us, or we do not want it.
    """
    peer = _peer(sock)
    with sock.dup() as spare:
        try:
            context = _context(ssl.PROTOCOL_TLS_SERVER, trust, ours)
            context.verify_mode = ssl.CERT_OPTIONAL if client is None else ssl.CERT_REQUIRED
            # Tickets that a client never reads would turn its close into a reset.
            context.num_tickets = 0
            sock.settimeout(HANDSHAKE_S)
            tls = context.wrap_socket(sock, server_side=True, suppress_ragged_eofs=False)
        except OSError as error:
            sock.close()
            _see_off(spare)
            raise NodeError(f"cannot accept {peer}: {explain(error)}") from error
        if client is not None and (fault := _find_name_fault(tls, client)):
            tls.close()
            _see_off(spare)
            raise NodeError(f"cannot accept {peer}: {fault}")
    return tls


def _see_off(sock: socket.socket) -> None:
    """Let a client read why it was refused: what it has sent unread would reset its connection."""
    deadline = time.monotonic() + _SEE_OFF_S
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        while (rest := deadline - time.monotonic()) > 0:
            sock.settimeout(rest)
            if not sock.recv(_SEE_OFF_BYTES):
                return


def dial(target: str, trust: str, ours: Identity, *, server: Identity) -> ssl.SSLSocket:
    """
    Connect to ``target`` and do the client's part of a handshake.

    By an ordinary route look-up: nothing keeps the packets on the migration network.

    Args:
        target: Address and port.
        trust: Directory of certificates.
        ours: What we show.
        server: Whom we insist on.

    Raises:
        NodeError: Nobody is there, or it is not whom we want. A server of TLS 1.3 that does not
            want us says so only to the first read.
    """
    try:
        sock = socket.create_connection(split_port(target), timeout=HANDSHAKE_S)
        try:
            context = _context(ssl.PROTOCOL_TLS_CLIENT, trust, ours)
            context.check_hostname = False
            tls = context.wrap_socket(sock, suppress_ragged_eofs=False)
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        raise NodeError(f"cannot connect to {target}: {explain(error)}") from error
    if fault := _find_name_fault(tls, server):
        tls.close()
        raise NodeError(f"cannot connect to {target}: {fault}")
    return tls


def explain(error: Exception) -> str:
    """Say in a few words what a socket or the TLS library found."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed, {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)


def _context(protocol: ssl._SSLMethod, trust: str, ours: Identity) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(f"{trust}/{BUNDLE}")
    context.load_cert_chain(f"{trust}/{ours.file}")
    return context


def _find_name_fault(tls: ssl.SSLSocket, wanted: Identity) -> str:
    """Say what is wrong with the other side's common name; empty where nothing is."""
    shown: Any = tls.getpeercert() or {}
    subject = shown.get("subject", ())
    names = [value for part in subject for key, value in part if key == "commonName"]
    if names == [wanted.common_name]:
        return ""
    got = ", ".join(names) or "none"
    return f"common name is invalid, expected {wanted.common_name}, got {got}"


def _peer(sock: socket.socket) -> str:
    try:
        address, port = sock.getpeername()[:2]
    except OSError:
        return "somebody who is gone"
    return join_port(address.removeprefix("::ffff:"), port)


def _ipv6_is_off() -> bool:
    try:
        with open("/proc/sys/net/ipv6/conf/all/disable_ipv6") as file:  # noqa: PTH123  # lean
            return file.read().strip() != "0"
    except FileNotFoundError:
        return True
