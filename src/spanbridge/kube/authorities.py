# SPDX-License-Identifier: Apache-2.0
"""
Certificate authorities: what a bundle holds, and which of them is a cluster's own.

A bundle says who is trusted, not whose each certificate is, and the key's Secret is nobody's
business. What can be told from the bundles of all clusters is told; the rest is left open.
"""

import hashlib
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from spanbridge.model.observations import Authority

_BLOCK: Final = re.compile(
    r"-----BEGIN CERTIFICATE-----[ \t]*\r?\n(.*?)-----END CERTIFICATE-----", re.DOTALL
)
_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_BASE64: Final = re.compile(r"[A-Za-z0-9+/=\s]*")

_LATE_S: Final = 300
"""How late virt-operator may be with a renewal, in seconds."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """
    One certificate of a bundle.

    Attributes:
        fingerprint: SHA-256 of it, in hex.
        not_before: In seconds since 1970.
        not_after: The same.
    """

    fingerprint: str
    not_before: float
    not_after: float

    def valid_at(self, now: float) -> bool:
        """Tell whether it is within its time."""
        return self.not_before <= now <= self.not_after

    def authority(self) -> Authority:
        """Make what observations hold of it."""
        return Authority(self.fingerprint, _iso(self.not_before), _iso(self.not_after))


@dataclass(frozen=True, slots=True)
class Bundle:
    """
    A PEM bundle as KubeVirt reads it.

    Attributes:
        certificates: Each once, in their order; expired ones too.
        skipped: Blocks that are passed over, and why: their base64 is broken.
        fatal: Why all of it is ignored; empty where it is not. One block that is base64 but
            no certificate does that. Source: KubeVirt 1.9, pkg/util/tls/ca-manager.go and
            client-go util/cert/pem.go.
    """

    certificates: tuple[Certificate, ...] = ()
    skipped: tuple[str, ...] = ()
    fatal: str = ""

    def valid_at(self, now: float) -> tuple[Certificate, ...]:
        """Give those that are within their time."""
        return tuple(each for each in self.certificates if each.valid_at(now))


def parse_bundle(text: str) -> Bundle:
    """Read a PEM bundle."""
    found: dict[str, Certificate] = {}
    skipped = []
    for number, part in enumerate(text.split(_BEGIN)[1:], 1):
        block = _BLOCK.match(_BEGIN + part)
        if block is None or not _BASE64.fullmatch(block[1]):
            skipped.append(f"block {number} is broken: no base64, or no END line")
            continue
        try:
            certificate = _decode(block[0])
        except ValueError as error:
            return Bundle(
                skipped=tuple(skipped), fatal=f"block {number} is no certificate: {error}"
            )
        if certificate is None:
            skipped.append(f"block {number} is a certificate, but of no authority")
        else:
            found[certificate.fingerprint] = certificate
    if not found:
        return Bundle(skipped=tuple(skipped), fatal="it holds no certificate of an authority")
    return Bundle(tuple(found.values()), tuple(skipped))


def _decode(block: str) -> Certificate | None:
    """Decode a PEM block; None where it may not sign others."""
    try:
        der = ssl.PEM_cert_to_DER_cert(block.strip())
        # A store of its own for each: it forgets doubles, and in which order they came.
        store = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        store.load_verify_locations(cadata=der)
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(str(getattr(error, "reason", "") or error)) from error
    shown = store.get_ca_certs()
    if not shown:
        return None
    start, end = (ssl.cert_time_to_seconds(str(shown[0][key])) for key in ("notBefore", "notAfter"))
    return Certificate(hashlib.sha256(der).hexdigest(), start, end)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Trust:
    """
    Whom one cluster trusts.

    Attributes:
        certificates: Of its bundle, those within their time.
        now: When it was read, in seconds since 1970.
        renew_before_s: How long before its end its own authority is replaced.
    """

    certificates: tuple[Certificate, ...]
    now: float
    renew_before_s: float

    def candidates(self) -> frozenset[Certificate]:
        """Tell which of them may be its own: one that is due would have been replaced."""
        return frozenset(
            each
            for each in self.certificates
            if self.now < each.not_after - self.renew_before_s + _LATE_S
        )


def tell_authorities(trusts: Mapping[str, Trust]) -> dict[str, Authority | None]:
    """
    Tell each cluster's own authority, by the bundles of all; None where it cannot be told.

    A cluster's own certificate is in its own bundle and not due for renewal. What is another's
    is not its own. Where several are left, one of them is named if that says the right thing
    about every other cluster: that it trusts all of them, or none.
    """
    left = {name: trust.candidates() for name, trust in trusts.items()}
    settled: dict[str, Certificate] = {}
    while True:
        found = next(((name, each) for name, each in left.items()
                      if len(each) == 1 and name not in settled), None)  # fmt: skip
        if found is None:
            break
        name, (own,) = found
        settled[name] = own
        left = {other: each if other == name else each - {own} for other, each in left.items()}
    told = {name: settled.get(name) or _any_of(name, left, trusts) for name in trusts}
    return {name: each.authority() if each else None for name, each in told.items()}


def _any_of(
    name: str, left: Mapping[str, frozenset[Certificate]], trusts: Mapping[str, Trust]
) -> Certificate | None:
    """Choose among several where all of them are strange to some cluster, and none half known."""
    known = [
        [each in trust.certificates for each in left[name]]
        for other, trust in trusts.items()
        if other != name
    ]
    if not left[name] or any(any(each) and not all(each) for each in known):
        return None
    if all(all(each) for each in known):
        return None
    return max(left[name], key=lambda each: (each.not_before, each.fingerprint))
