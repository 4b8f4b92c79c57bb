# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PTH116, PTH118, PTH119 - the one-shot program does not import pathlib
"""
``ipam.type`` of anybody else: a program of that name in CNI_PATH decides.

Source: CNI specification 1.1.0, section 4 "Plugin Delegation".
"""

import errno
import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, NamedTuple

from spanbridge.base import log
from spanbridge.base.errors import (
    Code,
    DelegateError,
    InputError,
    NotReadyError,
    RetryError,
    VersionError,
)
from spanbridge.ipam import BUILT_IN, IpamCall, IpamPlace, IpamPreview
from spanbridge.model.reader import Node, parse_object
from spanbridge.model.request import Request
from spanbridge.model.result import CniResult, parse_result
from spanbridge.model.version import require_verb

TIMEOUTS_S: Final[Mapping[str, float]] = {
    "ADD": 60.0,
    "DEL": 60.0,
    "CHECK": 30.0,
    "GC": 120.0,
    "STATUS": 10.0,
}
"""Seconds; a DHCP exchange with retries fits into ADD, a kubelet gives up after 240 s."""

BUSY_ATTEMPTS: Final = 6
"""The program is being replaced while it is started: as often as the reference tries."""

BUSY_PAUSE_S: Final = 0.2
POLL_S: Final = 0.05
"""How often a waiting ADD looks whether its caller has given up."""

STDERR_SHOWN: Final = 1000
"""Characters; the last ones, where the cause stands."""


class Answer(NamedTuple):
    """What a finished program left."""

    status: int
    stdout: bytes
    stderr: str


def find_program(name: str, path: tuple[str, ...]) -> str:
    """
    Find the first regular file ``name`` that may be executed.

    Raises:
        DelegateError: There is none; says where was searched.
    """
    for directory in path:
        candidate = os.path.join(directory, name)
        try:
            mode = os.stat(candidate).st_mode
        except OSError:
            continue
        if stat.S_ISREG(mode) and os.access(candidate, os.X_OK):
            return candidate
    raise DelegateError(
        f"cannot run IPAM plugin {name!r}: no such program in "
        f"{', '.join(path) or 'CNI_PATH, which is empty'}",
        hint=f"install it there, or correct ipam.type; built in are {', '.join(BUILT_IN)}",
    )


def run(program: str, verb: str, request: Request, place: IpamPlace) -> Answer:
    """
    Execute the program on the exact bytes that we were given, in the caller's namespace.

    Raises:
        DelegateError: It cannot be started, or does not end in time; then it is killed
            with all the processes that it started.
        RetryError: The caller of ADD gave up meanwhile; it is killed as well.
    """
    name = os.path.basename(program)
    environ = dict(request.environ) | {"CNI_COMMAND": verb}
    if place.sandbox is not None and request.netns:
        environ["CNI_NETNS"] = place.sandbox.path_here()
    # A child is born into the namespace of the thread that forks it.
    start = partial(_start, program, environ)
    process = start() if place.host is None else place.host.run(start)
    # Whatever else was begun is ended: half a DEL would only have to be repeated.
    cancelled = place.cancelled if verb == "ADD" else bool
    try:
        stdout, stderr = _communicate(process, request.stdin, TIMEOUTS_S[verb], cancelled)
    except BaseException as exc:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(exc, subprocess.TimeoutExpired):
            raise DelegateError(
                f"cannot run IPAM plugin {name!r}: {verb} did not end in {TIMEOUTS_S[verb]:.0f} s",
                hint="it was killed; see its own log",
            ) from exc
        raise
    return Answer(process.returncode, stdout, stderr.decode(errors="replace").strip())


def _communicate(
    process: "subprocess.Popen[bytes]",
    stdin: bytes,
    timeout_s: float,
    cancelled: Callable[[], bool],
) -> tuple[bytes, bytes]:
    deadline = time.monotonic() + timeout_s
    unsent: bytes | None = stdin
    while True:
        left_s = deadline - time.monotonic()
        try:
            return process.communicate(unsent, timeout=min(left_s, POLL_S))
        except subprocess.TimeoutExpired:
            unsent = None  # kept by the process's own object
            if cancelled():
                raise RetryError("cannot finish: the caller has given up") from None
            if left_s <= POLL_S:
                raise


def _start(program: str, environ: dict[str, str]) -> "subprocess.Popen[bytes]":
    for attempt in range(BUSY_ATTEMPTS):
        try:
            return subprocess.Popen(
                [program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environ,
                start_new_session=True,
            )
        except OSError as exc:
            if exc.errno == errno.ETXTBSY and attempt < BUSY_ATTEMPTS - 1:
                time.sleep(BUSY_PAUSE_S)
                continue
            raise DelegateError(
                f"cannot run IPAM plugin {program}: {exc.strerror}",
                hint="it must be a program that this machine can execute",
            ) from exc
    raise AssertionError("unreachable")


def failure(name: str, verb: str, answer: Answer) -> DelegateError:
    """Make the error of a program that failed; pure."""
    subject = f"cannot run {verb} of IPAM plugin {name!r}"
    try:
        node = parse_object(answer.stdout, "the error")
        code, text, details = node.take("code"), node.text("msg"), node.text("details")
    except InputError:
        code, text, details = 0, "", ""
    if isinstance(code, int) and (code or text):
        return DelegateError(f"{subject}: {text}", hint=details, delegate_code=code)
    said = answer.stderr or answer.stdout.decode(errors="replace").strip()
    cause = said[-STDERR_SHOWN:] or "it said nothing"
    return DelegateError(f"{subject}: exit status {answer.status}: {cause}")


def parse_answer(name: str, stdout: bytes) -> CniResult:
    """
    Read the result of ADD: addresses, routes, DNS; interfaces are the main plugin's. Pure.

    Raises:
        DelegateError: Not a result of a version spoken.
    """
    what = f"the result of IPAM plugin {name!r}"
    try:
        root = parse_object(stdout, what)
        if root.has("ip4") or root.has("ip6"):
            raise DelegateError(
                f"cannot use {what}: it is of CNI 0.2 (ip4, ip6)",
                hint="use a version of that plugin which answers in the version it is asked in",
            )
        return parse_result(_addressing(root))
    except InputError as exc:
        where = f" at {exc.pointer}" if exc.pointer else ""
        raise DelegateError(f"cannot use {what}: {exc.message}{where}", hint=exc.hint) from exc


def _addressing(root: Node) -> Node:
    """Drop interfaces and the indexes into them."""
    kept = {key: value for key, value in root.raw.items() if key.lower() != "interfaces"}
    ips = [dict(node.raw) for node in root.nodes("ips") or ()]
    for each in ips:
        for key in [key for key in each if key.lower() == "interface"]:
            del each[key]
    return Node({key: value for key, value in kept.items() if key.lower() != "ips"} | {"ips": ips})


class Delegate:
    """A program that manages addresses."""

    needs_link: Final = True
    releases_by_link: Final = False

    def __init__(self, request: Request, call: IpamCall) -> None:
        self._request = request
        self._place = call.place
        self._name = call.ipam.type
        self._version = call.cni_version
        if request.verb == "ADD":
            find_program(self._name, request.path)

    def _run(self, verb: str) -> bytes:
        program = find_program(self._name, self._request.path)
        answer = run(program, verb, self._request, self._place)
        if answer.status:
            raise failure(self._name, verb, answer)
        if answer.stderr:
            log.relay(answer.stderr)
        return answer.stdout

    def _knows(self, verb: str) -> bool:
        try:
            require_verb(self._version, verb)
        except VersionError:
            return False
        return True

    def add(self) -> CniResult:
        """
        Let the program reserve.

        Raises:
            DelegateError: It failed, or answered what is no result. The caller runs DEL.
        """
        return parse_answer(self._name, self._run("ADD"))

    def check(self, previous: CniResult | None) -> None:  # noqa: ARG002 - it is on stdin
        """Let the program check; it reads ``prevResult`` from its standard input."""
        if self._knows("CHECK"):
            self._run("CHECK")

    def release(self) -> None:
        """Let the program release."""
        self._run("DEL")

    def collect(self, valid: frozenset[tuple[str, str]]) -> None:  # noqa: ARG002 - same
        """Let the program collect; it reads what is valid from its standard input."""
        if self._knows("GC"):
            self._run("GC")

    def status(self) -> None:
        """
        Ask the program.

        Raises:
            NotReadyError: It is missing, or not ready; code 51 is passed on.
        """
        try:
            find_program(self._name, self._request.path)
            if self._knows("STATUS"):
                self._run("STATUS")
        except DelegateError as exc:
            limited = exc.delegate_code == Code.NOT_AVAILABLE_LIMITED
            code = Code.NOT_AVAILABLE_LIMITED if limited else Code.NOT_AVAILABLE
            raise NotReadyError(exc.message, hint=exc.hint, code=code) from exc

    def preview(self) -> IpamPreview:
        """Say who decides."""
        sentence = (
            f"the program {self._name} from CNI_PATH is executed on every call and decides "
            "on addresses, routes and DNS settings"
        )
        return IpamPreview((sentence,), None)
