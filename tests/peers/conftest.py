# SPDX-License-Identifier: Apache-2.0
"""Other programs meet both: the one-shot program, and the shim with an agent."""

import pytest

from spanbridge.testing.modes import MODES


@pytest.fixture(params=MODES)
def cni_mode(request: pytest.FixtureRequest) -> str:
    """How the programs that others call are run."""
    return str(request.param)
