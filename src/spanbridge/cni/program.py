# SPDX-License-Identifier: Apache-2.0
"""
The one-shot program: told apart by the name it is called by.

Standard output carries one JSON document and nothing else; the exit status is 0 or 1.

Source: CNI specification 1.1.0, sections 2 and 5.
"""

import json
import os
import select
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Final

from spanbridge import __version__
from spanbridge.base import log
from spanbridge.base.errors import (
    BugError,
    CallError,
    Code,
    DelegateError,
    NodeError,
    RetryError,
    SpanbridgeError,
)
from spanbridge.model.reader import Node, parse_object
from spanbridge.model.request import Request, parse_request
from spanbridge.model.result import CniResult, render_result
from spanbridge.model.version import NEWEST, SUPPORTED

PROGRAMS: Final = ("bridge", "host-local", "static")
"""The names by which this program may be called."""

RUN_DIR: Final = "/run/spanbridge"
STDIN_MAX_BYTES: Final = 1 << 20
VERSION_WAIT_S: Final = 0.5
"""Seconds that VERSION waits for a configuration; nothing obliges the caller to send one."""


def run_dir(environ: Mapping[str, str]) -> Path:
    """Return the directory for locks; ``SPANBRIDGE_RUN`` moves it."""
    return Path(environ.get("SPANBRIDGE_RUN") or RUN_DIR)


def _read_stdin() -> bytes:
    # Not sys.stdin: it is None where the caller closed the descriptor.
    with open(0, "rb", closefd=False) as stream:
        data = stream.read(STDIN_MAX_BYTES + 1)
    if len(data) > STDIN_MAX_BYTES:
        raise SpanbridgeError(
            f"cannot read the network configuration: more than {STDIN_MAX_BYTES} bytes",
            code=Code.IO_FAILURE,
        )
    return data


def _echoed_version() -> str:
    """Return the version on standard input, as VERSION must echo it, else the newest."""
    try:
        ready, _, _ = select.select([0], [], [], VERSION_WAIT_S)
        asked = parse_object(_read_stdin()).text("cniVersion") if ready else ""
    except (SpanbridgeError, OSError, ValueError):
        asked = ""
    return asked if asked in SUPPORTED else NEWEST


def _print_version() -> None:
    print(json.dumps({"cniVersion": _echoed_version(), "supportedVersions": list(SUPPORTED)}))


class InterruptedCallError(RetryError):
    """A signal ended the call; what it had done is undone."""


def _interrupt(number: int, _frame: FrameType | None) -> None:
    # A second signal must not interrupt the undoing.
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise InterruptedCallError(f"cannot finish: ended by {signal.Signals(number).name}")


def _catch_signals(verb: str) -> None:
    # DEL and GC run on: half a clean-up would only have to be repeated.
    action = _interrupt if verb in {"ADD", "CHECK", "STATUS"} else signal.SIG_IGN
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, action)


def render_error(error: SpanbridgeError, version: str) -> dict[str, object]:
    """Make the error object. Source: CNI specification 1.1.0, section 5 "Error"."""
    code = int(error.code)
    if isinstance(error, DelegateError) and error.delegate_code:
        code = error.delegate_code
    rendered: dict[str, object] = {"cniVersion": version, "code": code, "msg": error.message}
    if error.details:
        rendered["details"] = error.details
    return rendered


def _bridge_verbs() -> dict[str, Callable[..., CniResult | None]]:
    from spanbridge.cni import verbs

    return {
        "ADD": verbs.add,
        "DEL": verbs.delete,
        "CHECK": verbs.check,
        "GC": verbs.collect,
        "STATUS": verbs.status,
    }


def _ipam_verbs(program: str) -> dict[str, Callable[..., CniResult | None]]:
    from functools import partial

    from spanbridge.cni import ipam_verbs

    return {
        "ADD": partial(ipam_verbs.add, program=program),
        "DEL": partial(ipam_verbs.delete, program=program),
        "CHECK": partial(ipam_verbs.check, program=program),
        "GC": partial(ipam_verbs.collect, program=program),
        "STATUS": partial(ipam_verbs.status, program=program),
    }


def _serve(program: str, request: Request, root: Node) -> CniResult | None:
    from spanbridge.cni.verbs import Call
    from spanbridge.rtnl import NetNs

    table = _bridge_verbs() if program == "bridge" else _ipam_verbs(program)
    with NetNs.current() as host:
        return table[request.verb](Call(request, root, host, run_dir(request.environ)))


def _refuse_name(program: str) -> None:
    if program not in PROGRAMS:
        raise CallError(
            f"cannot run as {program!r}: no such program",
            hint=f"install it under the name {', '.join(PROGRAMS)}",
        )


def _answer(program: str, environ: Mapping[str, str]) -> tuple[dict[str, object] | None, int]:
    """Run one call; return the document to print, if any, and the exit status."""
    version = NEWEST
    try:
        _refuse_name(program)
        request = replace(parse_request(environ), stdin=_read_stdin())
        root = parse_object(request.stdin)
        asked = root.take("cniVersion")
        version = asked if isinstance(asked, str) and asked in SUPPORTED else NEWEST
        result = _serve(program, request, root)
    except SpanbridgeError as exc:
        return render_error(exc, version), 1
    except OSError as exc:
        cause = f"{exc.strerror}: {exc.filename}" if exc.filename else str(exc)
        return render_error(NodeError(f"cannot finish: {cause}", code=Code.IO_FAILURE), version), 1
    except Exception as exc:  # the runtime must get its one JSON document
        if environ.get("SPANBRIDGE_DEBUG"):
            raise
        bug = BugError(
            f"cannot finish: {type(exc).__name__}: {exc}",
            hint="set SPANBRIDGE_DEBUG=1 and report it",
        )
        return render_error(bug, version), 1
    return (None if result is None else render_result(result, version)), 0


def main() -> int:
    """
    Run one CNI call from the environment and standard input.

    Returns:
        The exit status: 0, or 1 with an error document on standard output.
    """
    program = sys.argv[0].rpartition("/")[2]
    verb = os.environ.get("CNI_COMMAND", "")
    if not verb:
        print(f"CNI {program} plugin of Spanbridge {__version__}", file=sys.stderr)
        print(f"CNI protocol versions supported: {', '.join(SUPPORTED)}", file=sys.stderr)
        return 0
    if verb == "VERSION":
        _print_version()
        return 0
    _catch_signals(verb)
    document, status = _answer(program, os.environ)
    if document is not None:
        try:
            print(json.dumps(document, indent=4), flush=True)
        except OSError as exc:
            log.error("cannot write the answer", cause=exc)
            return 1
    return status
