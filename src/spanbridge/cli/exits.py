# SPDX-License-Identifier: Apache-2.0
"""Exit codes, and which error ends in which."""

import enum
from typing import Final

from spanbridge.base.errors import (
    InputError,
    MismatchError,
    SpanbridgeError,
)


class Exit(enum.IntEnum):
    """
    What a caller's script can tell apart.

    128 plus the signal number follows the shells' habit for an interrupted program.
    """

    FINE = 0
    FINDINGS = 1
    USAGE = 2
    ENVIRONMENT = 3
    INTERRUPTED = 130
    TERMINATED = 143


_BY_CLASS: Final[tuple[tuple[type[SpanbridgeError], Exit], ...]] = (
    (InputError, Exit.USAGE),
    (MismatchError, Exit.FINDINGS),
    (SpanbridgeError, Exit.ENVIRONMENT),
)


def exit_code(error: SpanbridgeError) -> Exit:
    """Tell how a command that failed with ``error`` ends."""
    return next(code for kind, code in _BY_CLASS if isinstance(error, kind))
