# SPDX-License-Identifier: Apache-2.0
"""The socket server: accepts, checks the peer, reads, dispatches, answers."""

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Final

from spanbridge.agent.calls import refuse
from spanbridge.agent.dispatch import Dispatcher, Ticket
from spanbridge.agent.listen import Listener
from spanbridge.agent.logs import LOG
from spanbridge.agent.queries import PROGRAM, Queries
from spanbridge.agent.receive import Incoming, Peer, Request, observe_peer, watch_hang_up
from spanbridge.agent.reply import Reply
from spanbridge.agent.settings import Limits
from spanbridge.agent.tally import Tally
from spanbridge.base.errors import CallError, DecodeError, RetryError, SpanbridgeError
from spanbridge.model.frames import AnswerFrame

_PAUSE_S: Final = 0.1
"""Seconds to wait where the kernel has no descriptor left for a new connection."""

_BATCH: Final = 64
"""Connections accepted in a row before the loop turns to others."""


class Server:
    """
    Serves the clients of one socket.

    Args:
        listener: Where clients connect.
        dispatcher: Runs calls.
        queries: Answers what is asked about the agent.
        limits: What keeps one client from harming the others.
        tally: Figures.
        peer_of: Asks the kernel who connected.
    """

    def __init__(
        self,
        listener: Listener,
        dispatcher: Dispatcher,
        queries: Queries,
        *,
        limits: Limits,
        tally: Tally,
        peer_of: Callable[[socket.socket], Peer] = observe_peer,
    ) -> None:
        self._listener = listener
        self._dispatcher = dispatcher
        self._queries = queries
        self._limits = limits
        self._tally = tally
        self._peer_of = peer_of
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set, then let running calls end, for a while."""
        self._listener.sock.settimeout(0)
        async with asyncio.TaskGroup() as group:
            self._listen(group)
            await stop.wait()
            asyncio.get_running_loop().remove_reader(self._listener.sock)
            self._retire(group)
            await self._settle()

    # ------------------------------------------------------------ connections

    def _listen(self, group: asyncio.TaskGroup) -> None:
        asyncio.get_running_loop().add_reader(self._listener.sock, self._accept, group)

    def _accept(self, group: asyncio.TaskGroup) -> bool:
        """Take what waits; tell whether there may be more."""
        for _ in range(_BATCH):
            try:
                sock, _ = self._listener.sock.accept()
            except BlockingIOError:
                return False
            except OSError as exc:
                LOG.error("cannot accept a connection", cause=exc)
                loop = asyncio.get_running_loop()
                if loop.remove_reader(self._listener.sock):
                    loop.call_later(_PAUSE_S, self._listen, group)
                return False
            sock.settimeout(0)
            if len(self._tasks) >= self._limits.connections:
                self._turn_away(sock)
                continue
            task = group.create_task(self._serve(sock), name="connection")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return True

    def _turn_away(self, sock: socket.socket) -> None:
        self._tally.overloads += 1
        error = RetryError(f"cannot take the call: {len(self._tasks)} clients are connected")
        with sock:
            Reply(sock).begin(refuse(error))

    def _retire(self, group: asyncio.TaskGroup) -> None:
        """
        Let nobody connect any more; who has done so is served.

        A socket of the service manager stays: clients wait there for our successor.
        """
        if self._listener.path is not None:
            self._listener.remove()
            while self._accept(group):
                pass
        self._listener.sock.close()

    async def _settle(self) -> None:
        limits = self._limits
        if not await self._wait_for_tasks(limits.patience_s):
            self._dispatcher.abandon_all()
            if not await self._wait_for_tasks(limits.stop_s - limits.patience_s):
                LOG.error("calls do not end; stopping without them", calls=len(self._tasks))
        for task in self._tasks:
            task.cancel()

    async def _wait_for_tasks(self, timeout_s: float) -> bool:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)
        return not self._tasks

    # ------------------------------------------------------------ one connection

    async def _serve(self, sock: socket.socket) -> None:
        with sock:
            try:
                await self._answer(sock)
            except OSError as exc:
                LOG.debug("a connection broke", cause=exc)
            except Exception:  # noqa: BLE001  # one connection must not end the others
                LOG.exception("a connection ended in a mistake of ours")

    async def _answer(self, sock: socket.socket) -> None:
        try:
            peer = self._peer_of(sock)
            self._refuse_stranger(peer)
            request = await self._read(sock, peer)
            if request is None:
                return
            if request.frame.program == PROGRAM:
                request.close()
                await self._send(sock, await self._queries.answer(request.frame))
            else:
                await self._run(sock, request)
        except SpanbridgeError as exc:
            await self._send(sock, refuse(exc))

    def _refuse_stranger(self, peer: Peer) -> None:
        if peer.uid in {0, os.geteuid()}:
            return
        self._tally.refused += 1
        LOG.warning("refused a client", pid=peer.pid, uid=peer.uid)
        raise CallError(f"cannot take the call: user {peer.uid} may not ask", hint="call as root")

    async def _read(self, sock: socket.socket, peer: Peer) -> Request | None:
        with Incoming(sock) as incoming:
            try:
                async with asyncio.timeout(self._limits.request_s):
                    return await incoming.request()
            except TimeoutError:
                self._tally.late += 1
                LOG.warning("dropped a client that did not send its request", pid=peer.pid)
                return None
            except (DecodeError, CallError) as exc:
                self._tally.malformed += 1
                LOG.warning("refused a request", pid=peer.pid, cause=exc.message)
                raise

    async def _run(self, sock: socket.socket, request: Request) -> None:
        ticket, reply = Ticket(), Reply(sock)

        def abandon() -> None:
            # Who has its answer hangs up too.
            if not reply.begun:
                ticket.abandoned = True
                self._tally.abandoned += 1

        with watch_hang_up(sock, abandon):
            outcome = await self._dispatcher.run(
                request, ticket, lambda outcome: reply.begin(outcome.answer)
            )
        if outcome is None and not ticket.abandoned:
            raise RetryError("cannot take the call: the agent stops")
        await self._finish(reply)

    async def _send(self, sock: socket.socket, answer: AnswerFrame) -> None:
        reply = Reply(sock)
        reply.begin(answer)
        await self._finish(reply)

    async def _finish(self, reply: Reply) -> None:
        try:
            async with asyncio.timeout(self._limits.answer_s):
                await reply.finish()
        except TimeoutError:
            LOG.warning("dropped a client that did not take its answer")
