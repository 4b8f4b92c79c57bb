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
        if not wish.leads:
            wish.settled.wait()
        if wish.leads:
            self._lead(host)
        if wish.failure is not None:
            raise wish.failure

    def _lead(self, host: NetNs) -> None:
        """Remove for all who wait by now, then pass the lead on to who came meanwhile."""
        if self._expecting():
            time.sleep(WINDOW_S)
        with self._lock:
            batch = list(self._waiting[host.identity])
            self._waiting[host.identity].clear()
        failure = _remove(host, [wish.index for wish in batch])
        with self._lock:
            queue = self._waiting[host.identity]
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
