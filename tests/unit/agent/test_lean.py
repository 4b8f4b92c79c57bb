# SPDX-License-Identifier: Apache-2.0
"""What an agent must not carry around."""

import importlib
import subprocess
import sys

import pytest

from spanbridge.agent.lean import hidden


def test_an_agent_loads_nothing_that_draws_for_a_terminal() -> None:
    code = (
        "import sys, spanbridge.agent.daemon\n"
        "print(*(name for name in sys.modules if name.partition('.')[0] == 'rich'))\n"
        "import rich.console"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=15, check=True
    )
    assert done.stdout.split() == []


def test_a_hidden_package_cannot_be_imported_until_the_end_of_the_block() -> None:
    sys.modules.pop("this", None)
    with hidden("this"), pytest.raises(ImportError):
        importlib.import_module("this")
    assert "this" not in sys.modules


def test_a_package_that_was_imported_before_stays() -> None:
    with hidden("json"):
        assert importlib.import_module("json") is sys.modules["json"]
    assert sys.modules["json"] is not None
