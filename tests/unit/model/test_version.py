# SPDX-License-Identifier: Apache-2.0
"""Which versions are spoken and what each of them allows."""

import pytest

from spanbridge.base.errors import Code, DecodeError, VersionError
from spanbridge.model.reader import Node
from spanbridge.model.version import SUPPORTED, has_ip_version, parse_version, require_verb

FIRST = {"ADD": "0.3.1", "DEL": "0.3.1", "CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}


def test_exactly_the_promised_versions_are_spoken() -> None:
    assert SUPPORTED == ("0.3.1", "0.4.0", "1.0.0", "1.1.0")


@pytest.mark.parametrize("version", SUPPORTED)
def test_a_version_that_is_spoken_is_returned(version: str) -> None:
    assert parse_version(Node({"CniVersion": version})) == version


@pytest.mark.parametrize(
    "version",
    ["0.1.0", "0.2.0", "0.3.0", "1.1", "1.1.1", "2.0.0", "v1.0.0", " 1.0.0", "1.0.0\n", "", None],
    ids=repr,
)
def test_another_version_is_refused_with_the_list(version: str | None) -> None:
    with pytest.raises(VersionError) as caught:
        parse_version(Node({"cniVersion": version}))

    assert caught.value.code is Code.INCOMPATIBLE_VERSION
    assert caught.value.pointer == "/cniVersion"
    assert all(spoken in caught.value.hint for spoken in SUPPORTED)


def test_no_version_means_the_oldest() -> None:
    with pytest.raises(VersionError, match=r"0\.1\.0"):
        parse_version(Node({}))


@pytest.mark.parametrize("version", [1.0, 1, True, ["1.0.0"], {}], ids=repr)
def test_a_version_that_is_no_string_is_a_decode_failure(version: object) -> None:
    with pytest.raises(DecodeError) as caught:
        parse_version(Node({"cniVersion": version}))

    assert (caught.value.code, caught.value.pointer) == (Code.DECODE_FAILURE, "/cniVersion")


@pytest.mark.parametrize("version", SUPPORTED)
@pytest.mark.parametrize("verb", FIRST)
def test_a_verb_is_allowed_from_its_first_version_on(verb: str, version: str) -> None:
    if version >= FIRST[verb]:
        require_verb(version, verb)
        return
    with pytest.raises(VersionError, match=f"cannot run {verb}") as caught:
        require_verb(version, verb)

    assert caught.value.pointer == "/cniVersion"
    assert FIRST[verb] in caught.value.hint


@pytest.mark.parametrize(
    ("version", "expected"),
    [("0.3.1", True), ("0.4.0", True), ("1.0.0", False), ("1.1.0", False)],
)
def test_ip_versions_are_written_before_1_0(version: str, *, expected: bool) -> None:
    assert has_ip_version(version) is expected
