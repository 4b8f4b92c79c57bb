# SPDX-License-Identifier: Apache-2.0
"""From a request to its answer: the blocking part, run in a worker thread."""

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from spanbridge.agent import logs
from spanbridge.agent.journal import Attachment, Journal
from spanbridge.agent.logs import LOG
from spanbridge.agent.parts import Parts
from spanbridge.agent.receive import Request
from spanbridge.base.clock import boot_id
from spanbridge.base.errors import BugError, CallError, SpanbridgeError
from spanbridge.cni import program
from spanbridge.cni.program import PROGRAMS, render_error
from spanbridge.cni.surroundings import Surroundings
from spanbridge.model.frames import ANSWER_MAX_BYTES, AnswerFrame, CallFrame
from spanbridge.model.netconf import parse_name, parse_valid_attachments
from spanbridge.model.owner import Owner
from spanbridge.model.reader import Node
from spanbridge.model.version import NEWEST
from spanbridge.rtnl import NetNs

JOURNALLED: Final = "bridge"
"""The program whose calls make attachments; the others only give out addresses."""

SUCCESS: Final = 0
_CUT: Final = b"\n... cut\n"

Document = dict[str, object]


class AnswerCall(Protocol):
    """What `spanbridge.cni.program.answer` does, and its twins in tests."""

    def __call__(
        self, program: str, environ: Mapping[str, str], stdin: bytes, around: Surroundings, /
    ) -> tuple[Document | None, int]:
        """Run one call; return the document and the exit status."""


def _nothing() -> None:
    """Leave nothing to do."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What became of a call.

    Attributes:
        answer: What the client gets.
        code: The CNI error code, ``SUCCESS`` when there was none.
        seconds: How long it took.
        epilogue: What is left to do once the answer is on its way, in the same thread.
    """

    answer: AnswerFrame
    code: int
    seconds: float
    epilogue: Callable[[], None] = _nothing


def refuse(error: SpanbridgeError) -> AnswerFrame:
    """Make the answer of a call that is not run."""
    return AnswerFrame(1, _render(render_error(error, NEWEST)), b"")


def _render(document: Document | None) -> bytes:
    # As the one-shot program prints it. Indented, it would be made by Python code instead of
    # C: 6 % of an ADD's processor time.
    return b"" if document is None else json.dumps(document).encode() + b"\n"


def _code(document: Document | None, status: int) -> int:
    code = document.get("code") if document is not None and status else SUCCESS
    return code if isinstance(code, int) else SUCCESS


def verb_of(frame: CallFrame) -> str:
    """Return CNI_COMMAND."""
    return frame.environ.get("CNI_COMMAND", "")


def program_of(frame: CallFrame) -> str:
    """Return the program's name for figures, where strangers count as one."""
    return frame.program if frame.program in PROGRAMS else "other"


class Calls:
    """
    Runs calls; safe to use from many threads.

    Args:
        journal: What was promised.
        run_dir: Directory for locks.
        parts: What a warm process brings along.
        answer: Runs one call.
    """

    def __init__(
        self,
        journal: Journal,
        run_dir: Path,
        *,
        parts: Parts,
        answer: AnswerCall = program.answer,
    ) -> None:
        self._journal = journal
        self._run_dir = run_dir
        self._parts = parts
        self._answer = answer
        self._boot_id = boot_id()

    def run(self, request: Request, cancelled: Callable[[], bool]) -> Outcome:
        """
        Run one call to its end; never raises.

        Args:
            request: What was asked; stays the caller's to close.
            cancelled: Tells whether the client has hung up.
        """
        started = time.monotonic()
        frame = request.frame
        root = _root(frame)
        fields = _fields(frame, root)
        with logs.of_call(**fields) as said:
            try:
                document, status = self._run(request, root, cancelled)
            except Exception as exc:  # noqa: BLE001  # the client must get its answer
                LOG.exception("a call ended in a mistake of ours")
                bug = BugError(f"cannot finish: {type(exc).__name__}: {exc}")
                document, status = render_error(bug, NEWEST), 1
        stderr = _limited("".join(said).encode(errors="replace"))
        answer = AnswerFrame(status, _render(document), stderr)
        code, seconds = _code(document, status), time.monotonic() - started
        epilogue = partial(_log_end, fields, code, document=document, seconds=seconds)
        return Outcome(answer, code, seconds, epilogue)

    def _run(
        self, request: Request, root: Node | None, cancelled: Callable[[], bool]
    ) -> tuple[Document | None, int]:
        frame, caller = request.frame, request.caller
        if caller is None:
            error = CallError(
                "cannot take the call: the caller's network namespace did not come along",
                hint="call through the shim that `spanbridge cni install` puts in place",
            )
            return render_error(error, NEWEST), 1
        around = Surroundings(
            host=caller,
            run_dir=self._run_dir,
            by_descriptor=True,
            sandbox_fd=request.sandbox_fd,
            keeper=self._parts.keeper,
            remove_link=self._parts.remove_link,
            cancelled=cancelled,
        )
        # A delegated plugin finds its tools by our PATH: the caller's did not come along.
        environ = {"PATH": os.environ.get("PATH", os.defpath)} | dict(frame.environ)
        document, status = self._answer(frame.program, environ, frame.stdin, around)
        if status == 0 and frame.program == JOURNALLED and root is not None:
            self._keep_journal(request, caller, root, document)
        return document, status

    def _keep_journal(
        self, request: Request, caller: NetNs, root: Node, document: Document | None
    ) -> None:
        environ = request.frame.environ
        try:
            match verb_of(request.frame):
                case "ADD" if document is not None:
                    self._journal.put(self._attachment(request, caller, root, document))
                case "DEL":
                    self._journal.drop(_owner(root, environ))
                case "GC":
                    self._journal.keep_only(parse_name(root), parse_valid_attachments(root))
        except OSError as exc:
            # The call itself is done; undoing it for want of a record would help nobody.
            LOG.error("cannot keep the journal", cause=exc)

    def _attachment(
        self, request: Request, caller: NetNs, root: Node, document: Document
    ) -> Attachment:
        frame = request.frame
        netns = frame.environ.get("CNI_NETNS", "")
        sandbox = _identity(request.sandbox_fd)
        return Attachment(
            owner=_owner(root, frame.environ),
            program=frame.program,
            netns=netns,
            sandbox=sandbox,
            visible=_leads_to(netns, sandbox),
            host=caller.identity,
            boot_id=self._boot_id,
            attached_s=time.time(),
            args=frame.environ.get("CNI_ARGS", ""),
            path=frame.environ.get("CNI_PATH", ""),
            config=frame.stdin,
            result=document,
        )


def _root(frame: CallFrame) -> Node | None:
    """Decode the configuration for its name; what is wrong with it, the verb will say."""
    try:
        return program.decode(frame.program, verb_of(frame), frame.stdin)
    except SpanbridgeError:
        return None


def _network(root: Node | None) -> str:
    name = root.take("name") if root is not None else None
    return name if isinstance(name, str) else ""


def _fields(frame: CallFrame, root: Node | None) -> dict[str, str]:
    fields = {
        "program": frame.program,
        "verb": verb_of(frame),
        "network": _network(root),
        "container": frame.environ.get("CNI_CONTAINERID", ""),
        "interface": frame.environ.get("CNI_IFNAME", ""),
    }
    return {name: value for name, value in fields.items() if value}


def _owner(root: Node, environ: Mapping[str, str]) -> Owner:
    return Owner.of(_network(root), environ["CNI_CONTAINERID"], environ["CNI_IFNAME"])


def _identity(descriptor: int | None) -> tuple[int, int]:
    if descriptor is None:
        raise BugError("cannot record the attachment: ADD succeeded without a sandbox")
    seen = os.fstat(descriptor)
    return seen.st_dev, seen.st_ino


def _leads_to(path: str, identity: tuple[int, int]) -> bool:
    try:
        seen = os.stat(path)  # noqa: PTH116  # called in every ADD
    except (OSError, ValueError):
        return False
    return (seen.st_dev, seen.st_ino) == identity


def _log_end(
    fields: Mapping[str, str], code: int, *, document: Document | None, seconds: float
) -> None:
    milliseconds = round(seconds * 1000, 3)
    if code == SUCCESS:
        LOG.info("answered", ms=milliseconds, **fields)
        return
    told = document or {}
    facts = {"code": code, "cause": told.get("msg"), "hint": told.get("details")}
    LOG.warning("failed", ms=milliseconds, **facts, **fields)


def _limited(text: bytes) -> bytes:
    return text if len(text) <= ANSWER_MAX_BYTES else text[: ANSWER_MAX_BYTES - len(_CUT)] + _CUT
