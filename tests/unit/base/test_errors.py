# SPDX-License-Identifier: Apache-2.0
"""The error tree, and that every code is explained to those who meet it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from spanbridge.base import errors
from spanbridge.base.errors import (
    Code,
    ConfigError,
    DelegateError,
    InputError,
    KernelError,
    ReleaseError,
    SpanbridgeError,
)

PAGE = Path(__file__).parents[3] / "docs/reference/errors.md"


def documented() -> dict[str, list[str]]:
    """Rows of the page's table, by code: name, meaning, what to do."""
    rows = re.findall(r"^\| (\d+) \| (\w+) \| (.+?) \| (.+?) \|$", PAGE.read_text(), re.MULTILINE)
    return {code: rest for code, *rest in rows}


def tree(root: type[SpanbridgeError] = SpanbridgeError) -> Iterator[type[SpanbridgeError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


OURS = [kind for kind in tree() if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("code", Code, ids=lambda code: code.name)
def test_every_code_is_documented_with_meaning_and_remedy(code: Code) -> None:
    name, meaning, remedy = documented()[str(int(code))]

    assert name == code.name
    assert len(meaning) > 20
    assert remedy


def test_the_page_documents_no_code_that_there_is_not() -> None:
    assert set(documented()) == {str(int(code)) for code in Code}


def test_codes_of_the_specification_have_its_numbers() -> None:
    assert [int(code) for code in Code if code < 100] == [1, 2, 3, 4, 5, 6, 7, 11, 50, 51]


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_every_error_stands_in_the_drawing_of_the_tree(kind: type[SpanbridgeError]) -> None:
    assert re.search(rf"\b{kind.__name__}\b", errors.__doc__ or "")
    assert kind.__doc__


@pytest.mark.parametrize(
    ("pointer", "hint", "details"),
    [
        ("/vlan", "write 2", "at /vlan; write 2"),
        ("/vlan", "", "at /vlan"),
        ("", "write 2", "write 2"),
        ("", "", ""),
    ],
)
def test_details_join_pointer_and_remedy(pointer: str, hint: str, details: str) -> None:
    error = ConfigError("cannot use it: no", pointer=pointer, hint=hint)

    assert error.details == details
    assert str(error) == (f"cannot use it: no ({details})" if details else "cannot use it: no")


def test_a_code_of_its_own_replaces_that_of_the_class_for_one_error_only() -> None:
    error = InputError("cannot", code=Code.IO_FAILURE)

    assert (error.code, InputError("cannot").code) == (Code.IO_FAILURE, Code.INVALID_CONFIG)


def test_an_error_of_the_kernel_keeps_its_number() -> None:
    error = KernelError("cannot add br0: exists", errno=17, code=Code.INTERFACE_EXISTS)

    assert (error.errno, error.code) == (17, Code.INTERFACE_EXISTS)


def test_an_incomplete_release_names_every_cause() -> None:
    causes = [OSError("disk"), DelegateError("cannot run x: gone", delegate_code=11)]
    error = ReleaseError("cannot delete all of eth0", causes)

    assert error.message == "cannot delete all of eth0: disk; cannot run x: gone"
    assert error.causes == tuple(causes)
