# SPDX-License-Identifier: Apache-2.0
"""
The command line: arguments, exit codes, progress.

One module per command group, imported when that command is called and not before:
`spanbridge --help` imports none of them, `spanbridge cni` never imports the lab.
May import everything but `testing`. Holds no logic that is worth a test without it.
"""

from spanbridge.cli.program import main

__all__ = ["main"]
