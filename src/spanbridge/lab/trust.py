# SPDX-License-Identifier: Apache-2.0
"""
Whom a cluster of the lab trusts: its own certificate authority, and those it imported.

In the state directory, under ``trust/CLUSTER``::

    ca.pem        the cluster's authority and its key
    ca-bundle     what its pods trust: ConfigMap kubevirt-ca
    external-ca   the door through which foreign authorities come: kubevirt-external-ca
    NAME.pem      certificate and key of a pod, by `Identity`

Files are replaced as a whole and read again for every connection, so that what is changed
here counts at once.

Source: KubeVirt 1.9, pkg/virt-operator/resource/apply/core.go.
"""

import hashlib
import re
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final

from spanbridge.base.errors import NodeError
from spanbridge.base.files import write_atomic
from spanbridge.lab.kubevirt.identities import BUNDLE, Identity
from spanbridge.lab.place import Place

if TYPE_CHECKING:
    from spanbridge.model.observations import Authority

LIFE: Final = timedelta(days=7)
"""Of an authority and its certificates. Source: KubeVirt 1.9, components/certificates.go."""

_EARLIER: Final = timedelta(minutes=1)
"""They begin a little before they are made: the clocks of two machines may differ."""

_CERTIFICATE: Final = re.compile(
    rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL
)


def trust_dir(place: Place, cluster: str) -> Path:
    """Tell where a cluster's certificates lie."""
    return place.directory / "trust" / cluster


def ensure_trust(place: Place, clusters: Sequence[str]) -> tuple[str, ...]:
    """
    Make an authority, trusted by its own pods alone, for every cluster without one.

    Returns:
        The clusters that had none.

    Raises:
        NodeError: The library for certificates is missing.
    """
    new = tuple(name for name in clusters if not _bundle(place, name).exists())
    for name in new:
        renew(place, name)
    return new


def renew(
    place: Place, cluster: str, *, since: datetime | None = None, life: timedelta = LIFE
) -> None:
    """
    Give a cluster another authority, and its pods certificates of that one.

    Whom it trusted else it trusts no more, and nobody trusts it before the next exchange.

    Args:
        place: Where the lab's files are.
        cluster: Name of the cluster.
        since: When the certificates begin; None is now.
        life: How long they last.

    Raises:
        NodeError: The library for certificates is missing.
    """
    certificates = _certificates()
    begin = (since or datetime.now(UTC) - _EARLIER).replace(microsecond=0)
    validity = certificates.Validity(begin, begin + life)
    signer = certificates.make_signer(validity)
    directory = trust_dir(place, cluster)
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory / "ca.pem", certificates.render_signer(signer))
    for identity in Identity:
        _write(directory / identity.file, certificates.make_leaf(signer, identity, validity))
    _write(_door(place, cluster), b"")
    # Last: it says that all the others are there.
    _write(_bundle(place, cluster), certificates.render(signer.certificate))


def exchange(place: Place, clusters: Sequence[str]) -> None:
    """
    Have every one of ``clusters`` import the authorities of all the others.

    Raises:
        NodeError: One has no authority, or the library for certificates is missing.
    """
    for cluster in clusters:
        others = (_own_certificate(place, name) for name in clusters if name != cluster)
        _write(_door(place, cluster), b"".join(others))
    for cluster in clusters:
        import_door(place, cluster)


def import_door(place: Place, cluster: str) -> tuple[str, ...]:
    """
    Do with what lies in a cluster's door as virt-operator does, and empty the door.

    One block that is no certificate makes all of it ignored; what has expired, is not yet
    valid or known already is left out. An empty door therefore says nothing.

    Returns:
        Fingerprints of what is trusted from now on.

    Raises:
        NodeError: The cluster has no authority, or the library for certificates is missing.
    """
    certificates, now = _certificates(), datetime.now(UTC)
    try:
        found = certificates.parse(_read(_door(place, cluster)))
    except ValueError:
        found = []
    bundle, known = _read(_bundle(place, cluster)), set(trusted(place, cluster))
    imported: list[str] = []
    for each in found:
        name = certificates.fingerprint(each)
        if name not in known and each.not_valid_before_utc <= now <= each.not_valid_after_utc:
            known.add(name)
            imported.append(name)
            bundle += certificates.render(each)
    _write(_bundle(place, cluster), bundle)
    _write(_door(place, cluster), b"")
    return tuple(imported)


def forget(place: Place, cluster: str, other: str) -> bool:
    """
    Take the authority of ``other`` out of what ``cluster`` trusts, as after a rotation.

    Returns:
        Whether it was trusted.

    Raises:
        NodeError: One of the two has no authority.
    """
    unwanted = _fingerprint(_own_certificate(place, other))
    bundle = _CERTIFICATE.findall(_read(_bundle(place, cluster)))
    kept = [each for each in bundle if _fingerprint(each) != unwanted]
    _write(_bundle(place, cluster), b"".join(kept))
    return len(kept) < len(bundle)


def age(place: Place, clusters: Sequence[str], cluster: str) -> None:
    """
    Have a cluster's authority, and all that it signed, end an hour ago.

    Those who trusted it do so still: it was good when they imported it.

    Args:
        place: Where the lab's files are.
        clusters: Those who may trust it.
        cluster: Whose authority.

    Raises:
        NodeError: It has none, or the library for certificates is missing.
    """
    bundles = {name: _read(_bundle(place, name)) for name in clusters}
    old = _own_certificate(place, cluster)
    renew(place, cluster, since=datetime.now(UTC) - LIFE - timedelta(hours=1))
    new = _own_certificate(place, cluster)
    for name, bundle in bundles.items():
        _write(_bundle(place, name), bundle.replace(old, new))


def make_stale(place: Place, cluster: str, name: str) -> Path:
    """
    Make certificates for one pod that are of an authority which nobody has any more.

    Args:
        place: Where the lab's files are.
        cluster: The pod's; whom it trusts does not change.
        name: Tells the pod.

    Returns:
        The directory of the pod's certificates, beside its cluster's.

    Raises:
        NodeError: The library for certificates is missing.
    """
    certificates = _certificates()
    begin = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    validity = certificates.Validity(begin, begin + LIFE)
    signer = certificates.make_signer(validity)
    directory = stale_dir(place, name)
    directory.mkdir(parents=True, exist_ok=True)
    for identity in Identity:
        _write(directory / identity.file, certificates.make_leaf(signer, identity, validity))
    _write(directory / BUNDLE, _read(_bundle(place, cluster)))
    return directory


def stale_dir(place: Place, name: str) -> Path:
    """Tell where `make_stale` puts what it makes."""
    return place.directory / "trust" / f"stale-{name}"


def authority(place: Place, cluster: str) -> "Authority":
    """
    Describe a cluster's own authority.

    Raises:
        NodeError: It has none, or the library for certificates is missing.
    """
    from spanbridge.model.observations import Authority

    certificates = _certificates()
    (own,) = certificates.parse(_own_certificate(place, cluster))
    return Authority(
        fingerprint=certificates.fingerprint(own),
        not_before=own.not_valid_before_utc.isoformat(),
        not_after=own.not_valid_after_utc.isoformat(),
    )


def trusted(place: Place, cluster: str) -> tuple[str, ...]:
    """
    List the fingerprints in a cluster's bundle, its own authority's among them.

    Raises:
        NodeError: It has none.
    """
    return tuple(map(_fingerprint, _CERTIFICATE.findall(_read(_bundle(place, cluster)))))


def _own_certificate(place: Place, cluster: str) -> bytes:
    file = trust_dir(place, cluster) / "ca.pem"
    (found,) = _CERTIFICATE.findall(_read(file))
    return bytes(found)


def _fingerprint(pem: bytes) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.decode())).hexdigest()


def _bundle(place: Place, cluster: str) -> Path:
    return trust_dir(place, cluster) / BUNDLE


def _door(place: Place, cluster: str) -> Path:
    return trust_dir(place, cluster) / "external-ca"


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        raise NodeError(
            f"cannot read {file}: the cluster {file.parent.name} has no certificates"
        ) from error


def _write(file: Path, content: bytes) -> None:
    write_atomic(file, content, durable=False)


def _certificates() -> ModuleType:
    """Import the library where it is needed: that takes seconds in an emulated guest."""
    try:
        from spanbridge.lab import certificates
    except ImportError as error:
        raise NodeError(
            f"cannot make certificates: {error}", hint="pip install 'spanbridge[lab]'"
        ) from error
    return certificates
