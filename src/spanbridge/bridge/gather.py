# SPDX-License-Identifier: Apache-2.0
"""
Removing many links for the price of one.

For each deletion of a link the kernel waits a grace period, about 20 ms, and one at a
time; for a deletion of a link group it waits once for all of them. So whoever asks
while a deletion is under way waits for the next one together with all the others.
"""

import errno
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from spanbridge.base.names import IfIndex
from spanbridge.rtnl import NetNs, Rtnl, del_link, set_link

WINDOW_S: Final = 0.001
"""Seconds that the first of several waits for the others; nobody waits for a single one."""

RETURN_S: Final = 0.012
"""
Seconds that it waits for as many as last time, when that was a moment ago.

A runtime that drains a node makes its next call when one has ended. Without this its calls
fall into two crowds of which one waits for the other's grace period, and so on for ever.
"""

RECENT_S: Final = 0.05
"""Seconds that a deletion counts as a moment ago: twice what one takes."""

_GONE: Final = frozenset({errno.ENODEV, errno.ENOENT})

_GROUP_MIN: Final = 1 << 30
_GROUPS: Final = 1 << 30
"""
Link groups of a deletion, drawn at random: from here on, this many.

Attachments that are not marked yet have smaller ones (see `link.unmarked_group`).
"""


@dataclass(slots=True)
class _Wish:
    """
    One link to be removed, and who waits for it.

    Attributes:
        index: The link.
        settled: Set when the link is gone, or could not be removed, or ``leads``.
        leads: It is this one's turn to remove for all.
        failure: Why the link is still there.
    """

    index: IfIndex
    settled: threading.Event = field(default_factory=threading.Event)
    leads: bool = False
    failure: Exception | None = None


@dataclass(frozen=True, slots=True)
class _Last:
    """
    The deletion before.

    Attributes:
        count: Of links.
        ended_s: On the monotonic clock.
    """

    count: int = 0
    ended_s: float = 0.0

    def crowd(self) -> tuple[float, float]:
        """Tell how many to wait for, and for how many seconds at most."""
        if self.count > 1 and time.monotonic() - self.ended_s < RECENT_S:
            return self.count, RETURN_S
        return float("inf"), WINDOW_S


class Gatherer:
    """
    Removes links of any namespace, from any thread.

    Args:
        expecting: Tells whether more removals are about to come.
    """

    def __init__(self, expecting: Callable[[], bool]) -> None:
        self._expecting = expecting
        self._lock = threading.Lock()
        # A namespace is a key while somebody removes in it.
        self._waiting: dict[tuple[int, int], list[_Wish]] = {}
        self._arrived = threading.Condition(self._lock)
        self._last = _Last()

    def remove(self, host: NetNs, index: IfIndex) -> None:
        """
        Remove a link; returns when it is gone, also if it was gone before.

        Raises:
            KernelError: The kernel refused.
        """
        wish = _Wish(index)
        with self._lock:
            queue = self._waiting.get(host.identity)
            if queue is None:
                self._waiting[host.identity] = [wish]
                wish.leads = True
            else:
                queue.append(wish)
                self._arrived.notify()
        if not wish.leads:
            wish.settled.wait()
        if wish.leads:
            self._lead(host)
        if wish.failure is not None:
            raise wish.failure

    def _lead(self, host: NetNs) -> None:
        """Remove for all who wait by now, then pass the lead on to who came meanwhile."""
        with self._lock:
            queue = self._waiting[host.identity]
            if self._expecting():
                count, window_s = self._last.crowd()
                self._arrived.wait_for(lambda: len(queue) >= count, window_s)
            batch = list(queue)
            queue.clear()
        failure = _remove(host, [wish.index for wish in batch])
        with self._lock:
            queue = self._waiting[host.identity]
            self._last = _Last(len(batch) + len(queue), time.monotonic())
            if queue:
                queue[0].leads = True
                queue[0].settled.set()
            else:
                del self._waiting[host.identity]
        for wish in batch:
            wish.failure = failure
            wish.leads = False
            wish.settled.set()


def _remove(host: NetNs, indexes: list[IfIndex]) -> Exception | None:
    """Remove all of them; returns what went wrong, for everybody who waits has to hear it."""
    try:
        with Rtnl.open(host) as rtnl:
            if len(indexes) == 1:
                rtnl.request(del_link(index=indexes[0]), tolerate=_GONE)
                return None
            group = _GROUP_MIN + secrets.randbelow(_GROUPS)
            rtnl.request(*(set_link(each, group=group) for each in indexes), tolerate=_GONE)
            rtnl.request(del_link(group=group), tolerate=_GONE)
    except Exception as exc:  # noqa: BLE001  # the others would wait for ever
        return exc
    return None
