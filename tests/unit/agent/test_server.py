# SPDX-License-Identifier: Apache-2.0
"""The server over a real socket, with calls that the test makes up."""

import contextlib
import io
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from spanbridge.agent.calls import Outcome
from spanbridge.agent.client import receive_answer, send_call
from spanbridge.agent.receive import Peer, Request
from spanbridge.agent.settings import Limits
from spanbridge.model.frames import AnswerFrame, CallFrame, render_call
from spanbridge.rtnl import NetNs

if TYPE_CHECKING:
    from .conftest import Desk, StartDesk
else:
    Desk = StartDesk = Any

WAIT_S = 10
OWN_NETNS = "/proc/self/ns/net"


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.005)


def done(text: str = "") -> Outcome:
    return Outcome(AnswerFrame(0, text.encode(), b""), 0, 0.001)


def error_of(answer: AnswerFrame) -> dict[str, Any]:
    assert answer.status == 1
    document: dict[str, Any] = json.loads(answer.stdout)
    return document


def open_namespaces() -> list[str]:
    """What descriptors refer to, where that is a network namespace; but for our own, once."""
    with NetNs.current() as home:
        assert home.is_current()  # from now on the process keeps it open
    found = []
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(str(path.readlink()))
    return [each for each in found if each.startswith("net:")][1:]


def send_with(desk: Desk, paths: list[str], *, caller: bool, sandbox: bool) -> AnswerFrame:
    """Send a call that announces what it need not bring along."""
    frame = CallFrame("bridge", {"CNI_COMMAND": "ADD"}, b"", caller=caller, sandbox=sandbox)
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open(path, "rb")) for path in paths]  # noqa: PTH123
        with send_call(desk.path, frame, [each.fileno() for each in files]) as sock:
            return receive_answer(sock)


# -------------------------------------------------------------------- one call


def test_the_answer_comes_back_whole(desk: Desk) -> None:
    assert desk.call() == AnswerFrame(0, b"hello\n", b"a warning\n")


def test_a_request_arrives_whole(start_desk: StartDesk) -> None:
    seen: list[CallFrame] = []

    def run(request: Request, _cancelled: Callable[[], bool]) -> Outcome:
        seen.append(request.frame)
        return done()

    stdin = bytes(range(256)) * 4096
    start_desk(run).call("ADD", container="c7", stdin=stdin)

    assert (seen[0].stdin, seen[0].environ["CNI_CONTAINERID"]) == (stdin, "c7")


def test_the_descriptors_are_the_namespaces_that_were_sent(start_desk: StartDesk) -> None:
    seen: list[tuple[int, int]] = []

    def run(request: Request, _cancelled: Callable[[], bool]) -> Outcome:
        assert request.caller is not None
        assert request.sandbox_fd is not None
        sandbox = os.fstat(request.sandbox_fd)
        seen.extend([request.caller.identity, (sandbox.st_dev, sandbox.st_ino)])
        return done()

    start_desk(run).call()
    own = Path(OWN_NETNS).stat()

    assert seen == [(own.st_dev, own.st_ino)] * 2


def test_descriptors_are_closed_with_the_call(desk: Desk) -> None:
    for _ in range(5):
        desk.call()

    until(lambda: not open_namespaces())


def test_surplus_descriptors_are_closed_and_the_call_is_run(desk: Desk) -> None:
    answer = send_with(desk, [OWN_NETNS] * 5, caller=True, sandbox=False)

    assert answer.status == 0
    until(lambda: not open_namespaces())


def test_a_flood_of_descriptors_is_refused(desk: Desk) -> None:
    answer = send_with(desk, [OWN_NETNS] * 50, caller=True, sandbox=True)

    assert error_of(answer)["code"] == 4
    until(lambda: not open_namespaces())


@pytest.mark.parametrize(
    ("paths", "sandbox"),
    [([], False), ([OWN_NETNS], True)],
    ids=["the caller's", "the sandbox's"],
)
def test_a_descriptor_that_is_only_announced_is_missed(
    desk: Desk, paths: list[str], *, sandbox: bool
) -> None:
    error = error_of(send_with(desk, paths, caller=True, sandbox=sandbox))

    assert (error["code"], desk.tally.malformed) == (4, 1)
    assert "did not arrive" in error["msg"]


@pytest.mark.parametrize("path", ["/dev/null", "/proc/self/ns/mnt", "/proc/self/status"])
def test_a_caller_that_is_no_network_namespace_is_refused(desk: Desk, path: str) -> None:
    error = error_of(send_with(desk, [path], caller=True, sandbox=False))

    assert error["code"] == 4
    assert "the caller's descriptor" in error["msg"]


# -------------------------------------------------------------------- malformed

GOOD = render_call(CallFrame("bridge", {"CNI_COMMAND": "ADD"}, b"{}", caller=False, sandbox=False))


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"SB\x09" + GOOD[3:],
        b"SB\x01\x80" + GOOD[4:],
        b"SB\x01\x00\xff\xff\xff\xff\x00\x00\x00\x00",
        b"SB\x01\x00\x00\x00\x00\x00\xff\xff\xff\xff",
        b"SB\x01\x00\x00\x00\x00\x04\x00\x00\x00\x00abcd",
        b"SB\x01\x00\x00\x00\x00\x04\x00\x00\x00\x00\xff\xfe\x00\x00",
    ],
    ids=["http", "version", "flags", "long strings", "long stdin", "no NUL", "no UTF-8"],
)
def test_a_malformed_request_gets_an_error_and_is_counted(desk: Desk, data: bytes) -> None:
    with desk.connect() as sock:
        sock.sendall(data)
        error = error_of(receive_answer(sock))

    assert (error["code"], desk.tally.malformed) == (6, 1)
    assert desk.call().status == 0


def test_a_request_that_breaks_off_is_counted_and_harms_nobody(desk: Desk) -> None:
    with desk.connect() as sock:
        sock.sendall(GOOD[:20])

    until(lambda: desk.tally.malformed == 1)
    assert desk.call().status == 0


def test_who_only_connects_is_not_counted(desk: Desk) -> None:
    desk.connect().close()
    desk.call()

    assert (desk.tally.malformed, desk.tally.late) == (0, 0)


def test_a_silent_client_is_dropped(start_desk: StartDesk) -> None:
    desk = start_desk(limits=Limits(request_s=0.1))
    with desk.connect() as sock:
        assert sock.recv(1) == b""

    assert desk.tally.late == 1


def test_a_trickling_client_is_dropped_although_it_goes_on(start_desk: StartDesk) -> None:
    desk = start_desk(limits=Limits(request_s=0.3))
    with desk.connect() as sock, contextlib.suppress(BrokenPipeError):
        for byte in GOOD:
            sock.sendall(bytes([byte]))
            time.sleep(0.05)

    assert desk.tally.late == 1


# -------------------------------------------------------------------- who may ask


def test_another_user_is_refused_and_named_in_the_log(
    start_desk: StartDesk, agent_log: io.StringIO
) -> None:
    desk = start_desk(peer_of=lambda _sock: Peer(pid=4711, uid=os.geteuid() + 1234, gid=0))
    with desk.connect() as sock:
        error = error_of(receive_answer(sock))

    assert (error["code"], desk.tally.refused) == (4, 1)
    assert f"user {os.geteuid() + 1234} may not ask" in error["msg"]
    assert f"pid=4711 uid={os.geteuid() + 1234}" in agent_log.getvalue()


@pytest.mark.parametrize("uid", [0, os.geteuid()], ids=["root", "own"])
def test_root_and_the_own_user_may_ask(start_desk: StartDesk, uid: int) -> None:
    desk = start_desk(peer_of=lambda _sock: Peer(pid=1, uid=uid, gid=0))

    assert desk.call().status == 0


# -------------------------------------------------------------------- many calls


class Gate:
    """Calls that wait until the test lets them go, and note what they saw."""

    def __init__(self, *waiting: str) -> None:
        self.waiting = waiting
        self.open = threading.Event()
        self.running: list[str] = []
        self.ended: list[str] = []
        self.cancelled: list[str] = []

    def run(self, request: Request, cancelled: Callable[[], bool]) -> Outcome:
        environ = request.frame.environ
        name = f"{environ['CNI_COMMAND']} {environ['CNI_CONTAINERID']}"
        self.running.append(name)
        deadline = time.monotonic() + WAIT_S
        while name in self.waiting and not self.open.is_set() and time.monotonic() < deadline:
            if cancelled():
                self.cancelled.append(name)
                break
            time.sleep(0.005)
        self.ended.append(name)
        return done(name)


def test_a_slow_call_does_not_delay_others_and_the_loop_never_blocks(
    start_desk: StartDesk, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate("ADD slow")
    desk = start_desk(gate.run)
    with caplog.at_level(logging.WARNING, logger="asyncio"), desk.send(container="slow") as slow:
        until(lambda: gate.running == ["ADD slow"])
        fast = desk.call(container="fast")
        gate.open.set()
        answer = receive_answer(slow)

    assert (fast.stdout, answer.stdout) == (b"ADD fast", b"ADD slow")
    assert gate.ended == ["ADD fast", "ADD slow"]
    assert "Executing" not in caplog.text


def test_calls_beyond_the_limit_are_told_to_try_again_later(start_desk: StartDesk) -> None:
    gate = Gate("ADD a", "ADD b")
    desk = start_desk(gate.run, limits=Limits(calls=2))
    with desk.send(container="a"), desk.send(container="b"):
        until(lambda: len(gate.running) == 2)
        error = error_of(desk.call(container="c"))
        gate.open.set()
    until(lambda: desk.tally.in_flight == 0)

    assert (error["code"], desk.tally.overloads) == (11, 1)
    assert desk.call(container="c").status == 0


def test_clients_beyond_the_limit_are_told_at_once(start_desk: StartDesk) -> None:
    desk = start_desk(limits=Limits(connections=2))
    with desk.connect(), desk.connect(), desk.connect() as third:
        error = error_of(receive_answer(third))

    assert error["code"] == 11


def test_queries_are_answered_while_no_call_is_taken(start_desk: StartDesk) -> None:
    gate = Gate("ADD a")
    desk = start_desk(gate.run, limits=Limits(calls=1))
    frame = CallFrame("agent", {"SPANBRIDGE_QUERY": "status"}, b"", caller=False, sandbox=False)
    with desk.send(container="a"):
        until(lambda: len(gate.running) == 1)
        with send_call(desk.path, frame) as sock:
            status = json.loads(receive_answer(sock).stdout)
        gate.open.set()

    assert status["inFlight"] == 1


def test_calls_of_one_attachment_run_one_after_the_other(start_desk: StartDesk) -> None:
    gate = Gate("ADD c1")
    desk = start_desk(gate.run)
    with desk.send("ADD") as first, desk.send("DEL") as second:
        until(lambda: gate.running == ["ADD c1"])
        desk.call("DEL", container="c2")
        assert gate.running == ["ADD c1", "DEL c2"]
        gate.open.set()
        answers = [receive_answer(first).stdout, receive_answer(second).stdout]

    assert answers == [b"ADD c1", b"DEL c1"]
    assert gate.ended == ["DEL c2", "ADD c1", "DEL c1"]


# -------------------------------------------------------------------- hanging up


def test_a_call_learns_that_its_client_hung_up(start_desk: StartDesk) -> None:
    gate = Gate("ADD c1")
    desk = start_desk(gate.run)
    sock = desk.send()
    until(lambda: gate.running == ["ADD c1"])
    sock.close()

    until(lambda: gate.cancelled == ["ADD c1"])
    until(lambda: desk.tally.abandoned == 1)


def test_a_call_whose_client_waits_is_not_cancelled(start_desk: StartDesk) -> None:
    gate = Gate("ADD c1")
    desk = start_desk(gate.run)
    with desk.send() as sock:
        until(lambda: gate.running == ["ADD c1"])
        sock.sendall(b"what nobody asked for")
        time.sleep(0.1)
        gate.open.set()
        answer = receive_answer(sock)

    assert (answer.stdout, gate.cancelled) == (b"ADD c1", [])


def test_the_del_after_an_abandoned_add_waits_until_that_has_ended(start_desk: StartDesk) -> None:
    gate = Gate("ADD c1")
    desk = start_desk(gate.run)
    sock = desk.send()
    until(lambda: gate.running == ["ADD c1"])
    sock.close()
    desk.call("DEL")

    assert gate.ended == ["ADD c1", "DEL c1"]


def test_a_gc_after_an_abandoned_add_waits_until_that_has_ended(start_desk: StartDesk) -> None:
    gate = Gate("ADD c1")
    desk = start_desk(gate.run)
    sock = desk.send()
    until(lambda: gate.running == ["ADD c1"])
    sock.close()
    desk.call("GC")

    assert gate.ended == ["ADD c1", "GC c1"]


def test_a_gc_does_not_wait_for_an_add_that_is_waited_for(start_desk: StartDesk) -> None:
    gate = Gate("ADD c1")
    desk = start_desk(gate.run)
    with desk.send() as adding:
        until(lambda: gate.running == ["ADD c1"])
        desk.call("GC")
        ended = list(gate.ended)
        gate.open.set()
        receive_answer(adding)

    assert ended == ["GC c1"]


def test_a_call_abandoned_before_its_turn_is_not_run(start_desk: StartDesk) -> None:
    gate = Gate("ADD c1")
    desk = start_desk(gate.run)
    with desk.send() as first:
        until(lambda: gate.running == ["ADD c1"])
        second = desk.send("CHECK")
        until(lambda: desk.tally.in_flight == 2)
        second.close()
        until(lambda: desk.tally.abandoned == 1)
        gate.open.set()
        receive_answer(first)
    until(lambda: desk.tally.in_flight == 0)

    assert gate.running == ["ADD c1"]


# -------------------------------------------------------------------- the end


def test_a_stop_lets_running_calls_end(start_desk: StartDesk) -> None:
    gate = Gate("ADD c1")
    desk = start_desk(gate.run)
    with desk.send() as sock:
        until(lambda: gate.running == ["ADD c1"])
        desk.request_stop()
        until(lambda: not desk.path.exists())
        gate.open.set()
        answer = receive_answer(sock)
    desk.stop()

    assert (answer.stdout, gate.cancelled) == (b"ADD c1", [])


def test_who_connected_before_the_stop_is_served(start_desk: StartDesk) -> None:
    gate = Gate("ADD c1")
    desk = start_desk(gate.run)
    with desk.send(), desk.connect() as early:
        until(lambda: gate.running == ["ADD c1"])
        desk.request_stop()
        until(lambda: not desk.path.exists())
        early.sendall(b"SB\x09" + GOOD[3:])

        assert error_of(receive_answer(early))["code"] == 6
        gate.open.set()


def test_patience_with_running_calls_ends(start_desk: StartDesk) -> None:
    gate = Gate("ADD c1")
    desk = start_desk(gate.run, limits=Limits(patience_s=0.1))
    with desk.send() as sock:
        until(lambda: gate.running == ["ADD c1"])
        desk.request_stop()

        assert receive_answer(sock).stdout == b"ADD c1"
    assert gate.cancelled == ["ADD c1"]


def test_a_call_that_hangs_does_not_hold_up_the_stop(start_desk: StartDesk) -> None:
    release = threading.Event()

    def hang(_request: Request, _cancelled: Callable[[], bool]) -> Outcome:
        release.wait(WAIT_S)
        return done()

    desk = start_desk(hang, limits=Limits(patience_s=0.1, stop_s=0.2))
    with desk.send() as sock:
        until(lambda: desk.tally.in_flight == 1)
        desk.stop()

        assert sock.recv(1) == b""
    release.set()


def test_a_client_that_takes_no_answer_is_dropped(start_desk: StartDesk) -> None:
    def run(_request: Request, _cancelled: Callable[[], bool]) -> Outcome:
        return Outcome(AnswerFrame(0, bytes(3 << 20), b""), 0, 0.001)

    desk = start_desk(run, limits=Limits(answer_s=0.2))
    with desk.send() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        desk.stop()

        assert len(sock.recv(4 << 20)) < 3 << 20
