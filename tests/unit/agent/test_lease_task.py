# SPDX-License-Identifier: Apache-2.0
"""One lease under supervision, on a link in memory and in virtual time."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from spanbridge.agent.lease_journal import LOST, entry_path, read_entries
from spanbridge.agent.lease_subject import Subject, Surroundings
from spanbridge.agent.lease_task import LeaseTask
from spanbridge.base.errors import Code, NodeError, RetryError
from spanbridge.ipam.dhcp.client import Counts
from spanbridge.ipam.dhcp.conf import parse_dhcp_conf
from spanbridge.ipam.dhcp.lease import Lease
from spanbridge.ipam.dhcp.packet import BOOTREPLY, Message, MessageType, render_message
from spanbridge.ipam.dhcp.sockets import Place
from spanbridge.ipam.dhcp.wire import Listener, Wire
from spanbridge.model.owner import Owner
from spanbridge.model.reader import Node
from spanbridge.testing.dhcp_twin import Sent, TwinLink, TwinWire, VirtualLoop, run_virtually

T = TypeVar("T")

SECTION = {"type": "dhcp", "probe": "off"}
OWNER = Owner.of("net1", "c1", "eth0")
PLACE = Place("/run/netns/pod", (4, 77), "eth0", "02:00:00:00:00:05")
SUBJECT = Subject(OWNER, PLACE, parse_dhcp_conf(Node(SECTION)), b"\0c1", SECTION, "")
SERVER = bytes((10, 0, 0, 1))


def answer(sent: Sent) -> list[bytes]:
    """Lease 10.0.0.5 for an hour."""
    kind = sent.message.type
    if kind not in {MessageType.DISCOVER, MessageType.REQUEST}:
        return []
    given = MessageType.OFFER if kind is MessageType.DISCOVER else MessageType.ACK
    options = {53: bytes([given]), 54: SERVER, 1: b"\xff\xff\xff\0", 51: b"\0\0\x0e\x10"}
    reply = Message(
        BOOTREPLY, sent.message.xid, sent.message.chaddr, yiaddr="10.0.0.5", options=options
    )
    return [render_message(reply)]


def refuse(sent: Sent) -> list[bytes]:
    """Refuse every REQUEST."""
    if sent.message.type is not MessageType.REQUEST:
        return []
    options = {53: bytes([MessageType.NAK]), 54: SERVER}
    return [
        render_message(Message(BOOTREPLY, sent.message.xid, sent.message.chaddr, options=options))
    ]


@dataclass
class Stage:
    """
    Everything of one test.

    Attributes:
        changes: What was told, and when.
        broken: Errors that opening a wire raises, one at a time.
        tell: What ``on_change`` does besides.
    """

    loop: VirtualLoop
    directory: Path
    link: TwinLink
    changes: list[tuple[str | None, str | None]] = field(default_factory=list)
    orphans: list[bytes] = field(default_factory=list)
    broken: list[Exception] = field(default_factory=list)
    tell: Callable[[], None] = lambda: None

    def _on_change(self, old: Lease | None, new: Lease | None) -> None:
        before, after = (lease.granted.address if lease else None for lease in (old, new))
        self.changes.append((before, after))
        self.tell()

    def _orphan(self, _: Lease, frame: bytes) -> bool:
        self.orphans.append(frame)
        return True

    def _open(self, _: Place, listener: Listener) -> Wire:
        if self.broken:
            raise self.broken.pop()
        return TwinWire(self.link, listener)

    def task(self) -> LeaseTask:
        async def inline(function: Callable[[], T]) -> T:
            return function()

        return LeaseTask(
            SUBJECT,
            Surroundings(
                directory=self.directory,
                clock=self.loop.clock,
                random=lambda: 0.0,
                boot_id="b00t",
                in_thread=inline,
                in_call_thread=inline,
                on_change=self._on_change,
                orphan_release=self._orphan,
                open_wire=self._open,
                totals=Counts(),
            ),
        )

    async def bound(self) -> tuple[LeaseTask, "asyncio.Task[None]"]:
        """A task whose lease somebody has taken."""
        task = self.task()
        waiter, running = task.wait(), asyncio.create_task(task.run())
        await waiter
        task.taken = True
        task.forget(waiter)
        return task, running

    def sent(self) -> list[str]:
        return [each.message.type.name for each in self.link.sent if each.message.type]

    def on_disk(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(entry_path(self.directory, OWNER).read_text())["lease"]
        return found


def play(directory: Path, act: Callable[[Stage], Coroutine[Any, Any, None]]) -> None:
    async def main(loop: VirtualLoop) -> None:
        await act(Stage(loop, directory, TwinLink(loop.time, answer)))
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for each in rest:
            each.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    run_virtually(main)


def test_a_lease_is_on_disk_before_anybody_hears_of_it(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        task = stage.task()
        waiter = task.wait()
        seen: list[bool] = []
        waiter.add_done_callback(lambda _: seen.append(entry_path(tmp_path, OWNER).exists()))
        asyncio.create_task(task.run())  # noqa: RUF006  # ends with the test
        lease = await waiter
        assert seen == [True]
        assert [each.lease for each in read_entries(tmp_path)] == [lease]

    play(tmp_path, act)


def test_a_renewal_is_written_down(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        task, _ = await stage.bound()
        first = stage.on_disk()
        await asyncio.sleep(1900)
        after = stage.on_disk()
        assert after["renewed"] - first["renewed"] == pytest.approx(1800, abs=1)
        assert after["acquired"] == first["acquired"]
        assert task.lease is not None
        assert task.lease.expiry == after["expiry"]
        assert stage.changes == []

    play(tmp_path, act)


def test_a_lease_that_cannot_be_written_down_is_given_back(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    async def act(stage: Stage) -> None:
        task = stage.task()
        waiter = task.wait()
        await task.run()
        with pytest.raises(NodeError, match="cannot write down the lease") as caught:
            waiter.result()
        assert caught.value.code is Code.STORE
        assert stage.sent() == ["DISCOVER", "REQUEST", "RELEASE"]

    play(tmp_path / "file", act)


def test_a_renewal_that_cannot_be_written_down_is_used(tmp_path: Path) -> None:
    directory = tmp_path / "leases"

    async def act(stage: Stage) -> None:
        task, running = await stage.bound()
        directory.rename(tmp_path / "away")
        directory.write_text("in the way")
        await asyncio.sleep(4000)
        assert not running.done()
        assert task.lease is not None
        assert task.lease.expiry is not None
        assert task.lease.expiry > stage.loop.clock.wall()

    play(directory, act)


def test_a_loss_is_told_and_written_down_before_a_new_address_is_sought(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        task, _ = await stage.bound()
        stage.link.answer = refuse
        await asyncio.sleep(1800.5)
        assert stage.changes == [("10.0.0.5", None)]
        assert task.lease is None
        assert stage.on_disk()["state"] == LOST
        stage.link.answer = answer
        await asyncio.sleep(100)
        assert stage.changes[1:] == [(None, "10.0.0.5")]
        assert stage.on_disk()["state"] == "bound"

    play(tmp_path, act)


def test_a_change_that_fails_to_apply_ends_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        raise RuntimeError("no bridge")

    async def act(stage: Stage) -> None:
        _, running = await stage.bound()
        stage.tell = fail
        stage.link.answer = lambda _: []
        await asyncio.sleep(3700)
        stage.link.answer = answer
        await asyncio.sleep(100)
        assert stage.changes == [("10.0.0.5", None), (None, "10.0.0.5")]
        assert not running.done()

    play(tmp_path, act)


def test_a_crash_does_not_lose_the_lease(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        task, running = await stage.bound()
        crash(task)
        await asyncio.sleep(1900)
        assert not running.done()
        assert task.lease is not None
        assert stage.sent() == ["DISCOVER", "REQUEST", "REQUEST"]

    play(tmp_path, act)


def crash(task: LeaseTask) -> None:
    """Let the client fall over the next thing that happens."""
    task._client._pending.append(None)  # type: ignore[arg-type]
    task._client._news.set()


def test_a_release_of_a_crashed_task_still_gives_the_lease_back(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        task, running = await stage.bound()
        for _ in range(3):
            stage.broken.append(RuntimeError("broken"))
        crash(task)
        await asyncio.sleep(4)  # between two attempts to start again
        stage.broken.clear()
        task.stop(release=True)
        await running
        assert stage.sent()[-1] == "RELEASE"
        assert list(read_entries(tmp_path)) == []

    play(tmp_path, act)


def test_a_crash_before_there_is_a_lease_is_told_to_who_waits(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        stage.broken.append(RuntimeError("broken"))
        task = stage.task()
        waiter = task.wait()
        await task.run()
        with pytest.raises(Exception, match="broken"):
            waiter.result()

    play(tmp_path, act)


def test_an_agent_that_stops_keeps_the_entry_also_of_a_crashed_task(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        task, running = await stage.bound()
        stage.broken += [RuntimeError("broken")] * 9
        crash(task)
        await asyncio.sleep(2)
        task.stop(release=False)
        await running
        assert len(list(read_entries(tmp_path))) == 1

    play(tmp_path, act)


def test_a_vanished_interface_hands_over_the_release_and_forgets(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        _, running = await stage.bound()
        stage.link.there = False
        await running
        assert len(stage.orphans) == 1
        assert list(read_entries(tmp_path)) == []

    play(tmp_path, act)


def test_a_release_that_a_downed_link_does_not_take_is_handed_over(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        task, running = await stage.bound()
        stage.link.up = False
        task.stop(release=True)
        await running
        assert len(stage.orphans) == 1
        assert list(read_entries(tmp_path)) == []

    play(tmp_path, act)


def test_nobody_is_told_of_a_new_lease_after_a_release(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        task, running = await stage.bound()
        task.stop(release=True)
        task._tell(None, task.lease)
        await running
        await task.settle()
        assert stage.changes == []

    play(tmp_path, act)


def test_who_waits_when_it_is_released_is_told_to_retry(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        stage.link.answer = lambda _: []
        task = stage.task()
        waiter, running = task.wait(), asyncio.create_task(task.run())
        await asyncio.sleep(0.5)
        task.stop(release=True)
        await running
        with pytest.raises(RetryError, match="released meanwhile"):
            waiter.result()

    play(tmp_path, act)
