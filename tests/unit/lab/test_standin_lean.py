# SPDX-License-Identifier: Apache-2.0
"""The stand-ins' programs import little: each node of a lab starts some, and a guest is slow."""

import json
import subprocess
import sys

import pytest

OURS = ("spanbridge.base", "spanbridge.lab.kubevirt", "spanbridge.rtnl")


@pytest.mark.parametrize("program", ["handler", "sync"])
def test_a_program_imports_no_package_of_others_and_few_of_ours(program: str) -> None:
    code = f"import json, sys, spanbridge.lab.kubevirt.{program}; print(json.dumps([*sys.modules]))"
    loaded = json.loads(subprocess.check_output([sys.executable, "-c", code], text=True))
    ours = [name for name in loaded if name.startswith("spanbridge.")]
    assert [name for name in ours if name != "spanbridge.lab" and not name.startswith(OURS)] == []
    slow = {"asyncio", "click", "concurrent", "cryptography", "ipaddress", "rich", "subprocess"}
    assert slow.isdisjoint(loaded)
