# SPDX-License-Identifier: Apache-2.0
"""Links removed together."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from spanbridge.base.errors import KernelError
from spanbridge.base.names import IfIndex
from spanbridge.bridge import gather
from spanbridge.bridge.gather import Gatherer
from spanbridge.rtnl import Message, NetNs, Rtnl
from spanbridge.testing.plugin import AskTool, MakeNetns, Netns

MANY = 24


@pytest.fixture
def place(node: Netns) -> Iterator[NetNs]:
    with NetNs.open(str(node.path)) as opened:
        yield opened


@pytest.fixture
def make_pairs(node: Netns, ip_json: AskTool) -> Callable[[int], list[IfIndex]]:
    def make(count: int) -> list[IfIndex]:
        for number in range(count):
            node.run("ip", "link", "add", f"a{number}", "type", "veth", "peer", f"b{number}")
        found = {each["ifname"]: each["ifindex"] for each in ip_json("link", netns=node)}
        return [IfIndex(found[f"a{number}"]) for number in range(count)]

    return make


@pytest.fixture
def deletions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of the kernel, from all threads."""
    seen: list[str] = []
    original = Rtnl.request

    def request(self: Rtnl, *messages: Message, **more: Any) -> tuple[int, ...]:  # noqa: ANN401
        seen.extend(each.label for each in messages if each.label.startswith("delete"))
        return original(self, *messages, **more)

    monkeypatch.setattr(Rtnl, "request", request)
    return seen


def _all_at_once(gatherer: Gatherer, place: NetNs, indexes: list[IfIndex]) -> list[BaseException]:
    failures: list[BaseException] = []
    gate = threading.Barrier(len(indexes))

    def remove(index: IfIndex) -> None:
        gate.wait()
        try:
            gatherer.remove(place, index)
        except KernelError as exc:
            failures.append(exc)

    threads = [threading.Thread(target=remove, args=(index,)) for index in indexes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    assert not any(thread.is_alive() for thread in threads)
    return failures


def _names(node: Netns, ip_json: AskTool) -> set[str]:
    return {each["ifname"] for each in ip_json("link", netns=node)}


def test_links_asked_for_at_once_go_with_few_deletions(
    node: Netns,
    place: NetNs,
    make_pairs: Callable[[int], list[IfIndex]],
    ip_json: AskTool,
    deletions: list[str],
) -> None:
    indexes = make_pairs(MANY)

    assert _all_at_once(Gatherer(lambda: True), place, indexes) == []
    assert _names(node, ip_json) == {"lo"}
    assert 1 <= len(deletions) < MANY / 2
    assert any(label.startswith("delete links of group") for label in deletions)


def test_a_single_link_goes_by_its_index_without_waiting(
    node: Netns,
    place: NetNs,
    make_pairs: Callable[[int], list[IfIndex]],
    ip_json: AskTool,
    deletions: list[str],
) -> None:
    first, _ = make_pairs(2)
    Gatherer(lambda: False).remove(place, first)

    assert deletions == [f"delete link {first}"]
    assert {"a1", "b1"} <= _names(node, ip_json)


def test_a_link_is_gone_when_its_removal_returns(
    node: Netns, place: NetNs, make_pairs: Callable[[int], list[IfIndex]], ip_json: AskTool
) -> None:
    indexes = make_pairs(6)
    gatherer = Gatherer(lambda: True)
    left: list[tuple[IfIndex, set[int]]] = []

    def remove(index: IfIndex) -> None:
        gatherer.remove(place, index)
        left.append((index, {each["ifindex"] for each in ip_json("link", netns=node)}))

    threads = [threading.Thread(target=remove, args=(index,)) for index in indexes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)

    assert len(left) == 6
    assert all(index not in seen for index, seen in left)


def test_links_that_are_gone_already_disturb_nobody(
    node: Netns, place: NetNs, make_pairs: Callable[[int], list[IfIndex]], ip_json: AskTool
) -> None:
    indexes = make_pairs(4)
    node.run("ip", "link", "del", "a1")

    assert _all_at_once(Gatherer(lambda: True), place, [*indexes, IfIndex(4242)]) == []
    assert _names(node, ip_json) == {"lo"}


def test_links_of_other_namespaces_are_left_alone(
    node: Netns,
    place: NetNs,
    netns: MakeNetns,
    make_pairs: Callable[[int], list[IfIndex]],
    ip_json: AskTool,
) -> None:
    other = netns("other")
    other.run("ip", "link", "add", "a0", "type", "veth", "peer", "b0")
    _all_at_once(Gatherer(lambda: True), place, make_pairs(4))

    assert _names(node, ip_json) == {"lo"}
    assert _names(other, ip_json) == {"lo", "a0", "b0"}


def test_a_refusal_reaches_everybody_who_waits(
    place: NetNs, make_pairs: Callable[[int], list[IfIndex]], monkeypatch: pytest.MonkeyPatch
) -> None:
    indexes = make_pairs(3)

    def refuse(_host: NetNs, _indexes: list[IfIndex]) -> Exception:
        return KernelError("cannot delete: not today", errno=1)

    monkeypatch.setattr(gather, "_remove", refuse)

    assert len(_all_at_once(Gatherer(lambda: True), place, indexes)) == 3


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many links each deletion takes, without the kernel."""
    seen: list[int] = []

    def remove(_host: NetNs, indexes: list[IfIndex]) -> None:
        seen.append(len(indexes))

    monkeypatch.setattr(gather, "_remove", remove)
    return seen


def test_as_many_as_last_time_are_waited_for(
    place: NetNs, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "WINDOW_S", 15)
    monkeypatch.setattr(gather, "RETURN_S", 15)
    monkeypatch.setattr(gather, "RECENT_S", 15)
    gatherer = Gatherer(lambda: True)
    gatherer._last = gather._Last(3, time.monotonic())

    _all_at_once(gatherer, place, [IfIndex(number) for number in (1, 2, 3)])

    assert batches == [3]


def test_a_crowd_of_long_ago_is_not_waited_for(
    place: NetNs, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "RETURN_S", 3600)
    gatherer = Gatherer(lambda: True)
    gatherer._last = gather._Last(3, time.monotonic() - 1)

    gatherer.remove(place, IfIndex(1))

    assert batches == [1]


def test_nobody_is_waited_for_where_nothing_else_goes_on(
    place: NetNs, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "RETURN_S", 3600)
    gatherer = Gatherer(lambda: False)
    gatherer._last = gather._Last(3, time.monotonic())

    gatherer.remove(place, IfIndex(1))

    assert batches == [1]
