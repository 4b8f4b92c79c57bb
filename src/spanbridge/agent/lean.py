# SPDX-License-Identifier: Apache-2.0
"""Keeping optional parts of other packages out of a process that lives on."""

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def hidden(package: str) -> Iterator[None]:
    """
    Have a package look as if it was not installed to what is imported in the block.

    One that was imported before stays as it is.
    """
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]  # the documented way to block one
    try:
        yield
    finally:
        del sys.modules[package]
