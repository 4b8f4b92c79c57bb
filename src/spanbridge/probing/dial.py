# SPDX-License-Identifier: Apache-2.0
"""
Connecting as KubeVirt does: by TCP, then TLS with the certificates of a cluster.

Names are not compared with addresses, since pods have none: the chain and the common name
are looked at. Source: KubeVirt 1.9, pkg/util/tls/tls.go.
"""

import asyncio
import errno
import hashlib
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from spanbridge.base.errors import NodeError
from spanbridge.model.observations import Connection, Dial, Handshake, Tls
from spanbridge.probing.pace import Pace

_CHUNK_BYTES: Final = 65536
_CONFIRM_S: Final = 0.3
"""How long a server may take to say that it does not like our certificate. See `_confirm`."""

_CONFIRM_HANDSHAKES: Final = 4
"""So many times as long as the handshake it may take beside that."""

_UNREACHABLE: Final = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN}
_EXPIRED, _NOT_YET_VALID = 10, 9
_UNKNOWN: Final = frozenset({2, 7, 18, 19, 20, 21, 30, 33})
"""Source: openssl/x509_vfy.h; 7 and 30: another authority of the same name."""

_REJECTED: Final = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED")
_PARTIAL_CHAIN: Final = 0x80000
_NO_CHECK_TIME: Final = 0x200000
"""Source: openssl/x509_vfy.h, X509_V_FLAG_…; Python names only the first, from 3.10 on."""

_DER: Final = 2
"""Source: Python 3.11, Modules/_ssl.c, ENCODING_DER."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """
    What a pod has when it dials.

    Attributes:
        trusted: Certificates of the authorities that its cluster trusts, PEM.
        certificate: File with the certificate and key it shows; None shows none.
        known: Certificates of all clusters' authorities, PEM: to tell who signed what is
            not trusted.
        name: Common name that the server must have; empty for any.
    """

    trusted: str
    certificate: Path | None = None
    known: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class DialSettings:
    """Seconds that connecting, and a TLS handshake after it, may take."""

    connect_s: float = 2.0
    handshake_s: float = 5.0


class Dialler:
    """
    Dials with the same credentials again and again.

    Raises:
        NodeError: The credentials cannot be used.
    """

    def __init__(self, credentials: Credentials) -> None:
        try:
            self._usual = _context(credentials.trusted, credentials.certificate)
            self._lenient = _context(credentials.known, None, _NO_CHECK_TIME)
        except (OSError, ssl.SSLError) as exc:
            raise NodeError(f"cannot use certificates: {exc}") from exc
        self._blind = _context("", None)
        self._blind.verify_mode = ssl.CERT_NONE
        self._shows = credentials.certificate is not None
        self._name = credentials.name

    async def handshake(self, sock: socket.socket, pace: Pace, limit_s: float) -> Tls:
        """Do a handshake on a connected socket; says also whether the server accepted us."""
        pipe = _Pipe(sock, self._usual)
        began = time.monotonic()
        try:
            await pace.limit(pipe.handshake(), limit_s)
            took_s = time.monotonic() - began
            wrong = self._wrong_name(pipe)
            if wrong:
                return Tls(Handshake.ERROR, pipe.issuer(), wrong)
            await self._confirm(pipe, pace, took_s)
        except ssl.SSLCertVerificationError as exc:
            return Tls(_verification(exc), "", exc.verify_message)
        except ssl.SSLError as exc:
            reason = exc.reason or str(exc)
            rejected = "ALERT" in reason and any(each in reason for each in _REJECTED)
            result = Handshake.REJECTED if rejected and self._shows else Handshake.ERROR
            return Tls(result, pipe.issuer(), reason.replace("_", " ").lower())
        except TimeoutError:
            return Tls(Handshake.ERROR, "", "the handshake did not end")
        except OSError as exc:
            return Tls(Handshake.ERROR, "", exc.strerror or str(exc))
        return Tls(Handshake.OK, pipe.issuer())

    def _wrong_name(self, pipe: "_Pipe") -> str:
        name = pipe.common_name()
        return f"its name is {name!r}, not {self._name!r}" if self._name not in {"", name} else ""

    async def _confirm(self, pipe: "_Pipe", pace: Pace, took_s: float) -> None:
        """
        Wait until the server has said whether it accepts our certificate.

        In TLS 1.3 it does so after our handshake is over: by an alert, or by a session
        ticket or data. One that stays silent has accepted us. Source: RFC 8446 section 2.
        What it still has to do is less than the handshake was: round trip and slowness alike.
        """
        if not self._shows or pipe.version != "TLSv1.3":
            return
        try:
            limit_s = _CONFIRM_S + _CONFIRM_HANDSHAKES * took_s / pace.factor
            await pace.limit(pipe.until_told(), limit_s)
        except TimeoutError:
            return

    async def signer(self, connect: Callable[[], Any], pace: Pace, limit_s: float) -> str:
        """Find out who signed a server's certificate that is not trusted; empty for unknown."""
        for context in (self._lenient, self._blind):
            try:
                sock: socket.socket = await connect()
                with sock:
                    pipe = _Pipe(sock, context)
                    await pace.limit(pipe.handshake(), limit_s)
                    if issuer := pipe.issuer():
                        return issuer
            except (OSError, ssl.SSLError):
                continue
        return ""


def _context(authorities: str, certificate: Path | None, flags: int = 0) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    # Not strict: KubeVirt's certificates have no name of a host.
    context.verify_flags = ssl.VerifyFlags(_PARTIAL_CHAIN | flags)
    if authorities.strip():
        context.load_verify_locations(cadata=authorities)
    if certificate is not None:
        context.load_cert_chain(certificate)
    return context


def _verification(error: ssl.SSLCertVerificationError) -> Handshake:
    if error.verify_code == _EXPIRED:
        return Handshake.EXPIRED
    if error.verify_code == _NOT_YET_VALID:
        return Handshake.NOT_YET_VALID
    return Handshake.UNKNOWN_AUTHORITY if error.verify_code in _UNKNOWN else Handshake.ERROR


class _Pipe:
    """TLS over a socket that the event loop reads; asyncio's own would hide the alerts."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._sock = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out)

    @property
    def version(self) -> str:
        """As OpenSSL names it."""
        return self._tls.version() or ""

    async def handshake(self) -> None:
        """Come to a result; whatever goes wrong is raised."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            except ssl.SSLError:
                await self._flush()  # the alert by which we say why
                raise
            else:
                break
        await self._flush()

    async def until_told(self) -> None:
        """Read until the server says anything; an alert is raised."""
        while True:
            try:
                self._tls.read(1)
            except ssl.SSLWantReadError:
                if self._tls.session is not None and self._tls.session.has_ticket:
                    return
                await self._fill()
            except ssl.SSLZeroReturnError:
                return
            else:
                return

    async def _flush(self) -> None:
        if data := self._out.read():
            await asyncio.get_running_loop().sock_sendall(self._sock, data)

    async def _fill(self) -> None:
        data = await asyncio.get_running_loop().sock_recv(self._sock, _CHUNK_BYTES)
        if data:
            self._in.write(data)
        else:
            self._in.write_eof()

    def common_name(self) -> str:
        """Tell the server's name; empty without a verified certificate."""
        subject = (self._tls.getpeercert() or {}).get("subject", ())
        parts: Sequence[Any] = [each for part in subject for each in part]
        return next((value for key, value in parts if key == "commonName"), "")

    def issuer(self) -> str:
        """Tell the SHA-256 of the certificate that signed the server's; empty for unknown."""
        inside = getattr(self._tls, "_sslobj", None)
        for name in ("get_verified_chain", "get_unverified_chain"):
            # Public from Python 3.13 on, and there with bytes in it.
            read = getattr(self._tls, name, None) or getattr(inside, name, None)
            chain = (read() if read else None) or ()
            found = [each if isinstance(each, bytes) else each.public_bytes(_DER) for each in chain]
            if len(found) > 1:
                return hashlib.sha256(found[1]).hexdigest()
        return ""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to connect to: an IP address and a port."""

    host: str
    port: int

    @property
    def family(self) -> socket.AddressFamily:
        """IPv4 or IPv6."""
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET


OpenSocket = Callable[[socket.AddressFamily], socket.socket]
"""Makes a TCP socket in the namespace from which is dialled."""


async def dial(
    address: Address,
    open_socket: OpenSocket,
    dialler: Dialler | None,
    *,
    settings: DialSettings,
    pace: Pace,
) -> Dial:
    """
    Connect once, and shake hands where there is somebody to shake hands as.

    Args:
        address: Of the server.
        open_socket: See there.
        dialler: With the credentials; None does not go beyond TCP.
        settings: Time limits.
        pace: How patient to be.
    """

    async def connect() -> socket.socket:
        return await _connect(address, open_socket, settings, pace)

    try:
        sock = await connect()
    except TimeoutError:
        return Dial(address.port, Connection.TIMEOUT, error="timed out")
    except OSError as exc:
        return Dial(address.port, _connection(exc), error=exc.strerror or str(exc))
    if dialler is None:
        sock.close()
        return Dial(address.port, Connection.OK)
    with sock:
        tls = await dialler.handshake(sock, pace, settings.handshake_s)
    if not tls.issuer and tls.result is not Handshake.ERROR:
        issuer = await dialler.signer(connect, pace, settings.handshake_s)
        tls = Tls(tls.result, issuer, tls.error)
    return Dial(address.port, Connection.OK, tls)


async def _connect(
    address: Address, open_socket: OpenSocket, settings: DialSettings, pace: Pace
) -> socket.socket:
    sock = open_socket(address.family)
    try:
        sock.settimeout(0)
        loop = asyncio.get_running_loop()
        await pace.limit(loop.sock_connect(sock, (address.host, address.port)), settings.connect_s)
    except BaseException:
        sock.close()
        raise
    return sock


def _connection(error: OSError) -> Connection:
    if error.errno == errno.ECONNREFUSED:
        return Connection.REFUSED
    if error.errno in _UNREACHABLE:
        return Connection.UNREACHABLE
    if error.errno == errno.ETIMEDOUT:
        return Connection.TIMEOUT
    return Connection.ERROR
