# SPDX-License-Identifier: Apache-2.0
"""Clusters and whom they trust, as openssl sees it."""

import re
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from spanbridge.base.errors import NodeError
from spanbridge.lab.place import Place
from spanbridge.lab.trust import (
    authority,
    ensure_trust,
    exchange,
    forget,
    import_door,
    renew,
    trust_dir,
    trusted,
)

CLUSTERS = ("east", "west")
NAMES = {
    "virt-handler-server": "kubevirt.io:system:node:virt-handler",
    "virt-handler-client": "kubevirt.io:system:client:virt-handler",
    "migration-client": "kubevirt.io:system:client:migration",
    "sync-server": "kubevirt.io:system:node:virt-synchronization-controller",
    "sync-client": "kubevirt.io:system:client:virt-synchronization-controller",
}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    assert ensure_trust(made, CLUSTERS) == CLUSTERS
    return made


def _openssl(*words: str | Path) -> str:
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def _fingerprint(file: Path) -> str:
    said = _openssl("x509", "-in", file, "-noout", "-fingerprint", "-sha256")
    return said.rpartition("=")[2].strip().replace(":", "").lower()


def _file(place: Place, cluster: str, name: str) -> Path:
    return trust_dir(place, cluster) / name


def _verify(place: Place, name: str, *, of: str, by: str) -> str:
    """Have openssl judge a certificate by a cluster's bundle, for what it is meant."""
    purpose = "sslserver" if name.endswith("-server") else "sslclient"
    bundle, leaf = _file(place, by, "ca-bundle"), _file(place, of, f"{name}.pem")
    own = ("-CAfile", bundle, "-no-CApath", "-no-CAstore")
    return _openssl("verify", *own, "-x509_strict", "-purpose", purpose, leaf)


@pytest.mark.parametrize("name", list(NAMES))
def test_a_certificate_is_good_in_its_own_cluster_and_for_its_purpose(
    place: Place, name: str
) -> None:
    assert _verify(place, name, of="east", by="east").endswith(": OK\n")


def test_a_client_certificate_serves_no_server(place: Place) -> None:
    leaf = _file(place, "east", "migration-client.pem")
    bundle = _file(place, "east", "ca-bundle")
    said = _openssl("verify", "-CAfile", bundle, "-purpose", "sslserver", leaf)
    assert "unsuitable certificate purpose" in said


@pytest.mark.parametrize(("name", "common_name"), NAMES.items())
def test_a_certificate_has_the_name_that_kubevirt_insists_on(
    place: Place, name: str, common_name: str
) -> None:
    leaf = _file(place, "west", f"{name}.pem")
    assert _openssl("x509", "-in", leaf, "-noout", "-subject") == f"subject=CN = {common_name}\n"


def test_a_key_belongs_to_its_certificate_and_nobody_else_may_read_it(place: Place) -> None:
    leaf = _file(place, "east", "sync-server.pem")
    assert _openssl("x509", "-in", leaf, "-noout", "-pubkey") == _openssl(
        "pkey", "-in", leaf, "-pubout"
    )
    assert leaf.stat().st_mode & 0o777 == 0o600


def test_clusters_do_not_trust_each_other_before_the_exchange(place: Place) -> None:
    said = _verify(place, "migration-client", of="east", by="west")
    assert "unable to get local issuer certificate" in said


def test_after_the_exchange_each_trusts_the_other(place: Place) -> None:
    exchange(place, CLUSTERS)
    for of, by in (CLUSTERS, CLUSTERS[::-1]):
        assert _verify(place, "migration-client", of=of, by=by).endswith(": OK\n")


def test_an_exchange_of_two_leaves_the_third_out(place: Place) -> None:
    ensure_trust(place, ("north",))
    exchange(place, CLUSTERS)
    assert "unable to get" in _verify(place, "sync-client", of="north", by="west")
    assert "unable to get" in _verify(place, "sync-client", of="west", by="north")


def test_an_exchange_once_more_adds_nothing(place: Place) -> None:
    exchange(place, CLUSTERS)
    before = _file(place, "east", "ca-bundle").read_bytes()
    exchange(place, CLUSTERS)
    assert _file(place, "east", "ca-bundle").read_bytes() == before
    assert before.count(b"BEGIN CERTIFICATE") == 2


def test_who_is_forgotten_is_not_trusted_and_still_trusts(place: Place) -> None:
    exchange(place, CLUSTERS)
    assert forget(place, "west", "east")
    assert "unable to get" in _verify(place, "migration-client", of="east", by="west")
    assert _verify(place, "migration-client", of="west", by="west").endswith(": OK\n")
    assert _verify(place, "virt-handler-server", of="west", by="east").endswith(": OK\n")
    assert not forget(place, "west", "east")


def test_fingerprints_are_those_that_openssl_computes(place: Place) -> None:
    exchange(place, CLUSTERS)
    east, west = (_fingerprint(_file(place, name, "ca.pem")) for name in CLUSTERS)
    assert authority(place, "east").fingerprint == east
    assert trusted(place, "west") == (west, east)


def test_an_authority_lives_for_a_week_by_openssl(place: Place) -> None:
    own = authority(place, "east")
    said = _openssl("x509", "-in", _file(place, "east", "ca.pem"), "-noout", "-dates")
    dates = [
        datetime.strptime(date, "%b %d %H:%M:%S %Y %Z").replace(tzinfo=UTC)
        for date in re.findall(r"=(.*)", said)
    ]
    assert [each.isoformat() for each in dates] == [own.not_before, own.not_after]
    assert dates[1] - dates[0] == timedelta(days=7)
    assert dates[0].timestamp() <= time.time()


def test_trust_that_is_there_is_kept(place: Place) -> None:
    before = _file(place, "east", "ca.pem").read_bytes()
    assert ensure_trust(place, CLUSTERS) == ()
    assert _file(place, "east", "ca.pem").read_bytes() == before


def test_a_renewed_authority_is_trusted_by_its_own_cluster_alone(place: Place) -> None:
    exchange(place, CLUSTERS)
    renew(place, "east")
    assert _verify(place, "sync-server", of="east", by="east").endswith(": OK\n")
    assert "error" in _verify(place, "sync-server", of="east", by="west")
    exchange(place, CLUSTERS)
    assert _verify(place, "sync-server", of="east", by="west").endswith(": OK\n")


def test_an_authority_that_has_expired_is_not_imported(place: Place) -> None:
    renew(place, "east", since=datetime.now(UTC) - timedelta(days=9))
    assert "certificate has expired" in _verify(place, "sync-server", of="east", by="east")
    exchange(place, CLUSTERS)
    assert _file(place, "west", "ca-bundle").read_bytes().count(b"BEGIN CERTIFICATE") == 1


def test_an_authority_of_the_future_is_not_imported(place: Place) -> None:
    renew(place, "east", since=datetime.now(UTC) + timedelta(days=1))
    exchange(place, CLUSTERS)
    assert _file(place, "west", "ca-bundle").read_bytes().count(b"BEGIN CERTIFICATE") == 1


def test_one_bad_block_spoils_the_whole_door_and_empties_it(place: Place) -> None:
    door = _file(place, "west", "external-ca")
    good = _openssl("x509", "-in", _file(place, "east", "ca.pem"))
    bad = "-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n"
    door.write_text(good + bad)
    assert import_door(place, "west") == ()
    assert door.read_bytes() == b""
    door.write_text(good)
    assert import_door(place, "west") == (_fingerprint(_file(place, "east", "ca.pem")),)
    assert door.read_bytes() == b""


def test_a_cluster_without_certificates_is_named(place: Place) -> None:
    with pytest.raises(NodeError, match="the cluster south has no certificates"):
        trusted(place, "south")
