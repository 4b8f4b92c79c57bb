# SPDX-License-Identifier: Apache-2.0
"""Bundles of real certificates, and whose each one is."""

import functools
import subprocess
import time

import pytest

from spanbridge.kube.authorities import Certificate, Trust, parse_bundle, tell_authorities
from spanbridge.kube.settings import parse_duration, renew_before_s
from spanbridge.testing.clusters import make_certificate

NOW = time.time()
DAY = 86400.0


def _openssl(pem: str, *options: str) -> str:
    done = subprocess.run(
        ["openssl", "x509", "-noout", *options],
        input=pem,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip().partition("=")[2]


def test_fingerprint_and_dates_are_those_that_openssl_shows() -> None:
    pem = make_certificate("east")
    (found,) = parse_bundle(pem).certificates
    assert found.fingerprint.upper() == _openssl(pem, "-fingerprint", "-sha256").replace(":", "")
    ended = _openssl(pem, "-enddate", "-dateopt", "iso_8601").replace(" ", "T")
    assert found.authority().not_after == ended
    assert abs(found.not_after - found.not_before - 2 * DAY) < 2


def test_text_between_blocks_and_windows_line_ends_do_no_harm() -> None:
    pem = "subject=/CN=kubevirt\n" + make_certificate("east").replace("\n", "\r\n") + "tail"
    assert len(parse_bundle(pem).certificates) == 1


def test_a_certificate_that_is_there_twice_counts_once() -> None:
    assert len(parse_bundle(make_certificate("east") * 2).certificates) == 1


@functools.cache
def _leaf() -> str:
    done = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", "/dev/null", "-subj", "/CN=leaf",
         "-addext", "basicConstraints=CA:FALSE"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def test_a_certificate_of_no_authority_is_told() -> None:
    bundle = parse_bundle(make_certificate("east") + _leaf())
    assert bundle.skipped == ("block 2 is a certificate, but of no authority",)
    assert len(bundle.certificates) == 1


@pytest.mark.parametrize("text", ["", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_bundle_without_a_certificate_says_so(text: str) -> None:
    assert parse_bundle(text).fatal == "it holds no certificate of an authority"


def _certificate(name: str, *, age_d: float = 0.1) -> Certificate:
    start = NOW - age_d * DAY
    return Certificate(name, start, start + 2 * DAY)


def _own(**bundles: list[Certificate]) -> dict[str, str | None]:
    told = tell_authorities({name: Trust(tuple(each), NOW, DAY) for name, each in bundles.items()})
    return {name: each.fingerprint if each else None for name, each in told.items()}


EAST, WEST, NORTH = (_certificate(name) for name in ("east", "west", "north"))


def test_without_an_exchange_everybody_has_his_own() -> None:
    assert _own(east=[EAST], west=[WEST]) == {"east": "east", "west": "west"}


def test_who_imported_is_told_by_who_did_not() -> None:
    assert _own(east=[EAST], west=[WEST, EAST]) == {"east": "east", "west": "west"}


def test_where_all_trust_each_other_it_does_not_matter_and_is_left_open() -> None:
    assert _own(east=[EAST, WEST], west=[WEST, EAST]) == {"east": None, "west": None}


def test_a_renewed_authority_is_found_since_the_old_one_is_due() -> None:
    old = _certificate("old", age_d=1.1)
    assert _own(east=[EAST, old], west=[WEST, old, EAST]) == {"east": "east", "west": "west"}


def test_a_third_cluster_outside_of_the_intent_raises_no_false_alarm() -> None:
    told = _own(east=[EAST, WEST, NORTH], west=[WEST, EAST])
    assert told["east"] in {None, "east"}
    assert told["west"] in {None, "west"}


def test_one_of_several_is_named_where_all_are_strange_to_another() -> None:
    second = _certificate("second", age_d=0.2)
    assert _own(east=[EAST, second], west=[WEST])["east"] == "east"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("48h0m0s", 172800), ("33h36m", 120960), ("1.5h", 5400), ("250ms", 0.25), ("1ns", 1e-9),
     ("", None), ("48", None), ("h", None), ("1h x", None), ("1..2h", None)],
)  # fmt: skip
def test_durations_are_read_as_go_writes_them(text: str, seconds: float | None) -> None:
    assert (
        parse_duration(text) == pytest.approx(seconds) if seconds else parse_duration(text) is None
    )


@pytest.mark.parametrize(
    ("own", "hours"),
    [
        (None, 33.6),
        ({"ca": {"duration": "48h"}}, 9.6),
        ({"ca": {"duration": "48h", "renewBefore": "24h"}}, 24),
        ({"caOverlapInterval": "12h", "ca": {"renewBefore": "24h"}}, 12),
        ({"caRotateInterval": "100h"}, 20),
    ],
)
def test_renewal_is_reckoned_as_virt_operator_does(
    own: dict[str, object] | None, hours: float
) -> None:
    strategy = {"certificateRotateStrategy": {"selfSigned": own}} if own else {}
    assert renew_before_s({"spec": strategy}) == pytest.approx(hours * 3600)
