# SPDX-License-Identifier: Apache-2.0
"""The lab, as tests/vm/lab has it; these tests have a guest of their own, beside those."""

from tests.vm.lab.conftest import lab

__all__ = ["lab"]
