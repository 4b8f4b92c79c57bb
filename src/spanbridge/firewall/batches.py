# SPDX-License-Identifier: Apache-2.0
"""
Releases of many threads as one: a release has to read all tables, however little goes.

Whoever asks while the tables are held by another joins those that wait; the first of
them then removes for all.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from spanbridge.model.owner import Owner
from spanbridge.rtnl import NetNs


@dataclass(slots=True, eq=False)
class Batch:
    """
    Owners whose entries go together.

    Attributes:
        owners: Complete once `close` was called.
        over: Set at the end.
        removed: Tags that had entries.
        failure: Why the entries are still there.
    """

    owners: list[Owner] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    removed: frozenset[str] = frozenset()
    failure: BaseException | None = None


class Batches:
    """The batches that still form, one for each namespace."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forming: dict[tuple[int, int], Batch] = {}

    def run(
        self,
        host: NetNs,
        owners: tuple[Owner, ...],
        remove: Callable[[Callable[[], tuple[Owner, ...]]], list[str]],
    ) -> bool:
        """
        Have the entries of some owners removed; tell whether there were any.

        Args:
            host: The node's namespace.
            owners: Whose.
            remove: Removes for a whole batch, and returns the tags that had entries. It
                gets a function that closes the batch, for when it holds the tables.

        Raises:
            BaseException: Whatever ``remove`` raised, to everybody in the batch.
        """
        with self._lock:
            batch = self._forming.get(host.identity)
            leads = batch is None
            if batch is None:
                batch = self._forming[host.identity] = Batch()
            batch.owners += owners
        if leads:
            self._lead(host, batch, remove)
        batch.over.wait()
        if batch.failure is not None:
            raise batch.failure
        return any(owner.tag in batch.removed for owner in owners)

    def _lead(
        self,
        host: NetNs,
        batch: Batch,
        remove: Callable[[Callable[[], tuple[Owner, ...]]], list[str]],
    ) -> None:
        def close() -> tuple[Owner, ...]:
            with self._lock:
                if self._forming.get(host.identity) is batch:
                    del self._forming[host.identity]
            return tuple(batch.owners)

        try:
            batch.removed = frozenset(remove(close))
        except BaseException as exc:  # noqa: BLE001  # raised again by all who wait
            batch.failure = exc
        finally:
            close()
            batch.over.set()
