# SPDX-License-Identifier: Apache-2.0
"""The program `spanbridge`: its commands, and what becomes of an error."""

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Final

import click

from spanbridge import __version__
from spanbridge.base.errors import SpanbridgeError
from spanbridge.cli.exits import Exit, exit_code
from spanbridge.cli.lazy import LazyCommand, LazyGroup
from spanbridge.cli.options import examples

_COMMANDS: Final = {
    "agent": LazyCommand(
        "spanbridge.cli.agent",
        "agent",
        "The node daemon that answers CNI calls and keeps DHCP leases.",
    ),
    "cni": LazyCommand(
        "spanbridge.cli.cni", "cni", "Put the CNI programs where a runtime finds them."
    ),
    "doctor": LazyCommand(
        "spanbridge.cli.doctor",
        "doctor",
        "Say what is wrong with this node, and which command mends it.",
    ),
    "explain": LazyCommand(
        "spanbridge.cli.explain",
        "explain",
        "Say what a network configuration will do, touching nothing.",
    ),
    "lab": LazyCommand(
        "spanbridge.cli.lab",
        "lab",
        "Two clusters on this machine that reach each other over a VLAN.",
    ),
    "lint": LazyCommand(
        "spanbridge.cli.lint",
        "lint",
        "Find mistakes in network configurations before they are used.",
    ),
    "plan": LazyCommand(
        "spanbridge.cli.plan",
        "plan",
        "Write what each cluster needs, with addresses that cannot collide.",
    ),
    "rule": LazyCommand(
        "spanbridge.cli.lint", "rule", "Explain a rule of lint, with a wrong and a right example."
    ),
    "uplink": LazyCommand(
        "spanbridge.cli.uplink",
        "uplink",
        "Connect a bridge to the outside: a port, its VLANs, and the way back.",
    ),
    "verify": LazyCommand(
        "spanbridge.cli.verify",
        "verify",
        "Say whether virtual machines may move between clusters, and if not, why.",
    ),
}


@click.group(
    cls=LazyGroup,
    lazy=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples(
        "spanbridge lab demo",
        "spanbridge explain bridge-net.conflist",
        "spanbridge cni install --bin-dir /opt/cni/bin",
    ),
)
@click.option("--debug", is_flag=True, help="Show a traceback when something fails.")
@click.version_option(__version__, prog_name="spanbridge")
def program(*, debug: bool) -> None:
    """
    The network that lets a running virtual machine move between clusters.

    Exit codes: 0 fine, 1 findings or a failed check, 2 wrong usage or input,
    3 this machine is not as needed.
    """
    # `debug` is read from the context by main(), which outlives the command.
    del debug


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command line and return its exit code.

    Args:
        arguments: What follows the program's name; None takes it from ``sys.argv``.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words[: _first_command(words)]
    try:
        answer = program.main(words, prog_name="spanbridge", standalone_mode=False)
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            raise
        return _end_with(error)
    return answer if isinstance(answer, int) else Exit.FINE


def _first_command(words: Sequence[str]) -> int:
    return next((at for at, word in enumerate(words) if not word.startswith("-")), len(words))


def _end_with(error: BaseException) -> int:
    match error:
        case click.exceptions.Exit():
            return error.exit_code
        case click.ClickException():
            error.show()
            return Exit.USAGE
        case click.Abort() | KeyboardInterrupt():
            _complain("interrupted")
            return Exit.INTERRUPTED
        case SpanbridgeError():
            _complain(error.message, hint=error.details)
            return exit_code(error)
        case BrokenPipeError():
            # The reader (head, less) has what it wanted; the flush at exit must not complain.
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return Exit.FINE
        case OSError():
            _complain(str(error))
        case _:
            _complain(
                f"internal error: {type(error).__name__}: {error}",
                hint="run `spanbridge --debug ...` for a traceback, and please report it",
            )
    return Exit.ENVIRONMENT


def _complain(message: str, *, hint: str = "") -> None:
    name = "spanbridge:" if os.environ.get("NO_COLOR") else click.style("spanbridge:", fg="red")
    click.echo(f"{name} {message}", err=True)
    if hint:
        click.echo(f"  {hint}", err=True)
