# SPDX-License-Identifier: Apache-2.0
"""
Several Python programs of a lab, started as copies of one process.

What they import is imported once: in an emulated guest that is nearly all of a start, and
anywhere the copies share the memory of it. A program started so is what it would be if it
had been executed: leader of a session, with an environment and output of its own.

Run as ``python -m spanbridge.lab.forking`` with a JSON object on standard input: ``imports``
and ``programs``, each the keys of `Forked`. Prints the programs' process ids, in order.
"""

import importlib
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from spanbridge.rtnl import NetNs


@dataclass(frozen=True, slots=True)
class Forked:
    """
    A program to be started.

    Attributes:
        netns: File of the namespace in which it begins.
        output: File to which it appends what it writes.
        module: Has a function ``main``, which does all the work.
        arguments: As `sys.argv` has them after the program's name.
        env: Its environment.
    """

    netns: str
    output: str
    module: str
    arguments: Sequence[str]
    env: Mapping[str, str]


def main() -> None:
    """Import, start each program, and say which process each is; nobody waits for them."""
    asked = json.load(sys.stdin)
    for name in asked["imports"]:
        importlib.import_module(name)
    print(json.dumps([_start(Forked(**each)) for each in asked["programs"]]))


def _start(program: Forked) -> int:
    """Fork in the namespace, so that it is found there from its first moment."""
    NetNs.open(program.netns).enter()
    pid = os.fork()
    if pid == 0:
        _become(program)
    return pid


def _become(program: Forked) -> NoReturn:
    os.setsid()
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(program.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(output)
    # Whoever started us may ignore them while it cleans up.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(program.env)
    sys.argv = [program.module, *program.arguments]
    sys.exit(importlib.import_module(program.module).main())


if __name__ == "__main__":
    main()
