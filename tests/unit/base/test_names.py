# SPDX-License-Identifier: Apache-2.0
"""Rules that names obey; each rule has a name that breaks only this one."""

import pytest

from spanbridge.base.names import ifname_fault, is_identifier


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "empty"),
        ("a" * 16, "15 bytes"),
        ("ä" * 8, "15 bytes"),
        (".", "reserves"),
        ("..", "reserves"),
        ("a/b", "slash"),
        ("a:b", "colon"),
        ("a b", "white space"),
        ("a\x7f", "control"),
        ("\udcff", "control"),
        ("br%d", "%"),
    ],
    ids=repr,
)
def test_a_bad_interface_name_has_its_fault_named(text: str, fault: str) -> None:
    assert fault in (ifname_fault(text) or "")


@pytest.mark.parametrize("text", ["a", "a" * 15, "ä" * 7, "...", "br0.100", "@"], ids=repr)
def test_a_good_interface_name_has_none(text: str) -> None:
    assert ifname_fault(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a", True), ("0_.-", True), ("", False), ("_a", False), ("a\n", False), ("ä", False)],
)
def test_an_identifier_is_ascii_and_starts_with_a_letter_or_digit(
    text: str, *, expected: bool
) -> None:
    assert is_identifier(text) is expected
