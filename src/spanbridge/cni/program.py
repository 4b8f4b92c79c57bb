# SPDX-License-Identifier: Apache-2.0
"""
One call from beginning to end, and the one-shot program around it.

``answer`` serves the program and the agent alike. The program is told apart by the
name it is called by; its standard output carries one JSON document and nothing else,
its exit status is 0 or 1.

Source: CNI specification 1.1.0, sections 2 and 5.
"""

import functools
import json
import os
import select
import signal
import sys
from collections.abc import Callable, Mapping
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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from spanbridge.cni.surroundings import Surroundings

PROGRAMS: Final = ("bridge", "host-local", "static", "dhcp")
"""The names by which this program may be called."""

PROGRAM_VARIABLE: Final = "SPANBRIDGE_PROGRAM"
"""The name that the shim was called by; a script does not see what ``execv`` calls it."""

RUN_DIR: Final = "/run/spanbridge"
STDIN_MAX_BYTES: Final = 1 << 20
KEPT_MAX_BYTES: Final = 8192
"""Longer configurations are not remembered: a pod's own, with a result in it, comes once."""

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


def _stdin_of_version() -> bytes:
    """Read what VERSION was given: nothing obliges its caller to send a configuration."""
    try:
        ready, _, _ = select.select([0], [], [], VERSION_WAIT_S)
        return _read_stdin() if ready else b""
    except (SpanbridgeError, OSError, ValueError):
        return b""


def _version_document(stdin: bytes) -> dict[str, object]:
    """Answer VERSION, in the version of the configuration where that is spoken."""
    try:
        asked = parse_object(stdin).text("cniVersion") if stdin else ""
    except SpanbridgeError:
        asked = ""
    echoed = asked if asked in SUPPORTED else NEWEST
    return {"cniVersion": echoed, "supportedVersions": list(SUPPORTED)}


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


def decode(program: str, verb: str, stdin: bytes) -> Node:
    """
    Decode a configuration; equal ones of a node's pods only once.

    Each verb of each program has its own, since a ``Node`` remembers which keys were
    asked for.

    Raises:
        DecodeError: It is no JSON object.
    """
    return _decode(program, verb, stdin) if len(stdin) <= KEPT_MAX_BYTES else parse_object(stdin)


@functools.lru_cache(maxsize=64)
def _decode(_program: str, _verb: str, stdin: bytes) -> Node:
    return parse_object(stdin)


def _serve(program: str, request: Request, root: Node, around: "Surroundings") -> CniResult | None:
    from spanbridge.cni.surroundings import Sandbox
    from spanbridge.cni.verbs import Call

    table = _bridge_verbs() if program == "bridge" else _ipam_verbs(program)
    with Sandbox(request.netns, around, may_be_host=request.allow_same_netns) as sandbox:
        return table[request.verb](Call(request, root, around, sandbox))


def _refuse_name(program: str) -> None:
    if program not in PROGRAMS:
        raise CallError(
            f"cannot run as {program!r}: no such program",
            hint=f"install it under the name {', '.join(PROGRAMS)}",
        )


def answer(
    program: str, environ: Mapping[str, str], stdin: bytes, around: "Surroundings"
) -> tuple[dict[str, object] | None, int]:
    """
    Run one call.

    Args:
        program: One of ``PROGRAMS``.
        environ: The caller's environment: the CNI variables, and what a delegated
            plugin needs.
        stdin: The configuration.
        around: Where to work.

    Returns:
        The document for standard output, if any, and the exit status. Never raises for
        anything that a caller can do.
    """
    if environ.get("CNI_COMMAND") == "VERSION":
        return _version_document(stdin), 0
    version = NEWEST
    try:
        _refuse_name(program)
        request = parse_request(environ, stdin)
        root = decode(program, request.verb, stdin)
        asked = root.take("cniVersion")
        version = asked if isinstance(asked, str) and asked in SUPPORTED else NEWEST
        result = _serve(program, request, root, around)
    except Exception as exc:  # the runtime must get its one JSON document
        if environ.get("SPANBRIDGE_DEBUG") and not isinstance(exc, (SpanbridgeError, OSError)):
            raise
        return render_error(_told(exc), version), 1
    return (None if result is None else render_result(result, version)), 0


def _told(exc: Exception) -> SpanbridgeError:
    """Turn what ended a call into what its caller is told."""
    if isinstance(exc, SpanbridgeError):
        return exc
    if isinstance(exc, OSError):
        cause = f"{exc.strerror}: {exc.filename}" if exc.filename else str(exc)
        return NodeError(f"cannot finish: {cause}", code=Code.IO_FAILURE)
    return BugError(
        f"cannot finish: {type(exc).__name__}: {exc}", hint="set SPANBRIDGE_DEBUG=1 and report it"
    )


def _answer_here(program: str) -> tuple[dict[str, object] | None, int]:
    """Run the call that environment and standard input describe, in our own namespace."""
    environ = os.environ
    if environ["CNI_COMMAND"] == "VERSION":
        return _version_document(_stdin_of_version()), 0
    try:
        _refuse_name(program)
        # Before standard input is waited for: whoever forgot a variable may send none.
        parse_request(environ)
        stdin = _read_stdin()
        from spanbridge.cni.surroundings import Surroundings
        from spanbridge.rtnl import NetNs

        with NetNs.current() as host:
            return answer(program, environ, stdin, Surroundings(host, run_dir(environ)))
    except (SpanbridgeError, OSError) as exc:
        return render_error(_told(exc), NEWEST), 1


def main() -> int:
    """
    Run one CNI call from the environment and standard input.

    Returns:
        The exit status: 0, or 1 with an error document on standard output.
    """
    # Taken out: a plugin that we delegate to must not believe that it is meant.
    program = os.environ.pop(PROGRAM_VARIABLE, "") or sys.argv[0].rpartition("/")[2]
    verb = os.environ.get("CNI_COMMAND", "")
    if not verb:
        print(f"CNI {program} plugin of Spanbridge {__version__}", file=sys.stderr)
        print(f"CNI protocol versions supported: {', '.join(SUPPORTED)}", file=sys.stderr)
        return 0
    _catch_signals(verb)
    document, status = _answer_here(program)
    if document is not None:
        try:
            print(json.dumps(document), flush=True)
        except OSError as exc:
            log.error("cannot write the answer", cause=exc)
            return 1
    return status
