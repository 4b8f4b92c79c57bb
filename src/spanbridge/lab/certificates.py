# SPDX-License-Identifier: Apache-2.0
"""
Certificates as KubeVirt's operator makes them.

The keys are elliptic where KubeVirt's are RSA: in an emulated guest an RSA key takes
seconds. Names, extensions and chains are the same.

Source: KubeVirt 1.9, pkg/certificates/triple.
"""

import time
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from spanbridge.lab.kubevirt.identities import Identity


@dataclass(frozen=True, slots=True)
class Validity:
    """From when until when a certificate is to be believed."""

    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Signer:
    """A certificate authority: its certificate, and the key that only its cluster has."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def make_signer(validity: Validity) -> Signer:
    """Make a cluster's authority; as in KubeVirt, its name does not tell the cluster."""
    key = ec.generate_private_key(ec.SECP256R1())
    # A time in KubeVirt, too, but in seconds: in a lab, authorities are made within one.
    name = _name(f"kubevirt.io@{time.time_ns()}")
    unsigned = (
        _begin(name, key, validity)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Signer(unsigned.sign(key, hashes.SHA256()), key)


def make_leaf(signer: Signer, identity: Identity, validity: Validity) -> bytes:
    """Make the certificate of ``identity`` and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    server, client = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
    purpose = x509.ExtendedKeyUsage([server if identity.is_server else client])
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key())
    unsigned = (
        _begin(_name(identity.common_name), key, validity)
        .issuer_name(signer.certificate.subject)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(purpose, critical=False)
        .add_extension(issuer_key, critical=False)
    )
    # Twice: OpenSSL adds the authority to what is sent where nothing follows the certificate,
    # and a client could read there what KubeVirt does not tell it.
    return 2 * render(unsigned.sign(signer.key, hashes.SHA256())) + _render_key(key)


def render_signer(signer: Signer) -> bytes:
    """Make the PEM of certificate and key."""
    return render(signer.certificate) + _render_key(signer.key)


def render(certificate: x509.Certificate) -> bytes:
    """Make the PEM of a certificate."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def parse(pem: bytes) -> list[x509.Certificate]:
    """
    Read every certificate of a bundle; an empty one has none.

    Raises:
        ValueError: One of them is none.
    """
    return x509.load_pem_x509_certificates(pem) if pem.strip() else []


def fingerprint(certificate: x509.Certificate) -> str:
    """Make the SHA-256 of the certificate, in hex."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def _begin(
    subject: x509.Name, key: ec.EllipticCurvePrivateKey, validity: Validity
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(validity.since)
        .not_valid_after(validity.until)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=True,
        key_cert_sign=signs,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _render_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
