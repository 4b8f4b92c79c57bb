# SPDX-License-Identifier: Apache-2.0
"""
Removing links, without waiting for what nobody sees.

A deletion comes back 15 to 20 ms after the link has vanished: the kernel waits for grace
periods before it frees the memory, without holding a lock that others want. So the
deletion runs in a thread of its own, and whoever asked for it waits until the link is gone
from the kernel's list: 1 to 2 ms.

Those who ask while a deletion holds the lock go together in the next one, as a link
group: one turn, and one wait, for all of them.

Source: net/core/dev.c, unregister_netdevice_many() and netdev_run_todo(), Linux 6.1.
"""

import _thread
import errno
import secrets
import threading
from dataclasses import dataclass, field
from typing import Final

from spanbridge.base.names import IfIndex
from spanbridge.rtnl import NetNs, Rtnl, del_link, set_link

LOOK_FIRST_S: Final = 0.0003
LOOK_LONGEST_S: Final = 0.005
"""Pauses between two looks whether a link is gone: from the first to the longest."""

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
    """Removes links of any namespace, from any thread."""

    def __init__(self) -> None:
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
    """Remove links until none of them is there; what went wrong, for all who wait for it."""
    ended = threading.Event()
    failures: list[Exception] = []

    def delete(rtnl: Rtnl) -> None:
        with rtnl:
            try:
                _delete(rtnl, indexes)
            except Exception as exc:  # noqa: BLE001  # raised where it is waited for
                failures.append(exc)
        ended.set()

    try:
        with Rtnl.open(host) as watch:
            # threading.Thread would wait until it runs: as long as the deletion takes to begin.
            _thread.start_new_thread(delete, (Rtnl.open(host),))
            _wait_until_gone(watch, indexes, ended)
    except Exception as exc:  # noqa: BLE001  # the others would wait for ever
        return exc
    return failures[0] if failures else None


def _delete(rtnl: Rtnl, indexes: list[IfIndex]) -> None:
    if len(indexes) == 1:
        rtnl.request(del_link(index=indexes[0]), tolerate=_GONE)
        return
    group = _GROUP_MIN + secrets.randbelow(_GROUPS)
    rtnl.request(*(set_link(each, group=group) for each in indexes), tolerate=_GONE)
    rtnl.request(del_link(group=group), tolerate=_GONE)


def _wait_until_gone(watch: Rtnl, indexes: list[IfIndex], ended: threading.Event) -> None:
    """Wait until no link is listed any more, or the deletion has ended, well or not."""
    left, pause = list(indexes), LOOK_FIRST_S
    while left and not ended.wait(pause):
        while left and not watch.has_link(left[-1]):
            left.pop()
        pause = min(2 * pause, LOOK_LONGEST_S)
