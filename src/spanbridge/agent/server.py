# SPDX-License-Identifier: Apache-2.0
"""The socket server: accepts, checks the peer, reads, dispatches, answers."""

import asyncio
import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Final

from spanbridge.agent.calls import refuse
from spanbridge.agent.crew import Closed, Crew
from spanbridge.agent.dispatch import Dispatcher, Ticket
from spanbridge.agent.listen import Listener
from spanbridge.agent.logs import LOG
from spanbridge.agent.queries import Queries
from spanbridge.agent.receive import Incoming, Peer, Request, has_hung_up, observe_peer
from spanbridge.agent.reply import send_answer
from spanbridge.agent.settings import Limits
from spanbridge.agent.tally import Tally
from spanbridge.base.errors import CallError, DecodeError, RetryError, SpanbridgeError
from spanbridge.model.frames import QUERY_PROGRAM, AnswerFrame

_PAUSE_S: Final = 0.1
"""Seconds to wait where the kernel has no descriptor left for a new connection."""

_CLOSE_S: Final = 1.0
"""Seconds that the thread at the door may take to let in who has connected before a stop."""


class ClientTicket(Ticket):
    """
    A call whose client may hang up; looked at only when somebody asks.

    Args:
        sock: Of the client.
        tally: Where it is counted.
    """

    __slots__ = ("_sock", "_tally")

    def __init__(self, sock: socket.socket, tally: Tally) -> None:
        super().__init__()
        self._sock = sock
        self._tally = tally

    def given_up(self) -> bool:
        """Tell whether nobody waits for the answer, or the agent stops."""
        if not self.abandoned and has_hung_up(self._sock):
            self.abandoned = True
            self._tally.add("abandoned")
        return self.abandoned


class Server:
    """
    Serves the clients of one socket, each in a thread.

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
        self._lock = threading.Lock()
        self._left = threading.Condition(self._lock)
        self._clients: set[socket.socket] = set()
        self._stopping = False
        self._doors = threading.local()

    async def serve(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set, then let running calls end, for a while."""
        self._listener.sock.settimeout(0)
        self._loop = asyncio.get_running_loop()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        crew = Crew(self._accept, self._serve)
        crew.start()
        try:
            await stop.wait()
            await self._retire(crew)
            await self._settle()
        finally:
            self._listener.sock.close()

    # ------------------------------------------------------------ connections

    def _accept(self, idle_s: float) -> socket.socket | None:
        """Wait for the next client; see `Crew` for what ``take`` does."""
        door = self._door()
        while not (self._stopping and self._listener.path is None):
            try:
                sock, _ = self._listener.sock.accept()
            except BlockingIOError:
                if self._stopping:
                    break
                if not door.poll(idle_s):
                    return None
            except OSError as exc:
                LOG.error("cannot accept a connection", cause=exc)
                if self._stopping:
                    break
                time.sleep(_PAUSE_S)
            else:
                sock.settimeout(0)
                if self._enter(sock):
                    return sock
        raise Closed

    def _door(self) -> select.epoll:
        """Return where the calling thread waits; a client wakes one of all that do."""
        door: select.epoll | None = getattr(self._doors, "epoll", None)
        if door is None:
            door = self._doors.epoll = select.epoll()
            door.register(self._listener.sock, select.EPOLLIN | select.EPOLLEXCLUSIVE)
            door.register(self._bell, select.EPOLLIN)
        return door

    def _enter(self, sock: socket.socket) -> bool:
        with self._lock:
            admitted = len(self._clients) < self._limits.connections
            if admitted:
                self._clients.add(sock)
        if not admitted:
            self._tally.add("overloads")
            error = RetryError(f"cannot take the call: {len(self._clients)} clients are connected")
            with sock, contextlib.suppress(OSError, TimeoutError):
                send_answer(sock, refuse(error), timeout_s=0)
        return admitted

    async def _retire(self, crew: Crew[socket.socket]) -> None:
        """
        Let nobody connect any more; who has done so is served.

        A socket of the service manager stays: clients wait there for our successor.
        """
        self._listener.remove()
        self._stopping = True
        os.eventfd_write(self._bell, 1)
        if not await asyncio.to_thread(crew.wait_closed, _CLOSE_S):
            LOG.error("the door does not close; stopping all the same")

    async def _settle(self) -> None:
        limits = self._limits
        if not await self._wait_for_clients(limits.patience_s):
            self._dispatcher.abandon_all()
            if not await self._wait_for_clients(limits.stop_s - limits.patience_s):
                LOG.error("calls do not end; stopping without them", calls=len(self._clients))
        with self._lock:
            for sock in self._clients:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    async def _wait_for_clients(self, timeout_s: float) -> bool:
        def wait() -> bool:
            with self._left:
                return self._left.wait_for(lambda: not self._clients, timeout_s)

        return await asyncio.to_thread(wait)

    # ------------------------------------------------------------ one connection

    def _serve(self, sock: socket.socket) -> None:
        try:
            self._answer(sock)
        except OSError as exc:
            LOG.debug("a connection broke", cause=exc)
        except Exception:  # noqa: BLE001  # one connection must not end the others
            LOG.exception("a connection ended in a mistake of ours")
        finally:
            sock.close()
            with self._lock:
                self._clients.discard(sock)
                self._left.notify_all()

    def _answer(self, sock: socket.socket) -> None:
        try:
            peer = self._peer_of(sock)
            self._refuse_stranger(peer)
            request = self._read(sock, peer)
            if request is None:
                return
            if request.frame.program == QUERY_PROGRAM:
                request.close()
                asked = self._queries.answer(request.frame)
                self._send(sock, asyncio.run_coroutine_threadsafe(asked, self._loop).result())
            else:
                self._run(sock, request)
        except SpanbridgeError as exc:
            self._send(sock, refuse(exc))

    def _refuse_stranger(self, peer: Peer) -> None:
        if peer.uid in {0, os.geteuid()}:
            return
        self._tally.add("refused")
        LOG.warning("refused a client", pid=peer.pid, uid=peer.uid)
        raise CallError(f"cannot take the call: user {peer.uid} may not ask", hint="call as root")

    def _read(self, sock: socket.socket, peer: Peer) -> Request | None:
        with Incoming(sock, timeout_s=self._limits.request_s) as incoming:
            try:
                return incoming.request()
            except TimeoutError:
                self._tally.add("late")
                LOG.warning("dropped a client that did not send its request", pid=peer.pid)
                return None
            except (DecodeError, CallError) as exc:
                self._tally.add("malformed")
                LOG.warning("refused a request", pid=peer.pid, cause=exc.message)
                raise

    def _run(self, sock: socket.socket, request: Request) -> None:
        ticket = ClientTicket(sock, self._tally)
        outcome = self._dispatcher.run(
            request, ticket, lambda outcome: self._send(sock, outcome.answer)
        )
        if outcome is None and not ticket.abandoned:
            raise RetryError("cannot take the call: the agent stops")

    def _send(self, sock: socket.socket, answer: AnswerFrame) -> None:
        try:
            send_answer(sock, answer, timeout_s=self._limits.answer_s)
        except TimeoutError:
            LOG.warning("dropped a client that did not take its answer")
        except OSError as exc:
            # Nobody reads it: whoever gave up has hung up.
            LOG.debug("a connection broke", cause=exc)
