# SPDX-License-Identifier: Apache-2.0
"""`spanbridge agent`: the node daemon, and what it tells about itself."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spanbridge.cli.exits import Exit
from spanbridge.cli.options import examples, format_option

if TYPE_CHECKING:
    from rich.console import RenderableType

_DIRECTORY = click.Path(file_okay=False, path_type=Path)


@click.group(
    epilog=examples(
        "spanbridge agent run",
        "spanbridge agent status",
        "spanbridge agent leases --format json",
        "systemctl enable --now spanbridge-agent.socket",
    )
)
def agent() -> None:
    """Run the daemon that answers this node's CNI calls, or ask it how it is."""


def _socket_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--socket",
        type=click.Path(path_type=Path),
        envvar="SPANBRIDGE_SOCKET",
        default=None,
        help="The agent's socket [env: SPANBRIDGE_SOCKET; default: /run/spanbridge/agent.sock].",
    )(command)


@agent.command(
    epilog=examples(
        "spanbridge agent run",
        "spanbridge agent run --log-format json --metrics 127.0.0.1:9469",
        "spanbridge agent run --socket ./agent.sock --state-dir ./state --run-dir ./run",
    )
)
@_socket_option
@click.option(
    "--state-dir",
    type=_DIRECTORY,
    envvar="SPANBRIDGE_STATE",
    help="Attachments and leases [env: SPANBRIDGE_STATE; default: /var/lib/spanbridge].",
)
@click.option(
    "--run-dir",
    type=_DIRECTORY,
    envvar="SPANBRIDGE_RUN",
    help="Locks [env: SPANBRIDGE_RUN; default: /run/spanbridge].",
)
@click.option(
    "--metrics",
    default="",
    metavar="unix:PATH|HOST:PORT",
    help="Serve figures for Prometheus there; not served when omitted.",
)
@click.option(
    "--max-calls",
    type=click.IntRange(1, 4096),
    default=512,
    show_default=True,
    help="Calls at a time; one more is told to try again later.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How events are written to standard error; text is logfmt.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="Events below it are dropped.",
)
def run(  # noqa: PLR0913  # one parameter for each option
    *,
    socket: Path | None,
    state_dir: Path | None,
    run_dir: Path | None,
    metrics: str,
    max_calls: int,
    log_format: str,
    log_level: str,
) -> None:
    """
    Answer this node's CNI calls until a signal ends it.

    SIGTERM and SIGINT let running calls end, for at most 10 s. DHCP leases are kept: the
    next agent goes on renewing them. Works under systemd (Type=notify, socket activation).
    """
    import os

    from spanbridge.agent import daemon, logs
    from spanbridge.agent.settings import Limits, Places, Settings, parse_places

    logs.configure(log_format, log_level)
    given = parse_places(os.environ)
    places = Places(socket or given.socket, run_dir or given.run_dir, state_dir or given.state_dir)
    daemon.run(Settings(places, Limits(calls=max_calls, connections=2 * max_calls), metrics))


def _ask(socket: Path | None, query: str) -> Any:  # noqa: ANN401  # a JSON document
    from spanbridge.agent.client import ask
    from spanbridge.agent.settings import SOCKET

    return ask(socket or Path(SOCKET), query)


def _show(document: object, output_format: str, view: "Callable[[Any], RenderableType]") -> None:
    if output_format == "json":
        click.echo(json.dumps(document, indent=2))
        return
    from spanbridge.cli.terminal import facts

    facts().print(view(document))


@agent.command(epilog=examples("spanbridge agent status", "spanbridge agent status --format json"))
@_socket_option
@format_option("text", "json")
def status(*, socket: Path | None, output_format: str) -> None:
    """
    Show how the agent is: process, calls by verb, attachments, leases by state.

    Exits with 3 where no agent runs.
    """
    from spanbridge.cli.agent_view import status_view

    _show(_ask(socket, "status"), output_format, status_view)


@agent.command(
    epilog=examples("spanbridge agent attachments", "spanbridge agent attachments --format json")
)
@_socket_option
@format_option("text", "json")
def attachments(*, socket: Path | None, output_format: str) -> None:
    """List what the agent has attached."""
    from spanbridge.cli.agent_view import attachments_view

    _show(_ask(socket, "attachments"), output_format, attachments_view)


@agent.command(
    epilog=examples(
        "spanbridge agent leases",
        "spanbridge agent leases --renew",
        "spanbridge agent leases --format json",
    )
)
@_socket_option
@click.option(
    "--renew", is_flag=True, help="Renew all of them first, without waiting for half of their time."
)
@format_option("text", "json")
def leases(*, socket: Path | None, renew: bool, output_format: str) -> int:
    """
    List the DHCP leases that the agent keeps; times count from now.

    With --renew, exits with 1 where a lease was not renewed; it lives on as it was.
    """
    from spanbridge.cli.agent_view import leases_view

    document = _ask(socket, "renew" if renew else "leases")
    _show(document, output_format, leases_view)
    failed = renew and not all(lease["asked"]["renewed"] for lease in document)
    return Exit.FINDINGS if failed else Exit.FINE


@agent.command(epilog=examples("spanbridge agent gc", "spanbridge agent gc --format json"))
@_socket_option
@format_option("text", "json")
def gc(*, socket: Path | None, output_format: str) -> int:
    """
    Undo attachments whose sandbox is gone, as the DEL would that never came.

    Exits with 1 where something could not be undone; it is tried again the next time.
    """
    from spanbridge.cli.agent_view import gc_view

    document = _ask(socket, "gc")
    _show(document, output_format, gc_view)
    return Exit.FINDINGS if document["failed"] else Exit.FINE


@agent.command(
    epilog=examples(
        "spanbridge agent probe",
        """echo '{"id": 1, "do": "look", "bridge": "br-mig"}' | spanbridge agent probe""",
    )
)
@_socket_option
@click.option(
    "--state-dir",
    type=_DIRECTORY,
    envvar="SPANBRIDGE_STATE",
    help="Attachments and leases [env: SPANBRIDGE_STATE; default: /var/lib/spanbridge].",
)
def probe(*, socket: Path | None, state_dir: Path | None) -> None:
    """
    Measure from this node's pods what a verification asks for, line by line.

    For `spanbridge verify INTENT.yaml`, which runs it in the agents' pods. Requests and
    answers are JSON objects, one a line; it ends with its input. Needs root, the node's
    network namespace and its processes.
    """
    import asyncio
    import os
    import sys

    from spanbridge.agent.client import ask
    from spanbridge.agent.probe import ProbeService, serve
    from spanbridge.agent.settings import parse_places
    from spanbridge.base.errors import SpanbridgeError

    places = parse_places(os.environ)

    def alive() -> bool:
        try:
            ask(socket or places.socket, "status")
        except SpanbridgeError:
            return False
        return True

    def write(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    service = ProbeService((state_dir or places.state_dir) / "attachments", alive)
    asyncio.run(serve(service, sys.stdin.buffer.readline, write))
