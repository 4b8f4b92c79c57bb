# SPDX-License-Identifier: Apache-2.0
"""What the whole tier stands on: a kernel with VLANs, in a network namespace of our own."""

import json
import subprocess

from spanbridge.lab.guest import kernel_lacks_vlans
from spanbridge.testing import sandbox


def test_the_kernel_has_vlans() -> None:
    assert kernel_lacks_vlans() is None


def test_the_tier_runs_in_a_sandbox() -> None:
    assert sandbox.inside()
    links = json.loads(subprocess.check_output(["ip", "-j", "link"]))
    assert [link["ifname"] for link in links] == ["lo"]
