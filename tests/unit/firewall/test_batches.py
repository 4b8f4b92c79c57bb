# SPDX-License-Identifier: Apache-2.0
"""Releases that come while the tables are held are done as one."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest

from spanbridge.firewall.batches import Batches
from spanbridge.model.owner import Owner
from spanbridge.rtnl import NetNs

WAIT_S: Final = 10
Close = Callable[[], tuple[Owner, ...]]


def owner(number: int) -> Owner:
    return Owner.of("net", f"c{number}", "eth0")


@pytest.fixture
def host() -> NetNs:
    return NetNs(-1, (4, 1))


class Tables:
    """Stands for the tables: who removes holds them, the first time until it is told to go on."""

    def __init__(self) -> None:
        self.held = threading.Event()
        self.go_on = threading.Event()
        self.removed: list[set[str]] = []
        self._lock = threading.Lock()

    def remove(self, close: Close) -> list[str]:
        with self._lock:
            owners = close()
            self.held.set()
            assert self.go_on.wait(WAIT_S)
            self.removed.append({each.container_id for each in owners})
        return [each.tag for each in owners if each.container_id != "c3"]


def _all_wait(batches: Batches, host: NetNs, count: int) -> bool:
    forming = batches._forming.get(host.identity)
    return forming is not None and len(forming.owners) == count


def test_a_single_release_waits_for_nobody(host: NetNs) -> None:
    tables = Tables()
    tables.go_on.set()

    assert Batches().run(host, (owner(1), owner(2)), tables.remove)
    assert tables.removed == [{"c1", "c2"}]


def test_those_who_come_meanwhile_go_together(host: NetNs) -> None:
    tables, batches = Tables(), Batches()
    with ThreadPoolExecutor(5) as threads:
        first = threads.submit(batches.run, host, (owner(0),), tables.remove)
        assert tables.held.wait(WAIT_S)
        rest = [threads.submit(batches.run, host, (owner(n),), tables.remove) for n in (1, 2, 3, 4)]
        while not _all_wait(batches, host, len(rest)):
            time.sleep(0.001)
        tables.go_on.set()

        assert [each.result() for each in (first, *rest)] == [True, True, True, False, True]
    assert tables.removed == [{"c0"}, {"c1", "c2", "c3", "c4"}]


def test_a_failure_is_told_to_all_and_the_next_starts_anew(host: NetNs) -> None:
    batches = Batches()

    def fail(_: Close) -> list[str]:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        batches.run(host, (owner(1),), fail)
    assert batches.run(host, (owner(2),), lambda close: [each.tag for each in close()])
