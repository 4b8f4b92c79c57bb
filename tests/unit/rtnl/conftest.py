# SPDX-License-Identifier: Apache-2.0
"""Access to what real kernels sent; the first line of each file says which, and to what."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from spanbridge.rtnl.wire import Reply, parse_replies

CAPTURES: Final = Path(__file__).parent / "captures"


@pytest.fixture
def replies() -> Callable[[str], list[Reply]]:
    """Reads a capture by its name, ``linux-6.18/links``: its messages."""

    def read(name: str) -> list[Reply]:
        lines = (CAPTURES / f"{name}.hex").read_text().splitlines()
        return list(parse_replies(bytes.fromhex("".join(lines[1:]))))

    return read
