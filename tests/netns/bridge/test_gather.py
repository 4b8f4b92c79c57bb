# SPDX-License-Identifier: Apache-2.0
"""Links removed together."""

import threading
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

    assert _all_at_once(Gatherer(), place, indexes) == []
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
    Gatherer().remove(place, first)

    assert deletions == [f"delete link {first}"]
    assert {"a1", "b1"} <= _names(node, ip_json)


def test_a_link_is_gone_when_its_removal_returns(
    node: Netns, place: NetNs, make_pairs: Callable[[int], list[IfIndex]], ip_json: AskTool
) -> None:
    indexes = make_pairs(6)
    gatherer = Gatherer()
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

    assert _all_at_once(Gatherer(), place, [*indexes, IfIndex(4242)]) == []
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
    _all_at_once(Gatherer(), place, make_pairs(4))

    assert _names(node, ip_json) == {"lo"}
    assert _names(other, ip_json) == {"lo", "a0", "b0"}


def test_a_refusal_reaches_everybody_who_waits(
    place: NetNs, make_pairs: Callable[[int], list[IfIndex]], monkeypatch: pytest.MonkeyPatch
) -> None:
    indexes = make_pairs(3)

    def refuse(_host: NetNs, _indexes: list[IfIndex]) -> Exception:
        return KernelError("cannot delete: not today", errno=1)

    monkeypatch.setattr(gather, "_remove", refuse)

    assert len(_all_at_once(Gatherer(), place, indexes)) == 3


def test_a_link_that_has_vanished_is_waited_for_no_longer(
    node: Netns,
    place: NetNs,
    make_pairs: Callable[[int], list[IfIndex]],
    ip_json: AskTool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (index,) = make_pairs(1)
    freed = threading.Event()
    original = gather._delete

    def delete_and_linger(rtnl: Rtnl, indexes: list[IfIndex]) -> None:
        original(rtnl, indexes)
        freed.wait(15)

    monkeypatch.setattr(gather, "_delete", delete_and_linger)
    try:
        Gatherer().remove(place, index)
        assert not freed.is_set()
        assert _names(node, ip_json) == {"lo"}
    finally:
        freed.set()
