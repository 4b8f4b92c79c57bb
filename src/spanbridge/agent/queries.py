# SPDX-License-Identifier: Apache-2.0
"""
What the agent tells about itself.

A query is a call of the program ``agent``, with ``SPANBRIDGE_QUERY`` in its strings.
"""

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from spanbridge import __version__
from spanbridge.agent.calls import SUCCESS, refuse
from spanbridge.agent.dispatch import Dispatcher, Ticket
from spanbridge.agent.journal import Attachment, Identity, Journal
from spanbridge.agent.parts import Leasing
from spanbridge.agent.receive import Request
from spanbridge.agent.settings import Settings
from spanbridge.agent.stale import Stale, find_stale, observe_namespaces, open_host
from spanbridge.agent.tally import Tally
from spanbridge.base.errors import CallError, SpanbridgeError
from spanbridge.model.frames import QUERIES, QUERY_VARIABLE, AnswerFrame, CallFrame

_AT_ONCE: Final = 32
"""Attachments that gc undoes at a time: enough for their links to be removed together."""

Json = dict[str, object]


def render_status(tally: Tally) -> Json:
    """Show the figures of calls; pure."""
    calls: dict[str, Json] = {}
    for (verb, _, code), number in sorted(tally.calls.items()):
        one = calls.setdefault(verb, {"total": 0, "failed": 0})
        one["total"] = int(str(one["total"])) + number
        one["failed"] = int(str(one["failed"])) + (number if code != SUCCESS else 0)
    return {
        "calls": calls,
        "inFlight": tally.in_flight,
        "abandoned": tally.abandoned,
        "overloads": tally.overloads,
        "malformed": tally.malformed,
        "late": tally.late,
        "refused": tally.refused,
    }


def render_attachment(attachment: Attachment) -> Json:
    """Show one attachment; pure."""
    owner = attachment.owner
    return {
        "network": owner.network,
        "containerId": owner.container_id,
        "ifname": owner.ifname,
        "netns": attachment.netns,
        "addresses": attachment.addresses,
        "attached": attachment.attached_s,
    }


@dataclass(slots=True, eq=False)
class _WhileJournalled(Ticket):
    """
    A DEL of gc, which is not run when the attachment was deleted or made anew meanwhile.

    Attributes:
        journal: What was promised.
        attachment: What is to be undone.
    """

    journal: Journal = field(kw_only=True)
    attachment: Attachment = field(kw_only=True)

    def cancelled(self) -> bool:
        """Tell whether there is nothing to undo any more."""
        return self.journal.find(self.attachment.owner) is not self.attachment


class Queries:
    """
    Answers queries; used on the event loop only.

    Args:
        settings: Where things are.
        dispatcher: Runs what blocks, and the DELs of gc.
        journal: What was promised.
        leasing: What is shown of leases.
        tally: Figures.
    """

    def __init__(
        self,
        settings: Settings,
        dispatcher: Dispatcher,
        *,
        journal: Journal,
        leasing: Leasing,
        tally: Tally,
    ) -> None:
        self._settings = settings
        self._dispatcher = dispatcher
        self._journal = journal
        self._leasing = leasing
        self._tally = tally
        self._started = time.monotonic()

    async def answer(self, frame: CallFrame) -> AnswerFrame:
        """Answer one query with a JSON document, or an error as a verb would."""
        table: Mapping[str, Callable[[], Awaitable[object]]] = {
            "status": self.status,
            "attachments": self._attachments,
            "leases": self._leases,
            "renew": self._leasing.renew,
            "gc": self._collect,
        }
        asked = frame.environ.get(QUERY_VARIABLE, "")
        if asked not in table:
            return refuse(
                CallError(
                    f"cannot answer {asked!r}: no such query", hint=f"one of {', '.join(QUERIES)}"
                )
            )
        try:
            document = await table[asked]()
        except SpanbridgeError as exc:
            return refuse(exc)
        rendered = await self._dispatcher.in_thread(lambda: json.dumps(document).encode())
        return AnswerFrame(0, rendered + b"\n", b"")

    async def status(self) -> Json:
        """Describe the whole agent."""
        facts = await self._dispatcher.in_thread(self._leasing.facts)
        places = self._settings.places
        return {
            "pid": os.getpid(),
            "version": __version__,
            "uptimeSeconds": round(time.monotonic() - self._started, 3),
            "socket": str(places.socket),
            "runDir": str(places.run_dir),
            "stateDir": str(places.state_dir),
            "metrics": self._settings.metrics,
            "attachments": len(self._journal),
            "leases": Counter(str(one.get("state", "")) for one in facts),
            **render_status(self._tally),
        }

    async def _attachments(self) -> list[Json]:
        return [render_attachment(each) for each in self._journal.all()]

    async def _leases(self) -> object:
        return await self._dispatcher.in_thread(self._leasing.facts)

    async def _collect(self) -> Json:
        """Undo every attachment whose sandbox is gone."""
        known = self._journal.all()
        alive = await self._dispatcher.in_thread(observe_namespaces)
        stale = await self._dispatcher.in_thread(lambda: find_stale(known, alive))
        seats = asyncio.Semaphore(_AT_ONCE)

        async def undo(one: Stale) -> Json | None:
            async with seats:
                done = await self._undo(one, alive)
            told = render_attachment(one.attachment) | {"cause": one.cause}
            return None if done is None else told | done

        results = [each for each in await asyncio.gather(*map(undo, stale)) if each is not None]
        return {
            "kept": len(known) - len(results),
            "collected": [each for each in results if "error" not in each],
            "failed": [each for each in results if "error" in each],
        }

    async def _undo(self, one: Stale, alive: Mapping[Identity, str]) -> Json | None:
        """
        Run the DEL that the runtime never sent.

        Returns:
            An error under the key ``error``; None when there was nothing to undo any more.
        """
        try:
            caller = await self._dispatcher.in_thread(lambda: open_host(one.attachment, alive))
            request = Request(_delete_frame(one.attachment), caller, None)
            ticket = _WhileJournalled(journal=self._journal, attachment=one.attachment)
            outcome = await self._dispatcher.in_thread(
                lambda: self._dispatcher.run(request, ticket)
            )
        except SpanbridgeError as exc:
            return {"error": {"code": int(exc.code), "msg": exc.message}}
        if outcome is None:
            return None
        return {} if outcome.code == SUCCESS else {"error": json.loads(outcome.answer.stdout)}


def _delete_frame(attachment: Attachment) -> CallFrame:
    owner = attachment.owner
    environ = {
        "CNI_COMMAND": "DEL",
        "CNI_CONTAINERID": owner.container_id,
        "CNI_IFNAME": owner.ifname,
        # The path may lead to another pod's namespace by now.
        "CNI_NETNS": "",
        "CNI_ARGS": attachment.args,
        "CNI_PATH": attachment.path,
    }
    return CallFrame(attachment.program, environ, attachment.config, caller=True, sandbox=False)
