# SPDX-License-Identifier: Apache-2.0
"""What a call pays for: only the implementation that it asks for is imported."""

import subprocess
import sys

import pytest

DEAR = {
    "ipaddress",
    "logging",
    "pathlib",
    "subprocess",
    "asyncio",
    "hashlib",
    "difflib",
    "tempfile",
}


def _imported(module: str) -> set[str]:
    program = f"import sys, {module}; print(*sys.modules)"
    # -I -S: what the environment's own start-up files import is not ours.
    path = f"import sys; sys.path[:0] = {[p for p in sys.path if p]!r}; "
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", path + program],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(run.stdout.split())


@pytest.mark.parametrize("module", ["host_local", "static"])
def test_built_in_implementations_import_nothing_dear(module: str) -> None:
    assert _imported(f"spanbridge.ipam.{module}") & DEAR == set()


def test_the_protocol_alone_imports_no_implementation() -> None:
    ours = {name for name in _imported("spanbridge.ipam") if name.startswith("spanbridge.ipam.")}
    assert ours == set()
